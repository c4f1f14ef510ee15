"""All that a run consists of, as those see it who break it."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from faults.hub_control import HubControl
from faults.link import Link
from faults.places import Place
from faults.targets import Targets
from support import traefik_processes

__all__ = ["World"]


@dataclass(frozen=True, kw_only=True)
class World:
    """One run.

    link: to the store's server; None if it has none.
    rng: for whatever a fault decides.
    scale: of the time that faults last, 1 for a second or two.
    some_route: picks a route that is there, and sees that nobody changes it meanwhile.
    """

    place: Place
    link: Link | None
    hub: HubControl
    targets: Targets
    rng: random.Random
    scale: float
    some_route: Callable[[], AbstractAsyncContextManager[str]]

    @property
    def run_dir(self) -> Path:
        """The Hub's."""
        return self.place.run_dir

    def seconds(self) -> float:
        """How long a fault lasts."""
        return self.scale * self.rng.uniform(0.5, 2)

    def traefiks(self) -> list[psutil.Process]:
        """Those that run for this Hub. Blocks for some milliseconds."""
        return traefik_processes(self.run_dir)

    def signal_traefiks(self, number: signal.Signals) -> list[psutil.Process]:
        """Send all of them a signal. Blocks for some milliseconds."""
        found = self.traefiks()
        for process in found:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)
        return found

    def whose(self, port: int) -> str:
        """Which process a connection comes from, by its port: "hub" or "traefik". Blocks."""
        with suppress(psutil.Error):
            connections = psutil.Process(self.hub.pid).net_connections(kind="tcp")
            if self.hub.pid and any(each.laddr and each.laddr.port == port for each in connections):
                return "hub"
        return "traefik"
