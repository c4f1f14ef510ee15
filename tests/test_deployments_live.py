"""The deployments of docs/deploy on real servers: their Traefik, with addresses of this machine,
reads a real etcd, in which the script has made the users, and serves what their Hub's proxy
writes."""

from __future__ import annotations

import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
import tomli_w
import yaml

from certificates import write_certificate
from deploy_configs import PASSWORDS, config_of
from deployments import DEPLOY, documents_of
from servers import require
from servers.etcd import EtcdServer, etcd_binary
from support import Backend, ask, free_port, wait_until
from traefikhub import TraefikProxy
from traefikhub.cli._hub import Hub
from traefikhub.session import external_static
from traefikhub.table import merge
from traefikhub.traefik import OLDEST, find_traefik

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

pytestmark = pytest.mark.anyio

SCRIPT = DEPLOY / "etcd-users.sh"


def etcdctl(etcd: EtcdServer) -> str:
    beside = shutil.which("etcdctl", path=Path(etcd_binary()).parent) or "etcdctl"
    return f"{beside} --endpoints={etcd.endpoint}"


def make_users(etcd: EtcdServer, **more: str) -> subprocess.CompletedProcess[str]:
    """Run the script as an admin would."""
    environment = {
        "PATH": os.environ["PATH"],
        "ETCDCTL": etcdctl(etcd),
        **{f"ETCD_{user.upper()}_PASSWORD": word for user, word in PASSWORDS.items()},
        **more,
    }
    return subprocess.run(
        ["sh", str(SCRIPT)], env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[EtcdServer]:
    """An etcd that has the users."""
    with EtcdServer(tmp_path / "etcd") as server:
        done = make_users(server)
        assert done.returncode == 0, done.stderr
        yield server


@contextmanager
def running(directory: Path, arguments: list[str], env: dict[str, str]) -> Iterator[Any]:
    with (directory / "traefik.log").open("wb") as log:
        process = subprocess.Popen([find_traefik(), *arguments], env=env, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def proxy_of(file: Path, etcd: EtcdServer | None, api_port: int, port: int) -> TraefikProxy:
    """The proxy of a Hub's configuration, but for addresses of this machine."""
    where = f"c.JupyterHub.ip, c.JupyterHub.port = '127.0.0.1', {port}"
    if "bind_url" in file.read_text():
        where = f"c.JupyterHub.bind_url = 'http://127.0.0.1:{port}'"
    lines = [
        where,
        f"c.TraefikProxy.traefik_api_url = 'http://127.0.0.1:{api_port}'",
        "c.TraefikProxy.check_route_timeout = 15",
    ]
    if etcd:
        lines += [
            f"c.EtcdStore.endpoints = [{etcd.endpoint!r}]",
            f"c.TraefikProxy.run_dir = {str(file.parent / 'run')!r}",
        ]
    with file.open("a") as config:
        config.write("\n" + "\n".join(lines) + "\n")
    return Hub(str(file), ()).proxy()


class Ports(dict[str, int]):
    """A free port for each entry point."""

    def __missing__(self, name: str) -> int:
        self[name] = free_port()
        return self[name]


def here(variables: dict[str, str], etcd: EtcdServer, ports: Ports) -> dict[str, str]:
    """Variables of a manifest, but for addresses of this machine."""
    changed = dict(variables) | {
        "TRAEFIK_PROVIDERS_ETCD_ENDPOINTS": etcd.endpoint,
        "TRAEFIK_PROVIDERS_ETCD_PASSWORD": PASSWORDS["traefik"],
    }
    for name in variables:
        if point := re.fullmatch(r"TRAEFIK_ENTRYPOINTS_(\w+)_ADDRESS", name):
            changed[name] = f"127.0.0.1:{ports[point[1].lower()]}"
    return changed


def status(port: int, path: str) -> int:
    """Of an answer; 0 if there is none."""
    try:
        return ask(f"http://127.0.0.1:{port}{path}")[0]
    except OSError:
        return 0


async def until_status(port: int, path: str, wanted: int) -> None:
    def is_so() -> bool:
        return status(port, path) == wanted

    await anyio.to_thread.run_sync(wait_until, is_so, f"{wanted} of {path}", 20)


async def becomes_ready(ports: Ports, proxy: TraefikProxy, target: str) -> None:
    """Alive without routes; ready with them."""
    await until_status(ports["ping"], "/ping", 200)
    assert status(ports["ping"], "/ready") == 404
    await proxy.add_route("/", target, {})
    await proxy.add_route("/user/mary/", target, {"user": "mary"})
    await until_status(ports["ping"], "/ready", 200)
    assert set(await proxy.get_all_routes()) == {"/", "/user/mary/"}


async def takes_leave(process: subprocess.Popen[bytes], ports: Ports, users: str) -> None:
    """Told to end, it says so to who asks, and still serves."""
    process.terminate()
    await until_status(ports["ping"], "/ready", 503)
    assert status(ports[users], "/user/mary/x") == 200
    assert process.poll() is None


async def test_compose(etcd: EtcdServer, tmp_path: Path, backend: Callable[[str], Backend]) -> None:
    ports = Ports()
    lines = (DEPLOY / "compose" / "traefik.env").read_text().splitlines()
    env = here(dict(line.split("=", 1) for line in lines), etcd, ports)
    proxy = proxy_of(config_of("compose", tmp_path), etcd, ports["api"], ports["http"])
    with running(tmp_path, [], env) as process:
        await becomes_ready(ports, proxy, backend("mary").url)
        url = f"http://127.0.0.1:{ports['http']}/user/mary/x"
        assert (await anyio.to_thread.run_sync(ask, url))[1]["name"] == "mary"
        await takes_leave(process, ports, "http")
        await proxy.stop()


async def test_three_machines(
    etcd: EtcdServer, tmp_path: Path, backend: Callable[[str], Backend]
) -> None:
    ports = Ports()
    file = config_of("three-machines", tmp_path)
    printed = Hub(str(file), ()).settings()
    static: dict[str, Any] = tomllib.loads(tomli_w.dumps(external_static(printed, OLDEST)))
    for name, point in static["entryPoints"].items():
        point["address"] = f"127.0.0.1:{ports[name]}"
    static["providers"]["etcd"]["endpoints"] = [etcd.endpoint]
    (tmp_path / "traefik.toml").write_text(tomli_w.dumps(static))
    proxy = proxy_of(file, etcd, ports["auth_api"], ports["http"])
    with running(tmp_path, [f"--configfile={tmp_path / 'traefik.toml'}"], {}) as process:
        await becomes_ready(ports, proxy, backend("mary").url)
        url = f"http://127.0.0.1:{ports['http']}/user/mary/x"
        assert (await anyio.to_thread.run_sync(ask, url))[1]["name"] == "mary"
        await takes_leave(process, ports, "http")
        await proxy.stop()


def lay_out(volume: Path, version: str, files: dict[str, bytes]) -> None:
    """Put files into a volume as Kubernetes does: a link to a version's directory, exchanged at
    once."""
    (volume / f"..{version}").mkdir(parents=True)
    for name, content in files.items():
        (volume / f"..{version}" / name).write_bytes(content)
        if not (volume / name).is_symlink():
            (volume / name).symlink_to(f"..data/{name}")
    (volume / "..data_tmp").symlink_to(f"..{version}")
    (volume / "..data_tmp").rename(volume / "..data")


def connect_by_https(port: int) -> ssl.SSLSocket:
    """As a browser that was told to go on."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = socket.create_connection(("127.0.0.1", port), timeout=10)
    return context.wrap_socket(connection, server_hostname="hub.example.org")


def shown(port: int) -> str:
    """The certificate that a server shows."""
    with connect_by_https(port) as tls:
        return ssl.DER_cert_to_PEM_cert(tls.getpeercert(binary_form=True) or b"")


def ask_by_https(port: int, path: str) -> str:
    """All that is answered."""
    request = f"GET {path} HTTP/1.1\r\nHost: hub.example.org\r\nConnection: close\r\n\r\n"
    with connect_by_https(port) as tls:
        tls.sendall(request.encode())
        with tls.makefile("rb") as answer:
            return answer.read().decode()


async def test_kubernetes(
    etcd: EtcdServer, tmp_path: Path, backend: Callable[[str], Backend]
) -> None:
    ports, volume = Ports(), tmp_path / "tls"
    maps = {
        each["metadata"]["name"]: each["data"]
        for each in documents_of("traefik.yaml")
        if each["kind"] == "ConfigMap"
    }
    env = here(maps["traefikhub-traefik"], etcd, ports)
    there, env["TRAEFIK_PROVIDERS_FILE_DIRECTORY"] = "/etc/traefik/tls", str(volume)
    listed = maps["traefikhub-traefik-tls"]["certificates.yaml"].replace(there, str(volume))

    def renew(version: str) -> str:
        certificate, key = write_certificate(tmp_path, 30, "hub.example.org")
        files = {"tls.crt": certificate.read_bytes(), "tls.key": key.read_bytes()}
        lay_out(volume, version, {"certificates.yaml": listed.encode(), **files})
        return certificate.read_text()

    first = renew("1")
    proxy = proxy_of(config_of("kubernetes", tmp_path), etcd, ports["api"], ports["https"])
    with running(tmp_path, [], env):
        await becomes_ready(ports, proxy, backend("mary").url)
        answer = await anyio.to_thread.run_sync(ask_by_https, ports["https"], "/user/mary/x")
        assert '"name": "mary"' in answer
        assert status(ports["http"], "/user/mary/") in (301, 308)
        assert shown(ports["https"]) == first
        # cert-manager has renewed it: nobody restarts anything.
        second = renew("2")
        assert second != first
        await anyio.to_thread.run_sync(
            wait_until,
            lambda: shown(ports["https"]) == second,
            "the renewed certificate",
            20,
        )
        await proxy.stop()


# --- The Littlest JupyterHub --------------------------------------------------------------------


def of_tljh(directory: Path, ports: Ports, https: bool) -> dict[str, Any]:
    """Traefik's configuration with the keys that TLJH 2.0 gives it (tljh/traefik.toml.tpl and
    tljh/traefik-dynamic.toml.tpl there)."""
    rules = directory / "state" / "rules"
    rules.mkdir(parents=True, mode=0o700)
    (rules / "rules.toml").touch(mode=0o600)
    users: dict[str, Any] = {"address": f"127.0.0.1:{ports['http']}"}
    users["transport"] = {"respondingTimeouts": {"idleTimeout": "10m"}}
    points = {"http": users, "auth_api": {"address": f"127.0.0.1:{ports['auth_api']}"}}
    dynamic: dict[str, Any] = {}
    if https:
        certificate, key = write_certificate(directory, 30, "hub.example.org")
        pair = {"certFile": str(certificate), "keyFile": str(key)}
        dynamic["tls"] = {
            "options": {"default": {"minVersion": "VersionTLS12"}},
            "stores": {"default": {"defaultCertificate": pair}},
        }
        redirect = {"redirections": {"entryPoint": {"to": "https", "scheme": "https"}}}
        points["http"] = {**users, "http": redirect}
        tls = {"http": {"tls": {"options": "default"}}}
        points["https"] = {**users, **tls, "address": f"127.0.0.1:{ports['https']}"}
    (rules / "dynamic.toml").write_text(tomli_w.dumps(dynamic))
    return {
        "api": {},
        "log": {"level": "INFO"},
        "entryPoints": points,
        "providers": {
            "providersThrottleDuration": "0s",
            "file": {"directory": str(rules), "watch": True},
        },
    }


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_the_littlest_jupyterhub(
    scheme: str, tmp_path: Path, backend: Callable[[str], Backend]
) -> None:
    ports, https = Ports(), scheme == "https"
    place = tmp_path / "tljh"
    static = of_tljh(place, ports, https)
    own = tomllib.loads((DEPLOY / "tljh" / f"traefikhub-{scheme}.toml").read_text())
    merged = merge(static, own)
    assert isinstance(merged, dict)
    (tmp_path / "traefik.toml").write_text(tomli_w.dumps(merged))
    file = config_of("tljh", tmp_path)
    if https:
        text = file.read_text().replace('entrypoint = "http"', 'entrypoint = "https"')
        file.write_text(text)
    proxy = proxy_of(file, None, ports["auth_api"], ports["http"])
    with running(tmp_path, [f"--configfile={tmp_path / 'traefik.toml'}"], {}):
        await proxy.add_route("/user/mary/", backend("mary").url, {})
        path = "/user/mary/a%2Fb"
        if https:
            answer = await anyio.to_thread.run_sync(ask_by_https, ports["https"], path)
        else:
            answer = str(
                await anyio.to_thread.run_sync(ask, f"http://127.0.0.1:{ports['http']}{path}")
            )
        assert path in answer
        if https:
            expected = (place / "cert.pem").read_text()
            assert shown(ports["https"]) == expected
            assert status(ports["http"], "/user/mary/") in (301, 308)
        # What "tljh-config reload proxy" empties isn't ours.
        (place / "state" / "rules" / "rules.toml").write_text("")
        assert list(await proxy.get_all_routes()) == ["/user/mary/"]
        assert (place / "state" / "rules" / "traefikhub.toml").stat().st_size
        await proxy.stop()


# --- HAProxy -------------------------------------------------------------------------------------

LIES = {
    "X-Forwarded-For": "1.2.3.4",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Port": "1",
    "X-Forwarded-Prefix": "/evil",
    "X-Forwarded-Proto": "gopher",
    "X-Real-Ip": "1.2.3.4",
}


@pytest.mark.parametrize("name", ["deploy/compose", "deploy/three-machines", "ha"])
async def test_haproxy_passes_no_header_on_that_traefik_would_believe(
    name: str, tmp_path: Path, backend: Callable[[str], Backend]
) -> None:
    """The rules of its configuration, before a server that tells what it was sent."""
    fetched = DEPLOY.parents[1] / ".cache" / "haproxy" / "haproxy"
    found = shutil.which("haproxy") or (str(fetched) if fetched.exists() else None)
    program = require("haproxy", found, "python tools/fetch_haproxy.py")
    text = (DEPLOY.parent / name / "haproxy.cfg").read_text()
    (rules,) = re.findall(r"^frontend users\n(.*?)^backend", text, re.M | re.S)
    kept = [
        line
        for line in rules.splitlines()
        if line.strip().startswith("http-request ") and "redirect" not in line
    ]
    (defaults,) = re.findall(r"^defaults\n(.*?)(?=^\w)", text, re.M | re.S)
    port, server = free_port(), backend("Traefik")
    lines = [
        "defaults",
        defaults.replace("    log global\n", ""),
        "frontend users",
        f"    bind 127.0.0.1:{port}",
        *kept,
        "    default_backend traefik",
        "backend traefik",
        f"    server one {server.url.removeprefix('http://')}",
    ]
    file = tmp_path / "haproxy.cfg"
    file.write_text("\n".join([*lines, ""]))
    process = subprocess.Popen([program, "-db", "-f", str(file)])
    try:
        await until_status(port, "/", 200)
        url = f"http://127.0.0.1:{port}/"
        _, answer = await anyio.to_thread.run_sync(lambda: ask(url, **LIES))
    finally:
        process.terminate()
        process.wait()
    arrived = {key.title(): value for key, value in answer["headers"].items()}
    assert {key: arrived[key] for key in LIES if key in arrived} == {
        "X-Forwarded-For": "127.0.0.1",
        "X-Forwarded-Proto": "http" if name == "ha" else "https",
        "X-Real-Ip": "127.0.0.1",
    }


# --- users of etcd ------------------------------------------------------------------------------


def ctl(etcd: EtcdServer, user: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    word = PASSWORDS[{"hub-traefik": "traefik"}.get(user, user)]
    env = {"ETCDCTL_USER": user, "ETCDCTL_PASSWORD": word}
    command = [*etcdctl(etcd).split(), *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def test_each_user_of_etcd_may_do_its_part(etcd: EtcdServer) -> None:
    assert ctl(etcd, "hub", "put", "traefik/x", "1").returncode == 0
    assert ctl(etcd, "hub-traefik", "get", "traefik", "--prefix").stdout == "traefik/x\n1\n"
    for user, *arguments in (
        ("hub", "put", "other/x", "1"),
        ("hub-traefik", "put", "traefik/x", "2"),
        ("hub-traefik", "get", "other/x"),
        ("hub", "user", "list"),
    ):
        assert "permission denied" in ctl(etcd, user, *arguments).stderr, (user, arguments)
    nobody = subprocess.run(
        [*etcdctl(etcd).split(), "get", "traefik/x"], capture_output=True, text=True, check=False
    )
    assert "user name is empty" in nobody.stderr
    assert ctl(etcd, "root", "user", "list").returncode == 0


def test_the_healthcheck_knows_an_etcd_with_users_and_one_without(tmp_path: Path) -> None:
    etcd = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text())["services"]["etcd-1"]
    word, program, *arguments = etcd["healthcheck"]["test"]
    assert (word, program) == ("CMD", "etcdctl")
    env = {key: value for key, value in etcd["environment"].items() if "ETCDCTL" in key}
    assert "ETCD_TRAEFIK_PASSWORD" in env["ETCDCTL_PASSWORD"]
    env["ETCDCTL_PASSWORD"] = PASSWORDS["traefik"]

    def healthy(server: EtcdServer) -> bool:
        command = [*etcdctl(server).split(), "--command-timeout=1s", *arguments]
        return not subprocess.run(command, env=env, capture_output=True, check=False).returncode

    with EtcdServer(tmp_path / "etcd") as server:
        assert healthy(server)
        # In a container, the script's etcdctl has that environment, too.
        assert "Enabled" in make_users(server, **env).stdout
        assert "nothing is changed" in make_users(server, **env).stdout
        assert healthy(server)
    assert not healthy(server)


def test_a_second_run_changes_nothing(etcd: EtcdServer) -> None:
    again = make_users(etcd, ETCD_HUB_PASSWORD="another")
    assert again.returncode == 0
    assert "nothing is changed" in again.stdout
    assert ctl(etcd, "hub", "put", "traefik/x", "1").returncode == 0


def test_a_run_that_was_cut_short_is_done_again(tmp_path: Path) -> None:
    with EtcdServer(tmp_path / "etcd") as server:
        for arguments in (("role", "add", "hub"), ("user", "add", "hub:old")):
            subprocess.run([*etcdctl(server).split(), *arguments], check=True, capture_output=True)
        assert make_users(server).returncode == 0
        assert ctl(server, "hub", "put", "traefik/x", "1").returncode == 0


def test_without_a_password_or_etcd_the_script_fails(tmp_path: Path) -> None:
    with EtcdServer(tmp_path / "etcd") as server:
        assert make_users(server, ETCD_HUB_PASSWORD="").returncode
        assert "space" in make_users(server, ETCD_HUB_PASSWORD="two words").stderr
        users = subprocess.run(
            [*etcdctl(server).split(), "user", "list"], capture_output=True, text=True, check=True
        )
        assert not users.stdout
        endpoint = server.endpoint
    away = make_users(server, ETCDCTL=f"{etcdctl(server)} --command-timeout=1s")
    assert away.returncode
    assert endpoint in away.stderr


def test_the_manifests_have_no_other_secret() -> None:
    secret = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text())["secrets"]
    assert all(each.keys() == {"environment"} for each in secret.values())
