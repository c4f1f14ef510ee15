"""Look at Hub and Traefik now and then: their memory, descriptors and threads."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

import psutil

from faults.record import History, Look
from faults.world import World

__all__ = ["Looker"]

_SECONDS = 2.0
_MIB = 1 << 20


class Looker:
    """Looks from outside, and notes what it saw.

    Args:
        connections: how many there are of users to Traefik and of Traefik to targets.
    """

    def __init__(self, world: World, history: History, connections: Callable[[], int]) -> None:
        self._world = world
        self._history = history
        self._connections = connections

    async def keep_looking(self) -> None:
        """Until it is cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(_SECONDS)

    async def look(self, rest: str = "") -> Look:
        """Once; ``rest`` as in ``Look``."""
        look = await asyncio.to_thread(self._look, rest)
        self._history.looks.append(look)
        return look

    async def rest(self, rest: str, seconds: float) -> None:
        """When nothing goes on: wait for so long at most until only one Traefik is left."""
        until = time.monotonic() + seconds
        while len(await asyncio.to_thread(self._world.traefiks)) > 1:
            if time.monotonic() > until:
                break
            await asyncio.sleep(0.2)
        await self.look(rest)

    def _look(self, rest: str) -> Look:
        look = Look(time.monotonic(), rest, self._world.hub.pid, [])
        traefiks = []
        for process in self._world.traefiks():
            with suppress(psutil.Error):
                traefiks.append((process.create_time(), process))
        traefiks.sort(key=lambda each: each[0])
        look.traefiks = [process.pid for _, process in traefiks]
        look.connections = self._connections()
        if look.hub:
            with suppress(psutil.Error):
                hub = psutil.Process(look.hub)
                look.hub_mib, look.hub_descriptors, look.hub_threads = _numbers(hub)
                look.unreaped = sum(map(_has_ended, hub.children()))
        if traefiks:
            with suppress(psutil.Error):
                numbers = _numbers(traefiks[-1][1])
                look.traefik_mib, look.traefik_descriptors, look.traefik_threads = numbers
        return look


def _has_ended(process: psutil.Process) -> bool:
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _numbers(process: psutil.Process) -> tuple[float, int, int]:
    with process.oneshot():
        return (
            round(process.memory_info().rss / _MIB, 1),
            process.num_fds(),
            process.num_threads(),
        )
