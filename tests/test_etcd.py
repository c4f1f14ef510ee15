"""What is etcd's own: fail-over, authentication, TLS, quota, Traefik's provider.

On real servers. What every store promises is in tests/conformance.
"""

from __future__ import annotations

import base64
import logging
import shutil
import socket
import subprocess
import sys
import threading
import traceback
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from servers.etcd import EtcdCluster, EtcdServer
from support import Backend, ask, free_port, run_traefik, wait_until
from traefikhub.stores import (
    Batch,
    Change,
    Document,
    FencedError,
    Key,
    RecordRefused,
    StoreCorrupt,
    StoreError,
    StoreUnavailable,
)
from traefikhub.table import Route, Table
from traefikhub.testing import Certificates
from traefikhub_backends import _etcd_client, etcd
from traefikhub_backends.etcd import EtcdStore

pytestmark = pytest.mark.anyio

PASSWORD = "s3cret-pa55word"
ROUTES = "jupyterhub/routes"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    """For tests that leave it as they found it. Each has a prefix of its own."""
    with EtcdServer(tmp_path_factory.mktemp("etcd")) as shared:
        yield shared


@pytest.fixture
def prefix() -> str:
    return f"hub-{uuid.uuid4().hex[:8]}"


@asynccontextmanager
async def opened(*, read_only: bool = False, **options: Any) -> AsyncIterator[EtcdStore]:
    store = EtcdStore(**options)
    await store.open(read_only=read_only)
    try:
        yield store
    finally:
        await store.close()


def batch(generation: int, name: str, document: Document = "here") -> Batch:
    return Batch(generation, {Key(ROUTES, name): document})


async def names(store: EtcdStore) -> set[str]:
    return {name for name, _ in (await store.load()).section(ROUTES)}


async def until_done(call: Callable[[], Any], seconds: float = 30) -> None:
    """Call again while the store is unavailable: what its callers do after an outage."""
    with anyio.fail_after(seconds):
        while True:
            try:
                await call()
                return
            except StoreUnavailable:
                await anyio.sleep(0.05)


# --- one server --------------------------------------------------------------------------------


async def test_prefixes_do_not_touch_each_other(server: EtcdServer, prefix: str) -> None:
    """One is the beginning of the other, as "traefik" is of "traefik2"."""
    options: dict[str, Any] = {"endpoints": [server.endpoint]}
    neighbours = {f"{prefix}": "a", f"{prefix}0": "b", f"{prefix}2/http/x": "c"}
    for key, value in neighbours.items():
        server.put(key, value)
    async with (
        opened(prefix=prefix, **options) as one,
        opened(prefix=f"{prefix}2", **options) as two,
    ):
        await one.apply(batch(1, "first"))
        await two.apply(batch(7, "second"))
        assert await names(one) == {"first"}
        assert await names(two) == {"second"}
        await one.apply(Batch(2, {}, frozenset({Key(ROUTES, "first")})))
        assert (await one.load()).generation == 2
        assert (await two.load()).generation == 7
    assert neighbours.items() <= server.dump().items()


async def test_taking_over_fences_the_earlier_owner(server: EtcdServer, prefix: str) -> None:
    options: dict[str, Any] = {"endpoints": [server.endpoint], "prefix": prefix}
    async with opened(**options) as old:
        await old.apply(batch(1, "old"))
        async with opened(**options) as new, opened(read_only=True, **options) as reader:
            before = server.dump()
            with pytest.raises(FencedError, match=prefix):
                await old.apply(batch(2, "late"))
            assert server.dump() == before
            await new.apply(batch(2, "new"))
            assert await names(reader) == {"old", "new"}
            with pytest.raises(StoreError, match="reading only"):
                await reader.apply(batch(3, "reader"))


async def test_of_many_who_take_over_at_once_one_may_write(server: EtcdServer, prefix: str) -> None:
    stores = [EtcdStore(endpoints=[server.endpoint], prefix=prefix) for _ in range(8)]
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
    async with opened(endpoints=[server.endpoint], prefix=prefix, read_only=True) as reader:
        assert await names(reader) == set(wrote)
    for store in stores:
        await store.close()


def canonical(store: EtcdStore, records: dict[Key, Document]) -> dict[Key, Document]:
    return {key: store.canonical(key, document) for key, document in records.items()}


def table_of(count: int) -> Table:
    routes = [
        Route(f"/user/u{number}/", f"http://127.0.0.1:{number + 1}", {"user": f"u{number}"})
        for number in range(count)
    ]
    return Table(entry_point="web", routes=routes)


@pytest.mark.parametrize("count", [20, 500])
async def test_many_routes_are_one_transaction(server: EtcdServer, prefix: str, count: int) -> None:
    """So Traefik reads them at once, however many logged in together."""
    async with opened(endpoints=[server.endpoint], prefix=prefix) as store:
        records = dict(table_of(count).records)
        before = server.revision()
        await store.apply(Batch(1, records))
        assert server.revision() == before + 1
        assert (await store.load()).records == canonical(store, records)
        await store.apply(Batch(2, {}, frozenset(records)))
        assert server.revision() == before + 2
        assert (await store.load()).records == {}


async def test_more_than_a_transaction_holds(server: EtcdServer, prefix: str) -> None:
    async with opened(endpoints=[server.endpoint], prefix=prefix) as store:
        records = dict(table_of(1000).records)
        before = server.revision()
        await store.apply(Batch(1, records))
        assert server.revision() > before + 1
        loaded = await store.load()
        assert loaded.generation == 1
        assert loaded.records == canonical(store, records)
        await store.apply(Batch(2, {}, frozenset(loaded.records)))
        assert (await store.load()).records == {}


@pytest.mark.parametrize("limit", [8, 9, 16])
async def test_a_server_with_a_limit_of_its_own(tmp_path: Path, limit: int) -> None:
    """It takes what the store holds for a full transaction, and not much more."""
    with EtcdServer(tmp_path / "etcd", f"--max-txn-ops={limit}") as server:
        async with opened(endpoints=[server.endpoint], max_txn_ops=limit) as store:
            assert store.transaction_limit >= limit  # by transactions in the transaction
            for count in (1, limit - 1, limit, store.transaction_limit):
                paths = [f"http/x/{number}" for number in range(count)]
                before = server.revision()
                assert await store.transact([Change(path, "x") for path in paths], None)
                assert server.revision() == before + 1
                assert {f"traefik/{path}" for path in paths} <= server.dump().keys()
                assert await store.transact([Change(path, None) for path in paths], None)
                assert not {f"traefik/{path}" for path in paths} & server.dump().keys()
            store.max_txn_ops = limit + 2
            changes = [Change(f"http/x/{number}", "") for number in range(store.transaction_limit)]
            with pytest.raises(StoreError, match=r"--max-txn-ops, c\.EtcdStore\.max_txn_ops"):
                await store.transact(changes, None)
            store.max_txn_ops = limit
            records = dict(table_of(30).records)
            await store.apply(Batch(1, records))
            assert (await store.load()).records == canonical(store, records)


@pytest.mark.parametrize("root", ["hub", "é/" * 400 + "hub"], ids=["short", "long"])
@pytest.mark.parametrize("max_request_bytes", [10_000, 1_572_864])
async def test_a_full_transaction_is_no_larger_than_etcd_takes(
    tmp_path: Path, root: str, max_request_bytes: int
) -> None:
    """In operations and bytes, with any prefix. etcd counts the name of the user, too."""
    options = (f"--max-request-bytes={max_request_bytes}",)
    with EtcdServer(tmp_path / "etcd", *options, root_password=PASSWORD) as server:
        user = "mary" * 20
        server.add_user(user, PASSWORD, role="hub", prefix=root)
        async with opened(
            endpoints=[server.endpoint],
            prefix=root,
            username=user,
            password=PASSWORD,
            max_request_bytes=max_request_bytes,
        ) as store:
            most, room = store.transaction_limit, store.transaction_bytes
            for count in {most, min(most, 127), 1}:
                each, rest = divmod(room, count)
                paths = [f"{number:04}" for number in range(count)]
                lengths = [each - len(path) + (path < f"{rest:04}") for path in paths]
                changes = [
                    Change(path, "x" * length) for path, length in zip(paths, lengths, strict=True)
                ]
                assert sum(len(path) + len(value or "") for path, value in changes) == room
                assert await store.transact(changes, None)


async def test_a_limit_above_the_servers_names_both_settings(
    server: EtcdServer, prefix: str
) -> None:
    async with opened(endpoints=[server.endpoint], prefix=prefix, max_txn_ops=500) as store:
        with pytest.raises(StoreError, match=r"--max-txn-ops, c\.EtcdStore\.max_txn_ops"):
            await store.apply(Batch(1, dict(table_of(60).records)))
        assert (await store.load()).records == {}


@pytest.mark.parametrize("megabytes", [2, 10])
async def test_too_large_a_record_is_refused(
    server: EtcdServer, prefix: str, megabytes: int
) -> None:
    """etcd has two limits: its own, and that of its gRPC server."""
    async with opened(endpoints=[server.endpoint], prefix=prefix) as store:
        await store.apply(batch(1, "small"))
        with pytest.raises(RecordRefused, match=f"{ROUTES}/large"):
            await store.apply(batch(2, "large", "x" * megabytes * 1_000_000))
        store.max_request_bytes = 100_000_000  # more than the server's
        with pytest.raises(RecordRefused, match=r"max-request-bytes, c\.EtcdStore\.max_request"):
            await store.apply(batch(2, "large", "x" * megabytes * 1_000_000))
        await store.apply(batch(2, "next"))
        assert await names(store) == {"small", "next"}


async def test_more_bytes_than_a_request_holds(server: EtcdServer, prefix: str) -> None:
    """Few records, but long ones; and short ones up to the last byte that may go at once."""
    async with opened(endpoints=[server.endpoint], prefix=prefix) as store:
        await store.apply(Batch(1, {Key(ROUTES, str(n)): "é" * 50_000 for n in range(60)}))
        assert len(await names(store)) == 60
        path = f"{ROUTES}/longest"
        room = store.transaction_bytes - len(path) - len('""')
        await store.apply(batch(2, "longest", "x" * room))
        size = room // 120 - len(path)
        await store.apply(Batch(3, {Key(ROUTES, f"x{n}"): "x" * size for n in range(125)}))
        assert len(await names(store)) == 186
        size = room // store.transaction_limit - len(path)
        many = range(store.transaction_limit + 100)
        await store.apply(Batch(4, {Key(ROUTES, f"y{n}"): "x" * size for n in many}))
        assert len(await names(store)) == 186 + len(many)


async def test_more_than_grpc_takes_by_default(server: EtcdServer, prefix: str) -> None:
    async with opened(endpoints=[server.endpoint], prefix=prefix) as store:
        for number in range(8):
            await store.apply(batch(number + 1, str(number), "x" * 1_000_000))
        assert len(await names(store)) == 8


async def test_what_is_no_text_is_corrupt(server: EtcdServer, prefix: str) -> None:
    async with opened(endpoints=[server.endpoint], prefix=prefix) as store:
        key = f"{prefix}/{ROUTES}/strange"
        encoded = base64.b64encode(key.encode()).decode()
        server.ask("/v3/kv/put", {"key": encoded, "value": "//79"})
        with pytest.raises(StoreCorrupt, match=f"{ROUTES}/strange"):
            await store.load()
        server.delete(key)  # other tests look at all keys


@pytest.mark.parametrize("page", [7, 10_000])
async def test_loads_during_writes_see_one_batch_or_the_next(
    server: EtcdServer, prefix: str, page: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(etcd, "_PAGE", page)
    async with opened(endpoints=[server.endpoint], prefix=prefix) as store:
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
            opened(endpoints=[server.endpoint], prefix=prefix, read_only=True) as reader,
            anyio.create_task_group() as group,
        ):
            group.start_soon(write)
            group.start_soon(read)
        assert (await store.load()).generation == 29


async def test_loads_and_writes_of_one_store_at_once(server: EtcdServer, prefix: str) -> None:
    """What is written is the difference from what is known, which a load renews."""
    others: dict[Key, Document] = {Key(ROUTES, str(number)): number for number in range(2000)}
    async with opened(endpoints=[server.endpoint], prefix=prefix) as store:
        await store.apply(Batch(1, others))
        for generation in range(2, 40):
            async with anyio.create_task_group() as group:
                group.start_soon(store.load)
                group.start_soon(store.apply, batch(generation, "route", generation % 2))
            assert dict((await store.load()).section(ROUTES))["route"] == generation % 2


@pytest.fixture
def between_pages(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """Makes pages of three keys; takes what shall happen, once, after the next one is read."""
    monkeypatch.setattr(etcd, "_PAGE", 3)
    events: list[Callable[[], None]] = []
    ask = _etcd_client.EtcdClient.range

    def ask_and_interfere(client: _etcd_client.EtcdClient, request: Any, deadline: float) -> Any:
        answer = ask(client, request, deadline)
        while events:
            events.pop()()
        return answer

    monkeypatch.setattr(_etcd_client.EtcdClient, "range", ask_and_interfere)
    return events.append


@pytest.mark.usefixtures("between_pages")
@pytest.mark.parametrize("last_page", [1, 2, 3])
async def test_pages_of_any_length(server: EtcdServer, prefix: str, last_page: int) -> None:
    keys = {f"x/{number}" for number in range(6 + last_page - len(["owner", "transaction"]))}
    async with opened(endpoints=[server.endpoint], prefix=prefix) as store:
        for key in keys:
            server.put(f"{prefix}/{key}", key)
        assert (await store.read_all()).keys() == {*keys, "jupyterhub/owner"}


async def test_etcd_is_compacted_between_two_pages(
    server: EtcdServer, prefix: str, between_pages: Callable[[Callable[[], None]], None]
) -> None:
    """The moment of the first page can be read no more: what is read is of a later one."""

    def compact() -> None:
        for number in (0, 29):
            server.put(f"{prefix}/{ROUTES}/{number:02}", '"new"')
        server.ask("/v3/kv/compaction", {"revision": server.revision()})

    records: dict[Key, Document] = {Key(ROUTES, f"{number:02}"): "old" for number in range(30)}
    async with opened(endpoints=[server.endpoint], prefix=prefix) as store:
        await store.apply(Batch(1, records))
        between_pages(compact)
        found = (await store.load()).records
        assert found == records | {Key(ROUTES, "00"): "new", Key(ROUTES, "29"): "new"}
        assert await store.intact()
        await store.apply(batch(2, "30"))


async def test_the_deadline_is_of_all_pages(
    own_server: EtcdServer, between_pages: Callable[[Callable[[], None]], None]
) -> None:
    async with opened(endpoints=[own_server.endpoint], timeout=1) as store:
        await store.apply(Batch(1, {Key(ROUTES, str(number)): number for number in range(30)}))
        between_pages(own_server.pause)
        with anyio.fail_after(30), pytest.raises(StoreUnavailable, match="no answer"):
            await store.load()
        own_server.resume()
        await until_done(store.load)
        assert len(await names(store)) == 30


async def test_a_dead_first_endpoint_is_passed_over(server: EtcdServer, prefix: str) -> None:
    endpoints = [f"127.0.0.1:{free_port()}", f"http://localhost:{server.endpoint.split(':')[1]}"]
    async with opened(endpoints=endpoints, prefix=prefix) as store:
        await store.apply(batch(1, "a"))
        assert await names(store) == {"a"}


class Wire:
    """A way to an endpoint on which what is sent, or what is answered, can be held up."""

    def __init__(self, endpoint: str) -> None:
        self._far_end = endpoint.split(":")
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._sockets = [self._listener]
        self._threads: list[threading.Thread] = []
        self._held: dict[str, bytearray] = {}
        self._ends: dict[str, socket.socket] = {}
        self._start(self._accept)

    def _start(self, work: Callable[..., None], *arguments: Any) -> None:
        self._threads.append(threading.Thread(target=work, args=arguments, daemon=True))
        self._threads[-1].start()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection((self._far_end[0], int(self._far_end[1])))
                self._sockets += [near, far]
                self._ends = {"requests": far, "answers": near}
                self._start(self._carry, "requests", near, far)
                self._start(self._carry, "answers", far, near)

    def _carry(self, what: str, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if what in self._held:
                    self._held[what] += data
                else:
                    target.sendall(data)

    def hold(self, what: str) -> None:
        """From now on. ``what`` is "requests" or "answers"."""
        self._held[what] = bytearray()

    def deliver(self) -> None:
        """The requests that were held up, but not their cancellation, which is later still."""
        held, self._held = self._held["requests"], {}
        while held:  # frames of HTTP/2; 3 is RST_STREAM
            length = 9 + int.from_bytes(held[:3], "big")
            if held[3] != 3:
                self._ends["requests"].sendall(held[:length])
            del held[:length]

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in self._threads:
            thread.join()


async def test_what_arrives_late_changes_nothing(server: EtcdServer, prefix: str) -> None:
    """The owner is still the same: its fence alone would let an old value come back."""
    with Wire(server.endpoint) as wire:
        options: dict[str, Any] = {"prefix": prefix, "timeout": 4}
        async with opened(endpoints=[wire.endpoint, server.endpoint], **options) as store:
            await store.apply(batch(1, "route", "first"))
            wire.hold("requests")
            await store.apply(batch(2, "route", "second"))
            await store.apply(batch(3, "route", "third"))
            answered = server.transactions()
            wire.deliver()
            wait_until(lambda: server.transactions() > answered, "the late request's answer")
            assert (await store.load()).records == {Key(ROUTES, "route"): "third"}
            await store.apply(batch(4, "route", "fourth"))


async def test_a_lost_answer_is_no_second_write(server: EtcdServer, prefix: str) -> None:
    with Wire(server.endpoint) as wire:
        options: dict[str, Any] = {"prefix": prefix, "timeout": 4}
        async with opened(endpoints=[wire.endpoint, server.endpoint], **options) as store:
            await store.apply(batch(1, "route", "first"))
            before = server.revision()
            wire.hold("answers")
            await store.apply(batch(2, "route", "second"))
            assert server.revision() == before + 1
            assert (await store.load()).records == {Key(ROUTES, "route"): "second"}


async def test_a_write_of_unknown_fate_that_happens_later(server: EtcdServer, prefix: str) -> None:
    """The next one is not built upon what is no longer there."""
    with Wire(server.endpoint) as wire:
        async with opened(endpoints=[wire.endpoint], prefix=prefix, timeout=2) as store:
            await store.apply(batch(1, "route", "first"))
            wire.hold("requests")
            with pytest.raises(StoreUnavailable, match="no answer"):
                await store.apply(batch(2, "route", "second"))
            answered = server.transactions()
            wire.deliver()
            wait_until(lambda: server.transactions() > answered, "the late request's answer")
            assert (await store.load()).records == {Key(ROUTES, "route"): "second"}
            await store.apply(batch(3, "route", "third"))
            assert (await store.load()).records == {Key(ROUTES, "route"): "third"}


async def test_a_write_between_load_and_apply_is_noticed(server: EtcdServer, prefix: str) -> None:
    """What is written is the difference from what was loaded, so that must still be there."""
    async with opened(endpoints=[server.endpoint], prefix=prefix) as store:
        await store.apply(batch(1, "route", "first"))
        server.put(f"{prefix}/jupyterhub/transaction", "one of unknown fate")
        server.delete(f"{prefix}/{ROUTES}/route")
        await store.apply(batch(2, "route", "second"))
        assert (await store.load()).records == {Key(ROUTES, "route"): "second"}


def test_the_process_may_fork_meanwhile(server: EtcdServer, prefix: str) -> None:
    """As spawners do: neither disturbs the other, and gRPC says nothing about it."""
    code = """if True:
        import asyncio, os, subprocess, sys
        from traefikhub.stores import Batch, Key
        from traefikhub_backends.etcd import EtcdStore

        async def write(store):
            for number in range(1, 41):
                await store.apply(Batch(number, {Key("jupyterhub/routes", str(number)): number}))

        async def main():
            async with EtcdStore(endpoints=[sys.argv[1]], prefix=sys.argv[2]) as store:
                writing = asyncio.create_task(write(store))
                while not writing.done():
                    spawn = lambda: subprocess.run(["true"], preexec_fn=os.setsid)
                    await asyncio.to_thread(spawn)
                await writing
                print(len((await store.load()).records))

        asyncio.run(main())
    """
    command = [sys.executable, "-W", "ignore", "-c", code, server.endpoint, prefix]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("40\n", "")


# --- what the store holds is still there ---------------------------------------------------------


def put_value(server: EtcdServer, prefix: str) -> None:
    server.put(f"{prefix}/{ROUTES}/first", '"by hand"')


def put_key(server: EtcdServer, prefix: str) -> None:
    server.put(f"{prefix}/{ROUTES}/more", '"by hand"')


def put_nobodys(server: EtcdServer, prefix: str) -> None:
    server.put(f"{prefix}/more", "by hand")


def put_no_text(server: EtcdServer, prefix: str) -> None:
    key = base64.b64encode(f"{prefix}/{ROUTES}/first".encode()).decode()
    server.ask("/v3/kv/put", {"key": key, "value": "//79"})


def delete_key(server: EtcdServer, prefix: str) -> None:
    server.delete(f"{prefix}/{ROUTES}/first")


def exchange_keys(server: EtcdServer, prefix: str) -> None:
    """There are as many as before."""
    delete_key(server, prefix)
    put_key(server, prefix)


def delete_owner(server: EtcdServer, prefix: str) -> None:
    server.delete(f"{prefix}/jupyterhub/owner")


def put_owner(server: EtcdServer, prefix: str) -> None:
    server.put(f"{prefix}/jupyterhub/owner", "somebody")


def delete_transaction(server: EtcdServer, prefix: str) -> None:
    server.delete(f"{prefix}/jupyterhub/transaction")


def put_transaction(server: EtcdServer, prefix: str) -> None:
    server.put(f"{prefix}/jupyterhub/transaction", "another")


OF_RECORDS = [put_value, put_key, put_nobodys, delete_key, exchange_keys]
OF_THE_STORE = [put_owner, delete_transaction, put_transaction]


async def test_intact_while_nobody_interferes(server: EtcdServer, prefix: str) -> None:
    """However much the store itself writes, and others elsewhere."""
    async with opened(endpoints=[server.endpoint], prefix=prefix) as store:
        assert (await store.load()).records == {}
        assert await store.intact()
        records = dict(table_of(300).records)
        for first in (1, 5):
            await store.apply(Batch(first, records))
            assert await store.intact()
            await store.apply(batch(first + 1, "first"))
            await store.apply(batch(first + 2, "first", "changed"))
            for neighbour in (f"{prefix}0", f"{prefix}-/{ROUTES}/first"):
                server.put(neighbour, str(first))
            assert await store.intact()
            assert await store.intact()
            await store.apply(Batch(first + 3, {}, frozenset(records)))
            assert await store.intact()
        assert await names(store) == {"first"}
        assert await store.intact()


async def test_not_intact_before_it_is_loaded(server: EtcdServer, prefix: str) -> None:
    async with opened(endpoints=[server.endpoint], prefix=prefix) as store:
        assert not await store.intact()
        await store.apply(batch(1, "first"))
        assert not await store.intact()
        await store.load()
        assert await store.intact()


@pytest.mark.parametrize("asked", [False, True], ids=["at_first", "again"])
@pytest.mark.parametrize("interfere", [*OF_RECORDS, *OF_THE_STORE])
async def test_not_intact_when_keys_are_changed_by_hand(
    server: EtcdServer,
    prefix: str,
    interfere: Callable[[EtcdServer, str], None],
    asked: bool,
) -> None:
    async with opened(endpoints=[server.endpoint], prefix=prefix) as store:
        await store.load()
        await store.apply(batch(1, "first"))
        if asked:
            assert await store.intact()
        interfere(server, prefix)
        assert not await store.intact()
        assert not await store.intact()
        await store.load()
        assert await store.intact() == (interfere is not put_owner)  # not before it is ours again


@pytest.mark.parametrize("interfere", OF_RECORDS)
async def test_not_intact_although_the_store_wrote_since(
    server: EtcdServer, prefix: str, interfere: Callable[[EtcdServer, str], None]
) -> None:
    async with opened(endpoints=[server.endpoint], prefix=prefix) as store:
        await store.load()
        await store.apply(batch(1, "first"))
        assert await store.intact()
        await store.apply(batch(2, "second"))
        interfere(server, prefix)
        await store.apply(batch(3, "third"))
        await store.apply(batch(4, "second", "changed"))
        assert not await store.intact()
        await store.load()
        assert await store.intact()


async def test_not_intact_without_the_owners_key(server: EtcdServer, prefix: str) -> None:
    """The next write brings it back."""
    async with opened(endpoints=[server.endpoint], prefix=prefix) as store:
        await store.load()
        await store.apply(batch(1, "first"))
        delete_owner(server, prefix)
        assert not await store.intact()
        await store.apply(batch(2, "second"))
        assert await names(store) == {"first", "second"}
        assert await store.intact()


async def test_not_intact_if_a_value_is_no_text(server: EtcdServer, prefix: str) -> None:
    async with opened(endpoints=[server.endpoint], prefix=prefix) as store:
        await store.load()
        await store.apply(batch(1, "first"))
        put_no_text(server, prefix)
        assert not await store.intact()
        with pytest.raises(StoreCorrupt, match=f"{ROUTES}/first"):
            await store.load()
        assert not await store.intact()
        put_value(server, prefix)
        await store.load()
        assert await store.intact()


async def test_what_a_write_puts_right_is_intact(server: EtcdServer, prefix: str) -> None:
    async with opened(endpoints=[server.endpoint], prefix=prefix) as store:
        await store.load()
        await store.apply(batch(1, "first"))
        put_value(server, prefix)
        await store.apply(batch(2, "first", "again"))
        assert await store.intact()
        assert (await store.load()).records == {Key(ROUTES, "first"): "again"}


async def test_not_intact_when_another_has_taken_over(server: EtcdServer, prefix: str) -> None:
    options: dict[str, Any] = {"endpoints": [server.endpoint], "prefix": prefix}
    async with opened(**options) as old:
        await old.load()
        await old.apply(batch(1, "first"))
        async with opened(**options) as new:
            assert not await old.intact()
            await new.load()
            assert await new.intact()


async def test_a_reader_learns_of_changes(server: EtcdServer, prefix: str) -> None:
    options: dict[str, Any] = {"endpoints": [server.endpoint], "prefix": prefix}
    async with opened(**options) as store, opened(read_only=True, **options) as reader:
        await reader.load()
        await store.apply(batch(1, "first"))
        assert await names(reader) == {"first"}
        assert await reader.intact()
        await store.apply(batch(2, "second"))
        assert not await reader.intact()
        assert await names(reader) == {"first", "second"}
        assert await reader.intact()
        delete_key(server, prefix)
        assert not await reader.intact()


async def test_after_very_many_changes_all_is_read(
    server: EtcdServer, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(etcd, "_MOST_CHANGED", 5)
    async with opened(endpoints=[server.endpoint], prefix=prefix) as store:
        await store.load()
        await store.apply(Batch(1, {Key(ROUTES, str(number)): number for number in range(6)}))
        assert not await store.intact()
        await store.load()
        assert await store.intact()


@pytest.mark.parametrize("by_hand", [False, True])
async def test_not_intact_when_etcd_is_set_back(tmp_path: Path, by_hand: bool) -> None:
    """To a copy of its data: what was written since is lost."""
    directory = tmp_path / "etcd"
    with EtcdServer(directory) as server:
        async with opened(endpoints=[server.endpoint]) as store:
            await store.load()
            await store.apply(batch(1, "first"))
            server.stop()
            shutil.copytree(directory / "data", tmp_path / "copy")
            server.start()
            if by_hand:
                put_value(server, "traefik")
            else:
                await until_done(lambda: store.apply(batch(2, "first", "lost")))
            await until_done(store.load)
            assert await store.intact()
            server.stop()
            shutil.rmtree(directory / "data")
            (tmp_path / "copy").rename(directory / "data")
            server.start()
            if not by_hand:  # until its revision is what it was
                for number in range(5):
                    server.put(f"elsewhere/{number}", "x")
            assert not await store.intact()
            assert (await store.load()).records == {Key(ROUTES, "first"): "here"}
            assert await store.intact()
            await store.apply(batch(2, "second"))
            assert await names(store) == {"first", "second"}


async def test_whether_it_is_intact_nobody_knows_without_etcd(own_server: EtcdServer) -> None:
    async with opened(endpoints=[own_server.endpoint], timeout=1) as store:
        await store.load()
        await store.apply(batch(1, "first"))
        own_server.stop()
        with pytest.raises(StoreUnavailable, match=own_server.endpoint):
            await store.intact()
        own_server.start()
        await until_done(store.load)
        assert await store.intact()


# --- options -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"endpoints": []}, "endpoints is empty"),
        ({"endpoints": ["127.0.0.1"]}, "'127.0.0.1' is neither"),
        ({"endpoints": ["127.0.0.1:port"]}, "is neither"),
        ({"endpoints": ["http://127.0.0.1:2379/v3"]}, "is neither"),
        ({"endpoints": ["unix://127.0.0.1:2379"]}, "is neither"),
        ({"endpoints": ["http://127.0.0.1:1", "https://127.0.0.1:2"]}, "all are https or none"),
        ({"endpoints": [f"http://root:{PASSWORD}@127.0.0.1:1"]}, r"EtcdStore\.password"),
        ({"endpoints": ["http://127.0.0.1:1"], "ca_cert": "ca.pem"}, "not encrypted"),
        ({"client_cert": "client.pem"}, "client_key is not set"),
        ({"client_key": "client.key"}, "client_cert is not set"),
        ({"ca_cert": "/nowhere/ca.pem"}, "ca_cert: /nowhere/ca.pem: No such file"),
        ({"ca_cert": __file__}, "ca_cert: "),
        ({"client_cert": __file__, "client_key": __file__}, "client_cert, .client_key: "),
        ({"password": PASSWORD}, "username is not"),
    ],
)
async def test_options_that_make_no_sense(options: dict[str, Any], complaint: str) -> None:
    store = EtcdStore(**options)
    with pytest.raises(StoreError, match=complaint) as caught:
        await store.open()
    assert not isinstance(caught.value, StoreUnavailable)
    assert PASSWORD not in "".join(traceback.format_exception(caught.value))


def test_a_missing_client_library_names_what_brings_it() -> None:
    """And so the module itself, with its options, is there without it."""
    code = """if True:
        import asyncio, sys
        sys.modules["pyetcd"] = None  # as if it were not installed
        from traefikhub_backends.etcd import EtcdStore
        asyncio.run(EtcdStore().open())
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "StoreError: the etcd store lacks its client library" in done.stderr
    assert 'pip install "traefikhub[etcd]"' in done.stderr


def test_traefik_is_told_only_what_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert EtcdStore().provider_config() == {
        "etcd": {"rootKey": "traefik", "endpoints": ["127.0.0.1:2379"]}
    }
    monkeypatch.chdir(tmp_path)
    store = EtcdStore(
        prefix="hub", endpoints=["a:1", "https://b:2"], username="u", password="p", ca_cert="ca.pem"
    )
    assert store.provider_config() == {
        "etcd": {
            "rootKey": "hub",
            "endpoints": ["a:1", "b:2"],
            "username": "u",
            "password": "p",
            "tls": {"ca": str(tmp_path / "ca.pem")},
        }
    }


# --- trouble -----------------------------------------------------------------------------------


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[EtcdServer]:
    """To be ill-treated."""
    with EtcdServer(tmp_path / "etcd") as own:
        yield own


async def test_down_and_up_again(own_server: EtcdServer) -> None:
    async with opened(endpoints=[own_server.endpoint], timeout=2) as store:
        await store.apply(batch(1, "before"))
        own_server.stop()
        for call in (store.load(), store.apply(batch(2, "meanwhile"))):
            with pytest.raises(StoreUnavailable, match=own_server.endpoint):
                await call
        with pytest.raises(StoreUnavailable, match=own_server.endpoint):
            await EtcdStore(endpoints=[own_server.endpoint], timeout=1).open()
        own_server.start()
        assert await names(store) == {"before"}
        await store.apply(batch(2, "after"))
        own_server.restart()
        await store.apply(batch(3, "at last"))
        assert await names(store) == {"before", "after", "at last"}


async def test_frozen(own_server: EtcdServer) -> None:
    async with opened(endpoints=[own_server.endpoint], timeout=1) as store:
        await store.apply(batch(1, "before"))
        own_server.pause()
        with anyio.fail_after(30):  # a hang would be 10 minutes or for ever
            for call in (store.load(), store.apply(batch(2, "uncertain"))):
                with pytest.raises(StoreUnavailable, match=f"{own_server.endpoint}: no answer"):
                    await call
            with pytest.raises(StoreUnavailable, match="no answer"):
                await EtcdStore(endpoints=[own_server.endpoint], timeout=1).open()
        own_server.resume()
        await until_done(lambda: store.apply(batch(3, "after")))
        assert await names(store) - {"uncertain"} == {"before", "after"}


async def test_the_store_closes_while_the_server_is_frozen(own_server: EtcdServer) -> None:
    store = EtcdStore(endpoints=[own_server.endpoint], timeout=60)
    await store.open()
    own_server.pause()

    async def load() -> None:
        with pytest.raises(StoreUnavailable, match="closed"):
            await store.load()

    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(load)
            await anyio.wait_all_tasks_blocked()
            await store.close()


async def test_a_full_database(tmp_path: Path) -> None:
    with EtcdServer(tmp_path / "etcd", "--quota-backend-bytes=4000000") as server:
        async with opened(endpoints=[server.endpoint]) as store:
            await store.apply(batch(1, "first"))

            async def fill() -> None:
                for number in range(2, 20):
                    await store.apply(batch(number, str(number), "x" * 1_000_000))

            with pytest.raises(StoreUnavailable, match=r"space exceeded.*alarm disarm"):
                await fill()
            before = server.dump()
            with pytest.raises(StoreUnavailable, match="space exceeded"):
                await store.apply(batch(20, "late"))
            assert server.dump() == before
            assert "first" in await names(store)


# --- three members -----------------------------------------------------------------------------


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[EtcdCluster]:
    with EtcdCluster(tmp_path) as three:
        yield three


async def test_the_leader_dies_during_writes(cluster: EtcdCluster) -> None:
    """Whatever was acknowledged is there."""
    leader = cluster.leader()
    # The one that dies comes first, so that it is the one in use.
    endpoints = sorted(cluster.endpoints, key=leader.endpoint.__ne__)
    acknowledged = set()
    async with opened(endpoints=endpoints, timeout=20) as store:
        for number in range(60):
            if number == 20:
                leader.stop()
            if number == 40:
                await anyio.to_thread.run_sync(leader.start)
            await store.apply(batch(number + 1, str(number)))
            acknowledged.add(str(number))
        snapshot = await store.load()
    assert {name for name, _ in snapshot.section(ROUTES)} == acknowledged
    assert snapshot.generation == 60
    assert len(acknowledged) == 60
    dumps = [member.dump() for member in cluster.members]
    assert dumps[0] == dumps[1] == dumps[2]


async def test_without_quorum(cluster: EtcdCluster) -> None:
    async with opened(endpoints=cluster.endpoints, timeout=3) as store:
        await store.apply(batch(1, "before"))
        first, second, _ = cluster.members
        first.stop()
        second.stop()
        for call in (store.load(), store.apply(batch(2, "meanwhile"))):
            with pytest.raises(StoreUnavailable) as caught:
                await call
            for endpoint in cluster.endpoints:
                assert endpoint in str(caught.value)
        first.start()
        await until_done(lambda: store.apply(batch(3, "after")))
        assert await names(store) - {"meanwhile"} == {"before", "after"}


@pytest.mark.parametrize("frozen_leads", [False, True])
async def test_a_frozen_member_is_passed_over(cluster: EtcdCluster, frozen_leads: bool) -> None:
    """And what it got and answered too late, it does not carry out when it wakes up."""
    leader = cluster.leader()
    frozen = leader if frozen_leads else next(m for m in cluster.members if m is not leader)
    endpoints = sorted(cluster.endpoints, key=frozen.endpoint.__ne__)
    async with opened(endpoints=endpoints, timeout=12) as store:
        await store.apply(batch(1, "route", "at first"))
        frozen.pause()
        await store.apply(batch(2, "route", "sent to the frozen one, too"))
        await store.apply(batch(3, "route", "at last"))
        frozen.resume()
        await anyio.to_thread.run_sync(frozen.wait_ready)
        # Reads are linearizable: the member has caught up, and done what was waiting for it.
        frozen.dump()
        assert (await store.load()).records == {Key(ROUTES, "route"): "at last"}
        await store.apply(batch(4, "route", "still the owner"))


# --- authentication ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    """Takes users and passwords, and forgets its tokens soon."""
    directory = tmp_path_factory.mktemp("guarded")
    options = ("--auth-token=simple", "--auth-token-ttl=2")
    with EtcdServer(directory, *options, root_password=PASSWORD) as shared:
        yield shared


@pytest.fixture
def mary(guarded: EtcdServer, prefix: str) -> dict[str, Any]:
    """The options of a store whose user may write below its prefix only."""
    name = f"mary-{prefix}"
    guarded.add_user(name, PASSWORD, role=name, prefix=prefix)
    return {
        "endpoints": [guarded.endpoint],
        "prefix": prefix,
        "username": name,
        "password": PASSWORD,
    }


async def test_a_token_that_expires_is_renewed(guarded: EtcdServer, mary: dict[str, Any]) -> None:
    def expired() -> int:
        lines = guarded.log.read_text().splitlines()
        return sum("deleted a simple token" in line and mary["username"] in line for line in lines)

    def wait_for_expiry() -> None:
        before = expired()
        wait_until(lambda: expired() > before, "the token to expire")

    async with opened(**mary) as store:
        await store.apply(batch(1, "a"))
        for number in (2, 3):
            wait_for_expiry()
            await store.apply(batch(number, str(number)))
        wait_for_expiry()
        assert await names(store) == {"a", "2", "3"}


async def test_a_user_of_one_prefix_may_make_large_transactions(
    guarded: EtcdServer, mary: dict[str, Any]
) -> None:
    """Newer versions of etcd also check what is in a transaction within a transaction."""
    records = dict(table_of(300).records)
    async with opened(**mary) as store:
        await store.load()
        before = guarded.revision()
        await store.apply(Batch(1, records))
        assert await store.intact()
        await store.apply(Batch(2, {}, frozenset(records)))
        assert guarded.revision() == before + 2
        assert (await store.load()).records == {}
        assert await store.intact()


async def test_tokens_are_renewed_when_etcd_or_its_users_change(tmp_path: Path) -> None:
    options: dict[str, Any] = {"username": "root", "password": PASSWORD}
    with EtcdServer(tmp_path / "etcd", root_password=PASSWORD) as server:
        async with opened(endpoints=[server.endpoint], **options) as store:
            await store.apply(batch(1, "a"))
            server.restart()  # it keeps tokens in memory only
            await store.apply(batch(2, "b"))
            server.add_user("other", PASSWORD, role="other")  # a new revision of its users
            await store.apply(batch(3, "c"))
            assert await names(store) == {"a", "b", "c"}


async def test_authentication_that_is_enabled_later(own_server: EtcdServer) -> None:
    """A user is no error before: etcd's own clients, and so Traefik, go on without."""
    options: dict[str, Any] = {"username": "root", "password": PASSWORD}
    async with opened(endpoints=[own_server.endpoint], **options) as store:
        await store.apply(batch(1, "before"))
        own_server.add_user("root", PASSWORD, role="root")
        own_server.ask("/v3/auth/enable", {})
        await store.apply(batch(2, "after"))
        assert await names(store) == {"before", "after"}


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"password": f"{PASSWORD}-wrong"}, r"c\.EtcdStore\.username, \.password"),
        ({"username": "nobody"}, r"'nobody' is refused \(c\.EtcdStore\.username"),
        ({"username": "", "password": ""}, r"without user is refused \(c\.EtcdStore\.username"),
        ({"prefix": "elsewhere"}, r"may not read and write .*\(c\.EtcdStore\.username, \.prefix"),
    ],
)
async def test_a_user_who_may_not(
    guarded: EtcdServer,
    mary: dict[str, Any],
    changed: dict[str, str],
    complaint: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(StoreUnavailable, match=complaint) as caught:
        await EtcdStore(**mary | changed).open()
    assert guarded.endpoint in str(caught.value)
    told = "".join(traceback.format_exception(caught.value)) + caplog.text + repr(caught.value)
    assert PASSWORD not in told


async def test_no_secret_is_told_when_a_known_user_fails(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    options: dict[str, Any] = {"username": "root", "password": PASSWORD, "timeout": 1}
    with EtcdServer(tmp_path / "etcd", root_password=PASSWORD) as server:
        async with opened(endpoints=[server.endpoint], **options) as store:
            await store.apply(batch(1, "a"))
            owner = server.dump()["traefik/jupyterhub/owner"]
            server.pause()
            with pytest.raises(StoreUnavailable) as frozen:
                await store.apply(batch(2, "b"))
            server.stop()
            with pytest.raises(StoreUnavailable) as down:
                await store.load()
            told = caplog.text + repr(store)
    for caught in (frozen, down):
        told += "".join(traceback.format_exception(caught.value))
    assert server.endpoint in told
    assert PASSWORD not in told
    assert owner not in told


# --- TLS ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates.make(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def encrypted(
    tmp_path_factory: pytest.TempPathFactory, certificates: Certificates
) -> Iterator[EtcdServer]:
    """Wants a client certificate, and a password."""
    directory = tmp_path_factory.mktemp("encrypted")
    with EtcdServer(directory, certificates=certificates, root_password=PASSWORD) as shared:
        yield shared


def tls_options(server: EtcdServer, certificates: Certificates) -> dict[str, Any]:
    return {
        "endpoints": [server.endpoint],
        "username": "root",
        "password": PASSWORD,
        "ca_cert": certificates.ca,
        "client_cert": certificates.client_cert,
        "client_key": certificates.client_key,
    }


@pytest.mark.parametrize("scheme", ["", "https://"])
async def test_with_a_client_certificate(
    encrypted: EtcdServer, certificates: Certificates, prefix: str, scheme: str
) -> None:
    options = tls_options(encrypted, certificates)
    options["endpoints"] = [f"{scheme}{encrypted.endpoint}"]
    async with opened(prefix=prefix, **options) as store:
        await store.apply(batch(1, "a"))
        assert await names(store) == {"a"}


async def test_certificates_that_do_not_fit(
    encrypted: EtcdServer, certificates: Certificates, tmp_path: Path
) -> None:
    right = tls_options(encrypted, certificates)
    other = Certificates.make(tmp_path / "other")
    https = [f"https://{encrypted.endpoint}"]
    for changed in (
        {"ca_cert": other.ca},
        {"ca_cert": "", "endpoints": https},  # the machine's authorities don't know this one
        {"client_cert": other.client_cert, "client_key": other.client_key},
        {"client_cert": "", "client_key": ""},
    ):
        with pytest.raises(StoreUnavailable, match=rf"{encrypted.endpoint}.*\.ca_cert, \.client_"):
            await EtcdStore(timeout=1, **right | changed).open()
    plain = {"ca_cert": "", "client_cert": "", "client_key": ""}
    with pytest.raises(StoreUnavailable, match=encrypted.endpoint):
        await EtcdStore(timeout=1, **right | plain).open()
    with pytest.raises(StoreError, match=r"client_cert, \.client_key"):
        await EtcdStore(**right | {"client_key": other.client_key}).open()


# --- Traefik -----------------------------------------------------------------------------------


async def serve(store: EtcdStore, backend: Backend, directory: Path) -> None:
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

    table = Table(entry_point="web")
    changed = table.update({"/user/mary/": Route("/user/mary/", backend.url, {"user": "mary"})})
    puts = {key: document for key, document in changed.items() if document is not None}
    await store.apply(Batch(1, puts))
    with run_traefik(directory, static):
        wait = anyio.to_thread.run_sync
        await wait(wait_until, lambda: served()[0] == 200, "the route to be served")
        assert served()[1]["name"] == backend.name
        await store.apply(Batch(2, {}, frozenset(puts)))
        await wait(wait_until, lambda: served()[0] == 404, "the route to be gone")


async def test_traefik_reads_from_the_endpoint_that_lives(
    server: EtcdServer, prefix: str, tmp_path: Path, backend: Callable[[str], Backend]
) -> None:
    endpoints = [f"127.0.0.1:{free_port()}", server.endpoint]
    async with opened(endpoints=endpoints, prefix=f"{prefix}/nested") as store:
        await serve(store, backend("mary"), tmp_path)


async def test_traefik_with_user_and_tls(
    encrypted: EtcdServer,
    certificates: Certificates,
    prefix: str,
    tmp_path: Path,
    backend: Callable[[str], Backend],
) -> None:
    async with opened(prefix=prefix, **tls_options(encrypted, certificates)) as store:
        await serve(store, backend("mary"), tmp_path)


async def test_traefik_with_the_machines_authorities(
    certificates: Certificates,
    tmp_path: Path,
    backend: Callable[[str], Backend],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No file is set, only https."""
    monkeypatch.setenv("SSL_CERT_FILE", certificates.ca)
    with EtcdServer(tmp_path / "etcd", certificates=certificates, ask_clients=False) as server:
        async with opened(endpoints=[server.url]) as store:
            await serve(store, backend("mary"), tmp_path)


async def test_traefik_with_a_token_that_expires(
    mary: dict[str, Any], tmp_path: Path, backend: Callable[[str], Backend]
) -> None:
    async with opened(**mary) as store:
        await serve(store, backend("mary"), tmp_path)
