"""What is redis' own: scripts, late and lost requests, strangers' keys, large batches."""

from __future__ import annotations

import time

import anyio
import anyio.to_thread
import pytest
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

from servers import RedisServer, rules, wait_until
from stores import ROUTES, batch, names, opened, options, routes, until_done
from traefikhub_redis import RedisStore
from wire import Wire

pytestmark = pytest.mark.anyio


async def test_ten_thousand_routes_are_one_transaction(server: RedisServer, prefix: str) -> None:
    """And nobody's scripts block the server for longer than it takes them for hung."""
    records = routes(10_000)
    async with opened(**options(server, prefix, timeout=60)) as store:
        before = server.calls("publish")
        await store.apply(Batch(1, records))
        assert server.calls("publish") == before + 1
        loaded = await store.load()
        assert loaded.generation == 1
        assert loaded.records == records
        await store.apply(Batch(2, {}, frozenset(records)))
        assert server.calls("publish") == before + 2
        assert (await store.load()).records == {}


async def test_more_than_a_transaction_holds(
    server: RedisServer, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("traefikhub_redis._store._MOST_CHANGES", 50)
    monkeypatch.setattr("traefikhub_redis._store._MOST_BYTES", 5000)
    records = routes(100)
    async with opened(**options(server, prefix)) as store:
        await store.apply(Batch(1, records))
        assert (await store.load()).records == records
        with pytest.raises(RecordRefused, match="5000"):
            await store.apply(batch(2, "large", "x" * 5000))
        await store.apply(Batch(2, {}, frozenset(records)))
        assert (await store.load()).records == {}


@pytest.mark.parametrize("megabytes", [1, 20])
async def test_large_records(server: RedisServer, prefix: str, megabytes: int) -> None:
    async with opened(**options(server, prefix)) as store:
        await store.apply(batch(1, "large", "é" * megabytes * 500_000))
        found = (await store.load()).records
        assert found == {Key(ROUTES, "large"): "é" * megabytes * 500_000}
        await store.apply(Batch(2, {}, frozenset(found)))


async def test_scripts_that_redis_forgot(server: RedisServer, prefix: str) -> None:
    async with opened(**options(server, prefix)) as store:
        for number in range(1, 4):
            await store.apply(batch(number, str(number)))
            server.do("SCRIPT", "FLUSH")
            assert str(number) in await names(store)
            server.do("SCRIPT", "FLUSH")


async def test_taking_over_fences_the_earlier_owner(server: RedisServer, prefix: str) -> None:
    its = options(server, prefix)
    async with opened(**its) as old:
        await old.apply(batch(1, "old"))
        async with opened(**its) as new, opened(read_only=True, **its) as reader:
            before = server.dump()
            for _ in range(2):
                with pytest.raises(FencedError, match=prefix):
                    await old.apply(batch(2, "late"))
            assert server.dump() == before
            await new.apply(batch(2, "new"))
            assert await names(reader) == {"old", "new"}
            with pytest.raises(StoreError, match="reading only"):
                await reader.apply(batch(3, "reader"))


async def test_of_many_who_take_over_at_once_one_may_write(
    server: RedisServer, prefix: str
) -> None:
    stores = [RedisStore(**options(server, prefix)) for _ in range(8)]
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
    async with opened(read_only=True, **options(server, prefix)) as reader:
        assert await names(reader) == set(wrote)
    for store in stores:
        await store.close()


async def test_a_reader_writes_nothing(server: RedisServer, prefix: str) -> None:
    its = options(server, prefix)
    before = server.dump()
    async with opened(read_only=True, **its) as reader:
        assert (await reader.load()).records == {}
    assert server.dump() == before


# --- late, lost, repeated ------------------------------------------------------------------------


async def test_what_arrives_late_changes_nothing(server: RedisServer, prefix: str) -> None:
    """The owner is still the same: its fence alone would let an old value come back."""
    with Wire(server.port) as wire:
        its = options(server, prefix, timeout=2)
        async with opened(**its | {"url": wire.url}) as store:
            await store.apply(batch(1, "route", "first"))
            wire.hold("requests")
            with pytest.raises(StoreUnavailable, match="no answer"):
                await store.apply(batch(2, "route", "second"))
            store.url = server.url
            await store.close()
            await store.open()
            await store.apply(batch(3, "route", "third"))
            answered = server.calls("evalsha")
            wire.deliver()
            wait_until(lambda: server.calls("evalsha") > answered, "the late request")
            assert (await store.load()).records == {Key(ROUTES, "route"): "third"}
            await store.apply(batch(4, "route", "fourth"))


async def test_a_take_over_that_arrives_late_takes_nothing_over(
    server: RedisServer, prefix: str
) -> None:
    with Wire(server.port) as wire:
        its = options(server, prefix, timeout=2)
        async with opened(**its) as earlier:
            await earlier.apply(batch(1, "route", "first"))
        late = RedisStore(**its | {"url": wire.url})
        await late.connect(read_only=False)
        await late.read_all()  # so that it knows the newest transaction
        wire.hold("requests")
        with pytest.raises(StoreUnavailable):
            await late.transact([Change("jupyterhub/owner", "late")], None)
        async with opened(**its) as owner:
            answered = server.calls("evalsha")
            wire.deliver()
            wait_until(lambda: server.calls("evalsha") > answered, "the late request")
            await owner.apply(batch(2, "route", "second"))
        await late.disconnect()


async def test_a_lost_answer_is_no_second_write(server: RedisServer, prefix: str) -> None:
    with Wire(server.port) as wire:
        async with opened(**options(server, prefix) | {"url": wire.url}) as store:
            await store.apply(batch(1, "route", "first"))
            before = server.calls("publish"), server.calls("evalsha")
            wire.lose_one_answer()
            await store.apply(batch(2, "route", "second"))
            assert server.calls("evalsha") == before[1] + 2
            assert server.calls("publish") == before[0] + 1
            assert (await store.load()).records == {Key(ROUTES, "route"): "second"}


async def test_a_write_of_unknown_fate_that_happens_later(server: RedisServer, prefix: str) -> None:
    """The next one is not built upon what is no longer there."""
    with Wire(server.port) as wire:
        async with opened(**options(server, prefix, timeout=1) | {"url": wire.url}) as store:
            await store.apply(batch(1, "route", "first"))
            wire.hold("requests")
            with pytest.raises(StoreUnavailable, match="no answer"):
                await store.apply(batch(2, "route", "second"))
            answered = server.calls("evalsha")
            wire.deliver()
            wait_until(lambda: server.calls("evalsha") > answered, "the late request")
            assert (await store.load()).records == {Key(ROUTES, "route"): "second"}
            await store.apply(batch(3, "route", "third"))
            assert (await store.load()).records == {Key(ROUTES, "route"): "third"}


async def test_a_write_between_load_and_apply_is_noticed(server: RedisServer, prefix: str) -> None:
    async with opened(**options(server, prefix)) as store:
        await store.apply(batch(1, "route", "first"))
        server.put(f"{prefix}/jupyterhub/transaction", "one of unknown fate")
        before = server.dump()
        with pytest.raises(StoreUnavailable, match=f"{prefix}/ was changed"):
            await store.apply(batch(2, "route", "second"))
        assert server.dump() == before
        await store.apply(batch(2, "route", "second"))
        assert (await store.load()).records == {Key(ROUTES, "route"): "second"}


async def test_the_database_is_emptied(own_server: RedisServer) -> None:
    """By hand, or by a restart without a log. The owner goes on."""
    async with opened(**options(own_server, "hub")) as store:
        await store.apply(batch(1, "route", "first"))
        own_server.do("FLUSHALL")
        assert (await store.load()).records == {}
        await store.apply(batch(2, "route", "second"))
        assert (await store.load()).records == {Key(ROUTES, "route"): "second"}


async def test_loads_during_writes_see_one_batch_or_the_next(
    server: RedisServer, prefix: str
) -> None:
    its = options(server, prefix)
    async with opened(**its) as store:
        await store.apply(Batch(1, {Key(ROUTES, str(number)): 1 for number in range(2000)}))

        async def write() -> None:
            for generation in range(2, 12):
                puts: dict[Key, Document] = {Key(ROUTES, str(n)): generation for n in range(2000)}
                await store.apply(Batch(generation, puts))
            group.cancel_scope.cancel()

        async def read() -> None:
            while True:
                snapshot = await reader.load()
                assert set(snapshot.records.values()) == {snapshot.generation}

        async with (
            opened(read_only=True, **its) as reader,
            anyio.create_task_group() as group,
        ):
            group.start_soon(write)
            group.start_soon(read)
        assert (await store.load()).generation == 11


async def test_the_event_loop_goes_on_meanwhile(server: RedisServer, prefix: str) -> None:
    """While ten thousand routes are read. Bounds are wide: the machine may be busy."""
    async with opened(**options(server, prefix, timeout=60)) as store:
        await store.apply(Batch(1, records := routes(10_000)))
        longest = 0.0

        async def tick() -> None:
            nonlocal longest
            while True:
                begun = time.monotonic()
                await anyio.sleep(0.001)
                longest = max(longest, time.monotonic() - begun)

        async with anyio.create_task_group() as group:
            group.start_soon(tick)
            begun = time.monotonic()
            await store.read_all()
            took = time.monotonic() - begun
            group.cancel_scope.cancel()
        assert longest < max(0.25, took / 2)
        await store.apply(Batch(2, {}, frozenset(records)))


# --- what was read is still there ----------------------------------------------------------------


async def test_intact_while_nobody_writes(own_server: RedisServer) -> None:
    """Whatever the store itself writes; and so the Hub need not read all every other second."""
    its = options(own_server, "hub")
    async with opened(**its) as store, opened(read_only=True, **its) as reader:
        assert not await store.intact()
        await store.load()
        await reader.load()
        assert await store.intact()
        for generation in (1, 3):
            await store.apply(Batch(generation, routes(10)))
            assert await store.intact()
            assert not await reader.intact()
            await reader.load()
            assert await reader.intact()
            await store.apply(Batch(generation + 1, routes(5), frozenset()))
            before = own_server.calls("keys")
            for _ in range(3):
                assert await store.intact()
            assert own_server.calls("keys") == before
            await store.apply(Batch(generation + 1, {}, frozenset(routes(10))))
            assert await store.intact()


@pytest.mark.parametrize(
    "command",
    [
        f"SET hub/{ROUTES}/first 1",
        f"SET hub/{ROUTES}/more 1",
        f"DEL hub/{ROUTES}/first",
        f"RENAME hub/{ROUTES}/first hub/{ROUTES}/second",
        f"HSET hub/{ROUTES}/hash field value",
        "DEL hub/jupyterhub/owner",
        "SET hub/jupyterhub/transaction x",
        "SET elsewhere x",  # nobody can tell that from the others
        "FLUSHALL",
        "BGREWRITEAOF",
        "SAVE",
    ],
)
@pytest.mark.parametrize("writes", [False, True], ids=["", "wrote"])
async def test_not_intact_when_others_wrote(
    own_server: RedisServer, command: str, writes: bool
) -> None:
    async with opened(**options(own_server, "hub")) as store:
        await store.load()
        await store.apply(batch(1, "first"))
        assert await store.intact()
        own_server.do(*command.split())
        if writes and not command.endswith(("owner", "transaction x", "FLUSHALL")):
            await store.apply(batch(2, "after"))
        if command == "BGREWRITEAOF":
            assert await store.intact()
            return
        assert not await store.intact()
        if "transaction" not in command:
            await store.load()
            assert await store.intact() == (command not in ("FLUSHALL", "DEL hub/jupyterhub/owner"))


async def test_not_intact_when_a_key_has_expired(own_server: RedisServer) -> None:
    """To redis, that is no change; only that somebody gave it an end."""
    async with opened(**options(own_server, "hub")) as store:
        await store.load()
        await store.apply(batch(1, "first"))
        own_server.do("PEXPIRE", f"hub/{ROUTES}/first", "1500")
        assert await names(store) == {"first"}
        assert await store.intact()
        await anyio.to_thread.run_sync(
            wait_until, lambda: not own_server.do("EXISTS", f"hub/{ROUTES}/first"), "its end"
        )
        assert not await store.intact()
        assert await names(store) == set()
        assert await store.intact()


async def test_not_intact_when_redis_has_evicted(own_server: RedisServer) -> None:
    async with opened(**options(own_server, "hub")) as store:
        await store.load()
        await store.apply(Batch(1, records := routes(500)))
        own_server.do("CONFIG", "SET", "maxmemory-policy", "allkeys-random")
        used = own_server.do("INFO", "memory").decode().partition("used_memory:")[2].split()[0]
        assert await store.intact()
        own_server.do("CONFIG", "SET", "maxmemory", str(int(used) - 200_000))
        await anyio.to_thread.run_sync(
            wait_until,
            lambda: b"evicted_keys:0\r" not in own_server.do("INFO", "stats"),
            "an eviction",
        )
        own_server.do("CONFIG", "SET", "maxmemory", "0")
        assert not await store.intact()
        assert (await store.load()).records != records


async def test_not_intact_after_a_restart(own_server: RedisServer) -> None:
    async with opened(**options(own_server, "hub")) as store:
        await store.load()
        await store.apply(batch(1, "first"))
        own_server.restart()
        assert not await store.intact()
        await store.load()
        assert await store.intact()


async def test_not_intact_without_the_right_to_ask(server: RedisServer, prefix: str) -> None:
    server.add_user("blind", *(rule for rule in rules(prefix) if rule != "+info"))
    async with opened(**options(server, prefix) | {"username": "blind"}) as store:
        await store.load()
        await store.apply(batch(1, "first"))
        assert not await store.intact()


# --- strangers' keys -----------------------------------------------------------------------------


async def test_what_is_no_text_is_passed_over(server: RedisServer, prefix: str) -> None:
    """As Traefik does; and a put replaces it."""
    async with opened(**options(server, prefix)) as store:
        server.do("HSET", f"{prefix}/{ROUTES}/theirs", "field", "value")
        server.do("RPUSH", f"{prefix}/http/routers/theirs/rule", "value")
        assert (await store.load()).records == {}
        await store.apply(batch(1, "theirs"))
        assert await names(store) == {"theirs"}


@pytest.mark.parametrize("key", ["transaction", "owner"])
@pytest.mark.parametrize("what", ["bytes", "list"])
async def test_strange_keys_of_the_stores_own(own_server: RedisServer, key: str, what: str) -> None:
    """They are put right, whoever runs, and a Hub starts."""
    its = options(own_server, "hub")
    name = f"hub/jupyterhub/{key}"

    def spoil() -> None:
        own_server.delete(name)
        if what == "bytes":
            own_server.put(name, b"\xff\xfe\n")
        else:
            own_server.do("RPUSH", name, "a", "b")

    async with opened(**its) as store:
        await store.apply(batch(1, "first"))
    spoil()
    async with opened(**its) as store:
        await store.apply(batch(2, "second"))
        assert await names(store) == {"first", "second"}
        own = own_server.dump()[name]
        assert own.isascii()
        spoil()
        assert not await store.intact()
        await store.load()
        if (key, what) == ("owner", "bytes"):  # somebody wrote it
            with pytest.raises(FencedError, match=r"c\.RedisStore\.prefix"):
                await store.apply(batch(3, "third"))
            return
        await store.apply(batch(3, "third"))
        assert await names(store) == {"first", "second", "third"}
        assert own_server.dump()[name].isascii()


async def test_bytes_that_are_no_unicode(server: RedisServer, prefix: str) -> None:
    async with opened(**options(server, prefix)) as store:
        server.put(f"{prefix}/{ROUTES}/strange", b"\xff\xfe\xfd")
        with pytest.raises(StoreCorrupt, match=f"{ROUTES}/strange"):
            await store.load()
        await store.apply(batch(1, "strange"))
        assert await names(store) == {"strange"}
        server.do("SET", f"{prefix}/theirs/".encode() + b'\xff\x00\n"', "x")
        assert await names(store) == {"strange"}


async def test_strays_are_removed_by_a_repair(server: RedisServer, prefix: str) -> None:
    """Short keys in Traefik's sections, of which one freezes it."""
    async with opened(**options(server, prefix)) as store:
        await store.apply(batch(1, "first"))
        for key in ("http/theirs", "udp", "http/routers/theirs/rule"):
            server.put(f"{prefix}/{key}", "x")
        found = (await store.load()).records
        await store.apply(Batch.between(found, {Key(ROUTES, "first"): "here"}, generation=2))
        left = {key for key in server.dump() if key.startswith(f"{prefix}/")}
        assert not {key for key in left if "theirs" in key or "udp" in key}


@pytest.mark.parametrize(
    "document",
    [{"headers": {"customResponseHeaders": {"X": ""}}}, {"chain": {"middlewares": [""]}}],
)
async def test_empty_values_are_refused(
    server: RedisServer, prefix: str, document: Document
) -> None:
    """Traefik passes over them, and would let the header through."""
    key = Key("http/middlewares", "m")
    async with opened(**options(server, prefix)) as store:
        await store.apply(batch(1, "first", ""))
        with pytest.raises(RecordRefused, match=r"empty|blanks"):
            store.canonical(key, document)
        with pytest.raises(RecordRefused, match=r"empty|blanks"):
            await store.apply(Batch(2, {key: document, Key(ROUTES, "x"): 1}))
        assert await names(store) == {"first"}


# --- trouble -------------------------------------------------------------------------------------


async def test_down_and_up_again(own_server: RedisServer) -> None:
    its = options(own_server, "hub", timeout=2)
    async with opened(**its) as store:
        await store.apply(batch(1, "before"))
        own_server.stop()
        for call in (store.load(), store.apply(batch(2, "meanwhile"))):
            with pytest.raises(StoreUnavailable, match=own_server.endpoint):
                await call
        with pytest.raises(StoreUnavailable, match=own_server.endpoint):
            await RedisStore(**its).open()
        own_server.start()
        assert await names(store) == {"before"}
        await store.apply(batch(2, "after"))
        own_server.restart()
        await store.apply(batch(3, "at last"))
        assert await names(store) == {"before", "after", "at last"}


async def test_frozen(own_server: RedisServer) -> None:
    its = options(own_server, "hub", timeout=1)
    async with opened(**its) as store:
        await store.apply(batch(1, "before"))
        own_server.pause()
        with anyio.fail_after(30):
            for call in (store.load(), store.apply(batch(2, "uncertain"))):
                with pytest.raises(StoreUnavailable, match="no answer"):
                    await call
            with pytest.raises(StoreUnavailable, match=own_server.endpoint):
                await RedisStore(**its).open()
        own_server.resume()
        await until_done(lambda: store.apply(batch(3, "after")))
        assert await names(store) - {"uncertain"} == {"before", "after"}


async def test_the_store_closes_while_the_server_is_frozen(own_server: RedisServer) -> None:
    store = RedisStore(**options(own_server, "hub", timeout=60))
    await store.open()
    own_server.pause()

    async def load() -> None:
        with pytest.raises(StoreUnavailable, match="closed"):
            await store.load()

    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(load)
            await anyio.sleep(0.3)
            await store.close()


async def test_a_full_memory(own_server: RedisServer) -> None:
    """What there is stays, nothing of the batch is written, and deleting goes on."""
    async with opened(**options(own_server, "hub")) as store:
        await store.apply(batch(1, "first"))
        own_server.do("CONFIG", "SET", "maxmemory", "1")
        before = own_server.dump()
        with pytest.raises(StoreUnavailable, match="memory is full: raise maxmemory"):
            await store.apply(Batch(2, routes(10)))
        assert own_server.dump() == before
        assert await names(store) == {"first"}
        own_server.do("CONFIG", "SET", "maxmemory", "0")
        await store.apply(Batch(2, routes(10)))
        assert len(await names(store)) == 11


async def test_a_disk_that_can_not_be_written(own_server: RedisServer) -> None:
    async with opened(**options(own_server, "hub")) as store:
        await store.apply(batch(1, "first"))
        own_server.do("CONFIG", "SET", "save", "3600 1")
        blocker = own_server.directory / "dump.rdb"
        blocker.mkdir()  # a file can't take its place
        own_server.do("BGSAVE")
        wait_until(
            lambda: b"rdb_last_bgsave_status:err" in own_server.do("INFO", "persistence"),
            "the snapshot to fail",
        )
        before = own_server.dump()
        with pytest.raises(StoreUnavailable, match="can't write to its disk"):
            await store.apply(Batch(2, routes(10)))
        assert own_server.dump() == before
        blocker.rmdir()
        own_server.do("CONFIG", "SET", "save", "")
        await store.apply(Batch(2, routes(10)))


async def test_a_script_of_others_that_does_not_end(own_server: RedisServer) -> None:
    own_server.do("CONFIG", "SET", "lua-time-limit", "50")
    async with opened(**options(own_server, "hub", timeout=2)) as store:
        await store.apply(batch(1, "first"))
        async with anyio.create_task_group() as group:

            async def block() -> None:
                with pytest.raises(OSError, match=r"kill|Kill"):
                    await anyio.to_thread.run_sync(own_server.do, "EVAL", "while true do end", "0")

            group.start_soon(block)
            await anyio.sleep(0.5)
            with pytest.raises(StoreUnavailable, match="SCRIPT KILL"):
                await store.apply(batch(2, "second"))
            await anyio.to_thread.run_sync(own_server.do, "SCRIPT", "KILL")
        await store.apply(batch(2, "second"))


@pytest.mark.usefixtures("newer_kind")
async def test_a_server_that_reads_its_data(own_server: RedisServer) -> None:
    """It answers, but has no keys to give yet."""
    its = options(own_server, "hub", timeout=1)
    async with opened(**its) as store:
        await store.apply(Batch(1, routes(100)))
        own_server.do("CONFIG", "SET", "appendonly", "no")
        own_server.do("SAVE")
        own_server.stop()
        own_server.set_option("appendonly", "no")
        own_server.set_option("key-load-delay", "8000")  # microseconds for each of 600 keys
        own_server.set_option("loading-process-events-interval-bytes", "1024")
        own_server.start(loading=True)
        with pytest.raises(StoreUnavailable, match="still reading its data"):
            await store.load()
