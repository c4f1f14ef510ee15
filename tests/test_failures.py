"""Bad input and trouble: one clear error that names what mends it, and nothing left behind."""

from __future__ import annotations

import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from traitlets import TraitError

from conftest import MakeProxy
from support import Backend, ask, traefik_processes
from traefikhub.stores import StoreCorrupt, StoreNotFound, StoreUnavailable
from traefikhub.traefik import NotLive, TraefikExited, TraefikUnusable

pytestmark = pytest.mark.anyio


async def fails_to_start(
    make_proxy: MakeProxy, error: type[Exception], *words: str, **options: Any
) -> None:
    """The start fails with these words, leaves nothing, and works once the cause is gone."""
    proxy = make_proxy(**options)
    with pytest.raises(error) as caught:
        await proxy.start()
    for word in words:
        assert word in str(caught.value)
    run_dir = Path(proxy.run_dir)
    assert not traefik_processes(run_dir)
    assert not (run_dir / "lock").exists()
    assert not (run_dir / "routes.toml.lock").exists()
    for url in (proxy.public_url, proxy.traefik_api_url):
        if ":99999" not in url and "public_url" not in options:
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if "taken" not in words:
                    probe.bind(("127.0.0.1", int(url.rsplit(":", 1)[1])))


async def test_traefik_not_installed(
    make_proxy: MakeProxy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    await fails_to_start(
        make_proxy,
        TraefikUnusable,
        'pip install "traefikhub[traefik]"',
        "c.TraefikProxy.traefik_command",
    )


async def test_a_traefik_command_that_is_no_program(make_proxy: MakeProxy) -> None:
    await fails_to_start(
        make_proxy,
        TraefikUnusable,
        "c.TraefikProxy.traefik_command = '/no/such/traefik'",
        'pip install "traefikhub[traefik]"',
        traefik_command="/no/such/traefik",
    )


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


async def test_a_traefik_that_is_too_old(make_proxy: MakeProxy, tmp_path: Path) -> None:
    old = script(tmp_path / "traefik", "echo 'Version:      3.5.3'")
    await fails_to_start(make_proxy, TraefikUnusable, "3.5.3", "3.6.7", traefik_command=old)


async def test_a_traefik_that_exits_at_once(make_proxy: MakeProxy) -> None:
    await fails_to_start(
        make_proxy,
        TraefikExited,
        "exited with code 1",
        "field not found",
        "noSuchOption",
        extra_static_config={"entryPoints": {"http": {"noSuchOption": True}}},
    )


@pytest.mark.parametrize(
    ("option", "setting"),
    [
        ("public_url", "c.JupyterHub.bind_url"),
        ("traefik_api_url", "c.TraefikProxy.traefik_api_url"),
    ],
)
async def test_a_port_that_is_taken(make_proxy: MakeProxy, option: str, setting: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        await fails_to_start(make_proxy, TraefikUnusable, setting, "taken", **{option: url})


async def test_a_taken_port_does_not_fence_off_the_hub_that_runs(
    make_proxy: MakeProxy, tmp_path: Path
) -> None:
    """An admin who starts the Hub twice by mistake must not break the first one."""
    first = make_proxy()
    await first.start()
    second = make_proxy(run_dir=str(tmp_path / "other"), config=None)
    second.config.TomlFileStore.path = str(tmp_path / "run" / "routes.toml")
    with pytest.raises(TraefikUnusable, match="taken"):
        await second.start()
    with pytest.raises(TraefikUnusable, match=r"another JupyterHub.*run_dir"):
        await make_proxy().start()
    await first.add_route("/user/mary/", "http://127.0.0.1:1", {})


async def test_an_unwritable_directory(make_proxy: MakeProxy, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    await fails_to_start(
        make_proxy,
        TraefikUnusable,
        "c.TraefikProxy.run_dir",
        str(tmp_path / "file"),
        run_dir=str(tmp_path / "file" / "run"),
    )


async def test_an_unwritable_routes_file(make_proxy: MakeProxy, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    proxy = make_proxy()
    proxy.config.TomlFileStore.path = str(tmp_path / "file" / "routes.toml")
    with pytest.raises(StoreUnavailable, match=r"c\.TomlFileStore\.path"):
        await proxy.start()
    assert not traefik_processes(tmp_path)


async def test_an_unknown_store(make_proxy: MakeProxy) -> None:
    await fails_to_start(
        make_proxy,
        StoreNotFound,
        "c.TraefikProxy.store = 'tomlfile'",
        "toml-file (traefikhub",
        'pip install "traefikhub[',
        store="tomlfile",
    )


@pytest.mark.parametrize(
    "url", ["http", "http://:port", "http://:99999", "ftp://x", "http+unix://%2Ftmp%2Fsocket", ""]
)
async def test_a_malformed_bind_url(make_proxy: MakeProxy, url: str) -> None:
    await fails_to_start(make_proxy, TraefikUnusable, "c.JupyterHub.bind_url", public_url=url)


@pytest.mark.parametrize(
    ("option", "value", "setting"),
    [
        ("ssl_cert", "/nope.pem", "c.JupyterHub.ssl_cert"),
        ("ssl_key", "/nope.key", "c.JupyterHub.ssl_key"),
        ("traefik_entrypoint", "auth_api", "c.TraefikProxy.traefik_api_entrypoint"),
        ("traefik_entrypoint", "", "c.TraefikProxy.traefik_entrypoint"),
        ("traefik_providers_throttle_duration", "soon", "traefik_providers_throttle_duration"),
    ],
)
async def test_an_option_that_makes_no_sense(
    make_proxy: MakeProxy, option: str, value: str, setting: str
) -> None:
    await fails_to_start(make_proxy, TraefikUnusable, setting, repr(value), **{option: value})


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("traefik_env", {"A=B": "hidden"}),
        ("traefik_env", {"A": "hidden\0"}),
        ("traefik_api_hashed_password", "hidden"),
    ],
)
async def test_a_secret_that_makes_no_sense(make_proxy: MakeProxy, option: str, value: Any) -> None:
    await fails_to_start(make_proxy, ValueError, f"c.TraefikProxy.{option}", **{option: value})
    with pytest.raises(ValueError, match=option) as caught:
        await make_proxy(**{option: value}).start()
    assert "hidden" not in str(caught.value)


async def test_certificate_files_that_are_not_there(make_proxy: MakeProxy) -> None:
    await fails_to_start(
        make_proxy,
        TraefikUnusable,
        "c.JupyterHub.ssl_cert = '/nope.pem'",
        ssl_cert="/nope.pem",
        ssl_key="/nope.key",
    )


@pytest.mark.parametrize("url", ["https://127.0.0.1:8", "http://127.0.0.1:8/api"])
async def test_an_api_url_that_traefik_will_not_have(make_proxy: MakeProxy, url: str) -> None:
    with pytest.raises(TraefikUnusable, match=r"c\.TraefikProxy\.traefik_api_url"):
        await make_proxy(traefik_api_url=url).start()


async def test_one_port_for_users_and_the_api(make_proxy: MakeProxy) -> None:
    port = make_proxy().public_url.rsplit(":", 1)[1]
    await fails_to_start(
        make_proxy,
        TraefikUnusable,
        "c.JupyterHub.bind_url",
        "c.TraefikProxy.traefik_api_url",
        public_url=f"http://:{port}",
        traefik_api_url=f"http://localhost:{port}",
    )


async def test_no_run_dir_is_not_the_directory_where_the_hub_starts(
    make_proxy: MakeProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TraefikUnusable, match=r"c\.TraefikProxy\.run_dir"):
        await make_proxy(run_dir="").start()
    assert not list(tmp_path.iterdir())


async def test_a_log_level_that_traefik_does_not_know(make_proxy: MakeProxy) -> None:
    for level in ("", "LOUD"):
        with pytest.raises(TraitError, match=r"traefik_log_level"):
            make_proxy(traefik_log_level=level)
    assert make_proxy(traefik_log_level="debug").traefik_log_level == "DEBUG"


async def test_dynamic_configuration_that_traefik_refuses(make_proxy: MakeProxy) -> None:
    await fails_to_start(
        make_proxy,
        NotLive,
        "c.TraefikProxy.extra_dynamic_config",
        "noSuchMiddleware",
        extra_dynamic_config={"http": {"middlewares": {"x": {"noSuchMiddleware": {}}}}},
        check_route_timeout=3,
    )


@pytest.mark.parametrize(
    "config", [{"htttp": {}}, {"http": []}, {"http": {"routers": {"x": {"rule": {1, 2}}}}}]
)
async def test_dynamic_configuration_of_the_wrong_form(
    make_proxy: MakeProxy, config: dict[str, Any]
) -> None:
    await fails_to_start(
        make_proxy,
        ValueError,
        "c.TraefikProxy.extra_dynamic_config",
        extra_dynamic_config=config,
    )


async def test_a_broken_routes_file_stops_the_start_and_is_kept(
    make_proxy: MakeProxy, tmp_path: Path
) -> None:
    first = make_proxy()
    await first.start()
    await first.add_route("/user/mary/", "http://127.0.0.1:1", {"user": "mary"})
    await first.stop()
    routes = tmp_path / "run" / "routes.toml"
    good = routes.read_text()
    broken = good.replace('rule = "Path', "rule = Path", 1)
    routes.write_text(broken)
    line = good.split('rule = "Path')[0].count("\n") + 1
    for _ in range(2):  # the second start is no more forgetful than the first
        await fails_to_start(make_proxy, StoreCorrupt, str(routes), f"line {line}")
    assert routes.read_text() == broken
    (aside,) = tmp_path.glob("run/routes.toml.broken-*")
    assert aside.read_text() == broken
    routes.write_text(good)
    mended = make_proxy()
    await mended.start()
    assert list(await mended.get_all_routes()) == ["/user/mary/"]


@pytest.mark.parametrize(
    "routespec",
    [
        *("", "user/mary/", "/user/a?b=c/", "/user/a#b/", "/user/a\nb/", "/user/%ff/", "http://x/"),
        "/%zz/",
    ],
)
async def test_a_routespec_that_is_no_url_path(proxy_with_route: Any, routespec: str) -> None:
    with pytest.raises(ValueError, match="rout"):
        await proxy_with_route.add_route(routespec, "http://127.0.0.1:1", {})
    assert list(await proxy_with_route.get_all_routes()) == ["/kept/"]


@pytest.mark.parametrize(
    "target",
    [
        "",
        "127.0.0.1:8888",
        "ftp://127.0.0.1:1",
        "http://",
        "http://:8888",
        "http://127.0.0.1:port",
        "http://127.0.0.1:99999",
        "http://127.0.0.1:1/ x",
        "http://ada:pw@127.0.0.1:1",
        "http+unix://%2Ftmp%2Fs",
        "http://ada:pw@127.0.0.1:1/%zz",
        "http://ada:pw@h\\x:1",
        "ada:pw@127.0.0.1:1",
        "http://ada:pw@[::1:1",
        "http://127.0.0.1:1/%zz",
        "http://127.0.0.1:1/%ff",
        "http://127.0.0.1:1/\ud800",
        "http://127.0.0.1:1//x",
        "http://127.0.0.1:1/x/%2e%2e/y",
        "http://127.0.0.1:1/?",
        "http://127.0.0.1:1/\x7f",
        "http://127.0.0.1:0",
        "http://127.0.0.1:",
        "http://h\\x:9",
        "http://h%41:9",
        "http://é.example:9",
        "http://h*:9",
        "http://[::1%25eth0]:9",
        "http://[:::1]:9",
        "http://[1.2.3.4]:9",
        None,
    ],
)
async def test_a_target_that_is_no_url(proxy_with_route: Any, target: Any) -> None:
    with pytest.raises(ValueError, match="/user/mary/") as caught:
        await proxy_with_route.add_route("/user/mary/", target, {})
    assert "pw@" not in str(caught.value)
    assert (repr(target) if "@" not in str(target) else "***@") in str(caught.value)
    assert list(await proxy_with_route.get_all_routes()) == ["/kept/"]


@pytest.mark.parametrize("data", [None, [], {"x": object()}, {1: 2}, {"x": (1,)}, {"x": "\ud800"}])
async def test_data_that_is_no_json(proxy_with_route: Any, data: Any) -> None:
    with pytest.raises(ValueError, match="data of route '/user/mary/'"):
        await proxy_with_route.add_route("/user/mary/", "http://127.0.0.1:1", data)
    assert list(await proxy_with_route.get_all_routes()) == ["/kept/"]


@pytest.fixture
async def proxy_with_route(make_proxy: MakeProxy) -> Any:
    proxy = make_proxy()
    await proxy.start()
    await proxy.add_route("/kept/", "http://127.0.0.1:1", {})
    return proxy


async def test_a_rejected_route_does_not_stop_the_next(
    proxy_with_route: Any, backend: Callable[[str], Backend]
) -> None:
    with pytest.raises(ValueError, match="routespec"):
        await proxy_with_route.add_route("/a?b/", "http://127.0.0.1:1", {})
    await proxy_with_route.add_route("/user/mary/", backend("mary").url, {})
    url = f"{proxy_with_route.public_url}/user/mary/"
    assert (await anyio.to_thread.run_sync(ask, url))[0] == 200


async def test_another_spelling_of_a_route_is_refused_and_harms_no_other(
    proxy_with_route: Any, backend: Callable[[str], Backend]
) -> None:
    first, second = "/user/q@/", "/user/q%40/"
    await proxy_with_route.add_route(first, backend("first").url, {})

    async def refused() -> None:
        with pytest.raises(ValueError, match=f"{second}.*{first}"):
            await proxy_with_route.add_route(second, "http://127.0.0.1:1", {})

    async with anyio.create_task_group() as group:
        group.start_soon(refused)
        group.start_soon(proxy_with_route.add_route, "/other/", backend("other").url, {})
    for path, name in ((first, "first"), (second, "first"), ("/other/", "other")):
        url = f"{proxy_with_route.public_url}{path}"
        assert (await anyio.to_thread.run_sync(ask, url))[1]["name"] == name
    async with anyio.create_task_group() as group:  # as JupyterHub's check does it
        group.start_soon(proxy_with_route.add_route, second, backend("second").url, {})
        group.start_soon(proxy_with_route.delete_route, first)
    url = f"{proxy_with_route.public_url}{first}"
    assert (await anyio.to_thread.run_sync(ask, url))[1]["name"] == "second"


async def test_nothing_of_a_failed_start_hinders_the_next(make_proxy: MakeProxy) -> None:
    proxy = make_proxy(extra_static_config={"api": {"noSuchThing": 1}})
    with pytest.raises(TraefikExited):
        await proxy.start()
    proxy.extra_static_config = {}
    await proxy.start()
    await proxy.add_route("/user/mary/", "http://127.0.0.1:1", {})


async def test_secrets_stay_out_of_the_log(
    make_proxy: MakeProxy, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    proxy = make_proxy(traefik_api_password="admins-secret")
    await proxy.start()
    await proxy.add_route("/user/mary/", "http://127.0.0.1:1", {})
    polling = (tmp_path / "run" / "api-password").read_text().strip()
    log = caplog.text + (tmp_path / "run" / "traefik.log").read_text()
    assert "admins-secret" not in log
    assert polling not in log


async def test_a_traefik_that_is_killed_comes_back_with_its_routes(
    make_proxy: MakeProxy, tmp_path: Path, backend: Callable[[str], Backend]
) -> None:
    proxy = make_proxy()
    await proxy.start()
    await proxy.add_route("/user/mary/", backend("mary").url, {})
    for name in ("john", "ada"):
        (process,) = traefik_processes(tmp_path / "run")
        process.kill()
        await proxy.add_route(f"/user/{name}/", backend(name).url, {})  # waits until it is back
    for name in ("mary", "john", "ada"):
        url = f"{proxy.public_url}/user/{name}/"
        assert (await anyio.to_thread.run_sync(ask, url))[1]["name"] == name
    await proxy.stop()
    assert not traefik_processes(tmp_path / "run")
