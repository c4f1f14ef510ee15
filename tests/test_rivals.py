"""A second Hub opens the store of a first one, by mistake: the first one is out, says so, and
leaves no trace behind.

Each has a run directory and ports of its own; else the second one wouldn't even start.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from traitlets.config import Config

from conftest import MakeProxy
from servers.consul import ConsulServer
from servers.etcd import EtcdServer
from servers.hub import HubProcess
from servers.scene import KeyValues, RoutesFile, Scene, metric, spec_of, until
from support import Backend, free_port, hub_app
from traefikhub.stores import FencedError, StoreUnavailable

pytestmark = pytest.mark.anyio

ADVICE: Final = {
    "toml-file": r"another writer \(pid \d+\) has taken over .*Run one Hub for each file.*"
    r"c\.TomlFileStore\.path",
    "etcd": r"another writer, process \d+ on \S+, has taken over .*Give each Hub a prefix.*"
    r"c\.EtcdStore\.prefix",
    "consul": r"another writer, process \d+ on \S+, has taken over .*Give each Hub a prefix.*"
    r"c\.ConsulStore\.prefix",
}


@dataclass(frozen=True)
class Bone:
    """A store for two to quarrel over.

    config: how to reach it.
    kept: what it holds.
    """

    store: str
    config: dict[str, Any]
    kept: KeyValues | RoutesFile

    def options(self, run_dir: Path) -> dict[str, Any]:
        """Of a proxy that has nothing but the store in common with others."""
        return {
            "store": self.store,
            "config": self.config,
            "store_check_interval": 0.3,
            "grace_seconds": 1,
            "run_dir": str(run_dir),
            "public_url": f"http://127.0.0.1:{free_port()}",
            "traefik_api_url": f"http://127.0.0.1:{free_port()}",
        }


@pytest.fixture(scope="module", params=["toml-file", "etcd", "consul"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EtcdServer | ConsulServer | None]:
    """That of the store; a file has none."""
    directory = tmp_path_factory.mktemp(request.param)
    with ExitStack() as stack:
        if request.param == "etcd":
            yield stack.enter_context(EtcdServer(directory))
        elif request.param == "consul":
            yield stack.enter_context(ConsulServer(directory))
        else:
            yield None


@pytest.fixture
def bone(server: EtcdServer | ConsulServer | None, tmp_path: Path) -> Bone:
    prefix = f"hub-{secrets.token_hex(4)}"
    config: dict[str, Any]
    match server:
        case EtcdServer():
            config = {"EtcdStore": {"endpoints": [server.endpoint], "prefix": prefix}}
            return Bone("etcd", config, KeyValues(server.dump, prefix))
        case ConsulServer():
            config = {"ConsulStore": {"url": server.url, "prefix": prefix}}
            return Bone("consul", config, KeyValues(server.dump, prefix))
    path = tmp_path / "shared" / "routes.toml"
    config = {"TomlFileStore": {"path": str(path), "timeout": 2.0}}
    return Bone("toml-file", config, RoutesFile(path))


MakeScene = Callable[[Path], Awaitable[Scene]]


@pytest.fixture
def make_scene(bone: Bone, make_proxy: MakeProxy, backend: Callable[[str], Backend]) -> MakeScene:
    async def make(run_dir: Path) -> Scene:
        """With a proxy of this process."""
        hub = SimpleNamespace(routespec="/", host="http://127.0.0.1:1", base_url="/hub/")
        options = bone.options(run_dir) | {"app": hub_app(hub=hub), "hub": hub}
        proxy = make_proxy(**options | {"config": Config(options["config"])})
        await proxy.start()
        return Scene(proxy, bone.kept, backend)

    return make


def checks() -> list[str]:
    """The self-checks that run in this process."""
    names = [task.get_name() for task in asyncio.all_tasks()]
    return [name for name in names if name == "traefikhub-check"]


def lines(log: pytest.LogCaptureFixture, text: str) -> list[str]:
    return [record.getMessage() for record in log.records if text in record.getMessage()]


async def test_the_first_hub_sees_the_second_says_so_once_and_keeps_still(
    bone: Bone, make_scene: MakeScene, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    scene = await make_scene(tmp_path / "first")
    await scene.add("mary")
    await scene.add("john")
    drifts = metric("store_drifts_total")
    with HubProcess(tmp_path / "second", bone.options(tmp_path / "second")) as rival:
        # Nobody calls the first one.
        await until(lambda: metric("writer_state", state="fenced") == 1, "the first to notice", 10)
        assert await rival.call("state") == "live"
        await anyio.lowlevel.checkpoint()
        assert not checks()
        mary, john = scene.target("mary"), scene.target("john")
        assert await rival.call("routes") == {spec_of("mary"): mary, spec_of("john"): john}

        assert await rival.call("add", spec_of("ada"), scene.target("ada")) is None
        assert await rival.call("delete", spec_of("john")) is None
        generation = bone.kept.generation()
        calls: list[Callable[[], Awaitable[Any]]] = [
            lambda: scene.add("rose"),
            lambda: scene.add("mary", "mary's other"),
            lambda: scene.delete("mary"),
            lambda: scene.proxy.check_routes({}, {}),
        ]
        for call in calls:
            with pytest.raises(FencedError, match=ADVICE[bone.store]):
                await call()
        # There is no to and fro, and nothing of the first one's comes late.
        expected = {spec_of("mary"): mary, spec_of("ada"): scene.target("ada")}
        for _ in range(15):
            await anyio.sleep(0.1)
            assert bone.kept.generation() == generation
            assert bone.kept.routes() == expected
        assert await rival.call("routes") == expected
        assert await rival.call("state") == "live"
        # Its own Traefik, too, serves what is there.
        assert await anyio.to_thread.run_sync(scene.serves, "ada")
        await until(lambda: scene.serves("john", None), "the route to be gone")
        assert set(await scene.proxy.get_all_routes()) == set(expected)

        assert len(lines(caplog, "no longer written")) == 1
        assert len(lines(caplog, "are not what was written")) <= 1
        assert metric("store_drifts_total") <= drifts + 1
        assert not lines(caplog, "up to date")
        await scene.proxy.stop()
        assert bone.kept.routes() == expected
        assert await rival.call("add", spec_of("rose"), scene.target("rose")) is None
        told = rival.log.read_text()
        assert "WARNING" not in told.replace("WARNING Traefik", "")
        assert "ERROR" not in told


@pytest.mark.parametrize("frozen", [False, True], ids=["running", "frozen"])
async def test_a_hub_loses_its_store_in_the_midst_of_a_burst(
    bone: Bone, make_scene: MakeScene, tmp_path: Path, frozen: bool
) -> None:
    """What it had acknowledged is the second one's. Nothing comes after that."""
    with HubProcess(tmp_path / "first", bone.options(tmp_path / "first")) as loser:
        # From a port where nobody listens: only the store is looked at.
        await anyio.to_thread.run_sync(loser.begin, "burst", "http://127.0.0.1:1")
        await until(lambda: len(bone.kept.routes()) > 40, "the burst")
        scene: Scene | None = None
        for _ in range(10):
            if frozen:
                loser.pause()
            try:
                scene = await make_scene(tmp_path / "second")
            except StoreUnavailable as locked:
                # It was frozen while it held the file's lock: then nobody takes that over.
                if not frozen or "locked by another process" not in str(locked):
                    raise
                loser.resume()
                await anyio.sleep(0.05)
            else:
                break
        assert scene
        taken = dict(bone.kept.routes())
        await scene.add("mary")
        await scene.delete("burst7")
        expected = {**taken, spec_of("mary"): scene.target("mary")}
        expected.pop(spec_of("burst7"), None)
        if frozen:
            generation = bone.kept.generation()
            loser.resume()
        result = await anyio.to_thread.run_sync(loser.end)
        assert result["errors"]
        # What was stored in time may wait for its Traefik, where the second one's password counts.
        assert {name for name, _ in result["errors"]} <= {"FencedError", "ApiRejected"}
        assert set(result["acknowledged"]) <= set(taken)
        error, text = await loser.call("add", spec_of("rose"), "http://127.0.0.1:1")
        assert error == "FencedError"
        assert re.search(ADVICE[bone.store], text)
        assert await loser.call("state") == "fenced"
        for _ in range(10):
            await anyio.sleep(0.1)
            assert bone.kept.routes() == expected
        if frozen:
            assert bone.kept.generation() == generation
        routes = await scene.proxy.get_all_routes()
        assert {spec: route["target"] for spec, route in routes.items()} == expected
        assert await anyio.to_thread.run_sync(scene.serves, "mary")
        assert loser.log.read_text().count("no longer written") == 1
        assert metric("writer_state", state="live") == 1
        await scene.proxy.stop()
