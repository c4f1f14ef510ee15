"""JupyterHub's Proxy contract, kept by a real Traefik."""

from __future__ import annotations

import copy
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import anyio
import anyio.lowlevel
import pytest
from jupyterhub.proxy import Proxy

from conftest import MakeProxy
from support import Backend, ask, hub_app, traefik_processes
from traefikhub import TraefikProxy
from traefikhub.stores import StoreNotFound
from traefikhub.traefik.certificate import make_default_certificate

pytestmark = pytest.mark.anyio

MakeBackend = Callable[[str], Backend]


async def served_by(proxy: TraefikProxy, path: str, **headers: str) -> Any:
    """The name of the backend that answers, or the status if none does."""
    status, answer = await anyio.to_thread.run_sync(
        lambda: ask(f"{proxy.public_url}{path}", **headers)
    )
    return answer["name"] if status == 200 else status


async def test_a_route_is_live_when_add_route_returns(
    proxy: TraefikProxy, backend: MakeBackend
) -> None:
    mary, hub = backend("mary"), backend("hub")
    await proxy.add_route("/", hub.url, {"hub": True})
    assert await served_by(proxy, "/user/mary/lab") == "hub"
    await proxy.add_route("/user/mary/", mary.url, {"user": "mary", "server_name": ""})
    assert await served_by(proxy, "/user/mary/lab") == "mary"
    assert await served_by(proxy, "/user/mary") == "mary"
    assert await served_by(proxy, "/user/mary2/lab") == "hub"


async def test_a_deleted_route_is_gone_when_delete_route_returns(
    proxy: TraefikProxy, backend: MakeBackend
) -> None:
    await proxy.add_route("/user/mary/", backend("mary").url, {})
    await proxy.delete_route("/user/mary/")
    assert await served_by(proxy, "/user/mary/lab") == 404
    assert await proxy.get_all_routes() == {}


async def test_deleting_an_absent_route_is_no_error(proxy: TraefikProxy) -> None:
    await proxy.delete_route("/user/nobody/")
    assert await proxy.get_all_routes() == {}


async def test_a_second_add_replaces_target_and_data(
    proxy: TraefikProxy, backend: MakeBackend
) -> None:
    await proxy.add_route("/user/mary/", backend("old").url, {"user": "mary", "old": {"a": 1}})
    new = backend("new")
    await proxy.add_route("/user/mary/", new.url, {"user": "mary"})
    assert await served_by(proxy, "/user/mary/") == "new"
    assert await proxy.get_route("/user/mary/") == {
        "routespec": "/user/mary/",
        "target": new.url,
        "data": {"user": "mary"},
    }


async def test_data_comes_back_exactly_and_the_callers_dict_is_its_own(
    proxy: TraefikProxy,
) -> None:
    data: dict[str, Any] = {
        "user": 'ma\'ry "é"\n\t{{x}}',
        "empty": {},
        "list": [],
        "none": None,
        "nested": {"1": [1, 2.5, True, {"": ""}]},
    }
    given = copy.deepcopy(data)
    await proxy.add_route("/user/mary/", "http://127.0.0.1:1", given)
    assert given == data
    given["nested"]["1"].append("changed later")
    route = await proxy.get_route("/user/mary/")
    assert route is not None
    assert route["data"] == data
    route["data"]["user"] = "changed by the reader"
    assert (await proxy.get_all_routes())["/user/mary/"]["data"] == data


async def test_a_missing_trailing_slash_is_added(proxy: TraefikProxy) -> None:
    await proxy.add_route("/user/mary", "http://127.0.0.1:1", {})
    assert list(await proxy.get_all_routes()) == ["/user/mary/"]
    assert await proxy.get_route("/user/mary") == await proxy.get_route("/user/mary/")
    await proxy.delete_route("/user/mary")
    assert await proxy.get_route("/user/mary/") is None


def test_routespecs_are_validated_as_jupyterhub_does() -> None:
    assert TraefikProxy.validate_routespec is Proxy.validate_routespec


@pytest.mark.parametrize(
    "name",
    [
        "plain",
        "Mary",
        "john+test@example.com",
        "a:b;c,d",
        "it's (her) & his = 100%",
        "wild*card~$!",
        "slash/inside",
        "what?#",
        'quote"back\\slash`tick',
        "{{template}}",
        "üñîçø∂é 😀",
        "dots..and-dashes_",
        "a`) || PathPrefix(`/hub/",
    ],
)
async def test_any_user_name_reaches_its_own_server(
    proxy: TraefikProxy, backend: MakeBackend, name: str
) -> None:
    own = backend("own")
    await proxy.add_route("/", backend("hub").url, {})
    as_jupyterhub_writes_it = f"/user/{quote(name, safe='@~')}/"
    await proxy.add_route(as_jupyterhub_writes_it, own.url, {"user": name})
    everything_encoded = "".join(f"%{byte:02x}" for byte in name.encode())
    for path in [as_jupyterhub_writes_it, f"/user/{everything_encoded}/"]:
        assert await served_by(proxy, path + "lab") == "own", path
    assert await served_by(proxy, "/hub/home") == "hub"
    assert await served_by(proxy, f"{as_jupyterhub_writes_it[:-1]}x/") == "hub"
    assert list(await proxy.get_all_routes()) == ["/", as_jupyterhub_writes_it]


async def test_names_that_differ_only_in_case_are_two(
    proxy: TraefikProxy, backend: MakeBackend
) -> None:
    lower, upper = backend("lower"), backend("upper")
    await proxy.add_route("/user/x/lab/", lower.url, {})
    await proxy.add_route("/user/x/Lab/", upper.url, {})
    assert await served_by(proxy, "/user/x/lab/") == "lower"
    assert await served_by(proxy, "/user/x/Lab/") == "upper"


async def test_the_longest_prefix_wins(proxy: TraefikProxy, backend: MakeBackend) -> None:
    for spec in ["/", "/user/mary/", "/user/mary/named/", "/user/mary/named/deep/"]:
        await proxy.add_route(spec, backend(spec).url, {})
    assert await served_by(proxy, "/x") == "/"
    assert await served_by(proxy, "/user/mary/api") == "/user/mary/"
    assert await served_by(proxy, "/user/mary/named/api") == "/user/mary/named/"
    assert await served_by(proxy, "/user/mary/named/deep/") == "/user/mary/named/deep/"


async def test_host_routing(make_proxy: MakeProxy, backend: MakeBackend) -> None:
    app = hub_app(subdomain_host="http://hub.example.org")
    proxy = make_proxy(app=app)
    await proxy.start()
    await proxy.add_route("/", backend("default").url, {})
    await proxy.add_route("hub.example.org/", backend("hub").url, {})
    await proxy.add_route("mary.hub.example.org/user/mary/", backend("mary").url, {})
    assert await served_by(proxy, "/user/mary/", Host="Mary.hub.example.org") == "mary"
    assert await served_by(proxy, "/user/mary/", Host="mary.hub.example.org:8000") == "mary"
    assert await served_by(proxy, "/user/mary/", Host="hub.example.org") == "hub"
    assert await served_by(proxy, "/user/mary/", Host="elsewhere.org") == "default"
    assert set(await proxy.get_all_routes()) == {
        "/",
        "hub.example.org/",
        "mary.hub.example.org/user/mary/",
    }
    with pytest.raises(ValueError, match="host"):
        await proxy.add_route("/user/mary/", "http://127.0.0.1:1", {})


async def test_paths_arrive_as_they_were_sent(proxy: TraefikProxy, backend: MakeBackend) -> None:
    await proxy.add_route("/user/mary/", backend("mary").url, {})
    for path in [
        "/user/mary/a%2Fb%3Fc%23d%3Be%25f",
        "/user/mary/files/http://example.org//x",
        "/user/mary/%C3%A9?x=%2F&y=1+2",
    ]:
        _, answer = await anyio.to_thread.run_sync(ask, proxy.public_url + path)
        assert answer["path"] == path


async def test_a_target_with_a_path_gets_it_prepended(
    proxy: TraefikProxy, backend: MakeBackend
) -> None:
    await proxy.add_route("/static/", backend("files").url + "/srv/www/", {})
    _, answer = await anyio.to_thread.run_sync(ask, f"{proxy.public_url}/static/logo.png")
    assert answer["path"] == "/srv/www/static/logo.png"


@pytest.mark.parametrize(
    ("path", "arrives"),
    [
        ("/pre%20fix/é", "/pre%20fix/%C3%A9"),
        ("/a%2Fb%25$1$$", "/a%2Fb%25$1$$"),
        ("/a$b@c~d/", "/a$b@c~d"),
    ],
)
async def test_escapes_in_a_target_and_below_it_are_kept(
    proxy: TraefikProxy, backend: MakeBackend, path: str, arrives: str
) -> None:
    await proxy.add_route("/x/", backend("x").url + path, {})
    for below in ("/x/1%2F2", "/x/%C3%A9%20%25?a=%2F", "/x"):
        _, answer = await anyio.to_thread.run_sync(ask, proxy.public_url + below)
        assert answer["path"] == arrives + below


async def test_double_slashes_pass_a_target_with_a_plain_path(
    proxy: TraefikProxy, backend: MakeBackend
) -> None:
    await proxy.add_route("/x/", backend("x").url + "/srv", {})
    _, answer = await anyio.to_thread.run_sync(ask, f"{proxy.public_url}/x/http://example.org//y")
    assert answer["path"] == "/srv/x/http://example.org//y"


async def test_an_ipv6_host(make_proxy: MakeProxy, backend: MakeBackend) -> None:
    proxy = make_proxy(app=hub_app(subdomain_host="http://[::1]"))
    await proxy.start()
    await proxy.add_route("[0:0::1]/x/", backend("six").url, {})
    assert await served_by(proxy, "/x/", Host="[::1]:8000") == "six"
    assert await served_by(proxy, "/x/", Host="127.0.0.1") == 404
    with pytest.raises(ValueError, match="wildcard"):
        await proxy.add_route("*.hub.test/", "http://127.0.0.1:1", {})


async def test_https_with_the_admins_certificate(
    make_proxy: MakeProxy, backend: MakeBackend, tmp_path: Path
) -> None:
    files = tmp_path / "cert.pem", tmp_path / "key.pem"
    for file, text in zip(files, make_default_certificate(), strict=True):
        file.write_text(text)
    url = make_proxy().public_url.replace("http:", "https:")
    proxy = make_proxy(public_url=url, ssl_cert=str(files[0]), ssl_key=str(files[1]))
    await proxy.start()
    await proxy.add_route("/", backend("hub").url, {})

    def shown_and_answered() -> tuple[str, int]:
        trusting = ssl.create_default_context(cafile=files[0])
        trusting.check_hostname = False  # it is for localhost
        with urllib.request.urlopen(url, context=trusting) as response:
            status: int = response.status
        port = int(url.rsplit(":", 1)[1])
        return ssl.get_server_certificate(("127.0.0.1", port)), status

    shown, status = await anyio.to_thread.run_sync(shown_and_answered)
    assert status == 200
    assert shown.split() == files[0].read_text().split()


def test_the_help_shows_the_options_of_every_store(monkeypatch: pytest.MonkeyPatch) -> None:
    for text in (TraefikProxy.class_get_help(), TraefikProxy.class_config_section()):
        for option in ("TraefikProxy.run_dir", "TomlFileStore.path", "TomlFileStore.timeout"):
            assert option in text

    class Mine(TraefikProxy):
        pass

    assert "TomlFileStore" not in Mine.class_get_help()

    def broken(name: str) -> Any:
        raise StoreNotFound("it is\nbroken")

    monkeypatch.setattr("traefikhub.proxy.resolve_store", broken)
    assert "it is\nbroken" in TraefikProxy.class_get_help()
    config = TraefikProxy.class_config_section()
    compile(config, "config", "exec")
    assert "# broken" in config


def test_jupyterhub_shows_the_options_of_stores(tmp_path: Path) -> None:
    for arguments, option in (
        (["--help-all"], "--TomlFileStore.path="),
        (["--generate-config", "-f", str(tmp_path / "made.py")], "# c.TomlFileStore.path ="),
    ):
        ran = subprocess.run(
            [sys.executable, "-m", "jupyterhub", *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        made = tmp_path / "made.py"
        text = made.read_text() if made.exists() else ran.stdout
        assert text.count(option) == 1


async def test_routes_survive_a_restart_which_writes_nothing(
    make_proxy: MakeProxy, backend: MakeBackend, tmp_path: Path
) -> None:
    first = make_proxy()
    await first.start()
    await first.add_route("/user/mary/", backend("mary").url, {"user": "mary"})
    routes = await first.get_all_routes()
    await first.stop()
    written = (tmp_path / "run" / "routes.toml").stat()

    second = make_proxy()
    await second.start()
    assert await second.get_all_routes() == routes
    assert await served_by(second, "/user/mary/") == "mary"
    now = (tmp_path / "run" / "routes.toml").stat()
    assert (now.st_ino, now.st_mtime_ns) == (written.st_ino, written.st_mtime_ns)


async def test_a_call_that_changes_nothing_writes_nothing(
    proxy: TraefikProxy, tmp_path: Path
) -> None:
    await proxy.add_route("/user/mary/", "http://127.0.0.1:1", {"a": [1]})
    written = (tmp_path / "run" / "routes.toml").stat()
    for _ in range(3):
        await proxy.add_route("/user/mary/", "http://127.0.0.1:1", {"a": [1]})
        await proxy.delete_route("/user/other/")
    assert (tmp_path / "run" / "routes.toml").stat() == written


async def test_a_burst_costs_few_batches(proxy: TraefikProxy, backend: MakeBackend) -> None:
    target = backend("target").url
    text = (Path(proxy.run_dir) / "routes.toml").read_text()
    before = int(text.rsplit("=", 1)[1])
    async with anyio.create_task_group() as group:
        for number in range(500):
            group.start_soon(proxy.add_route, f"/user/u{number}/", target, {"user": str(number)})
    text = (Path(proxy.run_dir) / "routes.toml").read_text()
    assert int(text.rsplit("=", 1)[1]) - before <= 5
    assert len(await proxy.get_all_routes()) == 500
    for number in (0, 250, 499):
        assert await served_by(proxy, f"/user/u{number}/") == "target"


async def test_check_routes_adds_what_is_missing_and_removes_what_is_stale(
    make_proxy: MakeProxy, backend: MakeBackend
) -> None:
    hub = SimpleNamespace(routespec="/", host=backend("hub").url)
    proxy = make_proxy(app=hub_app(hub=hub), hub=hub, extra_routes={"/extra/": hub.host})
    await proxy.start()
    await proxy.add_route("/user/gone/", "http://127.0.0.1:1", {"user": "gone"})
    await proxy.check_routes({}, {})
    assert set(await proxy.get_all_routes()) == {"/", "/extra/"}
    assert await served_by(proxy, "/extra/") == "hub"


async def test_a_routes_file_removed_by_hand_comes_back_with_the_next_check(
    make_proxy: MakeProxy, backend: MakeBackend, tmp_path: Path
) -> None:
    hub = SimpleNamespace(routespec="/", host=backend("hub").url)
    proxy = make_proxy(app=hub_app(hub=hub), hub=hub, extra_routes={"/extra/": hub.host})
    await proxy.start()
    await proxy.check_routes({}, {})
    (tmp_path / "run" / "routes.toml").unlink()
    await proxy.check_routes({}, {})
    assert set(await proxy.get_all_routes()) == {"/", "/extra/"}
    assert await served_by(proxy, "/extra/") == "hub"


async def test_stop_ends_traefik_and_may_be_called_again(
    proxy: TraefikProxy, tmp_path: Path
) -> None:
    assert traefik_processes(tmp_path / "run")
    await proxy.stop()
    assert not traefik_processes(tmp_path / "run")
    await proxy.stop()
    with pytest.raises(RuntimeError, match="not running"):
        await proxy.add_route("/user/mary/", "http://127.0.0.1:1", {})


async def test_a_stop_during_start_leaves_nothing(make_proxy: MakeProxy, tmp_path: Path) -> None:
    proxy = make_proxy()

    async def start() -> None:
        with pytest.raises(RuntimeError, match="stopped while it started"):
            await proxy.start()

    async with anyio.create_task_group() as group:
        group.start_soon(start)
        while not (tmp_path / "run" / "traefik.pid.json").exists():
            await anyio.lowlevel.checkpoint()
        await proxy.stop()
    assert not traefik_processes(tmp_path / "run")
    again = make_proxy()
    await again.start()


async def test_the_api_asks_for_a_password(proxy: TraefikProxy, tmp_path: Path) -> None:
    url = f"{proxy.traefik_api_url}/api/version"
    status, _ = await anyio.to_thread.run_sync(ask, url)
    assert status == 401
    assert not proxy.traefik_api_password


async def test_the_admins_own_password_opens_the_dashboard(make_proxy: MakeProxy) -> None:
    proxy = make_proxy(traefik_api_username="ada", traefik_api_password="correct horse")
    await proxy.start()
    base = proxy.traefik_api_url.replace("http://", "http://ada:correct%20horse@")
    assert (await anyio.to_thread.run_sync(ask, f"{base}/api/version"))[0] == 200
    assert (await anyio.to_thread.run_sync(ask, f"{base}/dashboard/"))[0] == 200


async def test_private_files_are_private(proxy: TraefikProxy, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    assert run_dir.stat().st_mode & 0o777 == 0o700
    modes = {path.name: path.stat().st_mode & 0o777 for path in run_dir.iterdir() if path.is_file()}
    assert {"routes.toml", "traefik.toml", "api-password", "traefik.log"} <= modes.keys()
    assert set(modes.values()) == {0o600}, modes


async def test_traefik_does_not_inherit_the_hubs_secrets(
    make_proxy: MakeProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUPYTERHUB_CRYPT_KEY", "secret-of-the-hub")
    # Through these Traefik would send what users ask for, cookies and tokens included.
    for name in ("HTTP_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://proxy.test:3128")
    proxy = make_proxy(traefik_env={"MY_DNS_TOKEN": "for-traefik"})
    await proxy.start()
    (process,) = traefik_processes(tmp_path / "run")
    environ = process.environ()
    assert environ["MY_DNS_TOKEN"] == "for-traefik"
    assert not {"JUPYTERHUB_CRYPT_KEY", "HTTP_PROXY", "https_proxy"} & environ.keys()


async def test_extra_configuration_merges_last(make_proxy: MakeProxy, backend: MakeBackend) -> None:
    proxy = make_proxy(
        extra_static_config={"entryPoints": {"http": {"http": {"sanitizePath": True}}}},
        extra_dynamic_config={
            "http": {
                "middlewares": {"mark": {"headers": {"customRequestHeaders": {"X-Marked": "yes"}}}},
                "routers": {"g_user_mary": {"middlewares": ["mark"]}},
            }
        },
    )
    await proxy.start()
    await proxy.add_route("/user/mary/", backend("mary").url, {})
    _, answer = await anyio.to_thread.run_sync(ask, f"{proxy.public_url}/user/mary//x")
    assert answer["headers"]["X-Marked"] == "yes"
    assert answer["path"] == "/user/mary/x"


@pytest.mark.parametrize("routing", ["tree", "flat"])
async def test_what_a_routes_router_cannot_say_does_not_cost_the_route(
    make_proxy: MakeProxy,
    backend: MakeBackend,
    routing: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """With error pages, Traefik disables a route's router that names entry points or TLS."""
    app = hub_app()
    proxy = make_proxy(
        app=app,
        hub=SimpleNamespace(host="http://127.0.0.1:9", base_url="/hub/", routespec="/"),
        routing=routing,
        extra_dynamic_config={
            "http": {
                "middlewares": {"mark": {"headers": {"customRequestHeaders": {"X-Marked": "yes"}}}},
                "routers": {
                    "g_user_mary": {
                        "middlewares": ["mark"],
                        "entryPoints": ["http"],
                        "observability": {"accessLogs": False},
                        "tls": {},
                    }
                },
            }
        },
    )
    await proxy.start()
    await proxy.add_route("/user/mary/", backend("mary").url, {})
    _, answer = await anyio.to_thread.run_sync(ask, f"{proxy.public_url}/user/mary/")
    assert answer["headers"]["X-Marked"] == "yes"
    told = [line for line in caplog.messages if "has no effect" in line]
    assert [line.split()[1] for line in told] == [
        f"http.routers.g_user_mary.{name}" for name in ("entryPoints", "observability", "tls")
    ]


async def test_a_check_that_meets_drift_decides_on_what_is_put_right(
    make_proxy: MakeProxy, backend: MakeBackend, tmp_path: Path
) -> None:
    """A route that should be gone must not come back by the repair of what it was decided upon."""
    hub = SimpleNamespace(routespec="/", host=backend("hub").url, base_url="/hub/")
    proxy = make_proxy(app=hub_app(hub=hub), hub=hub, store_check_interval=0)
    await proxy.start()
    await proxy.add_route("/user/mary/", backend("mary").url, {"user": "mary"})
    (tmp_path / "run" / "routes.toml").unlink()
    routes = await proxy.get_all_routes()
    assert routes == {}
    await proxy.check_routes({}, {}, routes)
    assert list(await proxy.get_all_routes()) == ["/"]
