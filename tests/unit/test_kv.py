"""The key layout and the base of key-value stores, on a server in memory."""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable, Sequence
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given
from hypothesis import strategies as st
from traitlets.config import LoggingConfigurable

from traefikhub.stores import (
    Batch,
    Change,
    Changed,
    Document,
    FencedError,
    Guard,
    Key,
    KeyValueStore,
    RecordRefused,
    Snapshot,
    StoreCorrupt,
    StoreError,
    StoreUnavailable,
)
from traefikhub.stores._layout import by_record, canonical, documents, keys_of
from traefikhub.testing._batches import dangling, router_set
from traefikhub.testing._documents import private_records, traefik_records

pytestmark = pytest.mark.anyio


class MemoryKv(KeyValueStore):
    """A server of one dict, whose transactions take 30 changes.

    states: what a reader could have seen, after every transaction.
    fail_after: transactions until the next one is lost with its answer; None for never.
    tells: it knows what changed.
    counts: it knows how many keys it has; else it tells only that nothing changed.
    reads: what it was asked for, in turn.
    after_read: is called when something was read, before the store hears of it.
    """

    provider_name = "memory"

    def __init__(self, held: dict[str, str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.held = held
        self.states: list[dict[str, str]] = []
        self.transactions: list[Sequence[Change]] = []
        self.fail_after: int | None = None
        self.tells = self.counts = True
        self.reads: list[str] = []
        self.after_read: Callable[[], object] = bool
        self.connected = ""
        self._told: dict[str, str] = {}

    def provider_config(self) -> dict[str, Document]:
        return {}

    @property
    def transaction_limit(self) -> int:
        return 30

    async def connect(self, *, read_only: bool) -> None:
        self.connected = "reading" if read_only else "writing"

    async def disconnect(self) -> None:
        pass

    async def read_all(self) -> dict[str, str]:
        self.reads.append("all")
        self._told = dict(self.held)
        await self._answer()
        return dict(self._told)

    async def read_changed(self) -> Changed | None:
        self.reads.append("changed")
        if not self.tells:
            return None
        told, self._told = self._told, dict(self.held)
        await self._answer()
        flat = {path: value for path, value in self._told.items() if told.get(path) != value}
        if not self.counts:
            return None if told != self._told else Changed({}, None)
        return Changed(flat, len(self._told))

    async def _answer(self) -> None:
        self.after_read()
        await anyio.lowlevel.checkpoint_if_cancelled()

    async def transact(self, changes: Sequence[Change], guard: Guard | None) -> bool:
        assert len(changes) <= self.transaction_limit
        assert len({change.path for change in changes}) == len(changes), "a key twice"
        if guard and self.held.get(guard.path) != guard.value:
            return False
        if self.fail_after is not None:
            if self.fail_after == 0:
                self.fail_after = None
                raise StoreUnavailable("the answer was lost")
            self.fail_after -= 1
        for path, value in changes:
            if value is None:
                self.held.pop(path, None)
            else:
                self.held[path] = value
        self.transactions.append(changes)
        self.states.append(dict(self.held))
        return True


ROUTE: dict[Key, Document] = {
    Key("http/services", "mary"): {"loadBalancer": {"servers": [{"url": "http://x:1"}]}},
    Key("http/routers", "mary"): {
        "rule": "r",
        "priority": 7,
        "entryPoints": ["http"],
        "service": "mary",
    },
    Key("jupyterhub/routes", "mary"): {"none": None},
}


def test_the_layout_is_traefiks() -> None:
    flat: dict[str, str] = {}
    for key, document in ROUTE.items():
        flat |= keys_of(key, document)
    assert flat == {
        "http/services/mary/loadBalancer/servers/0/url": "http://x:1",
        "http/routers/mary/rule": "r",
        "http/routers/mary/priority": "7",
        "http/routers/mary/entryPoints/0": "http",
        "http/routers/mary/service": "mary",
        "jupyterhub/routes/mary": '{"none": null}',
    }


@given(st.lists(st.one_of(private_records(), traefik_records()), max_size=6))
def test_what_the_layout_takes_it_gives_back(records: list[tuple[Key, Any]]) -> None:
    expected: dict[Key, Document] = {}
    flat: dict[str, str] = {}
    for key, document in dict(records).items():
        try:
            flat |= keys_of(key, document)
            expected[key] = canonical(key, document)
        except RecordRefused:
            continue
    keys = by_record(flat)
    found, wrong = documents(keys)
    assert not wrong
    assert found == expected
    assert {path: value for own in keys.values() for path, value in own.items()} == flat
    for key, document in found.items():
        assert canonical(key, document) == document


@pytest.mark.parametrize(
    ("name", "document"),
    [
        ("a/b", {"x": 1}),
        ("", {"x": 1}),
        ("a", {}),
        ("a", []),
        ("a", "text"),
        ("a", {"x": None}),
        ("a", {"x/y": 1}),
        ("a", {"": 1}),
        ("42", {"x": 1}),
        ("a@b", {"x": 1}),
        ("a", {"x": {"0": 1}}),
        ("a", {"X": 1, "x": 2}),
        ("a", {"x": ["a,b"]}),
        ("a", {"x": [" a"]}),
        ("a", {"x": [[]]}),
    ],
)
def test_what_has_no_form_is_refused(name: str, document: Any) -> None:
    with pytest.raises(RecordRefused, match="http/routers"):
        keys_of(Key("http/routers", name), document)


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ([], ["lab", "Lab"]),
        (["lab"], ["Lab"]),
        (["lab"], ["lab", "LAB"]),
    ],
)
async def test_names_that_differ_in_case_are_refused_where_traefik_reads(
    first: list[str], then: list[str]
) -> None:
    rule: Document = {"rule": "r"}
    async with MemoryKv({}) as store:
        private = {Key("jupyterhub/routes", name): rule for name in ("a", "A")}
        await store.apply(Batch(1, private))
        await store.apply(Batch(2, {Key("http/routers", name): rule for name in first}))
        before = dict(store.held)
        with pytest.raises(RecordRefused, match="differ only in case"):
            await store.apply(Batch(3, {Key("http/routers", name): rule for name in then}))
        assert store.held == before
        await store.apply(Batch(3, {Key("http/services", "LAB"): rule}))
        renamed: dict[Key, Document] = {Key("http/routers", "lAB"): rule}
        await store.apply(Batch(4, renamed, frozenset(Key("http/routers", name) for name in first)))


def test_long_lists_keep_their_order() -> None:
    key = Key("http/routers", "a")
    names: Document = [f"m{number}" for number in range(12)]
    flat = keys_of(key, {"middlewares": names})
    assert [flat[path] for path in sorted(flat)] == names
    assert canonical(key, {"middlewares": names}) == {"middlewares": names}


async def test_once_fenced_is_fenced_even_if_all_keys_are_deleted() -> None:
    server: dict[str, str] = {}
    async with MemoryKv(server) as former, MemoryKv(server) as owner:
        with pytest.raises(FencedError):
            await former.apply(Batch(1, ROUTE))
        server.clear()
        with pytest.raises(FencedError):
            await former.apply(Batch(1, ROUTE))
        await owner.apply(Batch(1, ROUTE))


async def test_a_batch_upon_deleted_keys_is_stored_whole() -> None:
    async with MemoryKv({}) as store:
        await store.apply(Batch(1, ROUTE))
        store.held.clear()
        changed: dict[Key, Document] = {**ROUTE, Key("jupyterhub/routes", "mary"): "changed"}
        await store.apply(Batch(2, changed))
        found = await store.load()
        assert found.records == {key: canonical(key, doc) for key, doc in changed.items()}


async def test_keys_deleted_by_hand_are_no_take_over() -> None:
    async with MemoryKv({}) as store:
        await store.apply(Batch(1, ROUTE))
        store.held.clear()
        await store.apply(Batch(2, ROUTE))
        assert (await store.load()).generation == 2
        async with MemoryKv(store.held):
            with pytest.raises(FencedError):
                await store.apply(Batch(3, ROUTE))


async def test_only_changed_keys_are_sent() -> None:
    async with MemoryKv({}) as store:
        await store.apply(Batch(1, ROUTE))
        changed: dict[Key, Document] = {**ROUTE, Key("jupyterhub/routes", "mary"): {"none": 1}}
        await store.apply(Batch(2, changed))
        assert sorted(change.path for change in store.transactions[-1]) == [
            next(iter(keys_of(*Batch(2).marker))),
            "jupyterhub/routes/mary",
        ]
        await store.apply(Batch(3, {}, frozenset(ROUTE)))
        assert await store.load() == Snapshot({}, 3)


async def test_a_large_batch_never_dangles_and_ends_with_the_marker() -> None:
    server: dict[str, str] = {}
    async with MemoryKv(server) as store:
        old: dict[Key, Document] = {}
        for generation in (1, 2, 3):
            new: dict[Key, Document] = {}
            for number in range(40):
                new |= router_set(number, generation)
            await store.apply(Batch(generation, new, frozenset(old)))
            old = new
        assert (await store.load()).records.keys() == old.keys()
        reader = MemoryKv(server)
        await reader.open(read_only=True)
        seen = 0
        for state in store.states:
            reader.held = state
            found = await reader.load()
            assert dangling(found) == []
            assert found.generation in (seen, seen + 1)
            seen = found.generation


@pytest.mark.parametrize("lost", range(6))
async def test_after_a_lost_answer_another_batch_is_right_all_the_same(lost: int) -> None:
    many: dict[Key, Document] = {}
    for number in range(40):
        many |= router_set(number, 1)
    async with MemoryKv({}) as store:
        await store.apply(Batch(1, ROUTE))
        store.fail_after = lost
        with pytest.raises(StoreUnavailable):
            await store.apply(Batch(2, many, frozenset(ROUTE)))
        await store.apply(Batch(2, ROUTE, frozenset(many)))
        found = await store.load()
        assert found.generation == 2
        assert found.records == {key: canonical(key, doc) for key, doc in ROUTE.items()}


async def test_a_take_over_fences() -> None:
    server: dict[str, str] = {}
    async with MemoryKv(server) as former, MemoryKv(server):
        before = dict(server)
        with pytest.raises(FencedError, match=r"c\.MemoryKv\.prefix"):
            await former.apply(Batch(1, ROUTE))
        assert server == before


async def test_a_damaged_store_is_told() -> None:
    async with MemoryKv({}) as store:
        await store.apply(Batch(1, ROUTE))
        store.held["jupyterhub/routes/mary"] = "{no json"
        with pytest.raises(StoreCorrupt, match="jupyterhub/routes/mary is no JSON"):
            await store.load()
        store.held["jupyterhub/routes/mary"] = "{}"
        store.held["nobody's"] = "x"
        assert len((await store.load()).records) == 3


async def test_a_closed_store_and_a_reader_refuse_to_write() -> None:
    store = MemoryKv({})
    with pytest.raises(StoreError, match="not open"):
        await store.load()
    await store.open(read_only=True)
    with pytest.raises(StoreError, match="reading only"):
        await store.apply(Batch(1))
    assert store.held == {}
    with anyio.CancelScope():
        await store.close()
    await store.close()


# --- intact --------------------------------------------------------------------------------------


async def test_a_store_is_intact_as_loaded_and_as_written() -> None:
    async with MemoryKv({}) as store:
        await store.load()
        assert await store.intact()
        many: dict[Key, Document] = {}
        for number in range(40):
            many |= router_set(number, 1)
        for batch in (
            Batch(1, ROUTE),
            Batch(2, many),
            Batch(3, {Key("jupyterhub/routes", "mary"): "changed"}),
            Batch(4, {}, frozenset(many)),
            Batch(5, ROUTE, frozenset(many)),
            Batch(6, {}, frozenset(ROUTE)),
        ):
            await store.apply(batch)
            assert await store.intact()
            assert await store.intact()
        # Once to open, for the owner before, and once to load.
        assert "all" not in store.reads[2:], "everything was read"


async def test_not_intact_before_anything_is_known() -> None:
    store = MemoryKv({})
    with pytest.raises(StoreError, match="not open"):
        await store.intact()
    async with store:
        assert not await store.intact()


def change_value(server: dict[str, str]) -> None:
    server["http/routers/mary/rule"] = "by hand"


def add_key(server: dict[str, str]) -> None:
    server["http/routers/mary/tls"] = "by hand"


def add_record(server: dict[str, str]) -> None:
    server["jupyterhub/routes/by-hand"] = "1"


def add_nobodys(server: dict[str, str]) -> None:
    server["by-hand"] = "1"


def delete_key(server: dict[str, str]) -> None:
    del server["http/routers/mary/rule"]


def delete_marker(server: dict[str, str]) -> None:
    del server[next(iter(keys_of(*Batch(1).marker)))]


def delete_owner(server: dict[str, str]) -> None:
    del server["jupyterhub/owner"]


def rename(server: dict[str, str]) -> None:
    server["jupyterhub/routes/by-hand"] = server.pop("jupyterhub/routes/mary")


def replace_by_nobodys(server: dict[str, str]) -> None:
    server["by-hand"] = server.pop("jupyterhub/routes/mary")


def take_over(server: dict[str, str]) -> None:
    server["jupyterhub/owner"] = "another"


@pytest.mark.parametrize("written", [False, True], ids=["at_once", "after_a_batch"])
@pytest.mark.parametrize(
    "interfere",
    [
        change_value,
        add_key,
        add_record,
        add_nobodys,
        delete_key,
        rename,
        replace_by_nobodys,
    ],
)
async def test_not_intact_until_loaded_after_a_change_by_hand(
    interfere: Callable[[dict[str, str]], None], written: bool
) -> None:
    async with MemoryKv({}) as store:
        await store.load()
        await store.apply(Batch(1, ROUTE))
        assert await store.intact()
        interfere(store.held)
        if written:
            await store.apply(Batch(1, {Key("jupyterhub/routes", "ann"): "here"}))
        assert not await store.intact()
        assert not await store.intact()
        await store.load()
        assert await store.intact()


async def test_keys_of_others_may_change() -> None:
    """Once they are known: nothing of ours is meant by them."""
    theirs = ("theirs", "jupyterhub/theirs", "frontends/theirs/x", "httpd/theirs", "jupyterhub/")
    server = dict.fromkeys(theirs, "1")
    async with MemoryKv(server) as store:
        assert (await store.load()).records == {}
        await store.apply(Batch(1, ROUTE))
        assert await store.intact()
        for path in theirs:
            server[path] = "2"
        assert await store.intact()
        del server["theirs"]
        assert not await store.intact()


@pytest.mark.parametrize(
    "path",
    [
        *("http", "http/", "http/theirs", "http/theirs/", "http//theirs", "/http/theirs"),
        *("HTTP/Theirs", "http/routers", "http/routers/", "http/routers/theirs", "udp/"),
        *("http/routers/theirs/", "http/routers/42", "Http/Routers/theirs", "tcp/routers/theirs"),
        *("tls/stores", "tls/certificates", "tls/certificates/", "tls/certificates/0"),
        *("tls/certificates/certFile", "http/middlewares/traefikhub__generation"),
        *("http/routers/mary", "http/routers/mary/", "http/routers/mary/rule/theirs"),
    ],
)
async def test_a_repair_deletes_whatever_else_lies_where_traefik_reads(path: str) -> None:
    """However short the key: Traefik may refuse everything because of it."""
    async with MemoryKv({"theirs": "1"}) as store:
        await store.load()
        await store.apply(Batch(1, ROUTE))
        whole, records = dict(store.held), (await store.load()).records
        assert path not in whole
        store.held[path] = "by hand"
        assert not await store.intact()
        found = await store.load()
        assert found.generation == 1
        repair = Batch.between(found.records, records, generation=1)
        await store.apply(repair)
        assert store.held == whole
        assert await store.intact()


async def test_what_is_new_is_written_though_stray_keys_are_there() -> None:
    """Before anybody has seen them; they go with the next repair."""
    async with MemoryKv({"http/routers/mary": "1", "http/routers": "1", "http": "1"}) as store:
        await store.apply(Batch(1, ROUTE))
        found = await store.load()
        assert ROUTE.keys() < found.records.keys()
        await store.apply(Batch(2, {}, frozenset(found.records.keys() - ROUTE.keys())))
        assert (await store.load()).records.keys() == ROUTE.keys()


@pytest.mark.parametrize("interfere", [take_over, delete_owner, delete_marker])
async def test_not_intact_without_the_stores_own_keys(
    interfere: Callable[[dict[str, str]], None],
) -> None:
    async with MemoryKv({}) as store:
        await store.load()
        await store.apply(Batch(1, ROUTE))
        interfere(store.held)
        assert not await store.intact()


async def test_a_reader_does_not_care_who_writes() -> None:
    server: dict[str, str] = {}
    async with MemoryKv(server) as store:
        await store.load()
        await store.apply(Batch(1, ROUTE))
        reader = MemoryKv(server)
        await reader.open(read_only=True)
        await reader.load()
        take_over(server)
        assert await reader.intact()
        change_value(server)
        assert not await reader.intact()


async def test_a_server_that_can_not_tell() -> None:
    async with MemoryKv({}) as store:
        await store.load()
        await store.apply(Batch(1, ROUTE))
        store.tells = False
        assert not await store.intact()
        await store.load()
        assert not await store.intact()


async def test_a_server_that_counts_no_keys() -> None:
    """It can still tell that nothing changed; after a write of our own it can't."""
    async with MemoryKv({}) as store:
        store.counts = False
        await store.load()
        assert await store.intact()
        await store.apply(Batch(1, ROUTE))
        assert not await store.intact()
        await store.load()
        assert await store.intact()
        delete_key(store.held)
        assert not await store.intact()


async def test_changes_without_a_count_hide_what_was_deleted() -> None:
    """So they are no yes, even if each of them agrees."""

    class Careless(MemoryKv):
        async def read_changed(self) -> Changed | None:
            found = await super().read_changed()
            return found and Changed(found.flat, None)

    async with Careless({}) as store:
        await store.load()
        await store.apply(Batch(1, ROUTE))
        assert not await store.intact()


async def test_not_intact_without_an_owner_that_nobody_counts() -> None:
    held: dict[str, str] = {}
    async with MemoryKv(held) as store:
        store.counts = False
        await store.load()
        delete_owner(held)
        assert (await store.load()).generation == 0
        assert not await store.intact()
        await store.apply(Batch(1, ROUTE))
        await store.load()
        assert await store.intact()


async def test_not_intact_after_a_lost_answer() -> None:
    async with MemoryKv({}) as store:
        await store.load()
        await store.apply(Batch(1, ROUTE))
        store.fail_after = 0
        with pytest.raises(StoreUnavailable):
            await store.apply(Batch(2, {}, frozenset(ROUTE)))
        assert not await store.intact()
        await store.load()
        await store.apply(Batch(2, {}, frozenset(ROUTE)))
        assert await store.intact()


async def test_a_refused_batch_leaves_it_intact() -> None:
    async with MemoryKv({}) as store:
        await store.load()
        await store.apply(Batch(1, ROUTE))
        with pytest.raises(RecordRefused):
            await store.apply(Batch(2, {Key("http/routers", "a/b"): {"rule": "r"}}))
        assert await store.intact()


async def test_not_intact_if_the_question_was_cancelled() -> None:
    """The server has told what changed, and tells it no more."""
    async with MemoryKv({}) as store:
        await store.load()
        await store.apply(Batch(1, ROUTE))
        change_value(store.held)
        with anyio.CancelScope() as scope:
            store.after_read = scope.cancel
            await store.intact()
        assert scope.cancelled_caught
        store.after_read = bool
        assert not await store.intact()
        await store.load()
        assert await store.intact()


async def test_not_intact_if_the_load_was_cancelled() -> None:
    """The server has told what changed, and tells it no more."""
    async with MemoryKv({}) as store:
        await store.load()
        await store.apply(Batch(1, ROUTE))
        change_value(store.held)
        with anyio.CancelScope() as scope:
            store.after_read = scope.cancel
            await store.load()
        assert scope.cancelled_caught
        store.after_read = bool
        assert not await store.intact()


async def test_not_intact_if_the_load_found_damage() -> None:
    async with MemoryKv({}) as store:
        await store.load()
        await store.apply(Batch(1, ROUTE))
        store.held["jupyterhub/routes/mary"] = "{no json"
        with pytest.raises(StoreCorrupt):
            await store.load()
        assert not await store.intact()


async def test_intact_waits_for_a_write() -> None:
    """Else it would take half of it for a change by hand."""
    many: dict[Key, Document] = {}
    for number in range(40):
        many |= router_set(number, 1)
    async with MemoryKv({}) as store:
        await store.load()
        await store.apply(Batch(1, ROUTE))
        answers: list[bool] = []

        async def ask() -> None:
            answers.append(await store.intact())

        async with anyio.create_task_group() as group:
            group.start_soon(store.apply, Batch(2, many))
            group.start_soon(ask)
            group.start_soon(store.apply, Batch(3, {}, frozenset(many)))
            group.start_soon(ask)
        assert answers == [True, True]


async def test_what_nobody_has_loaded_is_not_intact() -> None:
    """A write reads, too, but tells nobody what it found."""
    server: dict[str, str] = {}
    async with MemoryKv(server) as store:
        await store.load()
        await store.apply(Batch(1, ROUTE))
        assert await store.intact()
        change_value(server)
        assert not await store.intact()
        await store.apply(Batch(2, {Key("jupyterhub/routes", "ann"): "here"}))
        assert not await store.intact()


async def test_a_damaged_document_is_repaired_by_writing_it_again() -> None:
    server: dict[str, str] = {}
    async with MemoryKv(server) as store:
        await store.load()
        await store.apply(Batch(1, ROUTE))
        whole = await store.load()
        damaged = next(path for path in server if path.startswith("jupyterhub/routes/"))
        server[damaged] = "{no json"
        with pytest.raises(StoreCorrupt):
            await store.load()
        await store.apply(Batch(2, ROUTE))
        assert await store.load() == Snapshot(whole.records, 2)


# --- for the authors of stores ---------------------------------------------------------------


@pytest.mark.parametrize("read_only", [False, True])
async def test_connecting_tells_a_reader_from_a_writer(read_only: bool) -> None:
    store = MemoryKv({})
    await store.open(read_only=read_only)
    assert store.connected == ("reading" if read_only else "writing")
    await store.close()


class Picky(MemoryKv):
    """Takes neither empty values, but in private sections, nor long paths."""

    def check_value(self, path: str, value: str) -> None:
        if len(path) > 100 or not (value or path.startswith("jupyterhub/")):
            raise RecordRefused(f"{path}: not here")


@pytest.mark.parametrize(
    ("key", "document"),
    [
        (Key("http/routers", "mary"), {"rule": "r", "service": ""}),
        (Key("http/routers", "m" * 100), {"rule": "r"}),
        (Key("jupyterhub/routes", "m" * 100), "here"),
    ],
)
@pytest.mark.parametrize("others", [0, 200], ids=["alone", "among_many"])
async def test_what_a_store_refuses_is_refused_before_anything_is_sent(
    key: Key, document: Document, others: int
) -> None:
    many: dict[Key, Document] = {Key("jupyterhub/routes", f"u{n}"): n for n in range(others)}
    async with Picky({}) as store:
        await store.load()
        await store.apply(Batch(1, ROUTE))
        sent = len(store.transactions)
        with pytest.raises(RecordRefused, match="not here"):
            await store.apply(Batch(2, {**many, key: document}))
        assert len(store.transactions) == sent
        assert await store.intact()
        if key.section.startswith("http"):
            with pytest.raises(RecordRefused, match="not here"):
                store.canonical(key, document)
        await store.apply(Batch(2, {Key("jupyterhub/routes", "mary"): ""}))


def test_a_subclass_may_give_its_own_whatever_name_it_likes() -> None:
    """What the base keeps to itself has names that no subclass gets by accident."""
    plain = {*dir(LoggingConfigurable()), *dir(ABC)}
    names = {*vars(KeyValueStore), *vars(MemoryKv({}))} - plain
    private = {name for name in names if name.startswith("_")}
    assert "_KeyValueStore__state" in private
    assert {name for name in private if not name.startswith("_KeyValueStore__")} == {"_told"}
