"""``traefikhub check``: what is found, what mends it, and that nobody is disturbed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import psutil
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from traitlets.config import Config

from certificates import write_certificate
from conftest import MakeProxy
from servers.authorities import app_with_internal_ssl, server_tls
from servers.consul import ConsulServer
from servers.etcd import EtcdServer
from support import Backend, ask, free_port, run_traefik, wait_until
from traefikhub.cli._check import command
from traefikhub.testing import Certificates

CONFIG = """
c.JupyterHub.proxy_class = "traefikhub"
c.JupyterHub.bind_url = {url!r}
c.JupyterHub.hub_bind_url = "http://127.0.0.1:{hub_port}"
c.TraefikProxy.traefik_api_url = {api_url!r}
c.TraefikProxy.run_dir = {run_dir!r}
{more}
"""


class Answer(NamedTuple):
    """code: of the exit. rows: by the name of the check."""

    code: int
    rows: dict[str, list[dict[str, str]]]

    def of(self, check: str, status: str) -> dict[str, str]:
        """The only row with this status that a check has."""
        (row,) = (row for row in self.rows[check] if row["status"] == status)
        return row

    @property
    def faults(self) -> list[str]:
        """The checks that found one."""
        return [
            name for name, rows in self.rows.items() if any(x["status"] == "fault" for x in rows)
        ]


def answer_of(code: object, text: str) -> Answer:
    rows: dict[str, list[dict[str, str]]] = {}
    for row in json.loads(text)["checks"]:
        rows.setdefault(row["check"], []).append(row)
    assert isinstance(code, int)
    return Answer(code, rows)


Check = Callable[..., Answer]


@pytest.fixture
def check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Check:
    """Runs the command on a configuration with these lines."""
    monkeypatch.chdir(tmp_path)

    def run(more: str = "", **options: Any) -> Answer:
        configure(tmp_path, more, **options)
        capsys.readouterr()
        code = command.main(["--json"], "check", standalone_mode=False, obj=[])
        return answer_of(code, capsys.readouterr().out)

    return run


def configure(directory: Path, more: str = "", **options: Any) -> None:
    """Write a hub's configuration."""
    values = {
        "url": f"http://127.0.0.1:{free_port()}",
        "api_url": f"http://127.0.0.1:{free_port()}",
        "run_dir": str(directory / "run"),
        "hub_port": free_port(),
    }
    text = CONFIG.format(more=more, **values | options)
    (directory / "jupyterhub_config.py").write_text(text)


def in_process(directory: Path) -> subprocess.Popen[str]:
    """The command in a process of its own."""
    code = "import sys; from traefikhub.cli._check import command as c; sys.exit("
    code += "c.main(['--json'], standalone_mode=False, obj=[]))"
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )


def certificate(directory: Path, days: int) -> str:
    """The options for a certificate of example.org that ends in so many days."""
    write_certificate(directory, days)
    return (
        f"c.JupyterHub.ssl_cert = {str(directory / 'cert.pem')!r}\n"
        f"c.JupyterHub.ssl_key = {str(directory / 'key.pem')!r}\n"
    )


@pytest.fixture(autouse=True)
def temporary(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A place for trials of this test's own: others run side by side."""
    place = tmp_path_factory.mktemp("temporary")
    monkeypatch.setenv("TMPDIR", str(place))
    monkeypatch.setattr(tempfile, "tempdir", str(place))


def files_of(directory: Path) -> set[str]:
    return {str(path) for path in directory.rglob("*")}


def trials_left() -> list[str]:
    """Temporary directories of trials."""
    return [name for name in os.listdir(tempfile.gettempdir()) if "traefikhub-check-" in name]


def test_a_good_hub(check: Check, tmp_path: Path) -> None:
    before = trials_left()
    found = check(certificate(tmp_path, 100), url=f"https://127.0.0.1:{free_port()}")
    assert found.code == 0
    assert {row["status"] for rows in found.rows.values() for row in rows} == {"ok", "skipped"}
    assert [name for name, rows in found.rows.items() if rows[0]["status"] == "skipped"] == ["API"]
    assert "example.org" in found.of("certificate", "ok")["found"]
    assert "100 days" in found.of("certificate", "ok")["found"]
    assert "median" in found.of("store, writing", "ok")["found"]
    assert files_of(tmp_path) == {
        str(tmp_path / name) for name in ("jupyterhub_config.py", "cert.pem", "key.pem")
    }
    assert trials_left() == before


def test_three_faults_and_what_mends_them(check: Check, tmp_path: Path) -> None:
    more = certificate(tmp_path, -3) + (
        'c.TraefikProxy.store = "etcd"\n'
        f'c.EtcdStore.endpoints = ["127.0.0.1:{free_port()}"]\n'
        "c.EtcdStore.timeout = 1\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        found = check(more, url=f"https://127.0.0.1:{port}")
    assert found.code == 1
    assert set(found.faults) == {f"port {port}", "certificate", "store"}
    assert "c.JupyterHub.bind_url" in found.of(f"port {port}", "fault")["fix"]
    assert "expired" in found.of("certificate", "fault")["found"]
    assert "renew" in found.of("certificate", "fault")["fix"]
    assert "c.EtcdStore" in found.of("store", "fault")["fix"]
    # All else is looked at, or says why it isn't.
    assert "can't be read" in found.of("store, writing", "skipped")["found"]
    assert found.of("static configuration", "ok")


def test_a_certificate_that_ends_soon_is_a_warning(check: Check, tmp_path: Path) -> None:
    url = f"https://127.0.0.1:{free_port()}"
    found = check(certificate(tmp_path, 12), url=url)
    assert found.code == 0
    assert "12 days" in found.of("certificate", "warning")["found"]
    found = check(certificate(tmp_path, 300) + 'c.JupyterHub.subdomain_host = "https://hub.org"\n')
    assert "*.hub.org" in found.of("certificate", "warning")["fix"]
    other = Certificates.make(tmp_path / "other")
    found = check(certificate(tmp_path, 300) + f"c.JupyterHub.ssl_key = {other.server_key!r}\n")
    assert found.faults == ["certificate"]
    assert "c.JupyterHub.ssl_key" in found.of("certificate", "fault")["fix"]


def test_a_directory_that_cannot_be_written(check: Check, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    found = check(run_dir=str(tmp_path / "file" / "run"))
    assert found.code == 1
    assert found.faults == ["directories", "store"]
    assert "c.TraefikProxy.run_dir" in found.of("directories", "fault")["fix"]
    found = check('c.TraefikProxy.static_config_file = "absent/traefik.toml"')
    assert "static_config_file" in found.of("directories", "fault")["found"]


def test_no_store_of_that_name(check: Check) -> None:
    found = check('c.TraefikProxy.store = "absent"')
    assert found.faults == ["store"]
    assert "c.TraefikProxy.store" in found.of("store", "fault")["fix"]
    assert found.of("static configuration", "ok")


def test_no_traefik(check: Check) -> None:
    found = check('c.TraefikProxy.traefik_command = "/absent/traefik"')
    assert found.faults == ["Traefik"]
    assert "traefik_command" in found.of("Traefik", "fault")["fix"]
    assert "Traefik" in found.of("static configuration", "skipped")["found"]


UNKNOWN_STATIC = """
c.TraefikProxy.extra_static_config = {"entryPoints": {"http": {"adress": 1}}}
"""
UNKNOWN_DYNAMIC = """
c.TraefikProxy.check_route_timeout = 1
c.TraefikProxy.extra_dynamic_config = {"http": {"middlewares": {"x": {"compres": {}}}}}
"""


@pytest.mark.parametrize(
    ("more", "said"),
    [(UNKNOWN_STATIC, "node: adress"), (UNKNOWN_DYNAMIC, "node: compres")],
)
def test_what_traefik_refuses(check: Check, more: str, said: str) -> None:
    found = check(more)
    assert found.faults == ["static configuration"]
    row = found.of("static configuration", "fault")
    assert said in row["found"]
    assert tempfile.gettempdir() + "/traefikhub" not in row["found"]  # what is gone by now
    assert "extra_static_config" in row["fix"]


def test_what_traefik_leaves_out(check: Check) -> None:
    found = check(
        'c.TraefikProxy.extra_dynamic_config = {"http": {"routers": {"mine": '
        '{"rule": "Path(`/x`)", "service": "gone"}}}}'
    )
    assert found.code == 0
    assert "gone@file" in found.of("configuration in Traefik", "warning")["found"]


OWN_PLACES = """
c.TraefikProxy.extra_static_config = {{
    "entryPoints": {{"ssh": {{"address": "127.0.0.1:{port}"}}}},
    "ping": {{}},
    "log": {{"filePath": "{directory}/own.log"}},
    "accessLog": {{"filePath": "{directory}/access.log"}},
    "certificatesResolvers": {{"le": {{"acme": {{
        "email": "ada@example.org",
        "storage": "{directory}/acme.json",
        "caServer": "http://127.0.0.1:{port}/",
        "httpChallenge": {{"entryPoint": "http"}},
    }}}}}},
}}
c.TraefikProxy.extra_dynamic_config = {{"http": {{"routers": {{"mine": {{
    "rule": "Host(`example.org`)",
    "service": "api@internal",
    "tls": {{"certResolver": "le"}},
}}}}}}}}
"""


def test_a_trial_keeps_to_itself(check: Check, tmp_path: Path) -> None:
    """Neither the admin's ports, nor files, nor a certificate authority."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        found = check(OWN_PLACES.format(port=port, directory=tmp_path))
        taken.settimeout(0.2)
        with pytest.raises(TimeoutError):
            taken.accept()
    assert found.of("static configuration", "ok")
    assert files_of(tmp_path) == {str(tmp_path / "jupyterhub_config.py")}


def test_options_that_make_no_sense(check: Check) -> None:
    found = check(
        'c.TraefikProxy.traefik_providers_throttle_duration = "soon"\n'
        'c.TraefikProxy.trusted_proxies = ["everybody"]\n'
        'c.TraefikEtcdProxy.etcd_url = "http://127.0.0.1:2379"\n'
    )
    assert found.faults == ["options"]
    texts = " ".join(row["found"] for row in found.rows["options"])
    assert all(x in texts for x in ("throttle", "trusted_proxies", "etcd_url"))
    assert "options" in found.of("static configuration", "skipped")["found"]
    assert found.of("store", "ok")


def test_internal_ssl(check: Check, tmp_path: Path) -> None:
    directory = tmp_path / "internal"
    more = (
        f'c.JupyterHub.internal_ssl = True\nc.JupyterHub.internal_certs_location = "{directory}"\n'
    )
    found = check(more)
    assert found.code == 0
    assert "when it starts" in found.of("internal_ssl", "skipped")["found"]
    assert not directory.exists()

    app = anyio.run(app_with_internal_ssl, directory)
    hub = Backend("hub", tls=server_tls(app, (app.internal_ssl_cert, app.internal_ssl_key)))
    try:
        found = check(more, hub_port=int(hub.url.rpartition(":")[2]))
    finally:
        hub.close()
    assert found.code == 0
    assert "something answers" in found.of("Hub", "ok")["found"]
    assert "valid until" in found.of("internal_ssl", "ok")["found"]
    assert found.of("static configuration", "ok")

    (directory / "proxy-client" / "proxy-client.key").write_text("secret nonsense")
    found = check(more)
    assert found.faults == ["internal_ssl"]
    assert "recreate_internal_certs" in found.of("internal_ssl", "fault")["found"]
    assert found.of("static configuration", "ok")
    found = check(more + "c.JupyterHub.recreate_internal_certs = True\n")
    assert found.of("internal_ssl", "skipped")
    assert (directory / "proxy-client" / "proxy-client.key").exists()


def test_options_for_a_traefik_that_others_run(check: Check) -> None:
    """Its API may be https; and what is written for it must have the form."""
    found = check(
        "c.TraefikProxy.should_start = False\n"
        'c.TraefikProxy.extra_dynamic_config = {"htp": {}}\n'
        'c.JupyterHub.ssl_cert = "/absent/on/this/machine.pem"\n'
        'c.JupyterHub.ssl_key = "/absent/on/this/machine.key"\n',
        api_url=f"https://127.0.0.1:{free_port()}",
    )
    assert found.faults == ["options"]
    assert len(found.rows["options"]) == 1
    assert "'htp'" in found.of("options", "fault")["found"]
    assert found.of("certificate", "skipped")


def test_one_that_is_ended_leaves_no_traefik(tmp_path: Path) -> None:
    configure(tmp_path, UNKNOWN_DYNAMIC.replace("= 1\n", "= 9\n"))
    before = trials_left()
    running = in_process(tmp_path)
    try:
        child = wait_until(lambda: _traefik_of(running.pid), "the trial's Traefik")
        running.send_signal(signal.SIGTERM)
        running.communicate(timeout=20)
        assert running.returncode != 0
        assert not child.is_running()
        assert trials_left() == before
    finally:
        if child := _traefik_of(running.pid):
            child.kill()
        running.kill()
        running.communicate()


def _traefik_of(pid: int) -> psutil.Process | None:
    """The Traefik that a process has started to serve."""
    with suppress(psutil.Error):
        for child in psutil.Process(pid).children():
            if "--configfile" in " ".join(child.cmdline()):
                return child
    return None


# --- beside a Hub ------------------------------------------------------------------------------


@pytest.mark.anyio
@pytest.mark.parametrize("store", ["toml-file", "etcd"])
async def test_a_hub_that_runs_is_not_disturbed(
    tmp_path: Path,
    make_proxy: MakeProxy,
    backend: Callable[[str], Backend],
    caplog: pytest.LogCaptureFixture,
    store: str,
) -> None:
    server = EtcdServer(tmp_path / "etcd")
    config, more = Config(), ""
    if store == "etcd":
        config.EtcdStore.endpoints = [server.endpoint]
        more = f'c.TraefikProxy.store = "etcd"\nc.EtcdStore.endpoints = ["{server.endpoint}"]\n'
        server.start()
    try:
        proxy = make_proxy(store=store, config=config, store_check_interval=0.1)
        await proxy.start()
        await proxy.add_route("/user/ada/", backend("ada").url, {})
        directory = tmp_path / "hub"
        directory.mkdir()
        configure(
            directory,
            more,
            url=proxy.public_url,
            api_url=proxy.traefik_api_url,
            run_dir=proxy.run_dir,
        )
        files = files_of(Path(proxy.run_dir))
        caplog.clear()
        running = in_process(directory)
        text, errors = await anyio.to_thread.run_sync(running.communicate)
        assert running.returncode == 0, text + errors
        found = answer_of(running.returncode, text)
        assert f"process {os.getpid()}" in found.rows["Hub"][0]["found"]
        port = int(proxy.public_url.rpartition(":")[2])
        assert "own Traefik" in found.of(f"port {port}", "ok")["found"]
        assert "1 route," in found.of("store", "ok")["found"]
        for each in ("API", "routes in Traefik", "store, writing", "static configuration"):
            assert found.of(each, "ok")
        assert [each.getMessage() for each in caplog.records if each.levelno > 20] == []
        assert files_of(Path(proxy.run_dir)) == files
        await proxy.add_route("/user/bob/", backend("bob").url, {})
        for name in ("ada", "bob"):
            url = f"{proxy.public_url}/user/{name}/"
            assert (await anyio.to_thread.run_sync(ask, url))[1]["name"] == name
    finally:
        await proxy.stop()
        server.stop()


# --- a Traefik that others run -----------------------------------------------------------------

EXTERNAL = """
c.TraefikProxy.should_start = False
c.TraefikProxy.enable_setup_dynamic_config = False
c.TraefikProxy.traefik_api_username = "ada"
c.TraefikProxy.traefik_api_password = "right"
"""


def test_the_api_of_an_external_traefik(check: Check, tmp_path: Path) -> None:
    api = free_port()
    url = f"http://127.0.0.1:{api}"
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "api.toml").write_text(
        """
        [http.routers.api]
        rule = "PathPrefix(`/api`)"
        entryPoints = ["auth_api"]
        service = "api@internal"
        middlewares = ["auth"]
        [http.middlewares.auth.basicAuth]
        users = ["ada:{SHA}0nofEXcSAJSXFLGvmfBIpBb11vQ="]
        """
    )
    assert check(EXTERNAL, api_url=url).faults == ["API"]
    static = {
        "api": {},
        "providers": {"file": {"directory": str(tmp_path / "run")}},
        "entryPoints": {"auth_api": {"address": f"127.0.0.1:{api}"}},
    }
    with run_traefik(tmp_path, static):
        wait_until(lambda: _answers(url, 401), "the API")
        found = check(EXTERNAL, api_url=url)
        assert found.code == 0, found
        assert "answers" in found.of("API", "ok")["found"]
        assert "no Hub has written" in found.of("routes in Traefik", "skipped")["found"]
        found = check(EXTERNAL.replace("right", "wrong"), api_url=url)
        assert found.faults == ["API"]
        row = found.of("API", "fault")
        assert "c.TraefikProxy.traefik_api_password" in row["fix"]
        assert "wrong" not in row["found"] + row["fix"]


def _answers(url: str, status: int) -> bool:
    try:
        return ask(f"{url}/api/version")[0] == status
    except OSError:
        return False


@pytest.mark.anyio
async def test_an_external_traefik_whose_api_router_the_hub_brings(
    tmp_path: Path, make_proxy: MakeProxy
) -> None:
    proxy = make_proxy(should_start=False, traefik_api_password="right")
    places = {"url": proxy.public_url, "api_url": proxy.traefik_api_url}
    static = {
        "api": {},
        "providers": {"file": {"directory": str(tmp_path / "run")}},
        "entryPoints": {
            "http": {"address": proxy.public_url.removeprefix("http://")},
            "auth_api": {"address": proxy.traefik_api_url.removeprefix("http://")},
        },
    }
    directory = tmp_path / "hub"
    for each in (directory, tmp_path / "run"):
        each.mkdir(mode=0o700)

    async def check(more: str) -> Answer:
        more += "c.TraefikProxy.should_start = False\n"
        configure(directory, more, run_dir=str(tmp_path / "run"), **places)
        running = in_process(directory)
        text, errors = await anyio.to_thread.run_sync(running.communicate)
        assert text, errors
        return answer_of(running.returncode, text)

    with run_traefik(tmp_path, static):
        wait_until(lambda: _answers(proxy.traefik_api_url, 404), "Traefik")
        assert "no router" in (await check("")).of("API", "warning")["found"]
        await proxy.add_route("/user/ada/", "http://127.0.0.1:1", {})
        found = await check("")
        assert found.code == 0
        assert "only the Hub" in found.of("API, version and store", "skipped")["found"]
        found = await check('c.TraefikProxy.traefik_api_password = "right"\n')
        assert found.code == 0
        assert found.of("routes in Traefik", "ok")
        found = await check(
            'c.TraefikProxy.traefik_api_password = "right"\n'
            'c.TomlFileStore.path = "elsewhere.toml"\n'
        )
        assert "no Hub has written" in found.of("routes in Traefik", "skipped")["found"]


def test_a_user_of_etcd_whose_rights_are_too_narrow_for_traefik(
    check: Check, tmp_path: Path
) -> None:
    """The Hub could read and write with them; Traefik watches what begins with the prefix."""
    with EtcdServer(tmp_path / "etcd", root_password="root") as server:
        server.add_user("hub", "geheim", role="narrow", prefix="traefik/")
        before = server.dump()
        found = check(
            'c.TraefikProxy.store = "etcd"\n'
            f'c.EtcdStore.endpoints = ["{server.endpoint}"]\n'
            'c.EtcdStore.username = "hub"\n'
            'c.EtcdStore.password = "geheim"\n'
        )
        assert found.faults == ["store, by Traefik"]
        assert "permission denied" in found.of("store, by Traefik", "fault")["found"]
        assert "traefik/" in found.of("store, writing", "warning")["fix"]
        assert "geheim" not in str(found)
        found = check(
            'c.TraefikProxy.store = "etcd"\n'
            f'c.EtcdStore.endpoints = ["{server.endpoint}"]\n'
            'c.EtcdStore.username = "hub"\n'
            'c.EtcdStore.password = "falsch"\n'
        )
        assert found.faults == ["store"]
        assert "falsch" not in str(found)
        assert server.dump() == before


def test_a_user_who_may_not_write(check: Check, tmp_path: Path) -> None:
    with EtcdServer(tmp_path / "etcd", root_password="root") as server:
        server.add_user("hub", "geheim", role="reader")
        allowed = {"permType": "READ", "key": "dHJhZWZpaw==", "range_end": "dHJhZWZpbA=="}
        server.ask("/v3/auth/role/grant", {"name": "reader", "perm": allowed})
        before = server.dump()
        found = check(
            'c.TraefikProxy.store = "etcd"\n'
            f'c.EtcdStore.endpoints = ["{server.endpoint}"]\n'
            'c.EtcdStore.username = "hub"\n'
            'c.EtcdStore.password = "geheim"\n'
        )
        assert found.code == 1
        assert found.faults == ["store, writing"]
        assert "permission denied" in found.of("store, writing", "fault")["found"]
        assert "traefik/" in found.of("store, writing", "fault")["fix"]
        assert server.dump() == before


def test_a_token_that_may_not_write(check: Check, tmp_path: Path) -> None:
    with ConsulServer(tmp_path / "consul", root_token="root") as server:
        for allowed, faults in (("read", ["store, writing"]), ("write", [])):
            token, _ = server.add_token(f'key_prefix "traefik" {{ policy = "{allowed}" }}')
            found = check(
                'c.TraefikProxy.store = "consul"\n'
                f'c.ConsulStore.url = "{server.url}"\n'
                f'c.ConsulStore.token = "{token}"\n'
            )
            assert found.faults == faults


def test_misspelt_options_and_classes(check: Check) -> None:
    found = check(
        'c.TraefikProxy.stor = "etcd"\n'
        'c.TraefikProxi.store = "etcd"\n'
        'c.TomlFileStor.path = "x"\n'
        'c.JupyterHub.bind_ulr = "x"\n'
        'c.Spawner.cmd = ["x"]\n'
    )
    texts = [row["found"] for row in found.rows["options"] if row["status"] == "warning"]
    assert len(texts) == 4
    for wrong, right in (
        ("stor", "store"),
        ("TraefikProxi", "TraefikProxy"),
        ("TomlFileStor", "TomlFileStore"),
        ("bind_ulr", "bind_url"),
    ):
        assert any(wrong in text and f"{right}" in text for text in texts), texts


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_another_user_than_the_hubs(check: Check, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir(mode=0o700)
    os.chown(tmp_path / "run", 65534, -1)
    row = check().of("user", "warning")
    assert "belongs to" in row["found"]
    assert "run this check as" in row["fix"]


def test_entry_points_of_the_admins_own(check: Check) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        found = check(
            "c.TraefikProxy.extra_static_config = {'entryPoints': {"
            f"'more': {{'address': '127.0.0.1:{taken}'}}, "
            f"'free': {{'address': '127.0.0.1:{free_port()}/tcp'}}, "
            f"'datagrams': {{'address': '127.0.0.1:{taken}/udp'}}}}}}\n"
        )
    assert found.faults == [f"port {taken}"]
    assert "extra_static_config, entryPoints.more" in found.of(f"port {taken}", "fault")["found"]
    found = check(
        "c.TraefikProxy.extra_static_config = {'entryPoints': {'http': {'address': ':1234'}}}\n"
    )
    assert "options" in found.faults
    assert "c.JupyterHub.bind_url" in found.of("options", "fault")["found"]


def test_a_name_that_is_no_address_of_this_machine(check: Check) -> None:
    found = check(url="http://hub.example.invalid:8000")
    row = found.of("port 8000", "fault")
    assert "has no address" in row["found"]
    assert "stop what listens" not in row["fix"]
    assert "c.JupyterHub.bind_url" in row["fix"]


def test_a_directory_that_is_open_to_others(check: Check, tmp_path: Path) -> None:
    """Only if the next start can't close it."""
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    run_dir.chmod(0o755)
    assert check().of("directories", "ok")
    assert run_dir.stat().st_mode & 0o777 == 0o755
    (run_dir / "logo.svg").touch()
    (run_dir / "logo.svg").chmod(0o644)
    row = check().of("directories", "warning")
    assert "mode 0755: others can read logo.svg" in row["found"]
    assert f"chmod 700 {run_dir}" in row["fix"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("c.TraefikProxy.hsts_seconds = 300", "c.TraefikProxy.hsts_seconds has no effect"),
        ("c.TraefikProxy.acme_ca_server = 'staging'", "without c.TraefikProxy.acme_domains"),
        ("c.JupyterHub.bind_url = 'https://127.0.0.1:1234'", "there is no certificate"),
        ("c.TraefikProxy.traefik_api_url = 'http://0.0.0.0:1235'", "over plain http"),
    ],
)
def test_what_was_meant_to_be_safe_and_is_not(check: Check, more: str, said: str) -> None:
    found = check(f"{more}\n")
    texts = [row["found"] for row in found.rows["options"] if row["status"] == "warning"]
    assert len(texts) == 1
    assert said in texts[0]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("", "asks hub.example.org on port 443"),
        (
            "c.JupyterHub.subdomain_host = 'https://hub.example.org'\n",
            "not for hub.example.org and *.hub.example.org",
        ),
    ],
    ids=["port", "subdomains"],
)
def test_a_certificate_that_will_not_come_or_not_do(check: Check, more: str, said: str) -> None:
    found = check(f"c.TraefikProxy.acme_domains = ['hub.example.org']\n{more}")
    assert found.faults == []
    assert said in found.of("certificate", "warning")["found"]


def test_a_store_that_asks_nobody_who_he_is(check: Check, tmp_path: Path) -> None:
    with EtcdServer(tmp_path / "etcd") as server:
        found = check(
            f'c.TraefikProxy.store = "etcd"\nc.EtcdStore.endpoints = ["{server.endpoint}"]\n'
        )
        assert found.code == 0
        assert "c.EtcdStore.username is not set" in found.of("store, access", "warning")["found"]
    assert "store, access" not in check().rows


def test_a_certificate_with_a_key_that_traefik_cannot_use(check: Check, tmp_path: Path) -> None:
    options = certificate(tmp_path, 100)
    write_certificate(tmp_path, 100, curve=ec.SECP256K1())
    found = check(options, url=f"https://127.0.0.1:{free_port()}")
    assert found.faults == ["certificate"]
    assert "P-256" in found.of("certificate", "fault")["found"]
