"""``traefikhub routes``, as an admin uses it: on a file, on a real etcd, beside a real Hub."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import anyio.to_thread
import pytest

from conftest import MakeProxy
from servers.etcd import EtcdServer
from support import Backend, ask, free_port
from test_migrating import RULES_TOML, read_by_the_hub
from traefikhub.cli import main

ROUTES = {
    "/": {"target": "http://127.0.0.1:8081", "hub": True},
    "/user/mary": {"target": "http://127.0.0.1:9001", "user": "mary", "server_name": ""},
    "/user/ann/lab": {"target": "http://127.0.0.1:9002/b", "user": "ann", "server_name": "lab"},
}
SPECS = ["/", "/user/ann/lab/", "/user/mary/"]


class Said(NamedTuple):
    """What a command said."""

    stdout: str
    stderr: str

    @property
    def output(self) -> str:
        return self.stdout + self.stderr


class Admin:
    """Works in the directory of a hub that doesn't run."""

    def __init__(self, directory: Path, screen: pytest.CaptureFixture[str]) -> None:
        self.directory = directory
        self._screen = screen
        self.file = directory / "jupyterhub-traefik" / "routes.toml"

    def do(self, *arguments: str, code: int = 0) -> Said:
        """A command about routes; checks its exit code."""
        with pytest.raises(SystemExit) as ended:
            main(["routes", *arguments])
        said = Said(*self._screen.readouterr())
        assert ended.value.code == code, said
        return said

    def routes(self, *arguments: str) -> list[str]:
        found = json.loads(self.do("list", "--json", *arguments).stdout)
        return [route["routespec"] for route in found["routes"]]

    def write(self, name: str, document: Any) -> str:
        (self.directory / name).write_text(json.dumps(document))
        return name


@pytest.fixture
def admin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Admin:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "jupyterhub_config.py").write_text(
        f"""
c.JupyterHub.proxy_class = "traefikhub"
c.JupyterHub.bind_url = "http://127.0.0.1:{free_port()}"
c.TraefikProxy.traefik_api_url = "http://127.0.0.1:{free_port()}"
c.EtcdStore.timeout = 2.0
"""
    )
    return Admin(tmp_path, capsys)


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    with EtcdServer(tmp_path_factory.mktemp("etcd")) as server:
        yield server


@pytest.fixture
def full(admin: Admin) -> Admin:
    """With three routes."""
    admin.do("import", admin.write("routes.json", ROUTES), "--yes")
    return admin


def test_a_hub_that_never_ran_has_no_routes(admin: Admin) -> None:
    assert admin.routes() == []
    assert not admin.file.exists()


def test_routes_are_shown_with_whose_they_are(full: Admin) -> None:
    assert full.routes() == SPECS
    listed = full.do("list").output
    assert "ann, server lab" in listed
    assert "the Hub" in listed
    assert "3 routes" in listed
    for wanted in ("mary", "/user/mary/", "/user/mary"):
        (shown,) = json.loads(full.do("show", wanted, "--json").stdout)
        assert shown["routespec"] == "/user/mary/"
        rules = [x["rule"] for name, x in shown["records"].items() if name.startswith("http/rout")]
        assert any("/user/mary/" in rule for rule in rules)
        assert shown["drifted"] == []
    assert "there is no route nobody" in full.do("show", "nobody", code=1).output


def test_a_route_is_found_as_people_write_it(admin: Admin) -> None:
    specs = {"/user/zo%C3%AB/": "zoë", "/user/x%20y/": "x y", "/user/a%5Bb%5D/": "a[b]"}
    routes = {
        spec.rstrip("/"): {"target": "http://127.0.0.1:9001", "user": name}
        for spec, name in specs.items()
    }
    admin.do("import", admin.write("routes.json", routes), "--yes")
    for spec, name in specs.items():
        for wanted in (spec, f"/user/{name}/", f"/user/{name}", name):
            (shown,) = json.loads(admin.do("show", wanted, "--json").stdout)
            assert shown["routespec"] == spec, wanted


def test_what_is_exported_can_be_imported(full: Admin) -> None:
    full.do("export", "-o", "kept.json")
    assert full.do("export").stdout == (full.directory / "kept.json").read_text()
    full.do("diff", "kept.json")
    none = full.write("none.json", {"traefikhub": 1, "routes": []})
    emptied = full.do("import", none, "--replace", "-y")
    assert "0 routes written, 3 routes deleted, and read again" in emptied.stderr
    assert full.routes() == []
    full.do("diff", "kept.json", code=1)
    full.do("import", "kept.json", "--yes")
    assert full.routes() == SPECS
    full.do("diff", "kept.json")


def test_what_is_there_is_never_lost_by_accident(full: Admin) -> None:
    more = full.write("more.json", {"/user/zoe": {"target": "http://127.0.0.1:9003"}})
    assert "--merge" in full.do("import", more, "--yes", code=1).output
    assert "not both" in full.do("import", more, "--merge", "--replace", code=2).output
    # Nobody is there to be asked.
    assert "--yes" in full.do("import", more, "--merge", code=2).output
    assert full.routes() == SPECS
    merged = full.do("import", more, "--merge", "--yes")
    assert "1 route written, and read again" in merged.stderr
    assert full.routes() == [*SPECS, "/user/zoe/"]
    replaced = full.do("import", more, "--replace", "--yes")
    assert "1 route written, 3 routes deleted, and read again" in replaced.stderr
    assert full.routes() == ["/user/zoe/"]


def test_what_is_no_routes_is_refused_and_nothing_is_written(full: Admin) -> None:
    before = full.file.read_bytes()
    (full.directory / "torn.json").write_text('{"traefikhub": 1, "rou')
    torn = full.do("import", "torn.json", "--replace", "--yes", code=1)
    assert "torn.json can't be used" in torn.output
    odd = full.write("odd.json", {"/user/zoe": {"target": "ftp://127.0.0.1"}})
    assert "ftp://127.0.0.1" in full.do("import", odd, "--merge", "--yes", code=1).output
    twice = full.write("twice.json", {"/user/%6dary": {"target": "http://127.0.0.1:1"}})
    assert "another spelling" in full.do("import", twice, "--merge", "--yes", code=1).output
    full.do("import", "absent.json", "--yes", code=2)
    unread = full.do("import", "/proc/self/mem", "--replace", "--yes", code=1)
    assert "/proc/self/mem can't be used" in unread.output
    assert full.file.read_bytes() == before


def test_what_was_changed_by_hand_is_shown_and_mended(full: Admin) -> None:
    whole = full.do("export").stdout
    text = full.file.read_text()
    service = text.index("9001")  # Traefik's part comes before what the Hub remembers
    full.file.write_text(text[:service] + "9999" + text[service + 4 :])
    assert "routes diff" in full.do("list").output
    (change,) = json.loads(full.do("diff", "--json", code=1).stdout)
    assert change["name"] == "http/services/g_user_mary"
    assert "9999" in json.dumps(change["here"])
    assert "9001" in json.dumps(change["there"])
    assert "9999" in full.do("diff", code=1).output
    (shown,) = json.loads(full.do("show", "mary", "--json").stdout)
    assert shown["drifted"] == ["http/services/g_user_mary"]
    full.do("repair", code=2)
    assert "1 record" in full.do("repair", "--yes").output
    full.do("diff")
    assert full.do("export").stdout == whole
    assert "nothing to mend" in full.do("repair").output


def test_a_hub_moves_from_a_file_to_etcd(full: Admin, etcd: EtcdServer) -> None:
    options = [f"--EtcdStore.endpoints={etcd.endpoint}", "--EtcdStore.prefix=moved"]
    full.do("copy", "--to", "etcd", "--yes", *options)
    assert full.routes("--TraefikProxy.store=etcd", *options) == SPECS
    full.do("diff", "--with", "etcd", *options)
    full.do("diff", "--TraefikProxy.store=etcd", *options)
    assert full.routes() == SPECS
    # And back.
    options.append("--TraefikProxy.store=etcd")
    full.file.unlink()
    full.do("copy", "--to", "toml-file", "--yes", *options)
    assert full.routes() == SPECS


def test_what_is_no_route_is_never_deleted_in_silence(full: Admin) -> None:
    tables = full.file.read_text()
    theirs = '[http.routers.theirs]\nrule = "Path(`/x`)"\nservice = "theirs"\n\n'
    assert tables.count("[http.routers.root__]") == 1
    full.file.write_text(tables.replace("[http.routers.root__]", theirs + "[http.routers.root__]"))
    more = full.write("more.json", {"/user/zoe": {"target": "http://127.0.0.1:9003"}})
    refused = full.do("import", more, "--merge", "--yes", code=1)
    assert "routes diff" in refused.output
    asked = full.do("import", more, "--replace", code=2)
    assert "delete 3 routes and 1 record of no route there" in asked.output
    assert "http/routers theirs" in full.do("repair", code=2).output
    assert "theirs" in full.file.read_text()
    told = full.do("import", more, "--replace", "--yes").stderr
    assert "1 route written, 3 routes and 1 record of no route deleted" in told
    assert "theirs" not in full.file.read_text()


def test_who_says_no_is_told_that_nothing_was_changed(full: Admin) -> None:
    """At a terminal."""
    before = full.file.read_bytes()
    more = full.write("more.json", {"/user/zoe": {"target": "http://127.0.0.1:9003"}})
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "traefikhub.cli", "routes", "import", more, "--merge"]
    with os.fdopen(ours, "wb", buffering=0) as keyboard, os.fdopen(theirs) as terminal:
        keyboard.write(b"n\n")
        ended = subprocess.run(
            command, cwd=full.directory, stdin=terminal, capture_output=True, text=True, timeout=60
        )
    assert "Write 1 route into" in ended.stderr
    assert "Nothing was changed" in ended.stderr
    assert ended.returncode == 1
    assert full.file.read_bytes() == before


def test_what_the_hub_could_not_read_is_not_written(
    full: Admin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By root, or anybody else than the Hub's user."""
    before = full.file.read_bytes()
    monkeypatch.setattr("os.geteuid", lambda: 12345)
    routes = full.write("more.json", {"/user/zoe": {"target": "http://127.0.0.1:9003"}})
    assert "sudo -u" in full.do("import", routes, "--merge", "--yes", code=1).output
    assert full.file.read_bytes() == before


def test_a_copy_onto_itself_is_refused(full: Admin) -> None:
    assert "can't be copied there" in full.do("copy", "--to", "toml-file", "-y", code=2).output


@pytest.mark.parametrize(
    ("option", "arguments"),
    [
        ("--to", ["copy", "--to", "nope", "--yes"]),
        ("--from", ["copy", "--to", "etcd", "--from", "nope", "--yes"]),
        ("--with", ["diff", "--with", "nope"]),
    ],
)
def test_the_option_that_names_no_store_is_told(
    full: Admin, option: str, arguments: list[str]
) -> None:
    told = full.do(*arguments, code=1).output
    assert f"{option} nope: no store of that name is installed. Installed: " in told
    assert "c.TraefikProxy.store" not in told


def test_another_store_whose_options_can_not_be_used_is_told(full: Admin) -> None:
    told = full.do("copy", "--to", "etcd", "-y", "--EtcdStore.timeout=x", code=1).output
    assert "c.EtcdStore.timeout expected a float" in told
    old = ("copy", "--to", "toml-file", "--from-old", "etcd", "-y", "--old-prefix=a//b")
    assert "--old-prefix: " in full.do(*old, code=2).output


def test_a_copy_of_nothing_deletes_nothing(full: Admin) -> None:
    """As when the prefix is another, or the file."""
    where = ["--to", "toml-file", "--replace", "--yes"]
    to_etcd = ["--to", "etcd", "--TomlFileStore.path=none.toml", "--yes"]
    assert "holds no routes; nothing was copied" in full.do("copy", *to_etcd, code=1).output
    (full.directory / "old.yaml").write_text("http: {}")
    old = ["--from-old", "file", "--old-file", "old.yaml"]
    assert "(--old-file)" in full.do("copy", *old, *where, code=1).output
    assert full.routes() == SPECS


def test_the_old_proxys_file_is_taken_along(admin: Admin) -> None:
    (admin.directory / "rules.toml").write_text(RULES_TOML)
    admin.do("copy", "--to", "toml-file", "--from-old", "file", "--yes")
    assert admin.routes() == ["/user/mary/"]
    wrong = admin.do(
        *("copy", "--to", "toml-file", "--from-old", "file"),
        *("--old-file", "jupyterhub_config.py", "--merge", "--yes"),
        code=1,
    )
    assert "jupyterhub_config.py: " in wrong.output


def test_the_old_proxys_keys_are_taken_along(admin: Admin, etcd: EtcdServer) -> None:
    for key, value in read_by_the_hub("http://127.0.0.1:9001").items():
        etcd.put(f"old/hub/{key}", value)
    before = etcd.dump()
    where = [f"--EtcdStore.endpoints={etcd.endpoint}", "--from-old", "etcd"]
    empty = admin.do("copy", "--to", "toml-file", "-y", *where, code=1)
    assert "--old-prefix" in empty.output
    admin.do("copy", "--to", "toml-file", "-y", *where, "--old-prefix=old/hub/")
    assert admin.routes() == ["/", "/user/mary/"]
    assert etcd.dump() == before


def test_a_store_that_is_down_is_told(admin: Admin) -> None:
    down = admin.do(
        *("list", "--TraefikProxy.store=etcd", f"--EtcdStore.endpoints=127.0.0.1:{free_port()}"),
        code=1,
    )
    assert "c.EtcdStore.endpoints" in down.output


@pytest.mark.anyio
async def test_beside_a_hub_that_runs_reading_is_harmless_and_writing_refused(
    admin: Admin, make_proxy: MakeProxy, backend: Callable[[str], Backend]
) -> None:
    proxy = make_proxy(run_dir=str(admin.directory / "jupyterhub-traefik"))
    await proxy.start()
    await proxy.add_route("/user/mary/", backend("mary").url, {"user": "mary"})
    do = anyio.to_thread.run_sync
    assert await do(admin.routes) == ["/user/mary/"]
    await do(lambda: admin.do("diff"))
    await do(lambda: admin.do("show", "mary"))
    routes = admin.write("routes.json", ROUTES)
    refused = await do(lambda: admin.do("import", routes, "--merge", "--yes", code=1))
    assert "another JupyterHub" in refused.output
    await proxy.add_route("/user/john/", backend("john").url, {"user": "john"})
    assert (await do(ask, f"{proxy.public_url}/user/john/"))[0] == 200
    assert await do(admin.routes) == ["/user/john/", "/user/mary/"]


@pytest.mark.anyio
async def test_a_hub_serves_what_was_imported(
    admin: Admin, make_proxy: MakeProxy, backend: Callable[[str], Backend]
) -> None:
    url = backend("mary").url
    routes = admin.write("routes.json", {"/user/mary": {"target": url, "user": "mary"}})
    await anyio.to_thread.run_sync(lambda: admin.do("import", routes, "--yes"))
    proxy = make_proxy(run_dir=str(admin.directory / "jupyterhub-traefik"))
    await proxy.start()
    assert (await anyio.to_thread.run_sync(ask, f"{proxy.public_url}/user/mary/"))[0] == 200
