"""``c.JupyterHub.internal_ssl``: servers and the Hub talk to nobody but this proxy, and this proxy
to nobody but them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import anyio.to_thread
import psutil
import pytest
import requests
from traitlets.config import Config

from conftest import MakeProxy
from earlier_hub import EarlierHub
from hubs import Hub
from servers.authorities import app_with_internal_ssl, server_tls, signed
from servers.etcd import EtcdServer
from servers.scene import KeyValues, RoutesFile
from support import Backend, ask, free_port, run_traefik, traefik_processes
from test_adoption import SAME
from test_end_to_end import Browser
from test_external import admins_api_router
from test_external import external as external_with_file
from traefikhub import TraefikProxy
from traefikhub.error_pages import ERROR_PAGES_SINCE
from traefikhub.session import read_routes
from traefikhub.traefik import TraefikUnusable, find_traefik, version_of

pytestmark = pytest.mark.anyio

REFUSED = "(?i)alert|reset|EOF"
BROWSER = {"Accept": "text/html,*/*;q=0.8"}


@pytest.fixture
async def app(tmp_path: Path) -> SimpleNamespace:
    return await app_with_internal_ssl(tmp_path / "certificates")


MakeServer = Callable[..., Backend]


@pytest.fixture
def server(app: SimpleNamespace) -> Iterator[MakeServer]:
    """Makes servers that ask for the proxy's certificate, and have one that is signed so."""
    with ExitStack() as stack:

        def make(name: str, authority: str = "notebooks-ca", directory: str = "") -> Backend:
            place = Path(directory or app.internal_certs_location)
            tls = server_tls(app, signed(place, authority, f"user-{name}"))
            made = Backend(name, tls=tls)
            stack.callback(made.close)
            return made

        yield make


@pytest.fixture(params=["toml-file", "etcd"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SimpleNamespace]:
    """``options`` of a proxy; ``texts``: all that is kept; ``generation``: how often it changed."""
    if request.param == "toml-file":
        file = RoutesFile(tmp_path / "run" / "routes.toml")
        yield SimpleNamespace(
            options={},
            texts=lambda: [file.path.read_text().replace("\\n", "\n")],
            generation=file.generation,
        )
        return
    (tmp_path / "etcd").mkdir()
    with EtcdServer(tmp_path / "etcd") as etcd:
        config = Config()
        config.EtcdStore.endpoints = [etcd.endpoint]
        options = {"store": "etcd", "config": config}
        yield SimpleNamespace(
            options=options,
            texts=lambda: [*etcd.dump().values()],
            generation=KeyValues(etcd.dump, "traefik").generation,
        )


async def asked(url: str, **headers: str) -> tuple[int, Any]:
    return await anyio.to_thread.run_sync(lambda: ask(url, **headers))


async def page(proxy: TraefikProxy, name: str, **headers: str) -> tuple[int, Any]:
    """What a user gets from a server of that name: the status, and who answered."""
    status, answer = await asked(f"{proxy.public_url}/user/{name}/lab", **headers)
    return status, answer["name"] if isinstance(answer, dict) else answer


def key_of(app: SimpleNamespace) -> str:
    return Path(app.internal_proxy_certs["proxy-client"]["keyfile"]).read_text().strip()


def files_in(directory: Path) -> list[Path]:
    return sorted(each for each in directory.rglob("*") if each.is_file())


# --- with a Traefik of the Hub's own -----------------------------------------------------------


async def test_traefik_comes_to_servers_that_refuse_strangers(
    store: SimpleNamespace,
    app: SimpleNamespace,
    make_proxy: MakeProxy,
    server: MakeServer,
    backend: Callable[[str], Backend],
    tmp_path: Path,
) -> None:
    mary, tool, plain = server("mary"), server("tool", "services-ca"), backend("plain")
    stranger = server("stranger", directory=str(tmp_path / "elsewhere"))
    proxy = make_proxy(app=app, **store.options)
    await proxy.start()
    for each in (mary, tool, plain, stranger):
        await proxy.add_route(f"/user/{each.name}/", each.url, {})

    for name in ("mary", "tool", "plain"):
        assert await page(proxy, name) == (200, name)
    # Somebody else has that address, or poses as the server.
    status, text = await page(proxy, "stranger", Cookie="token=s3cret")
    assert (status, text) == (500, "Internal Server Error")

    trusted = app.internal_trust_bundles["proxy-client-ca"]

    def directly(**options: Any) -> int:
        return requests.get(mary.url, verify=trusted, timeout=10, **options).status_code

    with pytest.raises(requests.RequestException, match=REFUSED):
        await anyio.to_thread.run_sync(directly)
    pair = app.internal_proxy_certs["proxy-client"]
    cert = (pair["certfile"], pair["keyfile"])
    assert await anyio.to_thread.run_sync(lambda: directly(cert=cert)) == 200


async def test_the_key_is_in_private_files_and_not_in_the_store(
    store: SimpleNamespace, app: SimpleNamespace, make_proxy: MakeProxy, tmp_path: Path
) -> None:
    proxy = make_proxy(app=app, **store.options)
    await proxy.start()
    assert not any(key_of(app) in text for text in store.texts())
    files = files_in(tmp_path / "run" / "internal-ssl")
    assert [file for file in files if key_of(app) in file.read_text()]
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    assert {file.parent.stat().st_mode & 0o777 for file in files} == {0o700}
    log = (tmp_path / "run" / "traefik.log").read_text()
    assert "PRIVATE KEY" not in log


async def test_new_certificates_under_the_old_names(
    store: SimpleNamespace,
    app: SimpleNamespace,
    make_proxy: MakeProxy,
    server: MakeServer,
    hub_directory: Path,
) -> None:
    """The Hub is restarted with ``recreate_internal_certs``, while its Traefik goes on."""
    copies = hub_directory / "run" / "internal-ssl"
    proxy = make_proxy(app=app, **store.options)
    given = {name: getattr(proxy, name) for name in SAME} | store.options
    routes = {"/user/mary/": server("mary").url}
    earlier = await anyio.to_thread.run_sync(lambda: EarlierHub(given, routes, vars(app)))
    try:
        assert await page(proxy, "mary") == (200, "mary")
    finally:
        earlier.kill()
    running, old = traefik_processes(hub_directory / "run"), files_in(copies)

    renewed = await app_with_internal_ssl(hub_directory / "certificates", anew=True)
    tls = server_tls(renewed, signed(hub_directory / "certificates", "notebooks-ca", "user-mary"))
    again = Backend("mary again", tls=tls)
    try:
        proxy.app = renewed
        await proxy.start()
        await proxy.add_route("/user/mary/", again.url, {})
        assert await page(proxy, "mary") == (200, "mary again")
        assert traefik_processes(hub_directory / "run") == running
        assert len(files_in(copies)) == len(old)
        assert not {*files_in(copies)} & {*old}
    finally:
        again.close()


async def test_a_restart_writes_nothing(
    store: SimpleNamespace,
    app: SimpleNamespace,
    make_proxy: MakeProxy,
    server: MakeServer,
    tmp_path: Path,
) -> None:
    target, seen = server("mary").url, set()
    for _ in range(2):
        proxy = make_proxy(app=app, **store.options)
        await proxy.start()
        await proxy.add_route("/user/mary/", target, {})
        seen.add((store.generation(), *files_in(tmp_path / "run" / "internal-ssl")))
        await proxy.stop()
    ((generation, *files),) = seen
    assert generation > 0
    assert len(files) == 3


async def test_internal_ssl_is_turned_off(
    store: SimpleNamespace,
    app: SimpleNamespace,
    make_proxy: MakeProxy,
    server: MakeServer,
    backend: Callable[[str], Backend],
    tmp_path: Path,
) -> None:
    proxy = make_proxy(app=app, **store.options)
    await proxy.start()
    await proxy.add_route("/user/mary/", server("mary").url, {})
    await proxy.stop()
    without = make_proxy(**store.options)
    await without.start()
    assert not any("internal-ssl" in text for text in store.texts())
    assert not (tmp_path / "run" / "internal-ssl").exists()
    await without.add_route("/user/mary/", backend("plain").url, {})
    assert await page(without, "mary") == (200, "plain")


async def test_what_the_command_line_finds_is_no_drift(
    store: SimpleNamespace, app: SimpleNamespace, make_proxy: MakeProxy, server: MakeServer
) -> None:
    proxy = make_proxy(app=app, **store.options)
    await proxy.start()
    await proxy.add_route("/user/mary/", server("mary").url, {})
    found = await read_routes(make_proxy(app=app, **store.options).session_settings())
    assert list(found.routes) == ["/user/mary/"]
    assert not found.drift


async def test_the_hubs_error_page_comes_over_tls(
    app: SimpleNamespace, make_proxy: MakeProxy
) -> None:
    own = (app.internal_ssl_cert, app.internal_ssl_key)
    hub = Backend("hub", tls=server_tls(app, own))
    try:
        proxy = make_proxy(
            app=app, hub=SimpleNamespace(host=hub.url, base_url="/hub/", routespec="/")
        )
        await proxy.start()
        await proxy.add_hub_route(proxy.hub)
        await proxy.add_route("/user/gone/", f"https://127.0.0.1:{free_port()}", {})
        assert await page(proxy, "gone", **BROWSER) == (503, "hub")
        api = await asked(f"{proxy.public_url}/user/gone/api/kernels")
        assert api == (503, "no available server\n")
    finally:
        hub.close()


async def test_the_admins_limits_hold_for_servers_with_tls(
    app: SimpleNamespace, make_proxy: MakeProxy
) -> None:
    slow: dict[str, Any] = {"forwardingTimeouts": {"responseHeaderTimeout": "200ms"}}
    silent = ThreadingHTTPServer(("127.0.0.1", 0), Silent)
    place = signed(Path(app.internal_certs_location), "notebooks-ca", "user-mary")
    silent.socket = server_tls(app, place).wrap_socket(silent.socket, server_side=True)
    thread = threading.Thread(target=silent.serve_forever, args=(0.05,))
    thread.start()
    try:
        proxy = make_proxy(app=app, extra_static_config={"serversTransport": slow})
        await proxy.start()
        target = f"https://127.0.0.1:{silent.server_address[1]}"
        await proxy.add_route("/user/mary/", target, {})
        assert (await page(proxy, "mary"))[0] == 504
    finally:
        silent.shutdown()
        thread.join()
        silent.server_close()


class Silent(BaseHTTPRequestHandler):
    """Takes requests, and lets those who ask wait."""

    def do_GET(self) -> None:
        with suppress(OSError):  # until they leave
            self.connection.recv(1)

    def log_message(self, format: str, *args: Any) -> None:
        pass


async def test_activity_of_a_server_with_tls(
    app: SimpleNamespace, make_proxy: MakeProxy, server: MakeServer
) -> None:
    hub = SimpleNamespace(host=f"https://127.0.0.1:{free_port()}", base_url="/hub/", routespec="/")
    proxy = make_proxy(app=app, hub=hub)
    await proxy.start()
    for name in ("mary", "john"):
        await proxy.add_route(f"/user/{name}/", server(name).url, {})

    async def used(name: str) -> datetime:
        route = (await proxy.get_all_routes())[f"/user/{name}/"]
        return datetime.fromisoformat(route["data"]["last_activity"].replace("Z", "+00:00"))

    await used("mary")  # the first look knows nothing of before
    john = await used("john")
    before = datetime.now(timezone.utc)
    assert await page(proxy, "mary") == (200, "mary")
    assert await used("mary") >= before
    assert await used("john") == john


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("missing", r"proxy-client\.key can't be read: No such file.*internal_certs_location"),
        ("another", r"is not the key of .*proxy-client\.crt.*recreate_internal_certs"),
        ("no key", r"proxy-client\.key is no private key.*recreate_internal_certs"),
        ("no authority", r"_trust\.crt holds no PEM certificate"),
    ],
)
async def test_files_that_are_of_no_use(
    app: SimpleNamespace, make_proxy: MakeProxy, tmp_path: Path, damage: str, said: str
) -> None:
    key = Path(app.internal_proxy_certs["proxy-client"]["keyfile"])
    match damage:
        case "missing":
            key.unlink()
        case "another":
            key.write_text(Path(app.internal_ssl_key).read_text())
        case "no key":
            key.write_text("secret nonsense")
        case "no authority":
            Path(app.internal_trust_bundles["proxy-client-ca"]).write_text("")
    with pytest.raises(TraefikUnusable, match=r"c\.JupyterHub\.internal_ssl.*") as raised:
        await make_proxy(app=app).start()
    assert raised.match(said)
    assert "nonsense" not in str(raised.value)
    assert not (tmp_path / "run").exists()


# --- with a Traefik that others run ------------------------------------------------------------


@contextmanager
def external(proxy: TraefikProxy, tmp_path: Path) -> Iterator[None]:
    (tmp_path / "elsewhere").mkdir(exist_ok=True)
    static = {
        "api": {},
        "providers": proxy.session_settings().store.provider_config(),
        "entryPoints": {
            "http": {"address": urlsplit(proxy.public_url).netloc},
            "auth_api": {"address": urlsplit(proxy.traefik_api_url).netloc},
        },
    }
    with run_traefik(tmp_path / "elsewhere", static):
        yield


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[EtcdServer]:
    (tmp_path / "etcd").mkdir()
    with EtcdServer(tmp_path / "etcd") as running:
        yield running


def with_etcd(etcd: EtcdServer, **more: Any) -> dict[str, Any]:
    config = Config()
    config.EtcdStore.endpoints = [etcd.endpoint]
    return {"should_start": False, "store": "etcd", "config": config, **more}


async def test_an_external_traefik_gets_the_certificate_from_the_store(
    app: SimpleNamespace,
    make_proxy: MakeProxy,
    server: MakeServer,
    etcd: EtcdServer,
    tmp_path: Path,
) -> None:
    """It may run on other machines, where no file of the Hub's is."""
    proxy = make_proxy(app=app, **with_etcd(etcd))
    with external(proxy, tmp_path):
        await proxy.add_route("/user/mary/", server("mary").url, {})
        assert await page(proxy, "mary") == (200, "mary")
        assert any(key_of(app) in text for text in etcd.dump().values())
        assert not (tmp_path / "run" / "internal-ssl").exists()


async def test_also_if_all_else_is_configured_elsewhere(
    app: SimpleNamespace, make_proxy: MakeProxy, server: MakeServer, tmp_path: Path
) -> None:
    own = {"traefik_api_username": "ada", "traefik_api_password": "right"}
    proxy = make_proxy(app=app, should_start=False, enable_setup_dynamic_config=False, **own)
    with external_with_file(proxy, tmp_path):
        admins_api_router(tmp_path / "run")
        await proxy.add_route("/user/mary/", server("mary").url, {})
        assert await page(proxy, "mary") == (200, "mary")


async def test_an_admin_who_wants_no_key_in_the_store(
    app: SimpleNamespace,
    make_proxy: MakeProxy,
    server: MakeServer,
    etcd: EtcdServer,
    tmp_path: Path,
) -> None:
    pair = app.internal_proxy_certs["proxy-client"]
    own = {"certificates": [{"certFile": pair["certfile"], "keyFile": pair["keyfile"]}]}
    transports = {"traefikhub__internal-ssl": own, "traefikhub__error-page": own}
    hub = SimpleNamespace(host=f"https://127.0.0.1:{free_port()}", base_url="/hub/", routespec="/")
    extra = {"http": {"serversTransports": transports}}
    proxy = make_proxy(app=app, hub=hub, **with_etcd(etcd, extra_dynamic_config=extra))
    with external(proxy, tmp_path):
        await proxy.add_route("/user/mary/", server("mary").url, {})
        assert await page(proxy, "mary") == (200, "mary")
        kept = etcd.dump()
        assert any("traefikhub__error-page/certificates" in name for name in kept)
        assert not any(key_of(app) in text for text in kept.values())


# --- a whole Hub -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["toml-file", "etcd"])
def test_a_users_day_behind_internal_ssl(
    hub_directory: Path, request: pytest.FixtureRequest, kind: str
) -> None:
    options: dict[str, Any] = {
        "JupyterHub.internal_ssl": True,
        "JupyterHub.internal_certs_location": str(hub_directory / "internal"),
    }
    if kind == "etcd":
        etcd = request.getfixturevalue("etcd")
        options |= {"TraefikProxy.store": "etcd", "EtcdStore.endpoints": [etcd.endpoint]}
    hub = Hub(hub_directory, options)
    with hub.running():
        mary = Browser(hub)
        mary.log_in("mary")
        mary.spawn("mary")
        trusted = str(hub_directory / "internal" / "proxy-client-ca_trust.crt")
        targets = {spec: route["target"] for spec, route in hub.api("GET", "proxy").items()}
        assert set(targets) == {"/", "/user/mary/"}
        for target in targets.values():
            assert target.startswith("https:")
            with pytest.raises(requests.RequestException, match=REFUSED):
                requests.get(target, verify=trusted, timeout=10)
        assert mary.get("/user/mary/lab").status_code == 200
        assert mary.run_code("/user/mary/", "1+1") == "2"  # over a websocket
        token = mary.xsrf("/hub/")
        _kill_servers(hub_directory)
        gone = mary.get("/user/mary/lab", headers=BROWSER, allow_redirects=False)
        if version_of(find_traefik()) >= ERROR_PAGES_SINCE:
            assert gone.status_code == 503
            assert "<title>JupyterHub</title>" in gone.text
        else:
            assert gone.status_code == 502
        assert mary.xsrf("/hub/") == token
    assert "Traceback" not in hub.log()
    assert "CERTIFICATE_VERIFY_FAILED" not in hub.log()


def _kill_servers(directory: Path) -> None:
    for process in psutil.process_iter(["cmdline"]):
        if "jupyterhub.singleuser" in (process.info["cmdline"] or []):
            try:
                if process.cwd().startswith(str(directory)):
                    process.kill()
                    process.wait(10)
            except psutil.Error:
                continue
