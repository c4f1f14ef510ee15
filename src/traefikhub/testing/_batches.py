"""Promises 1 and 2: a batch is seen whole or not at all, and survives the death of its writer."""

from __future__ import annotations

import random
import subprocess
import sys
from contextlib import suppress
from typing import Any

import anyio

from traefikhub.stores import Batch, Document, Key, RouteStore, Snapshot
from traefikhub.testing._child import describe, swap_of
from traefikhub.testing._hooks import Hooks
from traefikhub.testing._promises import Promise, proves
from traefikhub.testing._run import run

__all__ = ["BatchTests", "dangling", "router_set"]


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


class BatchTests(Hooks):
    """Readers in the middle of a batch, a batch too large for one transaction, a killed writer."""

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

            async with self._prepared_store(prefix, server) as store:
                readers = [self._prepared_store(prefix, server) for _ in range(2)]
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

            async with self._prepared_store(prefix, server) as store:
                reader = self._prepared_store(prefix, server)
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
        moments = random.Random(prefix)  # nosec B311 # repeatable, no secret
        acknowledged = 0
        for _ in range(8):
            description = describe(self._prepared_store(prefix, server))
            child = subprocess.Popen(  # nosec B603 # a module of our own
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
                reader = self._prepared_store(prefix, server)
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
