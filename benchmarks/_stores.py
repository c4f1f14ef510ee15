"""What a store costs at ten thousand routes, and what the event loop feels of it."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from servers.consul import ConsulServer
from servers.etcd import EtcdServer
from traefikhub.stores import Batch, RouteStore, resolve_store
from traefikhub.table import Route, Table

__all__ = ["STORES", "LoopWatch", "measure_store"]

STORES = ("toml-file", "etcd", "consul")


class LoopWatch:
    """The longest time for which the event loop was held."""

    def __init__(self) -> None:
        self.worst = 0.0

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Look once a millisecond."""

        async def look() -> None:
            while True:
                asleep = time.perf_counter()
                await asyncio.sleep(0.001)
                self.worst = max(self.worst, time.perf_counter() - asleep - 0.001)

        task = asyncio.create_task(look())
        await asyncio.sleep(0.005)
        try:
            yield
        finally:
            task.cancel()


@contextmanager
def opened_server(name: str) -> Iterator[dict[str, Any]]:
    """The options of a store whose server runs in a temporary directory."""
    with tempfile.TemporaryDirectory(prefix="traefikhub-bench-") as directory:
        match name:
            case "etcd":
                with EtcdServer(Path(directory)) as etcd:
                    yield {"endpoints": [etcd.endpoint]}
            case "consul":
                with ConsulServer(Path(directory)) as consul:
                    yield {"url": consul.url}
            case _:
                yield {"path": f"{directory}/routes.toml"}


async def _timed(work: Callable[[], Awaitable[Any]]) -> tuple[float, float]:
    watch = LoopWatch()
    async with watch.watching():
        started = time.perf_counter()
        await work()
        seconds = time.perf_counter() - started
    return 1e3 * seconds, 1e3 * watch.worst


async def measure_store(name: str, routes: int) -> dict[str, Any]:
    """Milliseconds of each operation, and the longest stall of the event loop during it."""
    table = Table(entry_point="http")
    table.update({f"/user/u{n}/": _route(f"/user/u{n}/") for n in range(routes)})
    twenty = Table(entry_point="http")
    twenty.update({f"/user/new{n}/": _route(f"/user/new{n}/") for n in range(20)})
    row: dict[str, Any] = {"store": name, "routes": routes}
    with opened_server(name) as options:
        store_class = resolve_store(name)
        store: RouteStore = store_class(timeout=60, **options)
        async with store:
            batch = await asyncio.to_thread(Batch, 1, table.records)
            row["apply all ms"], row["stall ms"] = await _timed(lambda: store.apply(batch))
        store = store_class(timeout=60, **options)
        async with store:
            row["load ms"], row["stall ms "] = await _timed(store.load)
            small = Batch(2, twenty.records)
            row["apply 20 ms"], row["stall ms  "] = await _timed(lambda: store.apply(small))
            one = Batch(3, {}, frozenset(twenty.records))
            row["delete 20 ms"], row["stall ms   "] = await _timed(lambda: store.apply(one))
    return row


def _route(spec: str) -> Route:
    return Route(spec, "http://127.0.0.1:1", {"user": spec.split("/")[2], "server_name": ""})
