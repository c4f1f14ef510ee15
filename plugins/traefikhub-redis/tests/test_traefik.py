"""A real Traefik on the store's provider, alone and behind a proxy; and what it does with redis,
as the README says."""

from __future__ import annotations

import http.client
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import anyio.to_thread
import pytest
from traefikhub import TraefikProxy
from traefikhub.stores import Batch, Document, Key, in_thread
from traefikhub.testing import Certificates, run_backend, run_traefik
from traitlets.config import Config

from servers import ADMIN, PASSWORD, RedisServer, free_port, rules
from stores import opened, options, routes
from traefikhub_redis import RedisStore

pytestmark = pytest.mark.anyio


@pytest.fixture
def backend() -> Iterator[str]:
    """A web server that answers 200 to everything."""
    with run_backend() as url:
        yield url


def status(port: int, path: str) -> int:
    """Of the answer to a GET; 0 if there is none."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


# --- the store and Traefik -----------------------------------------------------------------------


async def serves(store: RedisStore, backend: str) -> None:
    """Routes come and go."""
    records = routes(3, backend)
    await store.apply(Batch(1, records))
    with run_traefik(store) as running:
        await in_thread(running.wait_for, 1)
        assert running.ask("/user/u2/x")[0] == 200
        await store.apply(Batch(2, {}, frozenset(records)))
        await in_thread(running.wait_for, 2)
        assert running.ask("/user/u2/x")[0] == 404


async def test_in_another_database(own_server: RedisServer, backend: str) -> None:
    own_server.add_user("hub", *rules("hub"), "+select")
    its = options(own_server, "hub") | {"url": own_server.url.replace("/0", "/3")}
    async with opened(**its) as store:
        await serves(store, backend)


async def test_with_tls(kind: str, backend: str, tmp_path: Path) -> None:
    certificates = Certificates.make(tmp_path / "certificates")
    with RedisServer(
        kind,
        tmp_path / "server",
        guarded=True,
        tls_port=str(free_port()),
        tls_cert_file=certificates.server_cert,
        tls_key_file=certificates.server_key,
        tls_ca_cert_file=certificates.ca,
    ) as server:
        its = options(server, "hub") | {
            "url": server.tls_url,
            "ca_cert": certificates.ca,
            "client_cert": certificates.client_cert,
            "client_key": certificates.client_key,
        }
        async with opened(**its) as store:
            await serves(store, backend)


@pytest.mark.parametrize(
    ("missing", "complaint"),
    [
        ("+mget", "NOPERM"),
        ("+exists", "NOPERM"),
        ("+scan", "NOPERM"),
        ("+psubscribe", "WatchTree channel is closed"),
    ],
)
async def test_the_rights_that_traefik_needs(
    server: RedisServer, prefix: str, missing: str, complaint: str, backend: str
) -> None:
    """Without any of them it complains, again and again."""
    name = f"{prefix}-{missing[1:]}"
    server.add_user(name, *(rule for rule in rules(prefix) if rule != missing))
    async with opened(**options(server, prefix)) as store:
        await store.apply(Batch(1, routes(1, backend)))
        its = RedisStore(url=server.url, prefix=prefix, username=name, password=PASSWORD)
        with run_traefik(its) as running:
            await in_thread(running.wait, lambda: complaint in running.log, "complain")


async def test_neighbours_in_one_database(server: RedisServer, prefix: str, backend: str) -> None:
    """Even if one prefix begins the other, and the neighbour's keys make no sense."""
    async with opened(**options(server, f"{prefix}2")) as neighbour:
        await neighbour.apply(Batch(1, routes(5)))
        server.put(f"{prefix}2/http/theirs/x", "y")
        async with opened(**options(server, prefix)) as store:
            await serves(store, backend)


async def test_a_user_of_too_few_keys_freezes_traefik_when_there_are_neighbours(
    server: RedisServer, prefix: str
) -> None:
    """Hence the rule without a slash: Traefik asks for all keys that begin like that at once."""
    name = f"{prefix}-few"
    few = [rule.replace(f"~{prefix}*", f"~{prefix}/*") for rule in rules(prefix)]
    assert few != rules(prefix)
    server.add_user(name, *few)
    its = options(server, prefix) | {"username": name}
    async with opened(**its) as store:
        await store.apply(Batch(1, routes(1)))
        server.put(f"{prefix}2/key", "a neighbour's")
        with run_traefik(store) as running:
            await in_thread(running.wait, lambda: "NOPERM" in running.log, "complain")
            assert running.generation() == 0


async def test_empty_values_are_absent_to_traefik(server: RedisServer, prefix: str) -> None:
    async with opened(**options(server, prefix)) as store:
        marker: dict[Key, Document] = {
            Key("http/middlewares", "m"): {
                "headers": {"customRequestHeaders": {"X": "x", "Y": "y"}}
            }
        }
        await store.apply(Batch(1, marker))
        server.put(f"{prefix}/http/middlewares/m/headers/customRequestHeaders/Y", "")
        with run_traefik(store) as running:
            await in_thread(running.wait_for, 1)
            found = running.api("/api/http/middlewares/m@redis")
            assert found["headers"] == {"customRequestHeaders": {"X": "x"}}


async def test_one_batch_is_read_once(own_server: RedisServer, backend: str) -> None:
    """Twice, to be exact: the first time for nothing. By events, it would be for each key."""
    async with opened(**options(own_server, "hub")) as store:
        await store.apply(Batch(1, routes(1, backend)))
        with run_traefik(store) as running:
            await in_thread(running.wait_for, 1)
            await anyio.sleep(0.5)  # at its start it reads three times
            before = own_server.calls("mget")
            await store.apply(Batch(2, routes(100, backend)))
            await in_thread(running.wait_for, 2)
            await anyio.sleep(0.5)
            assert own_server.calls("mget") - before == 2


async def test_traefik_turns_events_on_if_it_may(own_server: RedisServer, backend: str) -> None:
    """All of them, when it starts; and reads everything for each key. The store undoes that."""
    async with opened(
        url=own_server.url, password=ADMIN, prefix="hub", turn_off_events=True
    ) as store:
        await store.apply(Batch(1, routes(1, backend)))
        with run_traefik(store) as running:
            await in_thread(running.wait_for, 1)
            await anyio.sleep(0.5)
            assert set(own_server.do("CONFIG", "GET", "notify-keyspace-events")[1]) == set(b"AKE")
            before = own_server.calls("mget")
            for number in range(5):
                own_server.put(f"hub/jupyterhub/x{number}", "x")
            await anyio.sleep(1)
            assert own_server.calls("mget") - before == 10
            await store.apply(Batch(2, routes(100, backend)))
            await in_thread(running.wait_for, 2)
            await anyio.sleep(0.5)
            assert own_server.calls("mget") - before == 12


async def test_traefik_goes_on_when_redis_is_back(own_server: RedisServer, backend: str) -> None:
    """It serves what it has, listens again, and reads what it missed."""
    async with opened(**options(own_server, "hub")) as store:
        await store.apply(Batch(1, routes(1, backend)))
        with run_traefik(store) as running:
            await in_thread(running.wait_for, 1)
            own_server.stop()
            await anyio.sleep(1)
            assert running.ask("/user/u0/")[0] == 200
            own_server.start()
            await store.apply(Batch(2, routes(2, backend)))
            await in_thread(running.wait_for, 2)
            assert running.ask("/user/u1/")[0] == 200
            await store.apply(Batch(3, routes(3, backend)))
            await in_thread(running.wait_for, 3)


async def test_trying_the_store_beside_a_hub_disturbs_nobody(
    own_server: RedisServer, backend: str
) -> None:
    """Traefik hears of all that begins with its prefix, and would read while the Hub writes."""
    its = options(own_server, "hub")
    scratch = RedisStore(**its).scratch_prefix("x")
    own_server.do("ACL", "SETUSER", "hub", f"~{scratch}*", f"&__keyspace*:{scratch}*")
    async with opened(**its) as store, opened(**its | {"prefix": scratch}) as other:
        await store.apply(Batch(1, routes(300, backend)))
        with run_traefik(store) as running:
            await in_thread(running.wait_for, 1)
            await anyio.sleep(0.5)  # at its start it reads three times
            before, dead = own_server.calls("mget"), []
            readings = own_server.calls("scan")

            async def measure() -> None:
                for generation in range(1, 1000):
                    await other.apply(Batch(generation, routes(generation % 20 + 1, backend)))
                    await anyio.sleep(0.01)

            async with anyio.create_task_group() as group:
                group.start_soon(measure)
                await anyio.sleep(0.5)
                assert own_server.calls("scan") == readings
                for number in range(301, 331):
                    await store.apply(Batch(number, routes(number, backend)))
                    await in_thread(running.wait_for, number)
                    if (await in_thread(running.ask, f"/user/u{number - 1}/"))[0] != 200:
                        dead.append(number)
                group.cancel_scope.cancel()
            assert not dead
            assert own_server.calls("mget") > before


# --- the whole -----------------------------------------------------------------------------------


class Hub:
    """A proxy as JupyterHub has it, with the store by its name."""

    def __init__(self, server: RedisServer, directory: Path, **of_store: Any) -> None:
        self.port = free_port()
        server.add_user("hub", *rules("traefik"))
        config = Config()
        config.TraefikProxy.store = "redis"
        config.RedisStore.update(
            {"url": server.url, "username": "hub", "password": PASSWORD} | of_store
        )
        self._options: dict[str, Any] = {
            "config": config,
            "app": SimpleNamespace(subdomain_host="", internal_ssl=False, cleanup_proxy=True),
            "public_url": f"http://127.0.0.1:{self.port}",
            "traefik_api_url": f"http://127.0.0.1:{free_port()}",
            "run_dir": str(directory / "run"),
            "grace_seconds": 1,
        }
        self._made: list[TraefikProxy] = []

    async def start(self) -> TraefikProxy:
        self._made.append(TraefikProxy(**self._options))
        await self._made[-1].start()
        return self._made[-1]

    async def end(self) -> None:
        for proxy in self._made:
            await proxy.stop()

    async def status(self, path: str) -> int:
        return await anyio.to_thread.run_sync(status, self.port, path)


@pytest.fixture
async def hub(own_server: RedisServer, tmp_path: Path) -> AsyncIterator[Hub]:
    made = Hub(own_server, tmp_path)
    yield made
    await made.end()


async def test_a_hub(hub: Hub, backend: str) -> None:
    """Routes are live when the call returns, outlive the Hub, and go."""
    proxy = await hub.start()
    await proxy.add_route("/", backend, {"hub": True})
    await proxy.add_route("/user/mary/", backend, {"user": "mary", "note": 'é"\n'})
    assert await hub.status("/user/mary/lab") == 200
    assert (await proxy.get_all_routes())["/user/mary/"]["data"] == {"user": "mary", "note": 'é"\n'}
    await proxy.stop()
    again = await hub.start()
    assert set(await again.get_all_routes()) == {"/", "/user/mary/"}
    assert await hub.status("/user/mary/lab") == 200
    await again.delete_route("/")
    await again.delete_route("/user/mary/")
    assert await hub.status("/user/mary/lab") == 404
    assert await again.get_all_routes() == {}


async def test_every_route_of_a_burst_is_live_when_its_call_returns(hub: Hub, backend: str) -> None:
    """Traefik reads in pieces, so events that came one after another would let it show a
    generation without its routes."""
    proxy = await hub.start()
    async with anyio.create_task_group() as group:
        for number in range(300):
            group.start_soon(proxy.add_route, f"/user/before{number}/", backend, {})
    dead = []

    async def log_in(number: int) -> None:
        await anyio.sleep(number / 50)
        await proxy.add_route(f"/user/u{number}/", backend, {})
        if (found := await hub.status(f"/user/u{number}/")) != 200:
            dead.append((number, found))

    async with anyio.create_task_group() as group:
        for number in range(100):
            group.start_soon(log_in, number)
    assert not dead


async def test_keys_that_others_change_are_put_right(
    own_server: RedisServer, hub: Hub, backend: str
) -> None:
    proxy = await hub.start()
    await proxy.add_route("/user/mary/", backend, {})
    path = next(key for key in own_server.dump() if key.endswith("/rule") and "mary" in key)
    own_server.put(path, 'PathPrefix("/elsewhere")')
    own_server.put("traefik/udp", "x")
    await proxy.get_all_routes()
    await proxy.add_route("/user/joan/", backend, {})
    assert await hub.status("/user/mary/") == 200
    assert "traefik/udp" not in own_server.dump()


async def test_redis_is_restarted_under_a_hub(
    own_server: RedisServer, hub: Hub, backend: str
) -> None:
    proxy = await hub.start()
    await proxy.add_route("/user/mary/", backend, {})
    await anyio.to_thread.run_sync(own_server.restart)
    begun = time.monotonic()
    await proxy.add_route("/user/joan/", backend, {})
    assert time.monotonic() - begun < 30
    for name in ("mary", "joan"):
        assert await hub.status(f"/user/{name}/") == 200


async def test_a_mistake_ends_the_start_with_what_mends_it(
    own_server: RedisServer, tmp_path: Path
) -> None:
    own_server.do("CONFIG", "SET", "notify-keyspace-events", "KEA")
    made = Hub(own_server, tmp_path)
    with pytest.raises(Exception, match="CONFIG SET notify-keyspace-events"):
        await made.start()
    with ExitStack() as stack:
        stack.callback(own_server.do, "CONFIG", "SET", "notify-keyspace-events", "")
    await made.end()
