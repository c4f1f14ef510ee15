"""Promise 3: what was applied is what ``load`` returns, whatever its names and documents."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from traefikhub.stores import Batch, Document, Key, RecordRefused, Snapshot
from traefikhub.testing._documents import NASTY, private_records, same, traefik_records
from traefikhub.testing._hooks import Hooks
from traefikhub.testing._machine import run_machine
from traefikhub.testing._promises import Promise, proves
from traefikhub.testing._run import run

__all__ = ["ReadingTests"]


class ReadingTests(Hooks):
    """Random histories, hostile documents, many records, other writers."""

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
            lambda name: self._prepared_store(name, server),
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
            async with self._prepared_store(prefix, server) as store:
                await store.apply(Batch(1, records))
                assert await store.load() == Snapshot(records, 1), "load() by its owner differs"
            async with self._prepared_store(prefix, server) as store:
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
                async with self._prepared_store(place, server) as store:
                    try:
                        expected = {
                            key: store.canonical(key, doc) for key, doc in batch.puts.items()
                        }
                        await store.apply(batch)
                    except RecordRefused:
                        expected, generation = {}, 0
                async with self._prepared_store(place, server) as store:
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
            async with self._prepared_store(prefix, server) as store:
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
            async with self._prepared_store(prefix, server) as store:
                await store.apply(Batch(1, records))
                await store.apply(Batch(2, {Key("jupyterhub/routes", "user_u77"): "changed"}))
            records[Key("jupyterhub/routes", "user_u77")] = "changed"
            async with self._prepared_store(prefix, server) as store:
                assert await store.load() == Snapshot(records, 2), "10,000 records differ"
                await store.apply(Batch(3, {}, frozenset(records)))
                assert await store.load() == Snapshot({}, 3), "deleted records are still there"

        run(work)

    @proves(Promise.READ_YOUR_WRITES)
    def test_intact_overlooks_nothing(self, server: Any, prefix: str) -> None:
        """``intact`` may say no at any time, but yes only if ``load`` would show nothing new."""

        async def work() -> None:
            async with self._prepared_store(prefix, server) as store:
                await store.load()
                await store.apply(Batch(1, {Key("jupyterhub/notes", "a"): 1}))
                async with self._prepared_store(prefix, server) as other:
                    await other.load()
                    await other.apply(Batch(2, {Key("jupyterhub/notes", "a"): 2}))
                    assert not await store.intact(), "intact() overlooks another writer's put"
                    seen = await store.load()
                    await other.apply(Batch(3, deletes=frozenset(seen.records)))
                    assert not await store.intact(), "intact() overlooks another writer's delete"

        run(work)
