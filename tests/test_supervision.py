"""Traefik dies, hangs or is suspended: it is back soon, with all routes, by itself."""

from __future__ import annotations

import logging
import resource
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import psutil
import pytest
from prometheus_client import REGISTRY

from conftest import MakeProxy
from long_lived import Stage, all_go_on, peers
from support import Backend, ask, traefik_processes, wait_until
from traefikhub import TraefikProxy
from traefikhub.traefik import NotLive, find_traefik
from wire import WireServers

pytestmark = pytest.mark.anyio

MakeBackend = Callable[[str], Backend]


def the_traefik(proxy: TraefikProxy) -> psutil.Process:
    (process,) = traefik_processes(Path(proxy.run_dir))
    return process


def state(of: str) -> float | None:
    return REGISTRY.get_sample_value("traefikhub_traefik_state", {"state": of})


async def until(condition: Callable[[], Any], what: str, seconds: float = 30) -> Any:
    return await anyio.to_thread.run_sync(wait_until, condition, what, seconds)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
async def test_a_traefik_that_ends_is_back_without_help(
    proxy: TraefikProxy, backend: MakeBackend, number: signal.Signals
) -> None:
    await proxy.add_route("/user/mary/", backend("mary").url, {})
    url = f"{proxy.public_url}/user/mary/"
    before = the_traefik(proxy)
    before.send_signal(number)
    await until(lambda: not before.is_running(), "its end")
    # Nobody calls the proxy meanwhile.
    assert await until(lambda: _name(url) == "mary", "the route", 10)
    assert the_traefik(proxy).pid != before.pid


async def test_one_that_is_killed_while_the_hub_starts_is_started_again(
    make_proxy: MakeProxy, backend: MakeBackend, tmp_path: Path
) -> None:
    """By the kernel, for want of memory, or by somebody's kill."""
    program, killed = tmp_path / "traefik", tmp_path / "killed"
    program.write_text(
        f"""#!/bin/sh
if [ "$1" != version ] && [ ! -e {killed} ]; then touch {killed}; kill -9 $$; fi
exec {find_traefik()} "$@"
"""
    )
    program.chmod(0o755)
    proxy = make_proxy(traefik_command=str(program))
    await proxy.start()
    assert killed.exists()
    await proxy.add_route("/user/mary/", backend("mary").url, {})
    assert _name(f"{proxy.public_url}/user/mary/") == "mary"


def _name(url: str) -> str:
    try:
        status, answer = ask(url)
    except OSError:
        return ""
    return str(answer["name"]) if status == 200 else ""


async def test_routes_that_change_while_it_is_down_are_there_afterwards(
    proxy: TraefikProxy, backend: MakeBackend
) -> None:
    await proxy.add_route("/user/mary/", backend("mary").url, {})
    the_traefik(proxy).kill()
    async with anyio.create_task_group() as group:
        group.start_soon(proxy.add_route, "/user/john/", backend("john").url, {})
        group.start_soon(proxy.delete_route, "/user/mary/")
    assert (await anyio.to_thread.run_sync(ask, f"{proxy.public_url}/user/mary/"))[0] == 404
    _, answer = await anyio.to_thread.run_sync(ask, f"{proxy.public_url}/user/john/")
    assert answer["name"] == "john"


async def test_what_says_nothing_new_waits_for_it_too(
    proxy: TraefikProxy, backend: MakeBackend
) -> None:
    """JupyterHub adds the routes again that should be there: none may seem to be before it is."""
    target = backend("mary").url
    await proxy.add_route("/user/mary/", target, {})
    before = the_traefik(proxy)
    before.kill()
    await until(lambda: traefik_processes(Path(proxy.run_dir)), "another")
    await proxy.add_route("/user/mary/", target, {})
    _, answer = await anyio.to_thread.run_sync(ask, f"{proxy.public_url}/user/mary/")
    assert answer["name"] == "mary"


async def test_a_suspended_traefik_goes_on_and_no_connection_is_lost(
    proxy: TraefikProxy, servers: WireServers, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    stage = Stage(servers, "mary")
    await proxy.add_route("/user/mary/", stage.url, {})
    async with peers(proxy, stage, "/user/mary/", ["socket", "download"]) as going:
        process = the_traefik(proxy)
        process.suspend()
        await until(lambda: "suspended" in caplog.text, "the notice", 5)
        await all_go_on(going)
        assert the_traefik(proxy).pid == process.pid


async def test_one_that_was_told_to_stop_ends_beside_another(
    proxy: TraefikProxy, servers: WireServers
) -> None:
    """Its ports are closed, but it goes on with what is open: users needn't wait for that."""
    stage = Stage(servers, "mary")
    await proxy.add_route("/user/mary/", stage.url, {})
    before = the_traefik(proxy)
    async with peers(proxy, stage, "/user/mary/", ["socket", "download"]) as going:
        before.terminate()
        url = f"{proxy.public_url}/user/mary/x"
        await until(lambda: _status(url) == 200, "another one", 8)
        assert before.is_running()
        await all_go_on(going)
        for peer in going:
            await peer.end()
    await until(lambda: not before.is_running(), "its end", 10)


def _status(url: str) -> int:
    try:
        return ask(url)[0]
    except OSError:
        return 0


async def test_one_that_can_open_no_more_files_keeps_what_it_has(
    make_proxy: MakeProxy, servers: WireServers, caplog: pytest.LogCaptureFixture
) -> None:
    proxy = make_proxy()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    await proxy.start()
    stage = Stage(servers, "mary")
    await proxy.add_route("/user/mary/", stage.url, {})
    process = the_traefik(proxy)
    async with peers(proxy, stage, "/user/mary/", ["socket"]) as going:
        await all_go_on(going)
        limit = process.num_fds() + 6
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (limit, hard))
        address = ("127.0.0.1", int(proxy.public_url.rpartition(":")[2]))
        held = [socket.create_connection(address) for _ in range(20)]
        try:
            await until(lambda: "LimitNOFILE" in caplog.text, "the notice", 40)
            await all_go_on(going)
            assert the_traefik(proxy).pid == process.pid
        finally:
            for each in held:
                each.close()


async def test_a_traefik_that_hangs_is_replaced(
    make_proxy: MakeProxy,
    backend: MakeBackend,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    # A hang that SIGCONT would not mend.
    monkeypatch.setattr("traefikhub.traefik.process.is_suspended", lambda _pid: False)
    caplog.set_level(logging.INFO)
    proxy = make_proxy(check_route_timeout=1)
    await proxy.start()
    before = the_traefik(proxy)
    before.suspend()
    with pytest.raises(NotLive, match=r"generation \d+ .* within 1 s"):
        await proxy.add_route("/user/mary/", backend("mary").url, {})
    await until(lambda: state("silent") == 1, "the metric", 5)
    await until(lambda: not before.is_running(), "its end", 30)
    # What failed in time is there when it is back.
    url = f"{proxy.public_url}/user/mary/"
    assert await until(lambda: _name(url) == "mary", "the route", 10)
    await until(lambda: state("up") == 1, "the metric", 5)
    assert "it hangs" in caplog.text
    # It is known to have begun, if only by what it serves.
    after = the_traefik(proxy)
    caplog.clear()
    after.kill()
    await until(lambda: "serves the routes again" in caplog.text, "the routes", 10)
    assert _name(url) == "mary"
    last = the_traefik(proxy)
    last.suspend()
    await until(lambda: not last.is_running(), "its end", 30)


async def test_one_that_fails_again_and_again_is_told_once_and_tried_further(
    make_proxy: MakeProxy,
    backend: MakeBackend,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    proxy = make_proxy()
    await proxy.start()
    await proxy.add_route("/user/mary/", backend("mary").url, {})
    config = tmp_path / "run" / "traefik.toml"
    text = config.read_text()
    config.write_text("[noSuchThing]\n")
    the_traefik(proxy).kill()
    await until(lambda: "5 times in a row" in caplog.text, "the notice", 30)
    assert state("down") == 1
    assert caplog.text.count("in a row") == 1
    assert "no valid configuration" in caplog.text  # Traefik's own words
    config.write_text(text)
    assert await until(lambda: _name(f"{proxy.public_url}/user/mary/") == "mary", "the route", 30)
