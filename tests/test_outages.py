"""The store's server is down, frozen, cut off, slow, full or set back: users notice nothing, the
Hub goes on, and afterwards all is as the Hub was told it is.

Two relays stand before each server, one for the Hub and one for Traefik, so that each can lose it
by itself.
"""

from __future__ import annotations

import itertools
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.to_thread
import pytest
from traitlets.config import Config

from conftest import MakeProxy
from servers.consul import ConsulServer
from servers.etcd import EtcdCluster, EtcdServer
from servers.hub import HubProcess
from servers.relay import Relay
from servers.scene import KeyValues, Scene, Visitor, metric, spec_of, until
from servers.stores import KEY_VALUE_STORES
from support import Backend
from traefikhub.stores import StoreUnavailable
from traefikhub.traefik import NotLive

pytestmark = pytest.mark.anyio

TIMEOUT: Final = 1.0
"""Of the store, in seconds."""

LONGEST: Final = 10 * TIMEOUT
"""Within which a call fails, whatever waits before it, on a busy machine."""

TOLD: Final = {"etcd": r"etcd.*c\.EtcdStore\.endpoints", "consul": r"consul.*c\.ConsulStore\.url"}

ALL: Final = {"mary": "mary", "john": "john", "rose": "rose"}
"""Users with a route from the beginning, and the servers that it leads to."""


@dataclass(frozen=True)
class Place:
    """A store's server, and the ways there."""

    store: str
    server: EtcdServer | ConsulServer
    hub: Relay
    traefik: Relay

    def options(self, prefix: str, timeout: float) -> dict[str, Any]:
        """Of a proxy that goes those ways."""
        config = Config()
        if self.store == "etcd":
            config.EtcdStore.update(endpoints=[self.hub.endpoint], timeout=timeout, prefix=prefix)
        else:
            config.ConsulStore.update(url=self.hub.url, timeout=timeout, prefix=prefix)
        endpoints = {"endpoints": [self.traefik.endpoint]}
        return {
            "store": self.store,
            "config": config,
            "store_check_interval": 0.3,
            "extra_static_config": {"providers": {self.store: endpoints}},
        }

    def heal(self) -> None:
        """As if nothing had been."""
        self.hub.heal()
        self.traefik.heal()
        self.server.resume()


@contextmanager
def place_for(store: str, directory: Path, *options: str) -> Iterator[Place]:
    """A server that runs, and relays that pass everything.

    Args:
        options: of etcd.
    """
    with ExitStack() as stack:
        server: EtcdServer | ConsulServer
        if store == "etcd":
            server = stack.enter_context(EtcdServer(directory, *options))
            endpoint = server.endpoint
        else:
            server = stack.enter_context(ConsulServer(directory))
            endpoint = server.url.removeprefix("http://")
        relays = [stack.enter_context(Relay(endpoint)) for _ in range(2)]
        yield Place(store, server, *relays)


@pytest.fixture(scope="module", params=KEY_VALUE_STORES)
def shared(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    """For tests that don't kill it."""
    with place_for(request.param, tmp_path_factory.mktemp(request.param)) as place:
        yield place


@pytest.fixture
def place(shared: Place) -> Iterator[Place]:
    """The shared one, whole again when the test ends. It stands before ``make_scene``."""
    try:
        yield shared
    finally:
        shared.heal()


@pytest.fixture(params=KEY_VALUE_STORES)
def own_place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """One that may be killed."""
    with place_for(request.param, tmp_path / "server") as place:
        yield place


@pytest.fixture
def etcd_place(tmp_path: Path) -> Iterator[Place]:
    """An etcd that is soon full."""
    with place_for("etcd", tmp_path / "server", "--quota-backend-bytes=4000000") as place:
        yield place


MakeScene = Callable[..., Awaitable[Scene]]

SAME: Final = ("public_url", "traefik_api_url", "run_dir", "grace_seconds", "host_routing")
"""What the Hubs of one Traefik have in common."""


@pytest.fixture
def make_scene(make_proxy: MakeProxy, backend: Callable[[str], Backend]) -> MakeScene:
    async def make(place: Place, *, timeout: float = TIMEOUT, **options: Any) -> Scene:
        """A hub on which mary, john and rose have servers."""
        prefix = f"hub-{secrets.token_hex(4)}"
        proxy = make_proxy(**place.options(prefix, timeout) | options)
        await proxy.start()
        scene = Scene(proxy, KeyValues(place.server.dump, prefix), backend)
        for user in ALL:
            await scene.add(user)
        return scene

    return make


def keys_of(scene: Scene) -> KeyValues:
    assert isinstance(scene.kept, KeyValues)
    return scene.kept


Calls = dict[str, Callable[[], Awaitable[Any]]]


async def outcomes(calls: Calls, *, at_once: int = 100) -> dict[str, Exception | None]:
    """What becomes of calls that are made at once. Meanwhile others get on."""
    steps = 0
    found: dict[str, Exception | None] = {}
    limiter = anyio.CapacityLimiter(at_once)

    async def others() -> None:
        nonlocal steps
        while True:
            await anyio.sleep(0.01)
            steps += 1

    async def call(name: str, work: Callable[[], Awaitable[Any]]) -> None:
        async with limiter:
            try:
                await work()
            except Exception as error:
                found[name] = error
            else:
                found[name] = None

    began = time.monotonic()
    async with anyio.create_task_group() as around:
        around.start_soon(others)
        async with anyio.create_task_group() as group:
            for name, work in calls.items():
                group.start_soon(call, name, work)
        around.cancel_scope.cancel()
    assert steps >= int((time.monotonic() - began) / 0.1), "the event loop was held"
    return found


def changes(scene: Scene) -> Calls:
    """One of each kind."""
    return {
        "add": lambda: scene.add("ada"),
        "update": lambda: scene.add("mary", "mary's other"),
        "delete": lambda: scene.delete("john"),
    }


def require_failures(found: Mapping[str, Exception | None], told: str) -> None:
    """All failed, and said what can't be used."""
    for name, error in found.items():
        assert isinstance(error, StoreUnavailable), f"{name}: {error!r}"
        assert re.search(told, str(error)), f"{name}: {error}"


async def everything_fails(scene: Scene, told: str) -> None:
    """What a Hub calls fails in time, also when there is a queue."""
    began = time.monotonic()
    calls = changes(scene) | {
        "all": scene.proxy.get_all_routes,
        "one": lambda: scene.proxy.get_route(spec_of("mary")),
    }
    require_failures(await outcomes(calls), told)
    require_failures(await outcomes({"another": lambda: scene.add("adam")}), told)
    assert time.monotonic() - began < LONGEST


async def succeeds(work: Callable[[], Awaitable[Any]], seconds: float) -> None:
    """In the end. The Hub, or its user, tries again."""
    with anyio.fail_after(seconds):
        while True:
            try:
                await work()
            except (StoreUnavailable, NotLive):
                await anyio.sleep(0.1)
            else:
                return


# --- the Hub can't reach the server ------------------------------------------------------------


Fault = Callable[[Place], None]

LOST: Final[dict[str, Fault]] = {
    "frozen": lambda place: place.server.pause(),
    "cut off": lambda place: place.hub.cut(),
    "stalled": lambda place: place.hub.stall(),
}


@pytest.mark.parametrize("fault", LOST)
async def test_a_server_that_is_lost_fails_every_call_and_no_user(
    place: Place, make_scene: MakeScene, fault: str
) -> None:
    scene = await make_scene(place)
    with Visitor(scene.url("rose"), "rose"):
        LOST[fault](place)
        await everything_fails(scene, TOLD[place.store])
        place.heal()
        # Nobody was told that any of it was done.
        await scene.comes_to_order(ALL, "ada", "adam")
    await scene.add("ada")
    await scene.comes_to_order({**ALL, "ada": "ada"}, "adam")


async def test_a_server_that_is_killed_and_started_again(
    own_place: Place, make_scene: MakeScene
) -> None:
    scene = await make_scene(own_place)
    with Visitor(scene.url("rose"), "rose"):
        own_place.server.stop()
        await everything_fails(scene, TOLD[own_place.store])
        await anyio.to_thread.run_sync(own_place.server.start)
        await scene.comes_to_order(ALL, "ada", "adam")
        # Traefik's own clients look for their server again after pauses that grow.
        await succeeds(lambda: scene.add("ada"), 90)
    await scene.comes_to_order({**ALL, "ada": "ada"}, "adam")
    await scene.proxy.stop()


UNHEARD: Final[dict[str, Fault]] = {
    "lost": lambda place: place.hub.mute(),
    "late": lambda place: place.hub.slow_down(1.5 * TIMEOUT),
}


@pytest.mark.parametrize("answers", UNHEARD)
async def test_what_arrived_but_was_not_acknowledged_is_taken_back(
    place: Place, make_scene: MakeScene, answers: str
) -> None:
    """The callers were told that it failed: JupyterHub has stopped ada's server by now, and counts
    on john's."""
    scene = await make_scene(place)
    with Visitor(scene.url("rose"), "rose"):
        UNHEARD[answers](place)
        require_failures(await outcomes(changes(scene)), TOLD[place.store])
        await until(lambda: spec_of("ada") in scene.kept.routes(), "the change to arrive")
        await until(lambda: scene.serves("ada") and scene.serves("john", None), "it to be served")
        assert metric("writer_state", state="uncertain")
        place.heal()
        await scene.comes_to_order(ALL, "ada")


async def test_what_is_acknowledged_between_short_failures_holds_and_nothing_else(
    place: Place, make_scene: MakeScene
) -> None:
    scene = await make_scene(place)
    found: dict[str, Exception | None] = {}
    going = True

    async def log_in(first: int) -> None:
        nonlocal found
        for number in itertools.count(first, 3):
            found |= await outcomes({f"user{number}": partial(scene.add, f"user{number}", "any")})
            await anyio.sleep(0.2)
            if not going:
                return

    with Visitor(scene.url("rose"), "rose"):
        async with anyio.create_task_group() as group:
            for first in range(3):
                group.start_soon(log_in, first)
            for number, fail in enumerate((*UNHEARD.values(), *LOST.values())):
                await anyio.sleep(0.3)
                fail(place)
                await anyio.sleep((0.4 if number % 2 else 1.3) * TIMEOUT)
                place.heal()
            going = False
    acknowledged = [user for user, error in found.items() if error is None]
    failed = {user: error for user, error in found.items() if error is not None}
    assert acknowledged
    assert failed
    require_failures(failed, TOLD[place.store])
    await scene.comes_to_order(ALL | dict.fromkeys(acknowledged, "any"), *failed)


async def test_connections_that_a_firewall_has_forgotten_are_made_anew(
    place: Place, make_scene: MakeScene
) -> None:
    scene = await make_scene(place)
    place.hub.forget()
    await succeeds(lambda: scene.add("ada"), LONGEST)
    await scene.comes_to_order({**ALL, "ada": "ada"})


async def test_a_slow_server_slows_down_and_no_more(place: Place, make_scene: MakeScene) -> None:
    scene = await make_scene(place, timeout=10)
    burst = [f"user{number}" for number in range(20)]
    with Visitor(scene.url("rose"), "rose"):
        place.hub.slow_down(0.5)
        place.traefik.slow_down(0.5)
        calls = changes(scene) | {user: partial(scene.add, user, "anybody") for user in burst}
        found = await outcomes(calls | {"all": scene.proxy.get_all_routes})
        assert not any(found.values()), found
    place.heal()
    await scene.comes_to_order(
        {"mary": "mary's other", "rose": "rose", "ada": "ada"} | dict.fromkeys(burst, "anybody"),
        "john",
    )


async def test_a_hub_stops_though_its_server_is_frozen(place: Place, make_scene: MakeScene) -> None:
    scene = await make_scene(place)
    place.server.pause()
    with anyio.fail_after(LONGEST):
        await scene.proxy.stop()


async def test_a_hub_that_can_not_start_without_its_server_can_later(
    place: Place, make_proxy: MakeProxy
) -> None:
    proxy = make_proxy(**place.options(f"hub-{secrets.token_hex(4)}", TIMEOUT))
    place.hub.stall()
    require_failures(await outcomes({"start": proxy.start}), TOLD[place.store])
    place.heal()
    await proxy.start()
    assert await proxy.get_all_routes() == {}


# --- Traefik can't reach the server ------------------------------------------------------------


ALONE: Final[dict[str, Fault]] = {
    "cut off": lambda place: place.traefik.cut(),
    "stalled": lambda place: place.traefik.stall(),
}


@pytest.mark.parametrize("fault", ALONE)
async def test_a_traefik_that_is_cut_off_serves_what_it_has_and_then_all(
    place: Place, make_scene: MakeScene, fault: str
) -> None:
    scene = await make_scene(place, check_route_timeout=1)
    with Visitor(scene.url("rose"), "rose"):
        ALONE[fault](place)
        found = await outcomes(changes(scene))
        assert all(isinstance(error, NotLive) for error in found.values()), found
        # The store has it, and that is what the Hub is told when it asks.
        assert spec_of("ada") in await scene.proxy.get_all_routes()
        assert not await anyio.to_thread.run_sync(scene.serves, "ada")
        place.heal()
        # No change has to come for the metrics to tell so.
        await scene.comes_to_order({"mary": "mary's other", "rose": "rose", "ada": "ada"}, "john")
    await scene.delete("ada")
    await scene.comes_to_order({"mary": "mary's other", "rose": "rose"}, "john", "ada")


# --- etcd alone --------------------------------------------------------------------------------


async def test_a_cluster_without_leader(
    tmp_path: Path, make_proxy: MakeProxy, backend: Callable[[str], Backend]
) -> None:
    with EtcdCluster(tmp_path / "cluster") as cluster:
        config = Config()
        config.EtcdStore.update(endpoints=cluster.endpoints, timeout=TIMEOUT)
        proxy = make_proxy(store="etcd", config=config, store_check_interval=0.3)
        await proxy.start()
        first, second, third = cluster.members
        scene = Scene(proxy, KeyValues(third.dump, "traefik"), backend)
        for user in ALL:
            await scene.add(user)
        with Visitor(scene.url("rose"), "rose"):
            first.stop()
            second.stop()
            await everything_fails(scene, ".*".join(cluster.endpoints) + r".*c\.EtcdStore")
            await anyio.to_thread.run_sync(second.start)
            await scene.comes_to_order(ALL, "ada", "adam")
            await succeeds(lambda: scene.add("ada"), 30)
        await scene.comes_to_order({**ALL, "ada": "ada"}, "adam")
        await proxy.stop()


def fill(server: EtcdServer) -> list[str]:
    """Until it takes no more; with which keys."""
    keys: list[str] = []
    with suppress(AssertionError):
        while len(keys) < 20:
            keys.append(f"elsewhere/{len(keys)}")
            server.put(keys[-1], "x" * 1_000_000)
    return keys


async def test_an_etcd_without_space_until_there_is_some(
    etcd_place: Place, make_scene: MakeScene
) -> None:
    server = etcd_place.server
    assert isinstance(server, EtcdServer)
    scene = await make_scene(etcd_place)
    filling = fill(server)
    with Visitor(scene.url("rose"), "rose"):
        found = await outcomes(changes(scene))
        require_failures(found, "etcd at .*space exceeded.*etcdctl alarm disarm")
        assert len(await scene.proxy.get_all_routes()) == len(ALL)
        # What the Hub did not do is seen, but can't be put right.
        server.delete(f"{keys_of(scene).prefix}/jupyterhub/routes/g_user_mary")
        await until(lambda: metric("writer_state", state="uncertain"), "a repair that fails")
        for key in filling:
            server.delete(key)
        server.make_room()
        await scene.comes_to_order(ALL, "ada")
        await scene.add("ada")
    await scene.comes_to_order({**ALL, "ada": "ada"})
    await scene.proxy.stop()


@pytest.fixture(scope="module")
def shared_etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place_for("etcd", tmp_path_factory.mktemp("etcd")) as place:
        yield place


async def test_a_history_that_was_compacted_while_nobody_looked(
    shared_etcd: Place, make_scene: MakeScene
) -> None:
    server = shared_etcd.server
    assert isinstance(server, EtcdServer)
    scene = await make_scene(shared_etcd, check_route_timeout=1)
    shared_etcd.traefik.cut()
    for server_of_mary in ("one", "two"):
        with pytest.raises(NotLive):
            await scene.add("mary", server_of_mary)
    shared_etcd.hub.cut()
    for name in ("jupyterhub/routes", "http/routers"):
        for key in set(keys_of(scene).keys()):
            if key.startswith(f"{name}/x_user_john"):
                server.delete(f"{keys_of(scene).prefix}/{key}")
    server.compact()
    shared_etcd.heal()
    await scene.comes_to_order({**ALL, "mary": "two"})
    await scene.add("ada")
    await scene.comes_to_order({**ALL, "mary": "two", "ada": "ada"})


# --- an older backup ---------------------------------------------------------------------------


@pytest.mark.parametrize("hubs_since", [0, 2])
async def test_a_server_that_is_set_back_to_a_backup(
    own_place: Place, make_scene: MakeScene, make_proxy: MakeProxy, tmp_path: Path, hubs_since: int
) -> None:
    """A Hub that was started since finds an earlier one's name there, not a rival's."""
    place, server = own_place, own_place.server
    scene = await make_scene(place)
    backup: Any = tmp_path / "backup"
    if isinstance(server, EtcdServer):
        server.backup(backup)
    else:
        backup = server.snapshot()
    for _ in range(hubs_since):
        await scene.proxy.stop()
        scene.proxy = make_proxy(**place.options(keys_of(scene).prefix, TIMEOUT))
        await scene.proxy.start()
    for number in range(15):  # so many revisions are lost
        await scene.add("mary", f"server {number}")
    await scene.add("ada")
    await scene.delete("john")
    with Visitor(scene.url("rose"), "rose"):
        await anyio.to_thread.run_sync(server.set_back, backup)
        expected = {"mary": "server 14", "rose": "rose", "ada": "ada"}
        await scene.comes_to_order(expected, "john")
        await succeeds(lambda: scene.add("john"), 90)
        await scene.comes_to_order({**expected, "john": "john"})
    assert not metric("writer_state", state="fenced")
    await scene.proxy.stop()


async def test_a_server_that_is_set_back_while_no_hub_runs(
    own_place: Place,
    make_proxy: MakeProxy,
    backend: Callable[[str], Backend],
    hub_directory: Path,
    tmp_path: Path,
) -> None:
    """The Traefik that went on has heard of revisions, and shows a generation, that are lost."""
    place, server, prefix = own_place, own_place.server, "hub"
    options = place.options(prefix, TIMEOUT)
    proxy = make_proxy(**options)
    scene = Scene(proxy, KeyValues(server.dump, prefix), backend)
    same = {name: getattr(proxy, name) for name in SAME}
    config = {name: dict(values) for name, values in options["config"].items()}
    with HubProcess(tmp_path / "hub", options | same | {"config": config}) as hub:
        for user in ALL:
            assert await hub.call("add", spec_of(user), scene.target(user)) is None
        backup: Any = tmp_path / "backup"
        if isinstance(server, EtcdServer):
            server.backup(backup)
        else:
            backup = server.snapshot()
        for number in range(15):
            await hub.call("add", spec_of("mary"), scene.target(f"server {number}"))
        await hub.call("add", spec_of("ada"), scene.target("ada"))
        await hub.call("delete", spec_of("john"))
        with Visitor(scene.url("rose"), "rose"):
            hub.kill()
            await anyio.to_thread.run_sync(server.set_back, backup)
    await proxy.start()
    # What the backup knows; JupyterHub adds what it lacks.
    await scene.comes_to_order(ALL, "ada")
    await scene.add("ada")
    assert scene.serves("ada")
    await scene.delete("john")
    assert scene.serves("john", None)
    await proxy.stop()
