"""Uploads, downloads, events and websockets go on for as long as both ends want, whatever happens
to routes meanwhile.

Nothing is held back on the way: each side sends its next piece only when the other has the last
one, so that a proxy which waits for more would wait for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from conftest import MakeProxy
from long_lived import LIMIT, Stage, all_go_on, peers
from traefikhub import TraefikProxy
from wire import WireServers, exchange

pytestmark = pytest.mark.anyio

MakeHubProxy = Callable[..., Any]


@pytest.fixture
def start(make_proxy: MakeProxy, servers: WireServers) -> MakeHubProxy:
    """Starts a proxy with a Hub, so that there are error pages."""

    async def started(**options: Any) -> TraefikProxy:
        hub = SimpleNamespace(host=servers.add("hub"), base_url="/hub/", routespec="/")
        proxy = make_proxy(hub=hub, **options)
        await proxy.start()
        await proxy.add_hub_route(hub)
        return proxy

    return started


async def change(proxy: TraefikProxy, users: Iterable[int], target: str) -> None:
    """Route users to a target, or to none if it is empty. Their names begin as mary's does."""
    async with anyio.create_task_group() as group:
        for number in users:
            if target:
                group.start_soon(proxy.add_route, f"/user/mar{number}/", target, {})
            else:
                group.start_soon(proxy.delete_route, f"/user/mar{number}/")


def parents(proxy: TraefikProxy) -> int:
    """How many routers lead to others only."""
    text = (Path(proxy.run_dir) / "routes.toml").read_text()
    return text.count("[http.routers.traefikhub__tree") - text.count("_rest]")


GOING = ("socket", "events", "download", "upload")


@pytest.mark.parametrize("routing", ["tree", "flat"])
async def test_what_is_open_survives_changes_of_routes(
    start: MakeHubProxy, servers: WireServers, routing: str
) -> None:
    proxy = await start(routing=routing)
    mary = Stage(servers, "mary")
    await proxy.add_route("/user/mary/", mary.url, {})
    others = [servers.add("one"), servers.add("other")]

    async with peers(proxy, mary, "/user/mary/", GOING) as going:
        await all_go_on(going)
        seen = []
        for users, target in (
            (range(10), others[0]),
            (range(10, 40), others[0]),
            (range(40, 100), others[0]),
            (range(100), others[1]),
            (range(40, 100), ""),
            (range(10, 40), ""),
            (range(10), ""),
        ):
            await change(proxy, users, target)
            seen.append(parents(proxy))
            await all_go_on(going)
        assert seen[0] == seen[-2] == seen[-1] == 0
        assert bool(seen[2]) == bool(seen[3]) == (routing == "tree")

        # Even of their own route: a deleted one takes no new requests, that is all.
        def new_requests_go_to() -> str:
            data = b"GET /user/mary/x HTTP/1.1\r\nHost: hub.test\r\n\r\n"
            body = exchange(proxy.public_url, data).body
            return "hub" if b'"hub"' in body else body.decode()

        moved = Stage(servers, "mary's next")
        await proxy.add_route("/user/mary/", moved.url, {})
        await all_go_on(going)
        assert await anyio.to_thread.run_sync(new_requests_go_to) == "mary's next"
        await proxy.delete_route("/user/mary/")
        await all_go_on(going)
        assert await anyio.to_thread.run_sync(new_requests_go_to) == "hub"
        for peer in going:
            await peer.end()


async def test_more_than_a_minute(start: MakeHubProxy, servers: WireServers) -> None:
    """Traefik's own defaults end an upload after 60 s."""
    proxy = await start()
    mary, idle = Stage(servers, "mary"), Stage(servers, "idle")
    await proxy.add_route("/user/mary/", mary.url, {})
    await proxy.add_route("/user/mary/idle/", idle.url, {})
    target = servers.add("others")

    kinds = (*GOING, "slow")
    async with (
        peers(proxy, mary, "/user/mary/", GOING) as going,
        peers(proxy, idle, "/user/mary/idle/", kinds) as resting,
    ):
        started = anyio.current_time()
        more = False
        while anyio.current_time() < started + 65:
            # While others come and go, a piece now and then; nothing at all for those that rest.
            more = not more
            await change(proxy, range(50), target if more else "")
            await all_go_on(going)
            await anyio.sleep(5)
        await all_go_on(peer for peer in resting if peer.kind != "slow")
        for peer in [*going, *resting]:
            await peer.end()


async def test_the_time_out_that_traefikhub_turns_off(
    start: MakeHubProxy, servers: WireServers
) -> None:
    """It is 60 s by default. It ends uploads, also those that go on, and nothing else."""
    timeouts = {"transport": {"respondingTimeouts": {"readTimeout": "1s"}}}
    proxy = await start(extra_static_config={"entryPoints": {"http": timeouts}})
    mary = Stage(servers, "mary")
    await proxy.add_route("/user/mary/", mary.url, {})
    async with peers(proxy, mary, "/user/mary/", GOING) as going:
        uploads = [peer for peer in going if peer.kind == "upload"]
        others = [peer for peer in going if peer.kind != "upload"]
        with anyio.fail_after(LIMIT):
            for peer in uploads:
                assert b" 200 " not in await peer.reader.read()
        await all_go_on(others)
        for peer in others:
            await peer.end()


async def test_a_server_hears_that_its_client_has_gone(
    start: MakeHubProxy, servers: WireServers
) -> None:
    """Else it would compute and send for nobody."""
    proxy = await start()
    mary = Stage(servers, "mary")
    await proxy.add_route("/user/mary/", mary.url, {})
    async with peers(proxy, mary, "/user/mary/", GOING) as going:
        await all_go_on(going)
    with anyio.fail_after(LIMIT):
        while set(mary.ended) != {peer.path for peer in going}:
            await anyio.sleep(0.01)


async def test_a_download_that_breaks_off_does_not_look_complete(
    start: MakeHubProxy, servers: WireServers
) -> None:
    proxy = await start()
    mary = Stage(servers, "mary")
    await proxy.add_route("/user/mary/", mary.url, {})
    async with peers(proxy, mary, "/user/mary/", ["download"]) as going:
        await all_go_on(going)
        for peer in going:
            mary.send(peer.path, b"")
            with anyio.fail_after(LIMIT):
                assert await peer.reader.read() == b""
