"""Hub and Traefik at etcd and consul with exactly the rights of docs/least-privilege.md,
and with one of them missing."""

from __future__ import annotations

import logging
import os
import re
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pytest
from traitlets.config import Config

from conftest import MakeProxy
from privilege_page import commands_of
from servers.consul import ConsulServer, consul_binary
from servers.etcd import EtcdServer, etcd_binary
from servers.scene import KeyValues, Scene, until
from support import Backend, traefik_processes
from traefikhub.stores import FencedError, StoreUnavailable, resolve_store

pytestmark = pytest.mark.anyio

ROOT = "r00t-0f-the-server"
HUB, TRAEFIK = "hubs-0wn-secret", "traefiks-0wn-secret"


class Rights(Protocol):
    """A server where Hub and Traefik have a user each, made by the page's commands."""

    server: Any
    secrets: tuple[str, str]  # the Hub's and Traefik's

    def options(self) -> dict[str, Any]:
        """Of a proxy, as the page has them."""

    def as_traefik(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The server's own client with what Traefik has: ``get KEY`` or ``put KEY VALUE``."""

    def take(self, what: str) -> None:
        """Take the rights of ``hub`` or ``hub-traefik`` away."""

    def mend(self, command: str, what: str) -> None:
        """Run a command that an error told."""


def run(
    directory: Path, commands: str, env: dict[str, str], *, programs: Path
) -> subprocess.CompletedProcess[str]:
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-c", f"set -e\n{commands}"],
        cwd=directory,
        env=os.environ | {"PATH": path} | env,
        capture_output=True,
        text=True,
        check=False,
    )


class EtcdRights:
    """Two users."""

    def __init__(self, server: EtcdServer, directory: Path) -> None:
        self.server = server
        self._directory = directory
        self.secrets = (HUB, TRAEFIK)
        for name, password in (("hub", HUB), ("hub-traefik", TRAEFIK)):
            (directory / f"{name}.password").write_text(password + "\n")
        self._as_root(commands_of("etcd"))

    def _run(self, commands: str, user: str) -> subprocess.CompletedProcess[str]:
        env = {
            "ETCDCTL_API": "3",
            "ETCDCTL_ENDPOINTS": self.server.endpoint,
            "ETCDCTL_USER": user,
        }
        return run(self._directory, commands, env, programs=Path(etcd_binary()).parent)

    def _as_root(self, commands: str) -> None:
        done = self._run(commands, f"root:{ROOT}")
        assert done.returncode == 0, done.stderr

    def options(self) -> dict[str, Any]:
        config = Config()
        config.EtcdStore.update(
            endpoints=[self.server.endpoint],
            username="hub",
            password=HUB,
            traefik_username="hub-traefik",
            traefik_password=TRAEFIK,
        )
        return {"store": "etcd", "config": config}

    def as_traefik(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self._run(f"etcdctl {' '.join(arguments)}", f"hub-traefik:{TRAEFIK}")

    def take(self, what: str) -> None:
        key = "traefik/" if what == "hub" else "traefik"
        self._as_root(f"etcdctl role revoke-permission {what} {key} --prefix")

    def mend(self, command: str, what: str) -> None:
        self._as_root(command.replace("ROLE", what))


class ConsulRights:
    """Two tokens."""

    def __init__(self, server: ConsulServer, directory: Path) -> None:
        self.server = server
        self._directory = directory
        told = self._as_root(commands_of("consul"))
        hub, traefik = re.findall(r"^SecretID: +(\S+)$", told, re.M)
        self.secrets = (hub, traefik)
        policies = re.findall(r"^ID: +(\S+)$", told, re.M)
        self._policies = dict(zip(("hub", "hub-traefik"), policies, strict=True))

    def _run(self, commands: str, token: str) -> subprocess.CompletedProcess[str]:
        env = {"CONSUL_HTTP_ADDR": self.server.url, "CONSUL_HTTP_TOKEN": token}
        return run(self._directory, commands, env, programs=Path(consul_binary()).parent)

    def _as_root(self, commands: str) -> str:
        done = self._run(commands, ROOT)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def options(self) -> dict[str, Any]:
        config = Config()
        config.ConsulStore.update(
            url=self.server.url, token=self.secrets[0], traefik_token=self.secrets[1]
        )
        return {"store": "consul", "config": config}

    def as_traefik(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self._run(f"consul kv {' '.join(arguments)}", self.secrets[1])

    def take(self, what: str) -> None:
        self.server.set_rules(self._policies[what], 'key_prefix "else/" { policy = "write" }')

    def mend(self, command: str, what: str) -> None:
        self._as_root(command.replace("POLICY", self._policies[what]))


@pytest.fixture(params=["etcd", "consul"])
def rights(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rights]:
    """It stands before ``make_proxy``, to outlive the proxies."""
    directory = tmp_path / "server"
    directory.mkdir()
    if request.param == "etcd":
        with EtcdServer(directory, root_password=ROOT) as etcd:
            yield EtcdRights(etcd, directory)
    else:
        with ConsulServer(directory, root_token=ROOT) as consul:
            yield ConsulRights(consul, directory)


@pytest.fixture
def make_consul(tmp_path: Path) -> Iterator[Callable[..., ConsulRights]]:
    """With settings of its own. It stands before ``make_proxy`` as well."""
    directory = tmp_path / "server"
    directory.mkdir()
    with ExitStack() as stack:

        def make(**settings: Any) -> ConsulRights:
            server = stack.enter_context(ConsulServer(directory, root_token=ROOT, **settings))
            return ConsulRights(server, directory)

        yield make


@pytest.fixture
def open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


async def test_the_documented_rights_are_enough(
    rights: Rights,
    open_umask: None,
    make_proxy: MakeProxy,
    backend: Callable[[str], Backend],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Start, routes, drift, the next Hub, and one that takes the store over from that."""
    caplog.set_level(logging.DEBUG)
    run_dir = tmp_path / "run"
    options = rights.options() | {"store_check_interval": 0.2}
    first = make_proxy(**options)
    await first.start()
    keys = KeyValues(rights.server.dump, "traefik")
    scene = Scene(first, keys, backend)
    for user in ("mary", "john", "rose"):
        await scene.add(user)
    await scene.delete("rose")
    everyone = {"mary": "mary", "john": "john"}
    await scene.comes_to_order(everyone, "rose")

    for key in keys.keys():  # noqa: SIM118 - it is no mapping
        if "mary" in key:
            rights.server.delete(f"traefik/{key}")
    rights.server.put("traefik/http/routers/others/rule", "Path(`/`)")
    await until(lambda: not scene.is_in_order(everyone, "rose"), "the drift")
    await scene.comes_to_order(everyone, "rose")

    (process,) = traefik_processes(run_dir)
    assert rights.secrets[0] not in (run_dir / "traefik.toml").read_text()
    assert rights.secrets[1] in (run_dir / "traefik.toml").read_text()
    for secret in rights.secrets:
        assert secret not in str([process.cmdline(), process.environ()]) + caplog.text
    for path in (run_dir, *run_dir.rglob("*")):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), f"{path}: {mode:o}"

    refused = rights.as_traefik("put", "traefik/http/routers/mine/rule", "x")
    assert refused.returncode != 0
    assert "ermission denied" in refused.stderr
    assert rights.as_traefik("get", "traefik/jupyterhub/owner").stdout.strip()

    await first.stop()
    scene.proxy = make_proxy(**options)
    await scene.proxy.start()
    await scene.comes_to_order(everyone, "rose")
    await scene.add("rose")
    await scene.comes_to_order({**everyone, "rose": "rose"})

    rival = resolve_store(options["store"])(config=options["config"])  # another Hub's
    await rival.open()
    await rival.load()
    await rival.close()
    with pytest.raises(FencedError):
        await scene.add("late")


class Missing(NamedTuple):
    """what: whose rights. option: that the error names."""

    what: str
    option: str


@pytest.mark.parametrize("missing", [Missing("hub", ""), Missing("hub-traefik", "traefik_")])
async def test_what_is_missing_is_named_with_what_mends_it(
    rights: Rights, make_proxy: MakeProxy, tmp_path: Path, missing: Missing
) -> None:
    rights.take(missing.what)
    proxy = make_proxy(**rights.options())
    with pytest.raises(
        StoreUnavailable, match=rf"Store\.{missing.option}(username|token)"
    ) as caught:
        await proxy.start()
    told = str(caught.value)
    assert not traefik_processes(tmp_path / "run")
    assert not [secret for secret in rights.secrets if secret in told]
    (command,) = re.findall(r"(?:etcdctl|consul acl) .*", told)
    rights.mend(command, missing.what)
    await proxy.start()
    await proxy.add_route("/user/mary/", "http://127.0.0.1:1", {})
    await proxy.stop()

    wrong = rights.options()
    wrong["config"].EtcdStore[f"{missing.option}password"] = "wrong"
    wrong["config"].ConsulStore[f"{missing.option}token"] = "0bad0bad-5ec2-e7a0-0000-70cca1100000"
    with pytest.raises(StoreUnavailable, match=rf"Store\.{missing.option}(username, \.|token)"):
        await make_proxy(**wrong).start()


async def test_a_consul_that_asks_for_the_right_to_list(
    make_consul: Callable[..., ConsulRights], make_proxy: MakeProxy
) -> None:
    rights = make_consul(acl={"enable_key_list_policy": True})
    proxy = make_proxy(**rights.options())
    with pytest.raises(StoreUnavailable, match=r"c\.ConsulStore\.traefik_token") as caught:
        await proxy.start()
    (command,) = re.findall(r"consul acl .*", str(caught.value))
    assert 'key_prefix "traefik" { policy = "list" }' in command
    rights.mend(command, "hub-traefik")
    await proxy.start()
    await proxy.add_route("/user/mary/", "http://127.0.0.1:1", {})
