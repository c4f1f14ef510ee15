"""What the proxy tells in the Hub's metrics and log, with a store and a Traefik in memory."""

from __future__ import annotations

import gc
import logging
import timeit
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest

from traefikhub.metrics import Health, Metrics, Standing, StoreCall, metrics_of_hub
from traefikhub.stores import (
    FencedError,
    Key,
    RecordRefused,
    StoreCorrupt,
    StoreUnavailable,
)
from traefikhub.traefik import NotLive, TraefikExited, TraefikProcess, TraefikUnusable
from traefikhub.traefik.api import Sign
from traefikhub.traefik.running import Known
from traefikhub.traefik.supervisor import Supervisor
from traefikhub.writer import RouteWriter
from unit.memory_store import Hub, MemoryStore, settle

pytestmark = pytest.mark.anyio

LOG = logging.getLogger("test.hub")


class Observed(Hub):
    """A hub with a registry of its own."""

    def __init__(self, store: MemoryStore, tasks: anyio.abc.TaskGroup) -> None:
        super().__init__(store, tasks)
        self.registry = CollectorRegistry()
        metrics = Metrics(self.registry)
        self.writer = RouteWriter(store, self._table, self.live, LOG, metrics)

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"traefikhub_{name}", labels)

    @property
    def states(self) -> set[str]:
        return {state.value for state in Health if self.value("writer_state", state=state.value)}


@asynccontextmanager
async def observed_hub() -> AsyncIterator[Observed]:
    async with anyio.create_task_group() as tasks:
        hub = Observed(MemoryStore(), tasks)
        await hub.writer.restore(await hub.store.load())
        hub.writer.run()
        try:
            yield hub
        finally:
            await hub.writer.aclose()


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG, logger="test.hub")
    return caplog


def levels(log: pytest.LogCaptureFixture, text: str) -> list[str]:
    return [record.levelname for record in log.records if text in record.getMessage()]


# --- changes, batches, generations ---------------------------------------------------------------


async def test_a_change_is_counted_once_it_is_live() -> None:
    async with observed_hub() as hub:
        hub.live.gate.close()
        hub.begin_to_add("mary")
        await settle()
        assert hub.value("route_change_duration_seconds_count") == 0
        assert (hub.value("generation_stored"), hub.value("generation_live")) == (1, 0)
        assert hub.states == {"behind"}
        hub.live.gate.open()
        await settle()
        assert hub.value("route_change_duration_seconds_count") == 1
        assert hub.value("traefik_reload_duration_seconds_count") == 1
        assert (hub.value("generation_stored"), hub.value("generation_live")) == (1, 1)
        assert hub.value("routes") == 1
        assert hub.states == {"live"}


async def test_a_change_that_says_nothing_new_counts_as_nothing() -> None:
    async with observed_hub() as hub:
        await hub.add("mary")
        await hub.add("mary")
        assert hub.value("route_change_duration_seconds_count") == 1
        assert hub.value("batch_changes_count") == 1


async def test_a_burst_shows_in_the_size_of_batches() -> None:
    async with observed_hub() as hub:
        callers = [hub.begin_to_add(f"u{number}") for number in range(60)]
        while any(caller.waits for caller in callers):
            await settle()
        assert hub.value("batch_changes_sum") == 60
        assert hub.value("batch_changes_count") == len(hub.store.applied)
        assert hub.value("store_duration_seconds_count", operation="apply") == len(
            hub.store.applied
        )


async def test_a_burst_is_one_line_and_a_single_change_a_line_for_debugging(
    log: pytest.LogCaptureFixture,
) -> None:
    async with observed_hub() as hub:
        await hub.add("mary")
        assert levels(log, "Routes changed: 1,") == ["DEBUG"]
        hub.store.applying.close()
        hub.begin_to_add("first")
        await settle()
        callers = [hub.begin_to_add(f"u{number}") for number in range(60)]
        await settle()
        hub.store.applying.open()
        while any(caller.waits for caller in callers):
            await settle()
        assert levels(log, "Routes changed: 60,") == ["INFO"]


async def test_a_restart_tells_what_the_store_remembers(log: pytest.LogCaptureFixture) -> None:
    async with observed_hub() as hub:
        await hub.add("mary")
        registry, store = CollectorRegistry(), hub.store
    writer = RouteWriter(store, hub._table, hub.live, LOG, Metrics(registry))
    await writer.restore(await store.load())
    assert levels(log, "restored from the store: 1 (generation 1)") == ["INFO"]
    assert registry.get_sample_value("traefikhub_routes") is None  # it takes no changes yet


# --- trouble -------------------------------------------------------------------------------------


async def test_a_store_that_is_down_is_counted_each_time_and_told_twice(
    log: pytest.LogCaptureFixture,
) -> None:
    async with observed_hub() as hub:
        hub.store.refusals = [StoreUnavailable("etcd is down")]
        hub.store.load_errors = [StoreUnavailable("etcd is down")] * 2
        for _ in range(3):
            with pytest.raises(StoreUnavailable):
                await hub.add("mary")
        assert hub.states == {"uncertain"}
        errors = {"error": "StoreUnavailable"}
        assert hub.value("store_errors_total", operation="apply", **errors) == 1
        assert hub.value("store_errors_total", operation="load", **errors) == 2
        assert hub.value("route_change_errors_total", **errors) == 3
        assert levels(log, "etcd is down") == ["ERROR", "DEBUG", "DEBUG"]
        await hub.add("mary")
        await hub.add("john")
        assert levels(log, "succeed again") == ["INFO"]
        assert hub.states == {"live"}
        assert hub.value("route_change_duration_seconds_count") == 2


async def test_a_traefik_that_is_late_is_told_alike(log: pytest.LogCaptureFixture) -> None:
    async with observed_hub() as hub:
        hub.live.failures = [NotLive("generation 1"), NotLive("generation 1")]
        for _ in range(2):
            with pytest.raises(NotLive):
                await hub.add("mary")
        assert hub.states == {"behind"}
        assert hub.value("route_change_errors_total", error="NotLive") == 2
        assert levels(log, "generation 1") == ["ERROR", "DEBUG"]


async def test_a_fenced_writer_shows_it(log: pytest.LogCaptureFixture) -> None:
    async with observed_hub() as hub:
        hub.store.refusals = [FencedError("another hub")]
        for _ in range(2):
            with pytest.raises(FencedError):
                await hub.add("john")
        assert hub.states == {"fenced"}
        assert hub.value("store_errors_total", operation="apply", error="FencedError") == 1
        assert levels(log, "another hub") == ["ERROR"]


async def test_drift_is_counted_and_told_once_with_its_records(
    log: pytest.LogCaptureFixture,
) -> None:
    async with observed_hub() as hub:
        await hub.add("mary")
        hub.store.records = {Key("http/routers", "stranger"): {"rule": "x"}}
        for _ in range(3):
            await hub.writer.routes()
        assert hub.states == {"drifted"}
        assert hub.value("store_drifts_total") == 1
        [line] = [r.getMessage() for r in log.records if r.levelname == "WARNING"]
        assert "http/routers stranger" in line
        assert "jupyterhub/routes g_user_mary" in line
        await hub.writer.repair()
        assert hub.states == {"live"}
        assert levels(log, "Brought the store up to date") == ["INFO"]
        hub.store.records.clear()  # and again
        await hub.writer.routes()
        assert hub.value("store_drifts_total") == 2


async def test_a_store_that_broke_is_told_once(log: pytest.LogCaptureFixture) -> None:
    async with observed_hub() as hub:
        await hub.add("mary")
        hub.store.load_errors = [StoreCorrupt("line 3")] * 3
        for _ in range(3):
            await hub.writer.routes()
        assert levels(log, "line 3") == ["ERROR"]
        assert hub.value("store_drifts_total") == 1
        assert hub.value("store_errors_total", operation="load", error="StoreCorrupt") == 3


async def test_a_refused_route_is_left_to_its_caller_to_tell(log: pytest.LogCaptureFixture) -> None:
    async with observed_hub() as hub:
        log.clear()
        hub.store.refusals = [RecordRefused("no such names here")]
        with pytest.raises(RecordRefused):
            await hub.add("mary")
        assert log.records == []
        assert hub.value("route_change_errors_total", error="RecordRefused") == 1


async def test_a_change_that_is_cancelled_counts_as_nothing() -> None:
    async with observed_hub() as hub:
        hub.live.gate.close()
        caller = hub.begin_to_add("mary")
        await settle()
        caller.scope.cancel()
        await settle()
        hub.live.gate.open()
        await settle()
        assert hub.value("route_change_duration_seconds_count") == 0


async def test_a_stopped_writer_shows_it() -> None:
    async with observed_hub() as hub:
        await hub.writer.aclose()
        assert hub.states == {"stopped"}


# --- the registry --------------------------------------------------------------------------------


async def test_proxies_of_one_process_share_the_metrics_and_the_newest_is_shown() -> None:
    assert metrics_of_hub() is metrics_of_hub()

    class Writer:
        def __init__(self, routes: int) -> None:
            self.routes = routes

        def standing(self) -> Standing:
            return Standing(Health.LIVE, self.routes, 1, 1)

    first, second = Writer(1), Writer(2)
    metrics_of_hub().show(first.standing)
    metrics_of_hub().show(second.standing)
    assert REGISTRY.get_sample_value("traefikhub_routes") == 2
    del second
    gc.collect()
    assert REGISTRY.get_sample_value("traefikhub_routes") is None
    assert b"# TYPE traefikhub_writer_state gauge" in generate_latest(REGISTRY)


async def test_errors_are_there_before_the_first_one_happens() -> None:
    """Else an alert on an increase would miss the first."""
    registry = CollectorRegistry()
    Metrics(registry)
    for call in StoreCall:
        labels = {"operation": call.value, "error": "StoreUnavailable"}
        assert registry.get_sample_value("traefikhub_store_errors_total", labels) == 0
    assert registry.get_sample_value("traefikhub_traefik_restarts_total", {"result": "failed"}) == 0


async def test_errors_of_a_third_party_s_store_count_under_the_class_that_is_documented() -> None:
    class EtcdIsFull(StoreUnavailable):
        pass

    async with observed_hub() as hub:
        hub.store.refusals = [EtcdIsFull("full")]
        with pytest.raises(EtcdIsFull):
            await hub.add("mary")
        labels = {"operation": "apply", "error": "StoreUnavailable"}
        assert hub.value("store_errors_total", **labels) == 1


async def test_names_and_units_follow_prometheus_habits() -> None:
    registry = CollectorRegistry()
    Metrics(registry)
    families = list(registry.collect())
    assert len(families) == 16
    for family in families:
        assert family.name.startswith("traefikhub_")
        assert family.documentation
        timed = "duration" in family.name or "timestamp" in family.name
        assert family.name.endswith("_seconds") == timed


async def test_a_change_costs_microseconds() -> None:
    metrics = Metrics(CollectorRegistry())

    def change() -> None:
        with metrics.change():
            pass

    assert min(timeit.repeat(change, number=1000, repeat=5)) / 1000 < 100e-6


# --- Traefik -------------------------------------------------------------------------------------


class Mortal(TraefikProcess):
    """A Traefik that has ended already."""

    def __init__(self) -> None:
        self.known = Known(1, "long ago", "")

    @property
    def pid(self) -> int:
        return 1

    @property
    def runs(self) -> bool:
        return False

    async def exited(self) -> None:
        await anyio.lowlevel.checkpoint()

    def check(self) -> None:
        raise TraefikExited("Traefik exited with code 1")

    async def stop(self) -> None:
        pass


async def test_restarts_are_counted_with_those_that_fail(tmp_path: Path) -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    launches = [True, False, True]  # the first start is none

    def launch() -> TraefikProcess:
        if launches and not launches.pop(0):
            raise TraefikUnusable("no such program")
        return Mortal()

    async def sign() -> Sign:
        return Sign.ANSWERS

    supervisor = Supervisor(tmp_path, launch, sign, 1.0, LOG, metrics.restart)
    supervisor.begin()
    supervisor.watch()
    name = "traefikhub_traefik_restarts_total"
    with anyio.fail_after(10):
        while not registry.get_sample_value(name, {"result": "started"}):
            await anyio.sleep(0.02)
    await supervisor.aclose()
    assert registry.get_sample_value(name, {"result": "failed"}) == 1
