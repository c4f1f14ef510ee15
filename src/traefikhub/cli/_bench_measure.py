"""The measurements. What is compared is measured in one run, in turns."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

import psutil
from prometheus_client import REGISTRY

from traefikhub.cli._bench_hub import BenchHub
from traefikhub.cli._bench_values import Burst, Table, Times
from traefikhub.stores import Batch, Key, KeyValueStore, Records, RouteStore, in_thread
from traefikhub.traefik import NotLive
from traefikhub.traefik.running import known

__all__ = [
    *("BURST", "FULL", "QUICK", "Amount", "Phase"),
    *("fill", "of_disk", "of_store", "of_table", "watched_loop"),
]

BURST: Final = 50
"""New routes at once, as at nine in the morning."""

_AT_ONCE: Final = 2_000
"""Routes that are added at once while a table is filled."""

_WARM_UP: Final = 2
_LEAST: Final = 3
_NEW: Final = 1_000_000
"""The number of the first user that comes and goes while a table has its size."""

_OWNER: Final = "jupyterhub/owner"
"""A key that every key-value store has while it is open for writing."""

_TICK: Final = 0.001

Phase: TypeAlias = Callable[[str, int], AbstractContextManager[Callable[[], None]]]
"""Announces what is measured and in how many steps; gives what is called after each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """How much is measured, at most.

    seconds: for each thing that is measured at a table's size.
    all_seconds: after which no further table is begun.
    """

    writes: int
    routes: int
    bursts: int
    seconds: float
    all_seconds: float


FULL: Final = Amount(writes=100, routes=60, bursts=5, seconds=7.0, all_seconds=30.0)
QUICK: Final = Amount(writes=30, routes=15, bursts=3, seconds=1.5, all_seconds=6.0)


async def of_store(store: RouteStore, amount: Amount, phase: Phase) -> tuple[Times, Times | None]:
    """Writes as of one route, while nothing else reads or writes there; and, if the store has a
    server, reads of one key. The place is left without records.

    Raises:
        StoreError: it can't be reached or written.
    """
    writes: list[float] = []
    trips: list[float] = []
    async with store:
        generation = (await store.load()).generation
        with phase("store alone", amount.writes) as step:
            for number in _while(amount.writes, amount.seconds, warm_up=_WARM_UP):
                generation += 1
                batch = Batch(generation, _records(number))
                writes.append(await _timed(partial(store.apply, batch)))
                if isinstance(store, KeyValueStore):
                    trips.append(await _timed(partial(store.read_value, _OWNER)))
                step()
        gone = frozenset(key for number in range(len(writes)) for key in _records(number))
        await store.apply(Batch(generation + 1, deletes=gone))
    return _times(writes), _times(trips) if trips else None


async def of_disk(directory: Path, amount: Amount, phase: Phase) -> Times:
    """How long a small file takes to be durable there."""

    def write(number: int) -> float:
        with open(directory / f"fsync-{number}", "wb") as stream:
            stream.write(b"x" * 4096)
            stream.flush()
            started = time.perf_counter()
            os.fsync(stream.fileno())
            took = time.perf_counter() - started
        os.unlink(stream.name)
        return took

    took = []
    with phase("disk", amount.writes) as step:
        for number in _while(amount.writes, amount.seconds, warm_up=_WARM_UP):
            took.append(await in_thread(write, number))
            step()
    return _times(took)


async def fill(hub: BenchHub, first: int, count: int, phase: Phase) -> None:
    """Add users, many at once."""
    with phase(f"{first + count} routes", count) as step:
        for start in range(first, first + count, _AT_ONCE):
            numbers = range(start, min(start + _AT_ONCE, first + count))
            await asyncio.gather(*(hub.add(number) for number in numbers))
            for _ in numbers:
                step()


async def of_table(hub: BenchHub, routes: int, amount: Amount, phase: Phase) -> Table:
    """One new route at a time, then many at once. The table is left as it was.

    Raises:
        StoreError, TraefikError: a change failed, or Traefik shows it but requests go elsewhere.
    """
    live, store, reload = [], [], []
    counted, computed = _counted(), _computed(hub.run_dir)
    with phase(f"one more of {routes} routes", amount.routes) as step:
        for number in _while(amount.routes, amount.seconds, warm_up=_WARM_UP):
            if number == _WARM_UP:
                counted, computed = _counted(), _computed(hub.run_dir)
            before = _counted()
            live.append(await _timed(partial(hub.add, _NEW)))
            after = _counted()
            store.append(after.store - before.store)
            reload.append(after.reload - before.reload)
            if number == 0 and not await hub.serves(_NEW):
                raise NotLive("Traefik shows a new route, but requests don't go there")
            await hub.delete(_NEW)
            step()
    reloads = max(_counted().reloads - counted.reloads, 1)
    rest = [whole - part - other for whole, part, other in zip(live, store, reload, strict=True)]
    return Table(
        routes=routes,
        live=_times(live),
        store=_times(store),
        reload=_times(reload),
        hub=_times(rest),
        traefik_cpu=max(_computed(hub.run_dir) - computed, 0.0) / reloads,
        burst=await _burst(hub, routes, amount, phase),
    )


async def _burst(hub: BenchHub, routes: int, amount: Amount, phase: Phase) -> Burst:
    whole: list[float] = []
    each: list[float] = []
    reloads = held = 0.0
    numbers = range(_NEW, _NEW + BURST)

    async def add(number: int) -> None:
        each.append(await _timed(partial(hub.add, number)))

    async def add_all() -> None:
        await asyncio.gather(*map(add, numbers))

    with phase(f"{BURST} more of {routes} routes", amount.bursts) as step:
        for _ in _while(amount.bursts, amount.seconds, warm_up=0):
            before = _counted().reloads
            async with watched_loop() as lags:
                whole.append(await _timed(add_all))
            held = max(held, *lags)
            reloads += _counted().reloads - before
            await asyncio.gather(*map(hub.delete, numbers))
            step()
    return Burst(
        routes=BURST,
        all=Times.of(whole),
        one=Times.of(each),
        reloads=reloads / len(whole),
        loop_held=held,
    )


class _Counted(NamedTuple):
    """Seconds and calls so far, by the metrics that the proxy keeps."""

    store: float
    reload: float
    reloads: float


def _counted() -> _Counted:
    def value(name: str, labels: dict[str, str] | None = None) -> float:
        return REGISTRY.get_sample_value(name, labels) or 0.0

    return _Counted(
        value("traefikhub_store_duration_seconds_sum", {"operation": "apply"}),
        value("traefikhub_traefik_reload_duration_seconds_sum"),
        value("traefikhub_traefik_reload_duration_seconds_count"),
    )


def _computed(run_dir: Path) -> float:
    """Seconds of all cores that the Traefik of this directory has had."""
    seconds = 0.0
    for each in known(run_dir):
        with suppress(psutil.Error):  # it has just ended
            times = psutil.Process(each.pid).cpu_times()
            seconds += times.user + times.system
    return seconds


@asynccontextmanager
async def watched_loop() -> AsyncIterator[list[float]]:
    """Collects for how long the event loop was held, look by look."""
    lags: list[float] = []

    async def look() -> None:
        while True:
            asleep = time.perf_counter()
            await asyncio.sleep(_TICK)
            lags.append(max(time.perf_counter() - asleep - _TICK, 0.0))

    # A plain task: a task group would wrap what the body raises.
    task = asyncio.get_running_loop().create_task(look())
    try:
        await asyncio.sleep(5 * _TICK)
        lags.clear()
        yield lags
        await asyncio.sleep(2 * _TICK)  # so that the last stall is seen, too
    finally:
        task.cancel()


async def _timed(work: Callable[[], Awaitable[object]]) -> float:
    started = time.perf_counter()
    await work()
    return time.perf_counter() - started


def _while(count: int, seconds: float, *, warm_up: int) -> Iterator[int]:
    """Numbers, as long as there is time, but some at least."""
    ends = time.monotonic() + seconds
    for number in range(count + warm_up):
        if number >= warm_up + _LEAST and time.monotonic() > ends:
            return
        yield number


def _times(seconds: list[float]) -> Times:
    """Without the first ones, in which all that is done once is done."""
    return Times.of(seconds[_WARM_UP:])


def _records(number: int) -> Records:
    """About what a route is in the store. Read by no Traefik."""
    name = f"bench-{number}"
    return {
        Key("jupyterhub/bench", name): {"target": "http://127.0.0.1:1", "data": {"user": name}},
        Key("http/routers", name): {
            "rule": f'PathPrefix("/user/{name}/")',
            "priority": 10,
            "entryPoints": ["http"],
            "service": name,
        },
        Key("http/services", name): {"loadBalancer": {"servers": [{"url": "http://127.0.0.1:1"}]}},
    }
