"""Promises 1 to 4 and 6, which any store can be put to."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import anyio
import anyio.lowlevel
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from traefikhub.stores import (
    Batch,
    Document,
    FencedError,
    Key,
    RecordRefused,
    RouteStore,
    Snapshot,
    StoreError,
)
from traefikhub.testing._child import RECORDS, batch_of, describe, swap_of
from traefikhub.testing._documents import NASTY, private_records, traefik_records
from traefikhub.testing._hooks import Hooks
from traefikhub.testing._machine import run_machine
from traefikhub.testing._promises import Promise, proves

__all__ = ["PromiseTests", "router_set"]

_LIMIT_SECONDS = 120


def run(work: Callable[[], Awaitable[Any]]) -> Any:
    """Run a coroutine; one that hangs fails."""

    async def bounded() -> Any:
        with anyio.fail_after(_LIMIT_SECONDS):
            return await work()

    return anyio.run(bounded)


def same(expected: object, found: object) -> bool:
    """Equal as JSON: 1, True and 1.0 are three."""
    return json.dumps(expected, sort_keys=True) == json.dumps(found, sort_keys=True)


def router_set(number: int, generation: int) -> dict[Key, Document]:
    """A parent, its child, and the service and middleware that the child names."""
    own, parent = f"r{number}g{generation}", f"p{number % 7}g{generation}"
    router: dict[str, Document] = {
        "rule": f'PathPrefix("/user/{own}/")',
        "service": own,
        "middlewares": [own],
        "parentRefs": [parent],
    }
    return {
        Key("http/routers", parent): {"rule": 'PathPrefix("/user/")', "entryPoints": ["http"]},
        Key("http/routers", own): router,
        Key("http/middlewares", own): {"addPrefix": {"prefix": "/x"}},
        Key("http/services", own): {"loadBalancer": {"servers": [{"url": "http://127.0.0.1:1"}]}},
    }


def dangling(snapshot: Snapshot) -> list[str]:
    """What routers name that isn't there."""
    missing = []
    for name, document in snapshot.section("http/routers"):
        assert isinstance(document, dict)
        if "rule" not in document:
            missing.append(f"router {name} has no rule")
        named: dict[str, list[Any]] = {
            "http/services": [document["service"]] if "service" in document else [],
            "http/middlewares": list(document.get("middlewares", [])),  # type: ignore[arg-type]
            "http/routers": list(document.get("parentRefs", [])),  # type: ignore[arg-type]
        }
        missing += [
            f"router {name} names {section} {other}"
            for section, others in named.items()
            for other in others
            if Key(section, other) not in snapshot.records
        ]
    return missing


class PromiseTests(Hooks):
    """One test or more for each promise that needs no power over a server."""

    def _settings(self) -> settings:
        phases = set(Phase) - (set() if self.shrink else {Phase.shrink, Phase.explain})
        return settings(
            max_examples=40,
            deadline=None,
            database=None,
            phases=phases,
            print_blob=False,
            suppress_health_check=list(HealthCheck),
        )

    @proves(Promise.READ_YOUR_WRITES)
    def test_random_histories_equal_those_of_a_dict(self, server: Any, prefix: str) -> None:
        """Batches, reopenings, take-overs."""
        numbers = iter(range(10**6))
        run_machine(
            lambda name: self.make_store(name, server),
            lambda: f"{prefix}m{next(numbers)}",
            self._settings(),
        )

    @proves(Promise.READ_YOUR_WRITES)
    def test_private_documents_come_back_exactly(self, server: Any, prefix: str) -> None:
        """Any name, any JSON, after the store was opened anew."""
        numbers = iter(range(10**6))

        @self._settings()
        @given(st.lists(private_records(), max_size=8))
        def check(records: list[tuple[Key, Any]]) -> None:
            self._round_trip(dict(records), f"{prefix}n{next(numbers)}", server)

        check()
        self._round_trip({Key("jupyterhub/notes", name): name for name in NASTY}, prefix, server)

    def _round_trip(self, records: dict[Key, Any], prefix: str, server: Any) -> None:
        async def work() -> None:
            async with self.make_store(prefix, server) as store:
                await store.apply(Batch(1, records))
                assert await store.load() == Snapshot(records, 1), "load() by its owner differs"
            async with self.make_store(prefix, server) as store:
                found = dict((await store.load()).records)
            assert found.keys() == records.keys(), (
                f"names were {sorted(records)!r} and came back as {sorted(found)!r}"
            )
            for key, document in records.items():
                assert same(document, found[key]), (
                    f"{key} was {document!r} and came back as {found[key]!r}"
                )

        run(work)

    @proves(Promise.READ_YOUR_WRITES)
    def test_traefiks_documents_come_back_or_are_refused(self, server: Any, prefix: str) -> None:
        """What ``canonical`` says is what ``load`` returns; a refusal changes nothing."""
        numbers = iter(range(10**6))

        @self._settings()
        @given(st.lists(traefik_records(), max_size=6))
        def check(records: list[tuple[Key, Any]]) -> None:
            async def work() -> None:
                place = f"{prefix}t{next(numbers)}"
                batch = Batch(1, dict(records))
                expected, generation = {}, 1
                async with self.make_store(place, server) as store:
                    try:
                        expected = {
                            key: store.canonical(key, doc) for key, doc in batch.puts.items()
                        }
                        await store.apply(batch)
                    except RecordRefused:
                        expected, generation = {}, 0
                async with self.make_store(place, server) as store:
                    found = await store.load()
                    assert found.generation == generation, "a refused batch left its generation"
                    for key in expected.keys() | found.records.keys():
                        assert same(expected.get(key), found.records.get(key)), (
                            f"{key} was {expected.get(key)!r} and came back as "
                            f"{found.records.get(key)!r}"
                        )

            run(work)

        check()

    @proves(Promise.READ_YOUR_WRITES)
    def test_a_put_replaces_and_never_merges(self, server: Any, prefix: str) -> None:
        """Nothing of the earlier document shines through."""

        async def work() -> None:
            private, router = Key("jupyterhub/routes", "a"), Key("http/routers", "a")
            service = Key("http/services", "a")
            servers: list[Document] = [{"url": f"http://127.0.0.1:{port}"} for port in range(12)]
            big: dict[Key, Document] = {
                private: {"old": 1, "nested": {"old": 1}},
                router: {"rule": 'Path("/")', "service": "a", "middlewares": ["x", "y"]},
                service: {"loadBalancer": {"servers": servers, "passHostHeader": False}},
            }
            small: dict[Key, Document] = {
                private: {"nested": {}},
                router: {"rule": 'Path("/b")', "service": "a"},
                service: {"loadBalancer": {"servers": servers[:1]}},
            }
            async with self.make_store(prefix, server) as store:
                for generation, records in enumerate((big, small, big, small), 1):
                    await store.apply(Batch(generation, records))
                    found = (await store.load()).records
                    for key, document in records.items():
                        expected = store.canonical(key, document)
                        assert same(expected, found[key]), (
                            f"{key} was replaced by {expected!r} but reads {found[key]!r}"
                        )

        run(work)

    @proves(Promise.READ_YOUR_WRITES)
    def test_ten_thousand_records(self, server: Any, prefix: str) -> None:
        """Written, read by another, changed in one place, deleted."""

        async def work() -> None:
            records: dict[Key, Document] = {
                Key("jupyterhub/routes", f"user_u{n}"): {"data": {"user": f"u{n}"}}
                for n in range(10_000)
            }
            async with self.make_store(prefix, server) as store:
                await store.apply(Batch(1, records))
                await store.apply(Batch(2, {Key("jupyterhub/routes", "user_u77"): "changed"}))
            records[Key("jupyterhub/routes", "user_u77")] = "changed"
            async with self.make_store(prefix, server) as store:
                assert await store.load() == Snapshot(records, 2), "10,000 records differ"
                await store.apply(Batch(3, {}, frozenset(records)))
                assert await store.load() == Snapshot({}, 3), "deleted records are still there"

        run(work)

    @proves(Promise.READ_YOUR_WRITES)
    def test_intact_overlooks_nothing(self, server: Any, prefix: str) -> None:
        """``intact`` may say no at any time, but yes only if ``load`` would show nothing new."""

        async def work() -> None:
            async with self.make_store(prefix, server) as store:
                await store.load()
                await store.apply(Batch(1, {Key("jupyterhub/notes", "a"): 1}))
                async with self.make_store(prefix, server) as other:
                    await other.load()
                    await other.apply(Batch(2, {Key("jupyterhub/notes", "a"): 2}))
                    assert not await store.intact(), "intact() overlooks another writer's put"
                    seen = await store.load()
                    await other.apply(Batch(3, deletes=frozenset(seen.records)))
                    assert not await store.intact(), "intact() overlooks another writer's delete"

        run(work)

    @proves(Promise.ATOMIC)
    def test_readers_never_see_half_a_batch(self, server: Any, prefix: str) -> None:
        """Every record says its batch's generation; they never disagree."""

        async def work() -> None:
            done = anyio.Event()

            async def read(store: RouteStore) -> None:
                while not done.is_set():
                    found = await store.load()
                    whole = swap_of(found.generation).puts if found.generation else {}
                    assert found.records == whole, (
                        f"at generation {found.generation} a reader saw {found.records}"
                    )

            async with self.make_store(prefix, server) as store:
                readers = [self.make_store(prefix, server) for _ in range(2)]
                for reader in readers:
                    await reader.open(read_only=True)
                failure: AssertionError | None = None
                async with anyio.create_task_group() as group:

                    async def watch(reader: RouteStore) -> None:
                        nonlocal failure
                        try:
                            await read(reader)
                        except AssertionError as error:
                            failure = error
                            group.cancel_scope.cancel()

                    for reader in readers:
                        group.start_soon(watch, reader)
                    for generation in range(1, 101):
                        await store.apply(swap_of(generation))
                    done.set()
                for reader in readers:
                    await reader.close()
                if failure:
                    raise failure

        run(work)

    @proves(Promise.ATOMIC)
    def test_a_batch_too_large_for_a_transaction_keeps_its_order(
        self, server: Any, prefix: str
    ) -> None:
        """At no moment does a router name something that is missing; the generation goes last."""

        async def work() -> None:
            generations: list[dict[Key, Document]] = [{}]
            for generation in range(1, 4):
                records: dict[Key, Document] = {}
                for number in range(150):
                    records |= router_set(number, generation)
                generations.append(records)
            failure: list[str] = []
            done = anyio.Event()

            async def watch(reader: RouteStore) -> None:
                while not done.is_set() and not failure:
                    found = await reader.load()
                    failure.extend(dangling(found)[:3])
                    lacking = generations[found.generation].keys() - found.records.keys()
                    # Those of the generation shown may go while the next one is being written.
                    if lacking and not any(key.name.endswith("g1") for key in lacking):
                        newer = generations[min(found.generation + 1, 3)].keys()
                        if not newer & found.records.keys():
                            failure.append(
                                f"generation {found.generation} shows, but lacks {min(lacking)}"
                            )

            async with self.make_store(prefix, server) as store:
                reader = self.make_store(prefix, server)
                await reader.open(read_only=True)
                async with anyio.create_task_group() as group:
                    group.start_soon(watch, reader)
                    for generation in range(1, 4):
                        old, new = generations[generation - 1], generations[generation]
                        await store.apply(Batch(generation, new, frozenset(old)))
                    done.set()
                found = await reader.load()
                await reader.close()
                assert not failure, "; ".join(failure)
                assert found.records.keys() == generations[3].keys(), "a large batch is incomplete"
                assert found.generation == 3, "a large batch didn't leave its generation"

        run(work)

    @proves(Promise.DURABLE)
    def test_a_writer_killed_at_any_moment_loses_nothing(self, server: Any, prefix: str) -> None:
        """SIGKILL in the middle of writing, again and again."""
        moments = random.Random(prefix)
        acknowledged = 0
        for _ in range(8):
            description = describe(self.make_store(prefix, server))
            child = subprocess.Popen(
                [sys.executable, "-m", "traefikhub.testing._child", description],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            assert child.stdout is not None
            assert child.stderr is not None
            try:
                for _ in range(moments.randint(1, 20)):
                    if not (line := child.stdout.readline()):
                        break
                    acknowledged = int(line)
                with suppress(subprocess.TimeoutExpired):
                    child.wait(moments.random() / 200)  # somewhere within the next batch
                ended = child.poll()
            finally:
                child.kill()
                rest, trouble = child.communicate()
            acknowledged = max([acknowledged, *map(int, rest.split())])
            assert ended is None, f"the writer ended by itself: {trouble[-1000:]}"

            async def look(acknowledged: int = acknowledged) -> None:
                reader = self.make_store(prefix, server)
                await reader.open(read_only=True)
                found = await reader.load()
                await reader.close()
                assert found.generation >= acknowledged, (
                    f"generation {acknowledged} was acknowledged before a SIGKILL, after it the "
                    f"store is at {found.generation}"
                )
                whole = swap_of(found.generation).puts if found.generation else {}
                assert found.records == whole, "a killed writer left half a batch"

            run(look)

    @proves(Promise.FENCED)
    def test_opening_takes_over(self, server: Any, prefix: str) -> None:
        """The former owner's next batch fails and changes nothing, however often it tries."""

        async def work() -> None:
            key = Key("jupyterhub/notes", "owner")
            former = self.make_store(prefix, server)
            await former.open()
            await former.apply(Batch(1, {key: "former"}))
            async with self.make_store(prefix, server) as owner:
                for attempt in range(3):
                    try:
                        await former.apply(Batch(2 + attempt, {key: "former again"}))
                    except FencedError:
                        continue
                    raise AssertionError("after a take-over the former owner's batch was applied")
                assert await owner.load() == Snapshot({key: "former"}, 1), (
                    "the fenced batch changed something"
                )
                await owner.apply(Batch(2, {key: "owner"}))
            try:
                await former.apply(Batch(3, {key: "former"}))
            except FencedError:
                pass
            else:
                raise AssertionError("once the new owner had closed, the former one wrote again")
            await former.close()

        run(work)

    @proves(Promise.FENCED)
    def test_a_take_over_in_the_middle_of_writing(self, server: Any, prefix: str) -> None:
        """From the moment that open() returns nothing of the former owner's arrives."""

        async def work() -> None:
            for turn in range(10):
                place = f"{prefix}w{turn}"
                former = self.make_store(place, server)
                await former.open()
                fenced = anyio.Event()

                async def write(store: RouteStore = former, over: anyio.Event = fenced) -> None:
                    generation = 0
                    try:
                        while True:
                            generation += 1
                            await store.apply(batch_of(generation))
                    except FencedError:
                        over.set()

                async with anyio.create_task_group() as group:
                    group.start_soon(write)
                    reader = self.make_store(place, server)
                    await reader.open(read_only=True)
                    while (await reader.load()).generation < turn:
                        await anyio.lowlevel.checkpoint()
                    await reader.close()
                    owner = self.make_store(place, server)
                    await owner.open()
                    at_once = await owner.load()
                    with anyio.fail_after(10):
                        await fenced.wait()
                    assert (await owner.load()).generation == at_once.generation, (
                        "a batch of the former owner arrived after the take-over"
                    )
                await owner.close()
                await former.close()

        run(work)

    @proves(Promise.FENCED)
    def test_reading_takes_over_nothing(self, server: Any, prefix: str) -> None:
        """A reader neither fences nor writes."""

        async def work() -> None:
            async with self.make_store(prefix, server) as owner:
                await owner.apply(batch_of(1))
                reader = self.make_store(prefix, server)
                await reader.open(read_only=True)
                await reader.load()
                try:
                    await reader.apply(batch_of(2))
                except StoreError:
                    pass
                else:
                    raise AssertionError("a store opened for reading accepted a batch")
                await owner.apply(batch_of(2))
                await reader.close()

        run(work)

    @proves(Promise.QUIET)
    def test_two_prefixes_know_nothing_of_each_other(self, server: Any, prefix: str) -> None:
        """Even if the one begins the other."""

        async def work() -> None:
            async with (
                self.make_store(prefix, server) as one,
                self.make_store(f"{prefix}2", server) as other,
            ):
                await one.apply(batch_of(1))
                await other.apply(batch_of(1))
                await other.apply(batch_of(2))
                await one.apply(Batch(2, {}, frozenset(RECORDS)))
                assert await one.load() == Snapshot({}, 2), "deleted records are still there"
                assert await other.load() == Snapshot(batch_of(2).puts, 2), (
                    "a store touched another prefix"
                )

        run(work)
