"""Ask the routes all the time, and write down who answers."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from urllib.parse import urlsplit

from faults.record import History, Probe

__all__ = ["Prober"]

_TIMEOUT = 10.0
_OUTSTANDING = 20
"""More requests than these are not open at once while nothing answers."""


class Prober:
    """A client of Traefik; each request comes over a connection of its own.

    Args:
        url: where Traefik listens for users.
    """

    def __init__(self, url: str, history: History) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname or "", parts.port or 80)
        self._history = history
        self._tasks: set[asyncio.Task[Probe]] = set()

    @property
    def connections(self) -> int:
        """How many requests are open."""
        return len(self._tasks)

    async def ask(self, spec: str) -> Probe:
        """One request, somewhere below a routespec."""
        probe = Probe(len(self._history.probes), spec, time.monotonic())
        self._history.probes.append(probe)
        try:
            probe.status, body = await asyncio.wait_for(self._exchange(probe), _TIMEOUT)
            if probe.status == 200:
                probe.target = body
            else:
                probe.error = body[:80]
        except (OSError, EOFError, ValueError, asyncio.TimeoutError) as error:
            probe.error = f"{type(error).__name__} {error}"
        probe.end = time.monotonic()
        return probe

    async def _exchange(self, probe: Probe) -> tuple[int, str]:
        reader, writer = await asyncio.open_connection(*self._address)
        try:
            path = f"{probe.spec}x?probe={probe.number}"
            head = f"GET {path} HTTP/1.1\r\nHost: hub.test\r\nConnection: close\r\n\r\n"
            writer.write(head.encode())
            status, body = (await reader.read()).split(b"\r\n\r\n", 1)
            return int(status.split(b" ", 2)[1]), body.decode(errors="replace")
        finally:
            writer.close()

    async def keep_asking(
        self, specs: Sequence[str], per_second: float, rng: random.Random
    ) -> None:
        """Until it is cancelled: any of these routes, those that nobody made too."""
        while True:
            await asyncio.sleep(rng.expovariate(per_second))
            if len(self._tasks) < _OUTSTANDING:
                task = asyncio.get_running_loop().create_task(self.ask(rng.choice(specs)))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def answered(self) -> None:
        """Return when nothing is open any more."""
        while self._tasks:
            await asyncio.wait(self._tasks)
