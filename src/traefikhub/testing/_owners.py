"""Promises 4 and 6: who opens a store owns its place, and nothing beside that place."""

from __future__ import annotations

from typing import Any

import anyio
import anyio.lowlevel

from traefikhub.stores import (
    Batch,
    FencedError,
    Key,
    KeyValueStore,
    RouteStore,
    Snapshot,
    StoreError,
)
from traefikhub.testing._child import RECORDS, batch_of
from traefikhub.testing._hooks import Hooks
from traefikhub.testing._promises import Promise, proves
from traefikhub.testing._run import run

__all__ = ["OwnerTests"]


class OwnerTests(Hooks):
    """Former owners, readers, neighbours."""

    @proves(Promise.FENCED)
    def test_opening_takes_over(self, server: Any, prefix: str) -> None:
        """The former owner's next batch fails and changes nothing, however often it tries."""

        async def work() -> None:
            key = Key("jupyterhub/notes", "owner")
            former = self._prepared_store(prefix, server)
            await former.open()
            await former.apply(Batch(1, {key: "former"}))
            async with self._prepared_store(prefix, server) as owner:
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
                former = self._prepared_store(place, server)
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
                    reader = self._prepared_store(place, server)
                    await reader.open(read_only=True)
                    while (await reader.load()).generation < turn:
                        await anyio.lowlevel.checkpoint()
                    await reader.close()
                    owner = self._prepared_store(place, server)
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
            async with self._prepared_store(prefix, server) as owner:
                await owner.apply(batch_of(1))
                reader = self._prepared_store(prefix, server)
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

    @proves(Promise.FENCED)
    def test_a_look_at_the_rights_takes_over_nothing(self, server: Any, prefix: str) -> None:
        """``prove_writable`` neither fences nor writes, with or without an owner."""

        async def work() -> None:
            looker = self._prepared_store(prefix, server)
            if not isinstance(looker, KeyValueStore):
                return
            await looker.prove_writable()
            await looker.connect(read_only=True)
            try:
                assert await looker.read_all() == {}, "a look at the rights has written"
            finally:
                await looker.disconnect()
            async with self._prepared_store(prefix, server) as owner:
                await owner.apply(batch_of(1))
                await looker.prove_writable()
                await owner.apply(batch_of(2))
                assert await owner.load() == Snapshot(batch_of(2).puts, 2)

        run(work)

    @proves(Promise.QUIET)
    def test_two_prefixes_know_nothing_of_each_other(self, server: Any, prefix: str) -> None:
        """Even if the one begins the other."""

        async def work() -> None:
            async with (
                self._prepared_store(prefix, server) as one,
                self._prepared_store(f"{prefix}2", server) as other,
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
