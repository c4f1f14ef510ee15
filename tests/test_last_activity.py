"""When routes were last used, as JupyterHub is told."""

from __future__ import annotations

import logging
import socket
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import anyio.to_thread
import pytest

from conftest import MakeProxy
from support import Backend, ask, free_port, traefik_processes, wait_until
from traefikhub import TraefikProxy
from traefikhub.traefik import TraefikExited

pytestmark = pytest.mark.anyio

# Traefik keeps connections that nobody uses for 90 s, and they count as use.
SHORT: dict[str, Any] = {
    "serversTransport": {"forwardingTimeouts": {"idleConnTimeout": "200ms", "dialTimeout": "10s"}}
}


@pytest.fixture
async def proxy(make_proxy: MakeProxy) -> TraefikProxy:
    started = make_hub_proxy(make_proxy)
    await started.start()
    return started


def make_hub_proxy(make_proxy: MakeProxy, **options: Any) -> TraefikProxy:
    hub = SimpleNamespace(host=f"http://127.0.0.1:{free_port()}", base_url="/hub/", routespec="/")
    return make_proxy(hub=hub, **{"extra_static_config": SHORT} | options)


async def used(proxy: TraefikProxy, name: str) -> datetime:
    route = (await proxy.get_all_routes())[f"/user/{name}/"]
    text = route["data"]["last_activity"]
    assert text.endswith("Z")
    return datetime.fromisoformat(text[:-1]).replace(tzinfo=timezone.utc)


async def idle(proxy: TraefikProxy, name: str) -> datetime:
    """The time that doesn't change any more while nobody uses the route."""
    last = await used(proxy, name)
    with anyio.fail_after(20):
        while True:
            await anyio.sleep(0.3)
            now = await used(proxy, name)
            if now == last:
                return now
            last = now


async def visit(proxy: TraefikProxy, name: str, path: str = "") -> int:
    url = f"{proxy.public_url}/user/{name}/{path}"
    status, _ = await anyio.to_thread.run_sync(ask, url)
    return status


async def test_a_route_is_as_old_as_its_last_request(proxy: TraefikProxy, backend: Any) -> None:
    for name in ("mary", "john"):
        await proxy.add_route(f"/user/{name}/", backend(name).url, {"user": name})
    mary, john = await idle(proxy, "mary"), await idle(proxy, "john")
    before = datetime.now(timezone.utc)
    assert await visit(proxy, "mary") == 200
    assert await used(proxy, "mary") >= before > mary
    assert await used(proxy, "john") == john


@pytest.mark.parametrize("status", [304, 404, 500])
async def test_errors_are_use_too(proxy: TraefikProxy, backend: Any, status: int) -> None:
    await proxy.add_route("/user/mary/", backend("mary").url, {})
    await idle(proxy, "mary")
    before = datetime.now(timezone.utc)
    await visit(proxy, "mary", f"?status={status}")
    assert await used(proxy, "mary") >= before


async def test_an_open_websocket_is_use_though_nothing_is_said(proxy: TraefikProxy) -> None:
    """Traefik counts it when it closes, which may be tomorrow."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        await proxy.add_route("/user/mary/", f"http://127.0.0.1:{server.getsockname()[1]}", {})
        port = int(proxy.public_url.rpartition(":")[2])

        def connect() -> tuple[socket.socket, socket.socket]:
            client = socket.create_connection(("127.0.0.1", port), timeout=10)
            client.sendall(
                b"GET /user/mary/ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n"
                b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
            )
            inner, _ = server.accept()
            inner.recv(10_000)
            inner.sendall(
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                b"Sec-WebSocket-Accept: ICX+Yqv66kxgM0FcWaLWlFLwTAI=\r\n\r\n"
            )
            assert b"101" in client.recv(10_000)
            return client, inner

        client, inner = await anyio.to_thread.run_sync(connect)
        with closing(client), closing(inner):
            for _ in range(4):
                before = datetime.now(timezone.utc)
                assert await used(proxy, "mary") >= before
                await anyio.sleep(0.3)
        after = await idle(proxy, "mary")
        assert after >= before


async def test_a_restart_of_the_hub_forgets_nothing(make_proxy: MakeProxy, backend: Any) -> None:
    first = make_hub_proxy(make_proxy)
    await first.start()
    server = backend("mary").url
    await first.add_route("/user/mary/", server, {"user": "mary"})
    last = await idle(first, "mary")
    await anyio.sleep(1.1)  # what is remembered is rounded up to seconds
    await first.stop()
    second = make_hub_proxy(make_proxy)
    await second.start()
    assert 0 <= (await used(second, "mary") - last).total_seconds() <= 1
    routes = await second.get_all_routes()
    await second.stop()
    # The data that JupyterHub gave stays as it was.
    third = make_hub_proxy(make_proxy, last_activity=False)
    await third.start()
    assert (await third.get_all_routes())["/user/mary/"]["data"] == {"user": "mary"}
    assert routes["/user/mary/"]["data"].keys() == {"user", "last_activity"}


async def test_what_a_killed_traefik_had_counted_counts_as_use(
    proxy: TraefikProxy, backend: Any
) -> None:
    await proxy.add_route("/user/mary/", backend("mary").url, {})
    await idle(proxy, "mary")
    before = datetime.now(timezone.utc)
    (process,) = traefik_processes(Path(proxy.run_dir))
    process.kill()
    await anyio.to_thread.run_sync(
        wait_until,
        lambda: [x for x in traefik_processes(Path(proxy.run_dir)) if x.pid != process.pid],
        "a new Traefik",
    )
    assert await used(proxy, "mary") >= before


async def test_it_can_be_turned_off(make_proxy: MakeProxy, backend: Any) -> None:
    proxy = make_hub_proxy(make_proxy, last_activity=False)
    await proxy.start()
    await proxy.add_route("/user/mary/", backend("mary").url, {"user": "mary"})
    assert (await proxy.get_all_routes())["/user/mary/"]["data"] == {"user": "mary"}
    assert (await proxy.get_route("/user/mary/") or {})["data"] == {"user": "mary"}


async def test_a_route_that_comes_again_is_new(proxy: TraefikProxy, backend: Any) -> None:
    server: Backend = backend("mary")
    await proxy.add_route("/user/mary/", server.url, {})
    assert await visit(proxy, "mary") == 200
    await idle(proxy, "mary")
    await proxy.delete_route("/user/mary/")
    before = datetime.now(timezone.utc)
    await proxy.add_route("/user/mary/", server.url, {})
    assert await used(proxy, "mary") >= before
    first = await idle(proxy, "mary")
    assert await visit(proxy, "mary") == 200
    assert await used(proxy, "mary") > first


async def test_metrics_at_an_entry_point_of_the_admins_go_on_being_there(
    make_proxy: MakeProxy, backend: Any
) -> None:
    port = free_port()
    proxy = make_hub_proxy(
        make_proxy,
        extra_static_config=SHORT
        | {
            "entryPoints": {"metrics": {"address": f"127.0.0.1:{port}"}},
            "metrics": {"prometheus": {"entryPoint": "metrics"}},
        },
    )
    await proxy.start()
    await proxy.add_route("/user/mary/", backend("mary").url, {})
    await idle(proxy, "mary")
    before = datetime.now(timezone.utc)
    assert await visit(proxy, "mary") == 200
    assert await used(proxy, "mary") >= before
    status, text = await anyio.to_thread.run_sync(ask, f"http://127.0.0.1:{port}/metrics")
    assert status == 200
    assert "traefik_service_requests_total" in text


@pytest.mark.parametrize(
    "options",
    [
        {"extra_static_config": {"metrics": {"prometheus": {"addServicesLabels": False}}}},
        {"extra_static_config": {"entryPoints": {"http": {"observability": {"metrics": False}}}}},
        {"traefik_env": {"HTTP_PROXY": "http://127.0.0.1:9"}},
    ],
    ids=["labels", "entry_point", "proxy"],
)
async def test_where_too_little_is_known_all_are_active(
    make_proxy: MakeProxy,
    backend: Any,
    options: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    proxy = make_hub_proxy(make_proxy, log=logging.getLogger("test.activity"), **options)
    await proxy.start()
    await proxy.add_route("/user/mary/", backend("mary").url, {})
    for _ in range(3):
        before = datetime.now(timezone.utc)
        assert await used(proxy, "mary") >= before
    assert "c.TraefikProxy.last_activity" in caplog.text
    # Traefik would send what users ask for there, with all their cookies.
    assert ("HTTP_PROXY" in caplog.text) == ("traefik_env" in options)


async def test_a_start_that_fails_is_not_about_activity(
    make_proxy: MakeProxy, caplog: pytest.LogCaptureFixture
) -> None:
    proxy = make_hub_proxy(make_proxy, extra_static_config={"log": {"nope": 1}})
    with pytest.raises(TraefikExited):
        await proxy.start()
    assert "count as active" not in caplog.text


async def test_a_traefik_that_hangs_holds_up_the_end_for_seconds_only(
    proxy: TraefikProxy, backend: Any
) -> None:
    await proxy.add_route("/user/mary/", backend("mary").url, {})
    (process,) = traefik_processes(Path(proxy.run_dir))
    process.suspend()
    async with anyio.create_task_group() as group:
        group.start_soon(proxy.get_all_routes)
        await anyio.sleep(0.5)
        with anyio.fail_after(12):
            await proxy.stop()
