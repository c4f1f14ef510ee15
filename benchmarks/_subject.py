"""One contestant while it is measured: its Hub's process, the backend, and where results go."""

from __future__ import annotations

import http.client
import random
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from benchmarks._backend import Backend, page
from benchmarks._child import CommandFailed, HubProcess
from benchmarks._contestants import OWN, Contestant, Place
from benchmarks._plan import Plan
from benchmarks._results import Measured, Results
from benchmarks._routes import path_of

__all__ = ["NEW_USERS", "Subject"]

NEW_USERS: Final = 1_000_000
"""The number of the first user that comes and goes while the table has its size."""


@dataclass(slots=True)
class Subject:
    """What the measurements of one contestant share.

    routes: users' routes in the table.
    pace: seconds of the run for each call, by kind of change, routes and calls in flight.
    began: the time.
    """

    contestant: Contestant
    plan: Plan
    place: Place
    backend: Backend
    hub: HubProcess
    results: Results
    routes: int = 0
    pace: dict[tuple[str, int, int], float] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)

    @property
    def port(self) -> int:
        """Where users come in."""
        port = urlsplit(self.place.public_url).port
        assert port
        return port

    def start(self) -> dict[str, Any]:
        """Start the proxy."""
        return self.hub.ask(
            "start",
            path=self.contestant.path,
            public_url=self.place.public_url,
            hub_url=self.backend.url(self.backend.hub),
            config=self.contestant.config(self.place),
        )

    def fill(self, routes: int) -> None:
        """Add users until there are so many; return when the proxy rests."""
        self.hub.ask(
            "fill",
            first=self.routes,
            count=routes - self.routes,
            target=self.backend.url(self.backend.user),
        )
        self.routes = routes
        self.hub.settle()

    def record(
        self, what: str, at_once: int = 1, /, *, note: str = "", **values: float
    ) -> Measured:
        """Keep a measurement, and tell it to whoever waits for the end."""
        row = Measured(self.contestant.name, what, self.routes, at_once, values, note)
        self.results.rows.append(row)
        told = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
        line = f"{row.contestant}: {what}, {row.routes} routes, {at_once} at once: {told or note}"
        print(f"{time.monotonic() - self.began:6.1f} s  {line}", file=sys.stderr, flush=True)
        return row

    @property
    def is_late(self) -> bool:
        """Whether this contestant has had its time."""
        return time.monotonic() - self.began > self.plan.patience

    def expected(self, what: str, at_once: int) -> float:
        """Seconds for so many calls in flight, by what was gained by many in flight so far, here
        and in smaller tables; 0 if nothing was measured."""
        pace = self.pace
        alone = pace.get((what, self.routes, 1), 0.0)
        gains = [
            pace[each, size, 1] / pace[each, size, many]
            for each, size, many in pace
            if each == what and 1 < many <= at_once
        ]
        return at_once * alone / max(gains, default=1.0)

    def leave_out(self, what: str, at_once: int, seconds: float) -> None:
        """Say that a measurement would take too long."""
        took = f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
        self.record(what, at_once, note=f"not measured: would take about {took}")

    @contextmanager
    def tried(self, what: str) -> Iterator[None]:
        """A rival's error is a result, and what comes next is measured all the same.

        Raises:
            CommandFailed: it is none of a rival.
        """
        try:
            yield
        except CommandFailed as error:
            if self.contestant.name.startswith(OWN):
                raise
            self.record(what, note=f"fails: {error}")

    def count_wrong(self, sample: int = 40) -> int:
        """How many of some users, picked at random, do not reach their own server."""
        chooser = random.Random(self.routes)
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        right = {self.backend.user, self.backend.moved}
        try:
            return sum(
                page(connection, path_of(chooser.randrange(self.routes))) not in right
                for _ in range(sample)
            )
        finally:
            connection.close()
