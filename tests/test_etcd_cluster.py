"""A hub on three etcd members, one of which is lost while users log in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import pytest
from traitlets.config import Config

from conftest import MakeProxy
from servers.etcd import EtcdCluster
from support import Backend, ask

pytestmark = pytest.mark.anyio


async def test_the_leader_is_lost_during_200_logins(
    make_proxy: MakeProxy, tmp_path: Path, backend: Callable[[str], Backend]
) -> None:
    directory = tmp_path / "cluster"
    directory.mkdir()
    target = backend("user").url
    acknowledged: list[str] = []
    with EtcdCluster(directory) as cluster:
        config = Config()
        config.EtcdStore.endpoints = cluster.endpoints
        proxy = make_proxy(store="etcd", config=config)
        await proxy.start()
        limiter = anyio.CapacityLimiter(10)

        async def log_in(number: int) -> None:
            spec = f"/user/u{number}/"
            async with limiter:
                await proxy.add_route(spec, target, {"user": f"u{number}"})
            acknowledged.append(spec)
            if len(acknowledged) == 60:
                await anyio.to_thread.run_sync(lambda: cluster.leader().stop())

        async with anyio.create_task_group() as group:
            for number in range(200):
                group.start_soon(log_in, number)
        assert len(acknowledged) == 200
        routes = await proxy.get_all_routes()
        assert set(acknowledged) <= routes.keys()
        assert {urlsplit(route["target"]).netloc for route in routes.values()} == {
            urlsplit(target).netloc
        }
        for spec in acknowledged:
            status, _ = await anyio.to_thread.run_sync(ask, f"{proxy.public_url}{spec}")
            assert status == 200, f"{spec} was acknowledged and is not served"
        await proxy.stop()
