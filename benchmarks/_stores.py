"""What a store costs at ten thousand routes, and what the event loop feels of it."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from benchmarks._routes import data_of, spec_of
from benchmarks._servers import opened_server
from benchmarks._watch import LoopWatch
from traefikhub.stores import Batch, RouteStore, resolve_store
from traefikhub.table import Route, Table

__all__ = ["STORES", "measure_store"]

STORES: Final = ("toml-file", "etcd", "consul")


async def measure_store(name: str, routes: int) -> dict[str, Any]:
    """Milliseconds of each operation, and the longest stall of the event loop during it."""
    table = Table(entry_point="http")
    table.update({route.routespec: route for route in map(_route, range(routes))})
    twenty = Table(entry_point="http")
    twenty.update({route.routespec: route for route in map(_route, range(routes, routes + 20))})
    store_class = resolve_store(name)
    row: dict[str, Any] = {"store": name, "routes": routes, "records": len(table.records)}

    async def note(what: str, work: Callable[[], Awaitable[Any]]) -> None:
        row[f"{what} ms"], row[f"{what}, stall ms"] = await _timed(work)

    with opened_server(name) as address, tempfile.TemporaryDirectory() as directory:
        options = _options(name, address, directory)
        store: RouteStore = store_class(timeout=60, **options)
        async with store:
            everything = await asyncio.to_thread(Batch, 1, table.records)
            await note("apply all", lambda: store.apply(everything))
        again = store_class(timeout=60, **options)
        async with again:
            await note("load", again.load)
            small = Batch(2, twenty.records)
            await note("apply 20 routes", lambda: again.apply(small))
            less = Batch(3, {}, frozenset(twenty.records))
            await note("delete 20 routes", lambda: again.apply(less))
    return row


def _options(name: str, address: str, directory: str) -> dict[str, Any]:
    match name:
        case "etcd":
            return {"endpoints": [address]}
        case "consul":
            return {"url": address}
    return {"path": f"{directory}/routes.toml"}


def _route(number: int) -> Route:
    return Route(spec_of(number), "http://127.0.0.1:1", data_of(number))


async def _timed(work: Callable[[], Awaitable[Any]]) -> tuple[float, float]:
    watch = LoopWatch()
    async with watch.watching():
        started = time.perf_counter()
        await work()
        seconds = time.perf_counter() - started
    return 1e3 * seconds, 1e3 * watch.worst
