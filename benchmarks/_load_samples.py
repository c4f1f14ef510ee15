"""Looks at the Hub's process and at Traefik: memory, descriptors, threads, and what is in them."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final

import psutil

from benchmarks._load_book import Book
from benchmarks._load_client import Broken, Door
from benchmarks._load_control import HubControl
from benchmarks._load_servers import Servers

__all__ = ["DEBUG", "Sample", "Sampler"]

DEBUG: Final[dict[str, dict[str, Any]]] = {
    "extra_static_config": {"api": {"debug": True}},
    "extra_dynamic_config": {
        "http": {
            "routers": {
                "debug": {
                    "rule": "PathPrefix(`/debug`)",
                    "entryPoints": ["auth_api"],
                    "service": "api@internal",
                }
            }
        }
    },
}
"""Options of the proxy with which Traefik tells of its memory."""

_MIB: Final = 1024 * 1024

Sample = dict[str, float]
"""One look. Memory is in MiB.

at: seconds since the beginning.
routes, generation, tasks, objects: what the Hub says of itself.
hub_mib, hub_fds, hub_threads: of the Hub's process; the same of Traefik's.
traefik_heap: what Traefik's last garbage collection left over.
traefik_goroutines: how many.
ended: routes that were deleted, or led elsewhere, so far.
clients, backends: connections to Traefik, and from there to servers, counted at their other ends.
"""


class Sampler:
    """Looks, and keeps what it saw.

    Args:
        api: Traefik's port for the API.
    """

    def __init__(self, hub: HubControl, door: Door, servers: Servers, book: Book, api: int) -> None:
        self._hub = hub
        self._door = door
        self._servers = servers
        self._book = book
        self._api = Door(api)
        self.samples: list[Sample] = []

    async def keep_looking(self, seconds: float) -> None:
        """Every so often, until it is cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(seconds)

    async def look(self) -> Sample:
        """Once."""
        status = await self._hub.ask("status")
        sample: Sample = {"at": self._book.now()} | status
        sample |= _of("hub", self._hub.process) | _of("traefik", self._hub.traefik)
        sample["ended"] = self._book.counts["logout"] + self._book.counts["move"]
        sample["clients"] = self._door.open
        sample["backends"] = self._servers.connections()
        sample |= await self._inside_traefik()
        self.samples.append(sample)
        return sample

    async def collect_garbage(self) -> None:
        """In both processes."""
        await self._hub.ask("collect")
        await self._ask("/debug/pprof/heap?gc=1")

    async def _inside_traefik(self) -> Sample:
        said = json.loads(await self._ask("/debug/vars"))
        memory = said["memstats"]
        # The next collection comes when the heap is twice what the last one left over.
        return {
            "traefik_heap": memory["NextGC"] / 2 / _MIB,
            "traefik_goroutines": said.get("Goroutines2", 0),
        }

    async def _ask(self, path: str) -> bytes:
        try:
            async with self._api.connection() as connection:
                return (await connection.get(path)).body
        except Broken as error:
            self._book.wrong("Traefik's API", "nobody", str(error))
            return b'{"memstats": {"NextGC": 0}}'


def _of(name: str, process: psutil.Process) -> Sample:
    with process.oneshot():
        return {
            f"{name}_mib": process.memory_info().rss / _MIB,
            f"{name}_fds": process.num_fds(),
            f"{name}_threads": process.num_threads(),
        }
