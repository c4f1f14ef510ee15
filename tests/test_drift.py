"""Somebody edits the store of a Hub that runs: it is seen, told once, and put right within seconds,
while nobody calls the Hub."""

from __future__ import annotations

import json
import logging
import re
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import anyio
import pytest
import tomli_w
from traitlets.config import Config

from servers.consul import ConsulServer
from servers.etcd import EtcdServer
from servers.scene import KeyValues, RoutesFile, Scene, Visitor, metric, until
from servers.stores import KEY_VALUE_STORES
from support import Backend, free_port, hub_app
from traefikhub import TraefikProxy
from traefikhub.stores import StoreUnavailable

pytestmark = pytest.mark.anyio

ALL: Final = {"mary": "mary", "john": "john", "rose": "rose"}
INTERVAL: Final = 0.2


@pytest.fixture(scope="module")
def backends() -> Iterator[Callable[[str], Backend]]:
    made: list[Backend] = []

    def make(name: str) -> Backend:
        made.append(Backend(name))
        return made[-1]

    yield make
    for each in made:
        each.close()


async def start(run_dir: Path, **options: Any) -> TraefikProxy:
    proxy = TraefikProxy(
        app=hub_app(),
        public_url=f"http://127.0.0.1:{free_port()}",
        traefik_api_url=f"http://127.0.0.1:{free_port()}",
        run_dir=str(run_dir),
        grace_seconds=1,
        store_check_interval=INTERVAL,
        **options,
    )
    await proxy.start()
    return proxy


class Watch:
    """What is told of a drift, from now on."""

    def __init__(self, scene: Scene, log: pytest.LogCaptureFixture) -> None:
        self._scene = scene
        self._log = log
        self._drifts = metric("store_drifts_total")

    async def is_put_right(self, *gone: str, also: tuple[str, ...] = ()) -> None:
        """Soon, once, for good, and with these words in the log beside the usual.

        Args:
            gone: users who must not have a route.
        """
        await until(lambda: metric("store_drifts_total") > self._drifts, "it to be seen", 5)
        await self._scene.comes_to_order(ALL, *gone)
        generation = self._scene.kept.generation()
        await anyio.sleep(4 * INTERVAL)
        assert self._scene.kept.generation() == generation, "it is written again and again"
        assert metric("store_drifts_total") == self._drifts + 1
        told = [each.getMessage() for each in self._log.records if each.levelno > logging.INFO]
        for text in also:
            (line,) = (line for line in told if text in line)
            told.remove(line)
        (line,) = told
        assert "are not what was written" in line or "Will repair the stored routes" in line


# --- keys --------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=KEY_VALUE_STORES)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EtcdServer | ConsulServer]:
    directory = tmp_path_factory.mktemp(request.param)
    with ExitStack() as stack:
        if request.param == "etcd":
            yield stack.enter_context(EtcdServer(directory))
        else:
            yield stack.enter_context(ConsulServer(directory))


@pytest.fixture(scope="module")
async def on_server(
    server: EtcdServer | ConsulServer,
    backends: Callable[[str], Backend],
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Scene]:
    """A hub on which mary, john and rose have servers, for all tests."""
    prefix = f"hub-{secrets.token_hex(4)}"
    config = Config()
    if isinstance(server, EtcdServer):
        store = "etcd"
        config.EtcdStore.update(endpoints=[server.endpoint], prefix=prefix)
    else:
        store = "consul"
        config.ConsulStore.update(url=server.url, prefix=prefix)
    proxy = await start(tmp_path_factory.mktemp("hub") / "run", store=store, config=config)
    scene = Scene(proxy, KeyValues(server.dump, prefix), backends)
    for user in ALL:
        await scene.add(user)
    yield scene
    await proxy.stop()


class Hand:
    """Somebody with a client of the server."""

    def __init__(self, server: EtcdServer | ConsulServer, keys: KeyValues, other: str) -> None:
        self._server = server
        self.keys = keys
        self.other = other

    def put(self, path: str, value: str) -> None:
        self._server.put(f"{self.keys.prefix}/{path}", value)

    def delete(self, path: str) -> None:
        self._server.delete(f"{self.keys.prefix}/{path}")

    def below(self, start: str = "") -> list[str]:
        return [path for path in set(self.keys.keys()) if path.startswith(start)]

    def delete_below(self, start: str = "") -> None:
        for path in self.below(start):
            self.delete(path)

    def put_marker(self, value: str) -> None:
        (path,) = self.below("http/middlewares/traefikhub__generation")
        self.put(path, value)


def everything_is_garbage(hand: Hand) -> None:
    for path in hand.below():
        if path != "jupyterhub/owner":
            hand.put(path, "garbage {{ ] \u0001")


def garbage_and_a_router(hand: Hand) -> None:
    hand.put("jupyterhub/routes/theirs", "hello")
    hand.put("http/routers/theirs/rule", "PathPrefix(`/user/`)")


KEY_DRIFTS: Final[dict[str, Callable[[Hand], Any]]] = {
    "a route is forgotten": lambda hand: hand.delete("jupyterhub/routes/g_user_mary"),
    "a router is removed": lambda hand: hand.delete_below("http/routers/g_user_mary"),
    "a rule is removed": lambda hand: hand.delete("http/routers/g_user_mary/rule"),
    "a service is removed": lambda hand: hand.delete_below("http/services/"),
    "a target is changed": lambda hand: hand.put(
        "http/services/g_user_mary/loadBalancer/servers/0/url", hand.other
    ),
    "a rule is changed": lambda hand: hand.put(
        "http/routers/g_user_mary/rule", "PathPrefix(`/elsewhere`)"
    ),
    "what is remembered is garbage": lambda hand: hand.put("jupyterhub/routes/g_user_mary", "{"),
    "all is garbage": everything_is_garbage,
    "a stray route is garbage": lambda hand: hand.put("jupyterhub/routes/theirs", "hello"),
    "a key below the owner's": lambda hand: hand.put("jupyterhub/owner/x", "hello"),
    "a route is remembered twice": lambda hand: hand.put("jupyterhub/routes/g%5Fuser_mary", "{}"),
    "garbage beside a stray router": garbage_and_a_router,
    "a stray router": lambda hand: hand.put("http/routers/theirs/rule", "PathPrefix(`/user/`)"),
    "a key in nobody's form": lambda hand: hand.put("http/theirs", "x"),
    "a stray route": lambda hand: hand.put(
        "jupyterhub/routes/theirs",
        json.dumps({"routespec": "/user/ada/", "target": hand.other, "data": {}}),
    ),
    "the marker is removed": lambda hand: hand.delete_below("http/middlewares/traefikhub__gen"),
    "the marker is lower": lambda hand: hand.put_marker("1"),
    "the marker is higher": lambda hand: hand.put_marker(str(hand.keys.generation() + 1000)),
    "the marker is garbage": lambda hand: hand.put_marker("x"),
    "the marker has a key too many": lambda hand: hand.put(
        "http/middlewares/traefikhub__generation/nonsense/x", "1"
    ),
}


@pytest.fixture
def hand(on_server: Scene, server: EtcdServer | ConsulServer) -> Hand:
    assert isinstance(on_server.kept, KeyValues)
    return Hand(server, on_server.kept, on_server.target("other"))


@pytest.mark.parametrize("drift", KEY_DRIFTS)
async def test_keys_that_somebody_changes_are_put_right(
    on_server: Scene, hand: Hand, drift: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = hand.keys.keys()
    watch = Watch(on_server, caplog)
    KEY_DRIFTS[drift](hand)
    await watch.is_put_right("ada")
    after = hand.keys.keys()
    changing = {"jupyterhub/transaction", *hand.below("http/middlewares/traefikhub__gen")}
    assert {path for path in before | after if before.get(path) != after.get(path)} <= changing


async def test_an_owner_s_key_that_somebody_deletes_is_put_back(
    on_server: Scene, hand: Hand, caplog: pytest.LogCaptureFixture
) -> None:
    owner = hand.keys.keys()["jupyterhub/owner"]
    watch = Watch(on_server, caplog)
    hand.delete("jupyterhub/owner")
    await watch.is_put_right(also=("were deleted by hand",))
    assert hand.keys.keys()["jupyterhub/owner"] == owner


async def test_all_keys_that_somebody_deletes_are_written_again(
    on_server: Scene, hand: Hand, caplog: pytest.LogCaptureFixture
) -> None:
    before = set(hand.below())
    watch = Watch(on_server, caplog)
    hand.delete_below()
    await watch.is_put_right(also=("were deleted by hand",))
    assert set(hand.below()) == before


async def test_keys_of_others_are_nobody_s_business(
    on_server: Scene,
    hand: Hand,
    server: EtcdServer | ConsulServer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    prefix = hand.keys.prefix
    theirs = [
        f"{prefix}/{path}"
        for path in ("theirs", "jupyterhub/theirs", "a/b/c", "a/b/c/d/e", "jupyterhub/")
    ]
    theirs += [f"{prefix}2/http/routers/theirs/rule", f"{prefix}-http", f"a{prefix}/http/x"]
    drifts, generation = metric("store_drifts_total"), hand.keys.generation()
    for key in theirs:
        server.put(key, "x")
    try:
        # A drift after that is put right without them.
        hand.delete("jupyterhub/routes/g_user_mary")
        await Watch(on_server, caplog).is_put_right()
        assert set(theirs) <= set(server.dump())
        assert metric("store_drifts_total") == drifts + 1
        assert hand.keys.generation() == generation + 1
    finally:
        for key in theirs:
            server.delete(key)
    await anyio.sleep(3 * INTERVAL)
    assert metric("store_drifts_total") == drifts + 1


# --- a file ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
async def on_file(
    backends: Callable[[str], Backend], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Scene]:
    """A hub on which mary, john and rose have servers, for all tests."""
    directory = tmp_path_factory.mktemp("hub")
    config = Config()
    config.TomlFileStore.path = str(directory / "routes" / "routes.toml")
    proxy = await start(directory / "run", config=config)
    scene = Scene(proxy, RoutesFile(Path(config.TomlFileStore.path)), backends)
    for user in ALL:
        await scene.add(user)
    yield scene
    await proxy.stop()


@pytest.fixture
def file(on_file: Scene) -> RoutesFile:
    assert isinstance(on_file.kept, RoutesFile)
    return on_file.kept


def edit(change: Callable[[dict[str, Any]], Any]) -> Callable[[RoutesFile], None]:
    """As an editor does it that knows TOML."""

    def work(file: RoutesFile) -> None:
        tables = file.tables()
        change(tables)
        file.path.write_text(tomli_w.dumps(tables))

    return work


def write(text: Callable[[str], str]) -> Callable[[RoutesFile], Any]:
    return lambda file: file.path.write_text(text(file.path.read_text()))


def set_generation(tables: dict[str, Any], number: int) -> None:
    marker = tables["http"]["middlewares"]["traefikhub__generation"]
    headers = marker["headers"]["customResponseHeaders"]
    for name, old in headers.items():
        headers[name] = str(int(old) + number)
    for table in tables["jupyterhub"].values():
        if "traefikhub__end" in table:
            table["traefikhub__end"] += number


FILE_DRIFTS: Final[dict[str, Callable[[RoutesFile], Any]]] = {
    "it is removed": lambda file: file.path.unlink(),
    "nothing is left": write(lambda _: ""),
    "half is left": write(lambda text: text[: len(text) // 2]),
    "garbage is left": write(lambda _: "garbage {{ ] \u0001"),
    "a number that nobody can read": write(lambda text: f"{text}x = {'9' * 5000}\n"),
    "a route too deep to read": write(
        lambda text: re.sub(r"(?m)^(g_user_mary) = .*", rf"\1 = '{'[' * 100_000}'", text)
    ),
    "it is somebody else's": write(lambda _: '[http.routers.x]\nrule = "Path(`/x`)"\n'),
    "a route is forgotten": edit(lambda all: all["jupyterhub"]["routes"].pop("g_user_mary")),
    "a router is removed": edit(lambda all: all["http"]["routers"].pop("g_user_mary")),
    "a router is added": edit(
        lambda all: all["http"]["routers"].update(
            theirs={"rule": "PathPrefix(`/user/ada/`)", "service": "g_user_mary"}
        )
    ),
    "the marker is removed": edit(
        lambda all: all["http"]["middlewares"].pop("traefikhub__generation")
    ),
    "the marker is lower": edit(lambda all: set_generation(all, -1)),
    "the marker is higher": edit(lambda all: set_generation(all, 1000)),
}


@pytest.mark.parametrize("drift", FILE_DRIFTS)
async def test_a_file_that_somebody_changes_is_put_right(
    on_file: Scene, file: RoutesFile, drift: str, caplog: pytest.LogCaptureFixture
) -> None:
    watch = Watch(on_file, caplog)
    FILE_DRIFTS[drift](file)
    await watch.is_put_right("ada")


def put_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def put_endless_link(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


IN_THE_WAY: Final[dict[str, tuple[Callable[[Path], None], Callable[[Path], None], str]]] = {
    "a directory": (put_directory, Path.rmdir, "Is a directory"),
    "a link to itself": (put_endless_link, Path.unlink, "Too many levels of symbolic links"),
}


@pytest.mark.parametrize("what", IN_THE_WAY)
async def test_a_file_that_can_not_be_used_until_it_can(
    on_file: Scene, file: RoutesFile, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    spoil, mend, told = IN_THE_WAY[what]
    caplog.set_level(logging.INFO)
    drifts = metric("store_drifts_total")
    with Visitor(on_file.url("rose"), "rose"):
        spoil(file.path)
        await until(lambda: "can't be checked" in caplog.text, "it to be told", 5)
        for call in (lambda: on_file.add("ada"), on_file.proxy.get_all_routes):
            with pytest.raises(StoreUnavailable, match=rf"{told}.*c\.TomlFileStore\.path"):
                await call()
        await anyio.sleep(3 * INTERVAL)
        mend(file.path)
        await on_file.comes_to_order(ALL, "ada")
    await until(lambda: "can be checked again" in caplog.text, "the end to be told", 5)
    lines = [each.getMessage() for each in caplog.records if each.levelno > logging.INFO]
    # One by the check, one by the change.
    assert len(lines) == 2, lines
    assert metric("store_drifts_total") == drifts


async def test_a_directory_that_is_away_is_no_empty_store(
    tmp_path: Path, backends: Callable[[str], Backend], caplog: pytest.LogCaptureFixture
) -> None:
    directory = tmp_path / "routes"
    config = Config()
    config.TomlFileStore.path = str(directory / "routes.toml")
    proxy = await start(tmp_path / "run", config=config)
    try:
        scene = Scene(proxy, RoutesFile(directory / "routes.toml"), backends)
        await scene.add("mary")
        drifts = metric("store_drifts_total")
        caplog.set_level(logging.INFO)
        with Visitor(scene.url("mary"), "mary"):
            directory.rename(tmp_path / "elsewhere")
            await until(lambda: "can't be checked" in caplog.text, "it to be told", 5)
            for call in (
                lambda: scene.add("ada"),
                lambda: scene.delete("mary"),
                proxy.get_all_routes,
            ):
                with pytest.raises(
                    StoreUnavailable,
                    match=r"No such file or directory.*c\.TomlFileStore\.path",
                ):
                    await call()
            (tmp_path / "elsewhere").rename(directory)
            await scene.comes_to_order({"mary": "mary"}, "ada")
        assert metric("store_drifts_total") == drifts
        assert caplog.text.count("can't be checked") == 1
        await until(lambda: "can be checked again" in caplog.text, "the end to be told", 5)
    finally:
        await proxy.stop()


@pytest.mark.xfail(
    strict=True,
    reason="Traefik no longer hears of files there until it gets SIGHUP, or is started again",
)
@pytest.mark.parametrize("replace", [False, True], ids=["moved and put back", "made anew"])
async def test_changes_go_on_in_a_directory_that_was_away(
    tmp_path: Path, backends: Callable[[str], Backend], replace: bool
) -> None:
    directory = tmp_path / "routes"
    config = Config()
    config.TomlFileStore.path = str(directory / "routes.toml")
    proxy = await start(tmp_path / "run", config=config, check_route_timeout=3)
    try:
        scene = Scene(proxy, RoutesFile(directory / "routes.toml"), backends)
        await scene.add("mary")
        directory.rename(tmp_path / "elsewhere")
        await anyio.sleep(2 * INTERVAL)
        if replace:
            directory.mkdir(mode=0o700)
        else:
            (tmp_path / "elsewhere").rename(directory)
        await until(lambda: scene.kept.routes(), "the file")
        await scene.add("john")
    finally:
        await proxy.stop()
