"""A Hub that is started again takes over the Traefik that runs: users keep their connections."""

from __future__ import annotations

import logging
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import psutil
import pytest

from conftest import MakeProxy
from earlier_hub import EarlierHub
from long_lived import Stage, all_go_on, peers
from support import ask, traefik_processes, wait_until
from traefikhub import TraefikProxy
from traefikhub.stores import StoreError
from traefikhub.traefik import NotLive, TraefikUnusable
from wire import WireServers

pytestmark = pytest.mark.anyio

LONG = ("socket", "events", "download", "upload")


class Hubs:
    """One Hub after another, on the same ports and for the same directory."""

    def __init__(self, make_proxy: MakeProxy) -> None:
        self._make_proxy = make_proxy
        self.earlier: list[EarlierHub] = []

    async def begin(self, routes: dict[str, str], **options: Any) -> TraefikProxy:
        """An earlier Hub in its own process; the proxy that the next one begins with."""
        app = options.pop("app", {})
        proxy = self._make_proxy()
        given = {name: getattr(proxy, name) for name in SAME} | options
        self.earlier.append(await anyio.to_thread.run_sync(lambda: EarlierHub(given, routes, app)))
        return proxy


SAME = ("public_url", "traefik_api_url", "run_dir", "grace_seconds", "host_routing")


@pytest.fixture
def hubs(make_proxy: MakeProxy, hub_directory: Path) -> Iterator[Hubs]:
    # hub_directory ends what a Hub that was killed has left.
    made = Hubs(make_proxy)
    yield made
    for hub in made.earlier:
        hub.kill()


def running(proxy: TraefikProxy) -> psutil.Process:
    (process,) = traefik_processes(Path(proxy.run_dir))
    return process


def gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("end", ["kill", "leave"])
async def test_connections_outlive_the_hub(
    hubs: Hubs, servers: WireServers, end: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    stage = Stage(servers, "mary")
    app = {"cleanup_proxy": end == "kill"}
    proxy = await hubs.begin({"/user/mary/": stage.url}, app=app)
    before = running(proxy)
    async with peers(proxy, stage, "/user/mary/", LONG) as going:
        await all_go_on(going)
        getattr(hubs.earlier[0], end)()
        await all_go_on(going)
        await proxy.start()
        assert running(proxy).pid == before.pid
        assert "goes on" in caplog.text
        await proxy.add_route("/user/john/", servers.add("john"), {})
        await proxy.delete_route("/user/mary/")
        await all_go_on(going)
        for peer in going:
            await peer.end()
    assert list(await proxy.get_all_routes()) == ["/user/john/"]
    await proxy.stop()
    assert gone(before)


async def test_an_adopted_traefik_is_watched_like_any_other(
    hubs: Hubs, servers: WireServers
) -> None:
    proxy = await hubs.begin({"/user/mary/": servers.add("mary")})
    hubs.earlier[0].kill()
    await proxy.start()
    before = running(proxy)
    before.kill()
    await proxy.add_route("/user/john/", servers.add("john"), {})
    for name in ("mary", "john"):
        url = f"{proxy.public_url}/user/{name}/"
        assert (await anyio.to_thread.run_sync(ask, url))[0] == 200
    assert running(proxy).pid != before.pid


@pytest.mark.parametrize(
    "changed", [{"traefik_log_level": "INFO"}, {"traefik_env": {"SOME_TOKEN": "new"}}]
)
async def test_with_another_configuration_the_old_one_drains(
    hubs: Hubs, servers: WireServers, changed: dict[str, Any]
) -> None:
    stage = Stage(servers, "mary")
    proxy = await hubs.begin({"/user/mary/": stage.url})
    before = running(proxy)
    async with peers(proxy, stage, "/user/mary/", LONG) as going:
        await all_go_on(going)
        hubs.earlier[0].kill()
        for name, value in changed.items():
            setattr(proxy, name, value)
        await proxy.start()
        # New requests go to the new one, while all that is open goes on through the old one.
        assert len(traefik_processes(Path(proxy.run_dir))) == 2
        url = f"{proxy.public_url}/user/mary/"
        for _ in range(10):
            assert (await anyio.to_thread.run_sync(ask, url))[0] == 200
        await all_go_on(going)
        for peer in going:
            await peer.end()
    await anyio.to_thread.run_sync(wait_until, lambda: gone(before), "the end of the old one")


async def test_what_drains_does_not_outlive_a_stop(hubs: Hubs, servers: WireServers) -> None:
    stage = Stage(servers, "mary")
    proxy = await hubs.begin({"/user/mary/": stage.url})
    before = running(proxy)
    async with peers(proxy, stage, "/user/mary/", ["socket"]):
        hubs.earlier[0].kill()
        proxy.traefik_log_level = "INFO"
        await proxy.start()
        assert not gone(before)
        await proxy.stop()
        assert gone(before)
        assert not traefik_processes(Path(proxy.run_dir))


async def test_a_hub_that_comes_while_one_drains_knows_both(
    hubs: Hubs, servers: WireServers
) -> None:
    stage = Stage(servers, "mary")
    proxy = await hubs.begin({"/user/mary/": stage.url})
    first = running(proxy)
    async with peers(proxy, stage, "/user/mary/", ["socket"]) as going:
        hubs.earlier[0].kill()
        await hubs.begin(
            {},
            run_dir=proxy.run_dir,
            public_url=proxy.public_url,
            traefik_api_url=proxy.traefik_api_url,
            traefik_log_level="INFO",
        )
        (second,) = {p.pid for p in traefik_processes(Path(proxy.run_dir))} - {first.pid}
        hubs.earlier[1].kill()
        proxy.traefik_log_level = "INFO"
        await proxy.start()
        pids = {p.pid for p in traefik_processes(Path(proxy.run_dir))}
        assert pids == {first.pid, second}
        await all_go_on(going)
    await proxy.stop()
    assert not traefik_processes(Path(proxy.run_dir))


async def test_one_that_was_suspended_goes_on(hubs: Hubs, servers: WireServers) -> None:
    proxy = await hubs.begin({"/user/mary/": servers.add("mary")})
    before = running(proxy)
    before.suspend()
    hubs.earlier[0].kill()
    await proxy.start()
    assert running(proxy).pid == before.pid


async def test_one_that_does_not_take_the_routes_goes_on_with_what_it_has(
    hubs: Hubs, servers: WireServers
) -> None:
    """Whether it or a mistake in the configuration is to blame, users need not suffer for it."""
    stage = Stage(servers, "mary")
    proxy = await hubs.begin({"/user/mary/": stage.url})
    before = running(proxy)
    async with peers(proxy, stage, "/user/mary/", ["socket"]) as going:
        hubs.earlier[0].kill()
        proxy.check_route_timeout = 2
        proxy.extra_dynamic_config = {"http": {"middlewares": {"x": {"noSuchThing": {}}}}}
        with pytest.raises(NotLive, match=rf"extra_dynamic_config.*(?s:.)*kill {before.pid}"):
            await proxy.start()
        await all_go_on(going)
        url = f"{proxy.public_url}/user/mary/"
        assert (await anyio.to_thread.run_sync(ask, url))[0] == 200
        proxy.extra_dynamic_config = {}
        await proxy.start()
        assert running(proxy).pid == before.pid
        await all_go_on(going)


async def test_a_port_that_is_taken_costs_nobody_a_connection(
    hubs: Hubs, servers: WireServers
) -> None:
    stage = Stage(servers, "mary")
    proxy = await hubs.begin({"/user/mary/": stage.url})
    old_url = proxy.public_url
    before = running(proxy)
    async with peers(proxy, stage, "/user/mary/", ["socket"]) as going:
        hubs.earlier[0].kill()
        with socket.create_server(("127.0.0.1", 0)) as taken:
            proxy.public_url = f"http://127.0.0.1:{taken.getsockname()[1]}"
            with pytest.raises(TraefikUnusable, match="taken by another program"):
                await proxy.start()
        assert running(proxy).pid == before.pid
        await all_go_on(going)
        proxy.public_url = old_url
        await proxy.start()
        await all_go_on(going)


async def test_one_that_nobody_has_noted_is_found_all_the_same(
    hubs: Hubs, servers: WireServers
) -> None:
    """The Hub was killed in the millisecond between its start and the note of it."""
    proxy = await hubs.begin({"/user/mary/": servers.add("mary")})
    before = running(proxy)
    hubs.earlier[0].kill()
    (Path(proxy.run_dir) / "traefik.pid.json").unlink()
    await proxy.start()
    assert gone(before)
    assert (await anyio.to_thread.run_sync(ask, f"{proxy.public_url}/user/mary/"))[0] == 200


async def test_a_note_that_was_removed_is_written_again(hubs: Hubs, servers: WireServers) -> None:
    proxy = await hubs.begin({"/user/mary/": servers.add("mary")})
    note = Path(proxy.run_dir) / "traefik.pid.json"
    note.unlink()
    await anyio.to_thread.run_sync(wait_until, note.exists, "the note", 10)
    before = running(proxy)
    hubs.earlier[0].kill()
    await proxy.start()
    assert running(proxy).pid == before.pid


async def test_another_program_at_the_api_s_port_is_not_taken_for_it(
    hubs: Hubs, servers: WireServers
) -> None:
    proxy = await hubs.begin({"/user/mary/": servers.add("mary")})
    before = running(proxy)
    hubs.earlier[0].kill()
    async with peers(proxy, Stage(servers, "x"), "/user/mary/", []):
        before.terminate()
        await anyio.to_thread.run_sync(wait_until, lambda: gone(before), "its end")
    answers = servers.add("somebody else")
    proxy.traefik_api_url = answers
    with pytest.raises(TraefikUnusable, match="taken by another program"):
        await proxy.start()


async def test_a_failed_start_leaves_it_serving(hubs: Hubs, servers: WireServers) -> None:
    """The store can't be read just now: users need not suffer for that."""
    proxy = await hubs.begin({"/user/mary/": servers.add("mary")})
    before = running(proxy)
    hubs.earlier[0].kill()
    routes = Path(proxy.run_dir) / "routes.toml"
    good = routes.with_name("good")
    shutil.copy(routes, good)
    broken = routes.with_name("broken")
    broken.write_text("this = [is no TOML\n")
    broken.replace(routes)
    with pytest.raises(StoreError):
        await proxy.start()
    assert running(proxy).pid == before.pid
    assert (await anyio.to_thread.run_sync(ask, f"{proxy.public_url}/user/mary/"))[0] == 200
    good.replace(routes)
    await proxy.start()
    assert running(proxy).pid == before.pid


@pytest.mark.parametrize("changed", [False, True])
async def test_a_start_that_is_cancelled_leaves_nothing_that_the_next_cannot_find(
    hubs: Hubs, servers: WireServers, changed: bool
) -> None:
    proxy = await hubs.begin({"/user/mary/": servers.add("mary")})
    hubs.earlier[0].kill()
    if changed:
        proxy.traefik_log_level = "INFO"
    for hundredth in range(0, 20, 2):
        with anyio.move_on_after(hundredth / 100):
            await proxy.start()
            await proxy.stop()
        assert len(traefik_processes(Path(proxy.run_dir))) <= 1
    await proxy.start()
    assert (await anyio.to_thread.run_sync(ask, f"{proxy.public_url}/user/mary/"))[0] == 200
    await proxy.stop()
    assert not traefik_processes(Path(proxy.run_dir))


@pytest.mark.parametrize(
    "state",
    [
        "{pid}",
        '[{{"pid": {pid}, "birth": "a boot ago 17", "fingerprint": ""}}]',
        '[{{"pid": {pid}, "birth": "", "fingerprint": ""}}]',
        '[{{"pid": -1, "birth": "x", "fingerprint": ""}}]',
        '[{{"pid": {pid}}}]',
        '[{{"pid": {pid}, "birth": "x", "fingerprint": "", "ports": [1]}}]',
        '[{{"pid": 99999999999, "birth": "x", "fingerprint": "", "ports": []}}]',
        "[" * 100_000,
        '{{"pid": {pid}, "started": 1.0}}',
        "",
    ],
)
async def test_a_reused_process_id_is_never_signalled(
    make_proxy: MakeProxy, tmp_path: Path, state: str
) -> None:
    bystander = subprocess.Popen(["sleep", "600"], start_new_session=True)
    try:
        (tmp_path / "run").mkdir(mode=0o700)
        (tmp_path / "run" / "traefik.pid.json").write_text(state.format(pid=bystander.pid))
        proxy = make_proxy()
        await proxy.start()
        await proxy.stop()
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()
