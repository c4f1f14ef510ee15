"""What is consul's own: its one agent, tokens, limits, lost and late answers, Traefik's provider.

On real servers. What every store promises is in tests/conformance.
"""

from __future__ import annotations

import logging
import ssl
import subprocess
import sys
import threading
import traceback
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
import requests

from servers.consul import ConsulServer
from servers.relay import Relay
from support import Backend, ask, free_port, run_traefik, wait_until
from traefikhub.stores import (
    Batch,
    Change,
    Document,
    FencedError,
    Guard,
    Key,
    RecordRefused,
    StoreCorrupt,
    StoreError,
    StoreUnavailable,
)
from traefikhub.table import Route, Table
from traefikhub.testing import Certificates
from traefikhub_backends._consul_agent import Agent
from traefikhub_backends.consul import ConsulStore

pytestmark = pytest.mark.anyio

TOKEN = "7c1b0a2e-5ec2-e7a0-0000-70cca1100000"
ROUTES = "jupyterhub/routes"
OWNER = "jupyterhub/owner"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsulServer]:
    """For tests that leave it as they found it. Each has a prefix of its own."""
    with ConsulServer(tmp_path_factory.mktemp("consul")) as shared:
        yield shared


@pytest.fixture
def prefix() -> str:
    return f"hub-{uuid.uuid4().hex[:8]}"


@asynccontextmanager
async def opened(*, read_only: bool = False, **options: Any) -> AsyncIterator[ConsulStore]:
    store = ConsulStore(**options)
    await store.open(read_only=read_only)
    try:
        yield store
    finally:
        await store.close()


def batch(generation: int, name: str, document: Document = "here") -> Batch:
    return Batch(generation, {Key(ROUTES, name): document})


async def names(store: ConsulStore) -> set[str]:
    return {name for name, _ in (await store.load()).section(ROUTES)}


def table_of(count: int) -> Table:
    routes = [
        Route(f"/user/u{number}/", f"http://127.0.0.1:{number + 1}", {"user": f"u{number}"})
        for number in range(count)
    ]
    return Table(entry_point="web", routes=routes)


# --- one server --------------------------------------------------------------------------------


async def test_prefixes_do_not_touch_each_other(server: ConsulServer, prefix: str) -> None:
    """One is the beginning of the other, as "traefik" is of "traefik2"."""
    neighbours = {f"{prefix}": "a", f"{prefix}0": "b", f"{prefix}2/http/x": "c"}
    for key, value in neighbours.items():
        server.put(key, value)
    async with (
        opened(url=server.url, prefix=prefix) as one,
        opened(url=server.url, prefix=f"{prefix}2") as two,
    ):
        await one.apply(batch(1, "first"))
        await two.apply(batch(7, "second"))
        assert await names(one) == {"first"}
        assert await names(two) == {"second"}
        await one.apply(Batch(2, {}, frozenset({Key(ROUTES, "first")})))
        assert (await one.load()).generation == 2
        assert (await two.load()).generation == 7
    assert neighbours.items() <= server.dump().items()


async def test_a_quiet_store_is_told_from_one_that_somebody_changed(
    server: ConsulServer, prefix: str
) -> None:
    async with opened(url=server.url, prefix=prefix) as store:
        await store.apply(batch(1, "mary"))
        await store.load()
        for _ in range(3):
            server.put(f"{prefix}2/elsewhere", uuid.uuid4().hex)
            assert await store.intact()
        path = f"{prefix}/{ROUTES}/mary"
        server.put(path, '"changed"')
        assert not await store.intact()
        await store.load()
        await store.apply(batch(2, "mary"))
        await store.load()
        assert await store.intact()
        server.delete(path)
        assert not await store.intact()


async def test_taking_over_fences_the_earlier_owner(server: ConsulServer, prefix: str) -> None:
    options: dict[str, Any] = {"url": server.url, "prefix": prefix}
    async with opened(**options) as old:
        await old.apply(batch(1, "old"))
        async with opened(**options) as new, opened(read_only=True, **options) as reader:
            before = server.entries(f"{prefix}/")
            with pytest.raises(FencedError, match=prefix):
                await old.apply(batch(2, "late"))
            assert server.entries(f"{prefix}/") == before
            await new.apply(batch(2, "new"))
            assert await names(reader) == {"old", "new"}
            with pytest.raises(StoreError, match="reading only"):
                await reader.apply(batch(3, "reader"))


async def test_nothing_is_written_after_a_takeover_in_the_midst(
    server: ConsulServer, prefix: str
) -> None:
    """Consul numbers all changes, so the order in which they came can be read off afterwards."""
    for _ in range(5):
        async with opened(url=server.url, prefix=prefix) as old:
            generation = (await old.load()).generation
            under_way = anyio.Event()

            async def write(store: ConsulStore, first: int, under_way: anyio.Event) -> None:
                for number in range(first, first + 1000):
                    try:
                        # Two transactions each: the takeover may come between them.
                        puts: dict[Key, Document] = {Key(ROUTES, str(n)): number for n in range(70)}
                        await store.apply(Batch(number, puts))
                    except FencedError:
                        return
                    under_way.set()
                pytest.fail("the earlier owner was never fenced")

            async with anyio.create_task_group() as group:
                group.start_soon(write, old, generation + 1, under_way)
                await under_way.wait()
                async with opened(url=server.url, prefix=prefix):
                    pass
            revisions = {
                entry["Key"]: entry["ModifyIndex"] for entry in server.entries(f"{prefix}/")
            }
            taken_over = revisions.pop(f"{prefix}/{OWNER}")
            assert max(revisions.values()) < taken_over


async def test_of_many_who_take_over_at_once_one_may_write(
    server: ConsulServer, prefix: str
) -> None:
    stores = [ConsulStore(url=server.url, prefix=prefix) for _ in range(8)]
    wrote = []

    async def write(number: int) -> None:
        try:
            await stores[number].apply(batch(1, str(number)))
        except FencedError:
            return
        wrote.append(str(number))

    async with anyio.create_task_group() as group:
        for store in stores:
            group.start_soon(store.open)
    async with anyio.create_task_group() as group:
        for number in range(len(stores)):
            group.start_soon(write, number)
    assert len(wrote) == 1
    async with opened(url=server.url, prefix=prefix, read_only=True) as reader:
        assert await names(reader) == set(wrote)
    for store in stores:
        await store.close()


async def test_more_than_a_transaction_holds(server: ConsulServer, prefix: str) -> None:
    """Whoever reads at any moment sees no router whose service isn't there."""
    wrong: list[str] = []
    done = threading.Event()
    reads = 0

    def watch() -> None:
        nonlocal reads
        while not done.is_set():
            flat = {entry["Key"]: entry for entry in server.entries(f"{prefix}/http/")}
            present = {key.split("/")[3] for key in flat if f"{prefix}/http/services/" in key}
            for key in flat:
                parts = key.split("/")
                if parts[2] == "routers" and not any(
                    other.startswith("/".join(parts[:4])) and other.endswith("/service")
                    for other in flat
                ):
                    wrong.append(f"{parts[3]} without a service")
                elif parts[-1] == "service" and parts[3] not in present:
                    wrong.append(f"{parts[3]} names a missing service")
            reads += 1

    records = dict(table_of(100).records)
    async with opened(url=server.url, prefix=prefix) as store, anyio.create_task_group() as group:
        group.start_soon(anyio.to_thread.run_sync, watch)
        try:
            for generation in (1, 3):
                await store.apply(Batch(generation, records))
                loaded = await store.load()
                assert loaded.generation == generation
                assert loaded.records == {
                    key: store.canonical(key, document) for key, document in records.items()
                }
                await store.apply(Batch(generation + 1, {}, frozenset(records)))
                assert (await store.load()).records == {}
        finally:
            done.set()
    assert reads
    assert not wrong


async def test_a_full_transaction_and_its_guard_fit(server: ConsulServer, prefix: str) -> None:
    async with opened(url=server.url, prefix=prefix) as store:
        guard = Guard(OWNER, server.dump()[f"{prefix}/{OWNER}"])
        changes = [Change(f"http/x/{number}", "") for number in range(store.transaction_limit)]
        assert await store.transact(changes, guard)
        assert not await store.transact([Change("late", "")], Guard(OWNER, "somebody else's"))
        flat = await store.read_all()
        assert flat == {path: "" for path, _ in changes} | {OWNER: guard.value}
        with pytest.raises(StoreError, match="too many operations"):
            await store.transact([*changes, Change("one/more", "")], guard)
        assert await store.read_all() == flat


async def test_a_rejected_transaction_raises(server: ConsulServer, prefix: str) -> None:
    async with opened(url=server.url, prefix=prefix) as store:
        assert store._agent is not None
        operations = [
            {"KV": {"Verb": "set", "Key": f"{prefix}/a", "Value": ""}},
            {"KV": {"Verb": "check-index", "Key": f"{prefix}/{OWNER}", "Index": 1}},
        ]
        with pytest.raises(StoreError, match=r"rejects a transaction.* modify index"):
            await anyio.to_thread.run_sync(store._agent.transact, operations)
        assert await store.read_all() == {OWNER: server.dump()[f"{prefix}/{OWNER}"]}


async def test_more_bytes_than_a_request_holds(server: ConsulServer, prefix: str) -> None:
    """Though it is fewer operations than a transaction holds."""
    long: dict[Key, Document] = {
        Key(ROUTES, f"{number}é"): "é" * 20_000 + '"' * 20_000 for number in range(40)
    }
    async with opened(url=server.url, prefix=prefix) as store:
        await store.apply(Batch(1, long))
        assert (await store.load()).records == long


async def test_the_largest_value(server: ConsulServer, prefix: str) -> None:
    """The store's own reckoning is on the safe side of consul's."""
    async with opened(url=server.url, prefix=prefix) as store:
        path = f"{ROUTES}/a"
        most = store.transaction_bytes - len(path) - len('""')
        await store.apply(batch(1, "a", "x" * most))
        with pytest.raises(RecordRefused, match=path):
            await store.apply(batch(2, "a", "x" * (most + 1)))
        assert len(server.dump()[f"{prefix}/{path}"]) == most + 2


async def test_nothing_of_a_batch_with_too_large_a_record(
    server: ConsulServer, prefix: str
) -> None:
    async with opened(url=server.url, prefix=prefix) as store:
        await store.apply(batch(1, "small"))
        before = server.entries(f"{prefix}/")
        puts: dict[Key, Document] = {Key(ROUTES, str(number)): 1 for number in range(200)}
        with pytest.raises(RecordRefused, match="large"):
            await store.apply(Batch(2, puts | {Key(ROUTES, "large"): "x" * 600_000}))
        assert server.entries(f"{prefix}/") == before
        await store.apply(batch(2, "next"))
        assert await names(store) == {"small", "next"}


async def test_consul_takes_less_than_the_option_says(server: ConsulServer, prefix: str) -> None:
    options: dict[str, Any] = {"url": server.url, "prefix": prefix}
    async with opened(max_request_bytes=10_000_000, **options) as store:
        with pytest.raises(RecordRefused, match=r"max size.*c\.ConsulStore\.max_request_bytes"):
            await store.apply(batch(2, "large", "x" * 600_000))
        await store.apply(batch(2, "next"))
        assert await names(store) == {"next"}


async def test_folders_of_the_web_interface_and_odd_names(
    server: ConsulServer, prefix: str
) -> None:
    for folder in ("", "jupyterhub/", "theirs/"):
        server.put(f"{prefix}/{folder}", "")
    odd = 'ä/\u2028"\\\n ?&#%2F..'
    async with opened(url=server.url, prefix=prefix) as store:
        await store.apply(batch(1, odd, odd))
        assert (await store.load()).records == {Key(ROUTES, odd): odd}


async def test_what_is_no_text_is_corrupt(server: ConsulServer, prefix: str) -> None:
    async with opened(url=server.url, prefix=prefix) as store:
        server.put(f"{prefix}/{ROUTES}/strange", b"\xff\xfe")
        with pytest.raises(StoreCorrupt, match=prefix):
            await store.load()


async def test_loads_during_writes_see_one_batch_or_the_next(
    server: ConsulServer, prefix: str
) -> None:
    async with opened(url=server.url, prefix=prefix) as store:
        await store.apply(Batch(1, {Key(ROUTES, str(number)): 1 for number in range(50)}))

        async def write() -> None:
            for generation in range(2, 30):
                puts: dict[Key, Document] = {Key(ROUTES, str(n)): generation for n in range(50)}
                await store.apply(Batch(generation, puts))
            group.cancel_scope.cancel()

        async def read() -> None:
            while True:
                snapshot = await reader.load()
                assert set(snapshot.records.values()) == {snapshot.generation}

        async with (
            opened(url=server.url, prefix=prefix, read_only=True) as reader,
            anyio.create_task_group() as group,
        ):
            group.start_soon(write)
            group.start_soon(read)
        assert (await store.load()).generation == 29


# --- options -----------------------------------------------------------------------------------

SEVERAL = "Traefik's consul provider takes exactly one endpoint"


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"url": ["http://127.0.0.1:1", "http://127.0.0.1:2"]}, f"2 addresses, but {SEVERAL}"),
        ({"url": "http://127.0.0.1:1, http://127.0.0.1:2"}, f"2 addresses, but {SEVERAL}"),
        ({"url": []}, "0 addresses"),
        ({"url": "127.0.0.1:8500"}, "must be http://host:port"),
        ({"url": "http://127.0.0.1:port"}, "must be http://host:port"),
        ({"url": "http://127.0.0.1:8500/v1"}, "must be http://host:port"),
        ({"url": "unix:///run/consul.sock"}, "must be http://host:port"),
        ({"url": f"http://root:{TOKEN}@127.0.0.1:8500"}, r"c\.ConsulStore\.token"),
        ({"ca_cert": "ca.pem"}, "begins with https://"),
        ({"url": "https://a", "client_cert": "client.pem"}, "need each other"),
        ({"url": "https://a", "ca_cert": "/nowhere/ca.pem"}, "ca_cert: .*No such file"),
        ({"url": "https://a", "ca_cert": __file__}, "ca_cert: "),
        ({"url": "https://a", "client_cert": __file__, "client_key": __file__}, "client_cert"),
        ({"token": f"{TOKEN}\n"}, r"c\.ConsulStore\.token holds .* line break"),
    ],
)
async def test_options_that_make_no_sense(options: dict[str, Any], complaint: str) -> None:
    store = ConsulStore(**options)
    with pytest.raises(StoreError, match=complaint) as caught:
        await store.open()
    assert not isinstance(caught.value, StoreUnavailable)
    assert TOKEN not in "".join(traceback.format_exception(caught.value))


def test_a_missing_client_library_names_what_brings_it() -> None:
    """And so the module itself, with its options, is there without it."""
    code = """if True:
        import asyncio, sys
        sys.modules["consul"] = sys.modules["requests"] = None  # as if they were not installed
        from traefikhub_backends.consul import ConsulStore
        asyncio.run(ConsulStore().open())
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "StoreError: the consul store lacks its client library" in done.stderr
    assert 'pip install "traefikhub[consul]"' in done.stderr


def test_traefik_is_told_only_what_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ConsulStore().provider_config() == {
        "consul": {"rootKey": "traefik", "endpoints": ["127.0.0.1:8500"]}
    }
    monkeypatch.chdir(tmp_path)
    store = ConsulStore(
        prefix="hub", url=["https://[::1]"], token=TOKEN, client_cert="c.pem", client_key="c.key"
    )
    assert store.provider_config() == {
        "consul": {
            "rootKey": "hub",
            "endpoints": ["[::1]:443"],
            "token": TOKEN,
            "tls": {
                "insecureSkipVerify": False,
                "cert": str(tmp_path / "c.pem"),
                "key": str(tmp_path / "c.key"),
            },
        }
    }


async def test_the_environment_changes_nothing(
    server: ConsulServer, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What Traefik isn't told, the Hub must not use either."""
    monkeypatch.setenv("CONSUL_HTTP_ADDR", f"127.0.0.1:{free_port()}")
    monkeypatch.setenv("CONSUL_HTTP_TOKEN", TOKEN)
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    async with opened(url=server.url, prefix=prefix, timeout=5) as store:
        await store.apply(batch(1, "a"))
        assert await names(store) == {"a"}


async def test_an_unknown_datacenter(server: ConsulServer, prefix: str) -> None:
    async with opened(url=server.url, prefix=prefix, datacenter="dc1") as store:
        await store.apply(batch(1, "a"))
    with pytest.raises(StoreUnavailable, match=r"datacenter dc2: .*No path to datacenter"):
        await ConsulStore(url=server.url, prefix=prefix, datacenter="dc2", timeout=0.5).open()


async def test_another_web_server_at_that_address(prefix: str) -> None:
    """Its 404 must not pass for a store without routes."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(404)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with serving(Handler) as url, pytest.raises(StoreError, match="doesn't answer as consul does"):
        await ConsulStore(url=url, prefix=prefix).open()


# --- trouble -----------------------------------------------------------------------------------


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[ConsulServer]:
    """To be ill-treated."""
    with ConsulServer(tmp_path / "consul") as own:
        yield own


async def test_down_and_up_again(own_server: ConsulServer) -> None:
    address = own_server.url
    async with opened(url=address, timeout=1) as store:
        await store.apply(batch(1, "before"))
        own_server.stop()
        for call in (store.load(), store.apply(batch(2, "meanwhile"))):
            with pytest.raises(StoreUnavailable, match=address):
                await call
        with pytest.raises(StoreUnavailable, match=r"Connection refused.*c\.ConsulStore\.url"):
            await ConsulStore(url=address, timeout=0.5).open()
        own_server.start()
        assert await names(store) == {"before"}
        await store.apply(batch(2, "after"))
        own_server.restart()
        await store.apply(batch(3, "at last"))
        assert await names(store) == {"before", "after", "at last"}


async def test_calls_outlast_a_restart_within_their_timeout(own_server: ConsulServer) -> None:
    async with opened(url=own_server.url, timeout=60) as store:
        own_server.stop()
        async with anyio.create_task_group() as group:
            group.start_soon(store.apply, batch(1, "during"))
            await anyio.to_thread.run_sync(own_server.start)
        assert await names(store) == {"during"}


async def test_frozen(own_server: ConsulServer) -> None:
    async with opened(url=own_server.url, timeout=0.5) as store:
        await store.apply(batch(1, "before"))
        for generation in (2, 4, 6):
            own_server.pause()
            with anyio.fail_after(30):  # a hang would be for ever
                for call in (store.apply(batch(generation, "late")), store.load()):
                    with pytest.raises(StoreUnavailable, match=own_server.url):
                        await call
                with pytest.raises(StoreUnavailable, match="timed out"):
                    await ConsulStore(url=own_server.url, timeout=0.5).open(read_only=True)
            own_server.resume()
            # What load tells now holds, though consul may still have had the old request to do.
            known = (await store.load()).records
            assert own_server.dump().get(f"traefik/{ROUTES}/late") == (
                '"here"' if Key(ROUTES, "late") in known else None
            )
            await store.apply(Batch(generation + 1, {}, frozenset({Key(ROUTES, "late")})))
            assert await names(store) == {"before"}


class _Roomy(ThreadingHTTPServer):
    request_queue_size = 128  # many may connect at once


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """The URL of an HTTP server."""
    httpd = _Roomy(("127.0.0.1", 0), handler)
    httpd.daemon_threads = True
    thread = threading.Thread(target=httpd.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{httpd.server_address[1]}"
    finally:
        httpd.shutdown()
        httpd.server_close()
        thread.join()


class BadLine:
    """A way to consul that mistreats as many of the next transactions as it is told to.

    spare: how many it lets through before.
    then: what it does before the first that it doesn't spare.
    """

    def __init__(self, server: ConsulServer) -> None:
        line = self
        self.spare = 0
        self.then: Callable[[], None] | None = None
        self.lose_answers = 0
        self.answer_500 = 0
        self.hold_back = 0
        self.held: list[bytes] = []

        lock = threading.Lock()  # many come at once

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.reply(self.forward())

            def do_PUT(self) -> None:
                with lock:
                    self.mistreat()

            def mistreat(self) -> None:
                if line.spare:
                    line.spare -= 1
                    self.reply(self.forward())
                    return
                then, line.then = line.then, None
                if then:
                    then()
                if line.hold_back:
                    line.hold_back -= 1
                    line.held.append(self.rfile.read(int(self.headers["Content-Length"])))
                    self.close_connection = True
                elif line.answer_500:
                    line.answer_500 -= 1
                    response = requests.Response()
                    response.status_code, response._content = 500, b"No cluster leader"
                    self.rfile.read(int(self.headers["Content-Length"]))
                    self.reply(response)
                elif line.lose_answers:
                    line.lose_answers -= 1
                    self.forward()
                    self.close_connection = True
                else:
                    self.reply(self.forward())

            def forward(self) -> requests.Response:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                return requests.request(
                    self.command, f"{server.url}{self.path}", data=body, timeout=10
                )

            def reply(self, response: requests.Response) -> None:
                self.send_response(response.status_code)
                for name, value in response.headers.items():
                    if name.startswith("X-Consul"):
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(response.content)))
                self.end_headers()
                self.wfile.write(response.content)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.handler = Handler
        self.server = server

    def pass_on(self) -> set[int]:
        """Send what was held back; consul's answers."""
        url = f"{self.server.url}/v1/txn"
        return {requests.put(url, data=body, timeout=10).status_code for body in self.held}


async def test_a_lost_answer_is_asked_for_again(server: ConsulServer, prefix: str) -> None:
    line = BadLine(server)
    with serving(line.handler) as url:
        line.lose_answers = 1
        async with opened(url=url, prefix=prefix) as store:
            for generation in range(1, 4):
                line.lose_answers, line.answer_500 = 1, 2
                await store.apply(batch(generation, str(generation)))
                assert not line.lose_answers
            assert await names(store) == {"1", "2", "3"}


async def test_fenced_though_the_answer_was_lost(server: ConsulServer, prefix: str) -> None:
    line = BadLine(server)
    with serving(line.handler) as url:
        async with opened(url=url, prefix=prefix) as old:
            await old.apply(batch(1, "old"))
            async with opened(url=server.url, prefix=prefix):
                before = server.entries(f"{prefix}/")
                line.lose_answers = 1
                with pytest.raises(FencedError):
                    await old.apply(batch(2, "late"))
                assert server.entries(f"{prefix}/") == before


@pytest.mark.parametrize("loads", [False, True])
async def test_what_comes_late_does_not_happen(
    server: ConsulServer, prefix: str, loads: bool
) -> None:
    """An agent that was frozen hands on a transaction that its sender has given up."""
    line = BadLine(server)
    with serving(line.handler) as url:
        async with opened(url=url, prefix=prefix, timeout=0.5) as store:
            await store.apply(batch(1, "route", "first"))
            line.hold_back = 1000
            with pytest.raises(StoreUnavailable):
                await store.apply(batch(2, "route", "late"))
            line.hold_back = 0
            if loads:
                assert (await store.load()).records == {Key(ROUTES, "route"): "first"}
            else:
                await store.apply(batch(2, "route", "second"))
            before = server.entries(f"{prefix}/")
            assert line.pass_on() == {409}
            assert server.entries(f"{prefix}/") == before
            await store.apply(batch(3, "route", "third"))


MANY: dict[Key, Document] = dict(table_of(150).records)
FEW: dict[Key, Document] = {Key(ROUTES, "first"): "first"}


@pytest.fixture
def singly(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Notes each transaction that is sent by itself."""
    sent: list[int] = []
    transact = Agent.transact

    def noting(self: Agent, operations: list[Any], **options: Any) -> list[Any] | None:
        sent.append(len(operations))
        return transact(self, operations, **options)

    monkeypatch.setattr(Agent, "transact", noting)
    return sent


def canonical(records: Mapping[Key, Document]) -> dict[Key, Document]:
    store = ConsulStore()
    return {key: store.canonical(key, document) for key, document in records.items()}


async def test_a_burst_goes_at_once_and_is_complete(
    server: ConsulServer, prefix: str, singly: list[int]
) -> None:
    options: dict[str, Any] = {"url": server.url, "prefix": prefix}
    async with opened(**options) as store, opened(read_only=True, **options) as reader:
        del singly[:]
        await store.apply(Batch(1, MANY))
        assert len(singly) == 1, "only the last one, with the marker, goes by itself"
        found = await reader.load()
        assert (found.generation, found.records) == (1, canonical(MANY))
        await store.apply(Batch(2, FEW, frozenset(MANY)))
        assert len(singly) == 2
        found = await reader.load()
        assert (found.generation, found.records) == (2, FEW)


@pytest.mark.parametrize("spare", [0, 1, 9, 14])
async def test_taken_over_in_the_midst_of_a_burst(
    server: ConsulServer, prefix: str, spare: int
) -> None:
    """Nothing of it is written after that, whatever of it is under way."""
    line = BadLine(server)
    with serving(line.handler) as url:
        async with opened(url=url, prefix=prefix) as old:
            await old.apply(Batch(1, FEW))
            line.spare = spare
            line.then = lambda: server.put(f"{prefix}/{OWNER}", "another")
            with pytest.raises(FencedError, match=prefix):
                await old.apply(Batch(2, MANY))
            assert line.then is None, "the burst was over before"
            with pytest.raises(FencedError):
                await old.apply(Batch(2, FEW))
    revisions = {entry["Key"]: entry["ModifyIndex"] for entry in server.entries(f"{prefix}/")}
    taken_over = revisions.pop(f"{prefix}/{OWNER}")
    assert max(revisions.values()) < taken_over


async def test_answers_that_are_lost_in_a_burst_are_asked_for_again(
    server: ConsulServer, prefix: str
) -> None:
    line = BadLine(server)
    with serving(line.handler) as url:
        async with opened(url=url, prefix=prefix) as store:
            line.spare, line.lose_answers, line.answer_500 = 3, 2, 2
            await store.apply(Batch(1, MANY))
            assert not line.lose_answers
            assert (await store.load()).records == canonical(MANY)


@pytest.mark.parametrize("spare", [0, 4, 14])
@pytest.mark.parametrize("loads", [False, True])
async def test_a_burst_that_was_given_up_can_not_come_late(
    server: ConsulServer, prefix: str, spare: int, loads: bool
) -> None:
    line = BadLine(server)
    with serving(line.handler) as url:
        async with opened(url=url, prefix=prefix, timeout=0.5) as store:
            await store.apply(Batch(1, FEW))
            line.spare, line.hold_back = spare, 1000
            with pytest.raises(StoreUnavailable):
                await store.apply(Batch(2, MANY))
            line.hold_back = 0
            if loads:
                known = await store.load()
                assert known.generation == 1
                await store.apply(Batch.between(known.records, canonical(MANY) | FEW, generation=2))
            else:
                await store.apply(Batch(2, MANY))
            assert (await store.load()).records == canonical(MANY) | FEW
            before = server.entries(f"{prefix}/")
            assert line.pass_on() == {409}
            assert server.entries(f"{prefix}/") == before


async def test_what_was_sent_twice_in_a_burst_comes_too_late_after_it(
    server: ConsulServer, prefix: str
) -> None:
    """The second of them did it; the first lay in an agent all the time."""
    line = BadLine(server)
    with serving(line.handler) as url:
        async with opened(url=url, prefix=prefix) as store:
            line.spare, line.hold_back = 2, 3
            await store.apply(Batch(1, MANY))
            await store.apply(Batch(2, {}, frozenset(MANY)))
            before = server.entries(f"{prefix}/")
            assert len(line.held) == 3
            assert line.pass_on() == {409}
            assert server.entries(f"{prefix}/") == before


async def test_an_owner_key_that_others_touch_during_a_burst_is_noticed(
    server: ConsulServer, prefix: str
) -> None:
    line = BadLine(server)
    with serving(line.handler) as url:
        async with opened(url=url, prefix=prefix) as store:
            owner = server.dump()[f"{prefix}/{OWNER}"]

            def touch() -> None:
                server.delete(f"{prefix}/{OWNER}")
                server.put(f"{prefix}/{OWNER}", owner)

            line.spare, line.then = 5, touch
            with pytest.raises(
                StoreUnavailable, match=r"changed by somebody.* Not all was written"
            ):
                await store.apply(Batch(1, MANY))
            await store.apply(Batch(2, MANY))
            assert (await store.load()).records == canonical(MANY)


async def test_an_owner_key_that_others_touch_is_noticed(server: ConsulServer, prefix: str) -> None:
    async with opened(url=server.url, prefix=prefix) as store:
        await store.apply(batch(1, "a"))
        owner = server.dump()[f"{prefix}/{OWNER}"]
        server.delete(f"{prefix}/{OWNER}")
        server.put(f"{prefix}/{OWNER}", owner)
        with pytest.raises(StoreUnavailable, match="changed by somebody"):
            await store.apply(batch(2, "b"))
        await store.apply(batch(3, "c"))
        assert await names(store) == {"a", "c"}


# --- tokens ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsulServer]:
    """Lets in nobody without a token."""
    with ConsulServer(tmp_path_factory.mktemp("guarded"), root_token=TOKEN) as shared:
        yield shared


def told_by(caught: pytest.ExceptionInfo[BaseException], caplog: pytest.LogCaptureFixture) -> str:
    return "".join(traceback.format_exception(caught.value)) + repr(caught.value) + caplog.text


@pytest.mark.parametrize("rules", [None, "", 'key_prefix "elsewhere/" { policy = "write" }'])
@pytest.mark.parametrize("read_only", [False, True])
async def test_a_token_that_may_not(
    guarded: ConsulServer,
    prefix: str,
    caplog: pytest.LogCaptureFixture,
    rules: str | None,
    read_only: bool,
) -> None:
    caplog.set_level(logging.DEBUG)
    token = "0bad0bad-5ec2-e7a0-0000-70cca1100000" if rules is None else guarded.add_token(rules)[0]
    store = ConsulStore(url=guarded.url, prefix=prefix, token=token)
    with pytest.raises(StoreUnavailable, match=r"c\.ConsulStore\.token") as caught:
        await store.open(read_only=read_only)
    assert guarded.url in str(caught.value)
    assert token not in told_by(caught, caplog) + repr(store)


async def test_no_token(guarded: ConsulServer, prefix: str) -> None:
    with pytest.raises(StoreUnavailable, match=r"c\.ConsulStore\.token: Permission denied"):
        await ConsulStore(url=guarded.url, prefix=prefix).open()


async def test_a_token_that_may_only_read(
    guarded: ConsulServer, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    token, _ = guarded.add_token(f'key_prefix "{prefix}/" {{ policy = "read" }}')
    options: dict[str, Any] = {"url": guarded.url, "prefix": prefix, "token": token}
    with pytest.raises(StoreUnavailable, match=r"c\.ConsulStore\.token") as caught:
        await ConsulStore(**options).open()
    assert token not in told_by(caught, caplog)
    async with opened(read_only=True, **options) as reader:
        assert (await reader.load()).records == {}


async def test_rights_that_are_taken_away(
    guarded: ConsulServer, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Consul would then show an empty store, not an error."""
    caplog.set_level(logging.DEBUG)
    rules = f'key_prefix "{prefix}/" {{ policy = "write" }}\n'
    token, policy = guarded.add_token(rules)
    options: dict[str, Any] = {"url": guarded.url, "prefix": prefix, "token": token}
    async with opened(**options) as store, opened(read_only=True, **options) as reader:
        await store.apply(batch(1, "a"))
        guarded.set_rules(policy, rules + f'key_prefix "{prefix}/http/" {{ policy = "read" }}')
        before = guarded.entries(f"{prefix}/")
        with pytest.raises(StoreUnavailable, match=r"c\.ConsulStore\.token") as partly:
            await store.apply(batch(2, "b"))
        assert guarded.entries(f"{prefix}/") == before
        guarded.set_rules(policy, "")
        for call in (reader.load(), store.load(), store.apply(batch(2, "b"))):
            with pytest.raises(StoreUnavailable, match=r"c\.ConsulStore\.token") as caught:
                await call
        guarded.set_rules(policy, rules)
        await store.apply(batch(2, "b"))
        assert await names(store) == {"a", "b"}
    assert token not in told_by(caught, caplog) + told_by(partly, caplog)


# --- TLS ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates.make(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def encrypted(
    tmp_path_factory: pytest.TempPathFactory, certificates: Certificates
) -> Iterator[ConsulServer]:
    """Wants a client certificate, and a token."""
    directory = tmp_path_factory.mktemp("encrypted")
    with ConsulServer(directory, certificates=certificates, root_token=TOKEN) as shared:
        yield shared


def tls_options(server: ConsulServer, certificates: Certificates) -> dict[str, Any]:
    return {
        "url": server.url,
        "token": TOKEN,
        "ca_cert": certificates.ca,
        "client_cert": certificates.client_cert,
        "client_key": certificates.client_key,
    }


async def test_with_a_client_certificate(
    encrypted: ConsulServer, certificates: Certificates, prefix: str
) -> None:
    async with opened(prefix=prefix, **tls_options(encrypted, certificates)) as store:
        await store.apply(batch(1, "a"))
        assert await names(store) == {"a"}


async def test_a_burst_through_tls(
    encrypted: ConsulServer, certificates: Certificates, prefix: str, singly: list[int]
) -> None:
    async with opened(prefix=prefix, **tls_options(encrypted, certificates)) as store:
        del singly[:]
        await store.apply(Batch(1, MANY))
        assert len(singly) == 1
        assert (await store.load()).records == canonical(MANY)


async def test_certificates_that_do_not_fit(
    encrypted: ConsulServer, certificates: Certificates, tmp_path: Path
) -> None:
    right = tls_options(encrypted, certificates)
    other = Certificates.make(tmp_path / "other")
    for changed in ({"ca_cert": other.ca}, {"ca_cert": ""}):
        with pytest.raises(StoreUnavailable, match=r"certificate.*c\.ConsulStore\.ca_cert"):
            await ConsulStore(**right | changed).open()
    for changed in (
        {"client_cert": other.client_cert, "client_key": other.client_key},
        {"client_cert": "", "client_key": ""},
    ):
        with pytest.raises(StoreUnavailable, match=encrypted.url):
            await ConsulStore(timeout=1, **right | changed).open()
    with pytest.raises(StoreError, match="client_cert"):
        await ConsulStore(**right | {"client_key": other.client_key}).open()


# --- Traefik -----------------------------------------------------------------------------------


async def serve(store: ConsulStore, backend: Backend, directory: Path) -> None:
    """A Traefik with the store's provider serves a route, a changed route, and no deleted one."""
    port = free_port()
    static = {
        "providers": {**store.provider_config(), "providersThrottleDuration": "0s"},
        "entryPoints": {"web": {"address": f"127.0.0.1:{port}"}},
        "log": {"level": "DEBUG"},
        "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
    }
    url = f"http://127.0.0.1:{port}/user/mary/"

    def served() -> Any:
        try:
            return ask(url)
        except OSError:
            return None, None

    def name_served() -> Any:
        _, answer = served()
        return answer["name"] if isinstance(answer, dict) else None

    def table(target: str) -> Table:
        return Table(entry_point="web", routes=[Route("/user/mary/", target, {"user": "mary"})])

    with run_traefik(directory, static):
        await store.apply(Batch(1, dict(table(f"http://127.0.0.1:{free_port()}").records)))
        await anyio.to_thread.run_sync(wait_until, lambda: served()[0] == 502, "Traefik")
        changed = dict(table(backend.url).records)
        await store.apply(Batch(2, changed))
        await anyio.to_thread.run_sync(wait_until, lambda: name_served() == "mary", "the route")
        await store.apply(Batch(3, {}, frozenset(changed)))
        await anyio.to_thread.run_sync(wait_until, lambda: served()[0] == 404, "its end")
    log = (directory / "external-traefik.log").read_text()
    errors = [line for line in log.splitlines() if "ERR" in line]
    assert not errors


async def test_traefik_serves(
    server: ConsulServer, prefix: str, backend: Any, tmp_path: Path
) -> None:
    async with opened(url=server.url, prefix=prefix) as store:
        await serve(store, backend("mary"), tmp_path)


async def test_traefik_serves_with_a_token(
    guarded: ConsulServer, prefix: str, backend: Any, tmp_path: Path
) -> None:
    """One that may do no more than the help text of ``token`` says."""
    token, _ = guarded.add_token(f'key_prefix "{prefix}/" {{ policy = "write" }}')
    async with opened(url=guarded.url, prefix=prefix, token=token) as store:
        await serve(store, backend("mary"), tmp_path)


async def test_traefik_serves_through_tls(
    encrypted: ConsulServer, certificates: Certificates, prefix: str, backend: Any, tmp_path: Path
) -> None:
    async with opened(prefix=prefix, **tls_options(encrypted, certificates)) as store:
        await serve(store, backend("mary"), tmp_path)


async def test_traefik_serves_with_the_authorities_of_the_machine(
    certificates: Certificates, backend: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No file is set, only https."""
    monkeypatch.setenv(ssl.get_default_verify_paths().openssl_cafile_env, certificates.ca)
    with ConsulServer(tmp_path, certificates=certificates, ask_clients=False) as server:
        async with opened(url=server.url) as store:
            await serve(store, backend("mary"), tmp_path)


async def test_a_take_over_that_failed_does_not_come_late(
    server: ConsulServer, prefix: str
) -> None:
    """It would fence whoever has taken over since, for nobody."""
    with Relay(server.url.removeprefix("http://")) as relay:
        late = ConsulStore(url=relay.url, prefix=prefix, timeout=1.0)
        read_value = late.read_value

        async def read_and_lose(path: str) -> str | None:
            value = await read_value(path)
            relay.stall()
            return value

        late.read_value = read_and_lose  # type: ignore[method-assign]
        with pytest.raises(StoreUnavailable):
            await late.open()
        async with opened(url=server.url, prefix=prefix) as store:
            await store.apply(batch(1, "first"))
            relay.heal()
            await anyio.sleep(1)
            await store.apply(batch(2, "second"))
