"""Keys that somebody left among Traefik's, in a real etcd or consul: how Traefik takes them, and
that the Hub's next check of routes deletes them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio.to_thread
import pytest

from conftest import MakeProxy
from servers.stores import KeyValueServer
from support import Backend, ask, hub_app, routers_in_api, wait_until
from traefikhub import TraefikProxy

pytestmark = pytest.mark.anyio


async def started(make_proxy: MakeProxy, options: dict[str, Any]) -> TraefikProxy:
    hub = SimpleNamespace(routespec="/", host="http://127.0.0.1:1", base_url="/hub/")
    proxy = make_proxy(app=hub_app(hub=hub), hub=hub, **options)
    await proxy.start()
    await proxy.check_routes({}, {})
    return proxy


async def test_a_router_of_one_key_is_read_by_traefik_and_deleted(
    key_value: KeyValueServer, make_proxy: MakeProxy
) -> None:
    proxy = await started(make_proxy, key_value.options)
    before = key_value.server.dump()
    theirs = {"traefik/theirs", "traefik/jupyterhub/theirs"}  # where Traefik reads nothing
    for key in ("traefik/http/routers/leaf", *theirs):
        key_value.server.put(key, "x")

    def read() -> bool:
        return routers_in_api(proxy).get("leaf") == "disabled"

    await anyio.to_thread.run_sync(wait_until, read, "Traefik to read the key")
    await proxy.check_routes({}, {})
    assert key_value.server.dump().keys() - before.keys() == theirs
    assert "leaf" not in routers_in_api(proxy)


@pytest.mark.parametrize("key", ["http/theirs", "udp/"])
async def test_one_key_freezes_traefik_until_the_next_check(
    key_value: KeyValueServer, make_proxy: MakeProxy, backend: Callable[[str], Backend], key: str
) -> None:
    """``udp/`` is what the "folders" of consul's web interface look like."""
    proxy = await started(make_proxy, key_value.options | {"check_route_timeout": 20})
    key_value.server.put(f"traefik/{key}", "")
    log = Path(proxy.run_dir) / "traefik.log"
    frozen = re.compile("field not found, node: theirs|udp cannot be a standalone element")
    await anyio.to_thread.run_sync(
        wait_until, lambda: frozen.search(log.read_text()), "Traefik to complain"
    )
    await proxy.check_routes({}, {})
    assert f"traefik/{key}" not in key_value.server.dump()
    await proxy.add_route("/user/mary/", backend("mary").url, {})
    url = f"{proxy.public_url}/user/mary/"
    assert (await anyio.to_thread.run_sync(ask, url))[1]["name"] == "mary"


async def test_keys_that_freeze_traefik_are_deleted_before_it_starts(
    key_value: KeyValueServer, make_proxy: MakeProxy
) -> None:
    keys = {"traefik/http/theirs", "traefik/udp/", "traefik/TLS/stores"}
    for key in keys:
        key_value.server.put(key, "x")
    await started(make_proxy, key_value.options)
    assert not keys & key_value.server.dump().keys()
