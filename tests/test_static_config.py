"""``traefikhub static-config``: what it prints, and what Traefik reads in each dialect."""

from __future__ import annotations

import json
import shlex
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest
import requests

from support import free_port, wait_until
from traefikhub.cli._static_config import command
from traefikhub.traefik import TraefikError, find_traefik
from traefikhub.traefik.dialects import in_dialect

CONFIG = """
c.JupyterHub.proxy_class = "traefikhub"
c.JupyterHub.bind_url = "http://127.0.0.1:{port}"
c.TraefikProxy.run_dir = {run_dir!r}
c.TraefikProxy.should_start = False
c.TraefikProxy.traefik_api_url = "http://127.0.0.1:{api_port}"
c.TraefikProxy.traefik_api_entrypoint = "auth-api"
c.TraefikProxy.trusted_proxies = ["10.0.0.0/8", "192.168.1.7"]
{more}
"""

EVERYTHING = """
c.TraefikProxy.extra_static_config = {{
    "log": {{"level": "DEBUG", "format": "json"}},
    "api": {{"insecure": True}},
    "ping": {{}},
    "metrics": {{"prometheus": {{"buckets": [0.5, 2.0], "addRoutersLabels": True}}}},
    "accessLog": {{"fields": {{"headers": {{"names": {{"user-agent": "keep"}}}}}}, "filters":
        {{"statusCodes": ["400-499", "500"], "minDuration": "1m30s"}}}},
    "entryPoints": {{
        "traefik": {{"address": "127.0.0.1:{port}"}},
        "my-tls": {{
            "address": "127.0.0.1:0",
            "http": {{"tls": {{"domains": [
                {{"main": "a.org", "sans": ["b.org", "c.org"]}}, {{"main": "d.org"}}]}}}},
            "transport": {{"keepAliveMaxRequests": 42, "lifeCycle": {{"graceTimeOut": 7}}}},
        }},
        "empty": {{"address": "127.0.0.1:0", "http": {{"tls": {{}}}}}},
    }},
}}
"""


@dataclass(frozen=True)
class Place:
    """A hub's directory, and the port of an API without a password."""

    directory: Path
    port: int

    def configure(self, more: str) -> None:
        """Write its configuration."""
        (self.directory / "jupyterhub_config.py").write_text(
            CONFIG.format(
                port=free_port(),
                api_port=free_port(),
                run_dir=str(self.directory / "run"),
                more=more,
            )
        )


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """An empty one, which is the working directory."""
    monkeypatch.chdir(tmp_path)
    return Place(tmp_path, free_port())


def static_config(*arguments: str) -> None:
    """Run the command."""
    traits = [each for each in arguments if each.startswith("--Traefik")]
    rest = [each for each in arguments if each not in traits]
    command.main(rest, "static-config", standalone_mode=False, obj=traits)


def started_with(dialect: str, text: str, directory: Path) -> tuple[list[str], dict[str, str]]:
    """Arguments and environment of a Traefik that is to read a text."""
    match dialect:
        case "flags":
            return shlex.split(text), {}
        case "env":
            return [], dict(line.split("=", 1) for line in text.splitlines())
    file = directory / f"static.{dialect}"
    file.write_text(text)
    return [f"--configfile={file}"], {}


@contextmanager
def traefik(directory: Path, arguments: list[str], env: dict[str, str]) -> Iterator[Path]:
    """A Traefik that runs; its log."""
    path = directory / "traefik.log"
    with path.open("wb") as log:
        process = subprocess.Popen(
            [find_traefik(), *arguments], env=env, stdout=log, stderr=log, cwd=directory
        )
    try:
        yield path
    finally:
        process.kill()
        process.wait()


def what_it_reads(place: Place, dialect: str, text: str) -> dict[str, Any]:
    """What a Traefik says of its configuration, in its API and in its log."""
    url = f"http://127.0.0.1:{place.port}"
    arguments, env = started_with(dialect, text, place.directory)
    with traefik(place.directory, arguments, env) as log:

        def answers() -> bool:
            try:
                names = requests.get(f"{url}/api/http/middlewares", timeout=2).text
            except requests.ConnectionError:
                return False
            return "slim@file" in names

        wait_until(answers, f"Traefik with {dialect}: {log.read_text()}", 15)
        found = {
            what: requests.get(f"{url}/api/{what}", timeout=5).json()
            for what in ("overview", "entrypoints", "rawdata")
        }
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    found["static"] = next(x["staticConfiguration"] for x in lines if "staticConfiguration" in x)
    return found


def test_traefik_reads_the_same_from_each_dialect(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    place.configure(EVERYTHING.format(port=place.port))
    (place.directory / "run").mkdir()
    (place.directory / "run" / "routes.toml").write_text("[http.middlewares.slim.compress]\n")
    found = {}
    for dialect in ("toml", "yaml", "flags", "env"):
        static_config("--format", dialect)
        found[dialect] = what_it_reads(place, dialect, capsys.readouterr().out)
    by_name = {each["name"]: each for each in found["toml"]["entrypoints"]}
    assert set(by_name) == {"http", "auth-api", "traefik", "my-tls", "empty"}
    assert by_name["http"]["forwardedHeaders"]["trustedIPs"] == ["10.0.0.0/8", "192.168.1.7"]
    assert by_name["http"]["transport"]["lifeCycle"]["graceTimeOut"] == "1m0s"
    assert by_name["my-tls"]["http"]["tls"]["domains"][1] == {"main": "d.org"}
    assert found["toml"]["static"]["metrics"]["prometheus"]["buckets"] == [0.5, 2]
    assert found["toml"]["static"]["accessLog"]["filters"]["minDuration"] == "1m30s"
    for dialect in ("yaml", "flags", "env"):
        assert found[dialect] == found["toml"], dialect


NAMES = {
    "log": {"level": "DEBUG", "format": "json"},
    "entryPoints": {"w": {"address": "127.0.0.1:0"}},
    "metrics": {
        "otlp": {
            "http": {"endpoint": "http://127.0.0.1:1", "headers": {"x-key": "a, b"}},
            "resourceAttributes": {"service.name": "hub", "place": "here"},
        }
    },
    "providers": {
        "plugin": {
            "mine": {
                "hosts": ["a,b", "c"],
                "tables": [{"x": 1}, {"y": ["z"]}],
                "deep": {"on": True, "none": {}},
            }
        }
    },
}


@pytest.mark.parametrize("dialect", ["yaml", "flags", "env"])
def test_names_and_what_plugins_get_is_the_same(tmp_path: Path, dialect: str) -> None:
    """Traefik ends soon, for it has no such plug-in."""

    def loaded(dialect: str) -> Any:
        arguments, env = started_with(dialect, in_dialect(NAMES, dialect), tmp_path)
        with traefik(tmp_path, arguments, env) as log:
            wait_until(lambda: "staticConfiguration" in log.read_text(), f"{log}", 10)
        lines = [json.loads(line) for line in log.read_text().splitlines() if "{" in line]
        return next(x["staticConfiguration"] for x in lines if "staticConfiguration" in x)

    expected = loaded("toml")
    assert expected["providers"]["plugin"]["mine"]["hosts"] == ["a,b", "c"]
    assert expected["metrics"]["otlp"]["resourceAttributes"]["service.name"] == "hub"
    assert loaded(dialect) == expected


@pytest.mark.parametrize(
    ("variable", "seen"),
    [
        ("TRAEFIK_ENTRYPOINTS_MyWeb_ADDRESS", '"myweb"'),
        ("TRAEFIK_ENTRYPOINTS_AUTH_API_ADDRESS", "field not found, node: api"),
        ("TRAEFIK_ENTRYPOINTS_AUTH.API_ADDRESS", "field not found, node: api"),
        ("TRAEFIK_ACCESSLOG_FIELDS_NAMES_RequestPath", '"requestpath"'),
    ],
)
def test_why_names_in_variables_are_refused(tmp_path: Path, variable: str, seen: str) -> None:
    value = "drop" if "FIELDS" in variable else "127.0.0.1:0"
    env = {"TRAEFIK_LOG_LEVEL": "DEBUG", "TRAEFIK_LOG_FORMAT": "json", variable: value}
    with traefik(tmp_path, [], env) as log:
        wait_until(lambda: seen in log.read_text(), f"{seen} in {log}", 10)


def test_a_default_name_that_no_variable_can_have(place: Place) -> None:
    place.configure("")
    with pytest.raises(
        click.ClickException, match=r"c\.TraefikProxy\.traefik_api_entrypoint = 'auth-api'"
    ):
        static_config("--format", "env", "--TraefikProxy.traefik_api_entrypoint=auth_api")


SECRETS = """
c.TraefikProxy.store = "etcd"
c.EtcdStore.username = "hub"
c.EtcdStore.password = "geheim"
c.TraefikProxy.extra_static_config = {"certificatesResolvers": {"le": {"acme": {
    "eab": {"kid": "k", "hmacEncoded": "auch-geheim"}}}}}
"""


@pytest.mark.parametrize("dialect", ["toml", "yaml", "flags", "env"])
def test_secrets_are_shown_when_asked_for(
    place: Place, capsys: pytest.CaptureFixture[str], dialect: str
) -> None:
    place.configure(SECRETS)
    static_config("--format", dialect)
    shown = capsys.readouterr()
    assert "geheim" not in shown.out + shown.err
    assert "providers.etcd.password" in shown.err
    static_config("--format", dialect, "--show-secrets")
    shown = capsys.readouterr()
    assert shown.out.count("geheim") == 2
    assert "geheim" not in shown.err


def test_a_file_is_private_and_replaced_as_a_whole(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    place.configure(SECRETS)
    file = place.directory / "out.toml"
    file.write_text("before")
    file.chmod(0o644)
    with file.open() as before:
        static_config("--output", str(file), "--show-secrets")
        assert before.read() == "before"  # who reads meanwhile sees the old one
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "geheim" in file.read_text()
    assert capsys.readouterr().out == ""
    with pytest.raises(TraefikError, match="--output"):
        static_config("--output", str(place.directory / "absent" / "out.toml"))


def test_it_is_for_a_traefik_elsewhere(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.configure(
        'c.JupyterHub.bind_url = "http://:8000"\n'
        'c.TraefikProxy.traefik_api_url = "https://traefik.internal:8443"\n'
        'c.TraefikProxy.access_log = "access.log"\n'
        "c.TraefikProxy.last_activity = True\n"
    )
    static_config("--format", "flags")
    shown = capsys.readouterr()
    flags = shown.out.splitlines()
    assert "--entryPoints.http.address=:8000" in flags
    # It can't listen on a name that is the Hub's word for it, and the Hub asks by https.
    assert "--entryPoints.auth-api.address=:8443" in flags
    assert "--entryPoints.auth-api.http.tls=true" in flags
    assert not [flag for flag in flags if flag.startswith("--accessLog")]
    assert f"{place.directory}/run/routes.toml" in shown.err


def test_where_the_key_for_internal_ssl_is(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    place.configure("c.JupyterHub.internal_ssl = True")
    static_config()
    assert "key from the store" in capsys.readouterr().err
    assert not (place.directory / "internal-ssl").exists()


def test_each_version_gets_the_keys_that_it_knows(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    place.configure("")
    static_config("--traefik-version", "3.6.7")
    assert "aliasHeadersStrategy" not in capsys.readouterr().out
    static_config("--traefik-version", "v3.7.12")
    assert "aliasHeadersStrategy" in capsys.readouterr().out
    for wrong in ("3.5.0", "latest"):
        with pytest.raises(click.UsageError, match="--traefik-version"):
            static_config("--traefik-version", wrong)


def test_what_no_dialect_can_say_names_its_key(place: Place) -> None:
    place.configure('c.TraefikProxy.extra_static_config = {"log": {"level": None}}')
    with pytest.raises(click.ClickException, match=r"log\.level.*extra_static_config"):
        static_config()
