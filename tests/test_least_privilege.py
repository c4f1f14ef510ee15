"""What the Hub's files, Traefik's process and the units of docs/least-privilege.md permit."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import anyio
import pytest

from conftest import MakeProxy
from privilege_page import SYSTEMD
from servers.scene import until
from support import Backend, ask, traefik_processes
from traefikhub.cli import main
from traefikhub.traefik import find_traefik, version_of

pytestmark = pytest.mark.anyio


def modes_below(directory: Path) -> dict[str, int]:
    """Of a directory and all in it."""
    return {
        str(path.relative_to(directory)): stat.S_IMODE(path.lstat().st_mode)
        for path in (directory, *directory.rglob("*"))
    }


# --- files -------------------------------------------------------------------------------------


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.mark.parametrize("existing", [None, 0o755])
async def test_all_files_are_the_owners_alone(
    umask: None,
    existing: int | None,
    make_proxy: MakeProxy,
    backend: Callable[[str], Backend],
    tmp_path: Path,
) -> None:
    run_dir = tmp_path / "run"
    if existing:
        run_dir.mkdir()
        run_dir.chmod(existing)
    proxy = make_proxy(access_log="logs/access.log")
    await proxy.start()
    await proxy.add_route("/user/mary/", backend("mary").url, {})
    await anyio.to_thread.run_sync(ask, f"{proxy.public_url}/user/mary/")
    await until(lambda: (run_dir / "logs" / "access.log").stat().st_size, "the access log")
    found = modes_below(run_dir)
    assert {
        *("lock", "api-password", "traefik.toml", "traefik.log", "traefik.pid.json"),
        *("routes.toml", "routes.toml.lock", "logs/access.log"),
    } <= found.keys()
    wrong = {
        name: oct(mode)
        for name, mode in found.items()
        if mode != (0o700 if (run_dir / name).is_dir() else 0o600)
    }
    assert not wrong


async def test_a_directory_that_holds_something_for_others_is_left_open(
    make_proxy: MakeProxy, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    (run_dir / "logo.svg").write_text("for the Hub's pages")
    (run_dir / "logo.svg").chmod(0o644)
    run_dir.chmod(0o775)
    await make_proxy().start()
    assert stat.S_IMODE(run_dir.stat().st_mode) == 0o775
    (told,) = (each.getMessage() for each in caplog.records if "mode 0775" in each.getMessage())
    assert f"chmod 700 {run_dir}" in told
    assert "c.TraefikProxy.run_dir" in told


@pytest.mark.parametrize(
    "command",
    [["static-config", "--show-secrets"], ["routes", "export"]],
    ids=lambda command: command[0],
)
def test_what_a_command_writes_is_the_owners_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "jupyterhub_config.py").write_text('c.JupyterHub.proxy_class = "traefikhub"\n')
    before = os.umask(0)
    try:
        with pytest.raises(SystemExit) as ended:
            main([*command, "--output", "written"])
    finally:
        os.umask(before)
    assert not ended.value.code
    assert (tmp_path / "written").stat().st_size
    assert stat.S_IMODE((tmp_path / "written").stat().st_mode) == 0o600


# --- Traefik's process -------------------------------------------------------------------------

SECRETS: Final = {
    name: f"secret-{number}"
    for number, name in enumerate(
        (
            *("CONFIGPROXY_AUTH_TOKEN", "JUPYTERHUB_API_TOKEN", "JUPYTERHUB_CRYPT_KEY"),
            *("AWS_SECRET_ACCESS_KEY", "OAUTH_CLIENT_SECRET", "CONSUL_HTTP_TOKEN"),
            *("ETCDCTL_USER", "TRAEFIK_PROVIDERS_ETCD_PASSWORD", "LD_PRELOAD_X"),
        )
    )
}

GIVEN: Final = {
    *("PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR"),
    *("GODEBUG", "GOGC", "GOMAXPROCS", "GOMEMLIMIT"),
}
"""As the page lists them."""


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
async def test_traefik_holds_nothing_but_what_it_needs(
    make_proxy: MakeProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    with (tmp_path / "hubs.sqlite").open("w") as file, socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        # As bad as can be: an extension of the Hub's has made them so.
        for each in (file.fileno(), listener.fileno()):
            os.set_inheritable(each, True)
        await make_proxy(traefik_env={"MY_DNS_TOKEN": "for-traefik"}).start()
        (process,) = traefik_processes(tmp_path / "run")
        proc = Path(f"/proc/{process.pid}")
        environ = dict(
            entry.split("=", 1) for entry in proc.joinpath("environ").read_text()[:-1].split("\0")
        )
        assert environ.keys() - GIVEN == {"MY_DNS_TOKEN"}
        assert not set(SECRETS.values()) & set(environ.values())
        password = (tmp_path / "run" / "api-password").read_text().strip()
        cmdline = proc.joinpath("cmdline").read_text()
        assert not [each for each in (*SECRETS.values(), password) if each in cmdline]
        assert cmdline.count("\0") == 2  # the program and one option
        ours, theirs = descriptors(Path("/proc/self")), descriptors(proc)
        assert f"socket:[{os.fstat(listener.fileno()).st_ino}]" in ours
        shared = {each for each in ours & theirs if not each.startswith("anon_inode")}
        assert shared <= {"/dev/null"}
        # Go's own runtime looks into /sys for the processors that it may use.
        opened = {each for each in theirs if each.startswith("/") and not each.startswith("/sys/")}
        files = opened - {"/dev/null"}
        assert files <= {str(tmp_path / "run" / "traefik.log")}


def test_nor_gets_it_more_when_asked_for_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUPYTERHUB_CRYPT_KEY", "secret-of-the-hub")
    program = tmp_path / "traefik"
    program.write_text('#!/bin/sh\nenv > "$0.env"\necho "Version: 3.7.0"\n')
    program.chmod(0o755)
    assert str(version_of(str(program))) == "3.7.0"
    told = (tmp_path / "traefik.env").read_text()
    assert "PATH=" in told
    assert "JUPYTERHUB_CRYPT_KEY" not in told


def descriptors(proc: Path) -> set[str]:
    """What the open descriptors of a process lead to."""
    found = set()
    for link in (proc / "fd").iterdir():
        try:
            found.add(os.readlink(link))
        except FileNotFoundError:  # the one that lists them
            continue
    return found


# --- low ports ---------------------------------------------------------------------------------

_HUB: Final = """
import json, sys, anyio
from pathlib import Path
from support import Backend, ask, hub_app, traefik_processes
from traefikhub import TraefikProxy
from traefikhub.traefik import TraefikError
from traefikhub.traefik.connections import listens

async def main(directory, program):
    proxy = TraefikProxy(
        app=hub_app(), public_url="http://127.0.0.1:80", run_dir=f"{directory}/run",
        traefik_api_url="http://127.0.0.1:8099", grace_seconds=1, traefik_command=program,
    )
    mary = Backend("mary")
    try:
        await proxy.start()
        await proxy.add_route("/user/mary/", mary.url, {})
        status, _ = await anyio.to_thread.run_sync(ask, "http://127.0.0.1/user/mary/")
        (process,) = traefik_processes(Path(directory))
        found = {
            "status": status, "uid": process.uids().real, "seen": listens(process.pid, 80),
            "program": process.exe(),
        }
    except TraefikError as error:
        found = {"error": str(error)}
    finally:
        await proxy.stop()
        mary.close()
    print(json.dumps(found))

anyio.run(main, *sys.argv[1:])
"""

_PROBE: Final = """
import support, traefikhub.proxy
from traefikhub.stores import resolve_store
resolve_store("toml-file")
"""

NOBODY: Final = 65534
TESTS: Final = str(Path(__file__).parent)


class Unprivileged:
    """Runs a Hub as the user nobody, in a network of its own, where no port below 1024 is free for
    all."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.program = find_traefik()

    def run(self, *capabilities: str, program: str = "") -> dict[str, Any]:
        """What it finds. The process has these capabilities, and gives them to what it starts."""
        names = ",".join(f"+{name}" for name in capabilities) or "-all"
        done = self._run(
            ["--inh-caps", names, "--ambient-caps", names],
            ["-c", _HUB, str(self._directory), program or self.program],
        )
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found

    def require(self) -> None:
        """Skip the test where that can't be done."""
        if os.geteuid() != 0:
            pytest.skip("only root can make a network, and become another user with a capability")
        for program in ("unshare", "setpriv", "ip"):
            if not shutil.which(program):
                pytest.skip(f"there is no {program} (util-linux, iproute2)")
        probe = self._run([], ["-c", _PROBE])
        if probe.returncode:
            pytest.skip(f"another user can't run this checkout: {probe.stderr[-300:]}")

    def _run(self, rights: list[str], arguments: list[str]) -> subprocess.CompletedProcess[str]:
        alone = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
        user = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *rights]
        return subprocess.run(
            [*alone, *user, "--", sys.executable, *arguments],
            cwd=self._directory,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self._directory),
                "PYTHONPATH": os.pathsep.join([TESTS, os.environ.get("PYTHONPATH", "")]),
                "PYTHONDONTWRITEBYTECODE": "1",
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.fixture(scope="module")
def unprivileged() -> Iterator[Unprivileged]:
    # Not below tmp_path, into which root alone can go.
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        home = Path(directory) / "hub"
        home.mkdir(mode=0o700)
        if os.geteuid() == 0:
            os.chown(home, NOBODY, NOBODY)
        user = Unprivileged(home)
        user.require()
        yield user


def test_port_80_without_root(unprivileged: Unprivileged) -> None:
    """As ``AmbientCapabilities=`` of systemd gives it."""
    found = unprivileged.run("net_bind_service")
    assert found["status"] == 200
    assert found["uid"] == NOBODY
    assert found["seen"]


def test_port_80_without_the_right_to_it(unprivileged: Unprivileged) -> None:
    told = unprivileged.run()["error"]
    assert "can't listen on 127.0.0.1:80 (c.JupyterHub.bind_url)" in told
    assert "AmbientCapabilities=CAP_NET_BIND_SERVICE" in told
    assert f"setcap cap_net_bind_service=+ep {unprivileged.program}" in told
    assert "net.ipv4.ip_unprivileged_port_start=80" in told


def test_port_80_by_a_right_of_the_program(unprivileged: Unprivileged) -> None:
    """With the command that the error tells. The Hub itself can't try the port then, and sees less
    of Traefik."""
    setcap = shutil.which("setcap", path=f"{os.environ['PATH']}:/usr/sbin")
    if not setcap:
        pytest.skip("there is no setcap (libcap2-bin)")
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        program = shutil.copy(unprivileged.program, directory)
        done = subprocess.run(
            [setcap, "cap_net_bind_service=+ep", program],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            pytest.skip(f"no capabilities on files here: {done.stderr}")
        found = unprivileged.run(program=program)
    assert found["status"] == 200
    assert not found["seen"]


# --- systemd -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("unit", "exposure"), [("traefik", 2.0), ("jupyterhub", 2.5)])
def test_the_units_are_right_and_tight(unit: str, exposure: float, tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if not analyze:
        pytest.skip("there is no systemd-analyze (systemd)")
    # It looks whether the program is there.
    text = (SYSTEMD / f"{unit}.service").read_text()
    file = tmp_path / f"{unit}.service"
    file.write_text(re.sub(r"^ExecStart=\S+", f"ExecStart={sys.executable}", text, flags=re.M))

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [analyze, *arguments, str(file)], capture_output=True, text=True, check=False
        )

    verified = run("verify", "--man=no")
    if "Failed to initialize" in verified.stderr or "unrecognized option" in verified.stderr:
        pytest.skip(f"systemd-analyze can't look at files here: {verified.stderr}")
    assert (verified.returncode, verified.stderr) == (0, "")
    judged = run("security", "--no-pager", "--offline=true", f"--threshold={exposure * 10:.0f}")
    assert judged.returncode == 0, judged.stdout[-300:] + judged.stderr
