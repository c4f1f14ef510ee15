"""What the Hub's /hub/metrics shows of a proxy with a real Traefik."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import anyio
import pytest
from prometheus_client import REGISTRY, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from conftest import MakeProxy
from support import traefik_processes

pytestmark = pytest.mark.anyio


def page() -> dict[str, float]:
    """All samples of ours, read as Prometheus reads what jupyterhub.handlers.metrics writes."""
    return {
        sample.name.removeprefix("traefikhub_")
        + "".join(f" {value}" for label, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(generate_latest(REGISTRY).decode())
        for sample in family.samples
        if family.name.startswith("traefikhub_")
    }


def grown(before: dict[str, float]) -> dict[str, float]:
    """By how much each sample has grown; other tests of this process count in the same registry."""
    return {name: value - before.get(name, 0) for name, value in page().items()}


async def test_the_hub_shows_routes_generations_and_durations(make_proxy: MakeProxy) -> None:
    before = page()
    proxy = make_proxy()
    await proxy.start()
    try:
        async with anyio.create_task_group() as tasks:
            for number in range(30):
                spec = f"/user/u{number}/"
                tasks.start_soon(proxy.add_route, spec, "http://127.0.0.1:1", {})
        await proxy.delete_route("/user/u0/")
        assert len(await proxy.get_all_routes()) == 29

        now, growth = page(), grown(before)
        assert now["routes"] == 29
        assert now["generation_live"] == now["generation_stored"] >= 2
        assert now["writer_state live"] == 1
        assert sum(value for name, value in now.items() if name.startswith("writer_state ")) == 1
        assert growth["batch_changes_sum"] == 31
        assert growth["route_change_duration_seconds_count"] == 31
        batches = growth["batch_changes_count"]
        assert 2 <= batches <= 31
        assert growth["traefik_reload_duration_seconds_count"] == batches
        # One more: the base records, before Traefik starts.
        assert growth["store_duration_seconds_count apply"] == batches + 1
        assert 0 < growth["route_change_duration_seconds_sum"] < 31 * 30
        assert not any(value for name, value in growth.items() if "_errors_total" in name)
        assert not growth["store_drifts_total"]
    finally:
        await proxy.stop()
    assert not page().get("writer_state live")


async def test_drift_is_shown_until_the_hub_s_next_check(make_proxy: MakeProxy) -> None:
    proxy = make_proxy()
    await proxy.start()
    await proxy.add_route("/user/mary/", "http://127.0.0.1:1", {})
    before = page()
    routes = Path(proxy.run_dir) / "routes.toml"
    routes.unlink()
    await proxy.get_all_routes()
    assert page()["writer_state drifted"] == 1
    assert grown(before)["store_drifts_total"] == 1
    await proxy.add_route("/user/john/", "http://127.0.0.1:1", {})
    assert page()["writer_state live"] == 1


async def test_a_traefik_that_is_killed_counts_as_a_restart(make_proxy: MakeProxy) -> None:
    proxy = make_proxy()
    await proxy.start()
    before = page()
    [traefik] = traefik_processes(Path(proxy.run_dir))
    os.kill(traefik.pid, signal.SIGKILL)
    with anyio.fail_after(20):
        while not grown(before)["traefik_restarts_total started"]:
            await anyio.sleep(0.05)
    await proxy.add_route("/user/mary/", "http://127.0.0.1:1", {})
    assert not grown(before)["traefik_restarts_total failed"]
