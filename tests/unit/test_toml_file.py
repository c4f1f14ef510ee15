"""The toml-file store in good times: what is written, and what comes back."""

from __future__ import annotations

import errno
import os
import stat
import sys
import threading
from pathlib import Path
from typing import Any, NoReturn

import anyio
import anyio.to_thread
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from traefikhub.stores import (
    GENERATION_HEADER,
    GENERATION_MARKER,
    Batch,
    Document,
    Key,
    RecordRefused,
    Records,
    Snapshot,
    StoreError,
    StoreUnavailable,
)
from traefikhub_backends.toml_file import TomlFileStore

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

pytestmark = pytest.mark.anyio

HOSTILE_TEXT = (
    'quote " tick ` back\\slash {{ .Env }} {{{{ }} \n\r\t\x00\x7f \u2028é日😀 \'\'\' """ # ]'
)
PRIVATE: dict[str, Document] = {
    "none": None,
    "deep none": {"a": [None, {"b": None}]},
    "empty dict": {},
    "empty list": [],
    "deep empty": {"a": {}, "b": [], "c": [{}, []], "": ""},
    "numbers": [0, -1, 2**80, 1.5, -0.0, 1e300, True, False],
    "braces": {"a": {"b": {"c": {"d": {}}}}, "{{": "{{ }}"},
    "long": "x" * 100_000,
    "text": HOSTILE_TEXT,
    HOSTILE_TEXT: HOSTILE_TEXT,
    "case": 1,
    "CASE": 2,
    "Case": 3,
    "a.b": 1,
    "[c]": 1,
    "d = 1": 1,
    "": "nameless",
}
HOSTILE: dict[Key, Document] = {
    **{Key("jupyterhub/routes", name): document for name, document in PRIVATE.items()},
    Key("jupyterhub/meta", "mine"): {"a": None},
    Key("http/routers", "user_mary"): {"rule": HOSTILE_TEXT, "priority": -(2**63)},
    Key("http/routers", "user_Mary"): {"rule": "another", "priority": 2**63 - 1},
    Key("http/routers", HOSTILE_TEXT): {"entryPoints": [], "middlewares": ["a", HOSTILE_TEXT]},
    Key("http/middlewares", "empty"): {},
    Key("http/middlewares", "deep"): {"a": {"b": {}, HOSTILE_TEXT: {"c": [[1], [{"d": {}}]]}}},
    Key("http/services", "s"): {"loadBalancer": {"servers": [{"url": "http://" + "x" * 200}] * 3}},
    Key("tls", "certificates"): [{"certFile": "a"}, {"certFile": "b", "stores": ["{{"]}],
    Key("tls/stores", "default"): {"defaultCertificate": {"certFile": "-----BEGIN\nEND-----\n"}},
}

text = st.text(
    alphabet=st.sampled_from('aA{}"\\`\n.[]=#') | st.characters(codec="utf-8"), max_size=8
)
any_documents: st.SearchStrategy[Document] = st.recursive(
    st.none() | st.booleans() | st.integers() | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)
toml_tables: st.SearchStrategy[Document] = st.dictionaries(
    text,
    st.recursive(
        st.booleans() | st.integers(-(2**63), 2**63 - 1) | text,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
        max_leaves=6,
    ),
    max_size=3,
)
many_records = st.builds(
    lambda private, public: {**private, **public},
    st.dictionaries(st.builds(Key, st.just("jupyterhub/routes"), text), any_documents, max_size=4),
    st.dictionaries(
        st.builds(
            Key,
            st.sampled_from(["http/routers", "tls/options"]),
            text.filter(lambda name: "@" not in name),  # which is refused
        ),
        toml_tables,
        max_size=4,
    ),
)


async def stored(path: Path) -> Snapshot:
    """What a reader that has seen nothing before finds."""
    store = TomlFileStore(path=str(path))
    await store.open(read_only=True)
    return await store.load()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "routes.toml"


async def test_hostile_documents_come_back_exactly(path: Path) -> None:
    async with TomlFileStore(path=str(path)) as store:
        await store.apply(Batch(7, HOSTILE))
        assert await store.load() == Snapshot(HOSTILE, 7)
    again = await stored(path)
    assert again == Snapshot(HOSTILE, 7)
    assert repr(sorted(again.records.items(), key=str)) == repr(sorted(HOSTILE.items(), key=str))


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(many_records, min_size=1, max_size=3))
def test_any_sequence_of_batches_comes_back(tmp_path: Path, wanted: list[Records]) -> None:
    async def check() -> None:
        path = tmp_path / "routes.toml"
        path.unlink(missing_ok=True)
        async with TomlFileStore(path=str(path)) as store:
            held: Records = {}
            for number, records in enumerate(wanted, start=1):
                await store.apply(Batch.between(held, records, generation=number))
                held = records
                assert await stored(path) == Snapshot(held, number)
                assert b"{{" not in path.read_bytes()  # else Traefik runs it as a template

    anyio.run(check)


async def test_a_put_replaces_and_never_merges(path: Path) -> None:
    key = Key("http/middlewares", "m")
    async with TomlFileStore(path=str(path)) as store:
        await store.apply(Batch(1, {key: {"headers": {"a": {"x": "1"}}, "old": {}}}))
        await store.apply(Batch(2, {key: {"headers": {"b": {}}}}))
        assert await store.load() == Snapshot({key: {"headers": {"b": {}}}}, 2)
    assert (await stored(path)).records == {key: {"headers": {"b": {}}}}


async def test_a_delete_removes_one_record_and_absent_ones_are_no_error(path: Path) -> None:
    lower, upper = Key("http/middlewares", "m"), Key("http/middlewares", "M")
    absent = Key("udp/services", "none")
    async with TomlFileStore(path=str(path)) as store:
        await store.apply(Batch(1, {lower: {}, upper: {"a": {}}}))
        await store.apply(Batch(2, deletes=frozenset({lower, absent})))
        assert await store.load() == Snapshot({upper: {"a": {}}}, 2)
    assert await stored(path) == Snapshot({upper: {"a": {}}}, 2)


async def test_a_store_without_a_file_is_empty(path: Path) -> None:
    async with TomlFileStore(path=str(path)) as store:
        assert await store.load() == Snapshot({}, 0)


async def test_a_batch_without_records_moves_the_generation(path: Path) -> None:
    async with TomlFileStore(path=str(path)) as store:
        await store.apply(Batch(5))
        assert await store.load() == Snapshot({}, 5)
    assert await stored(path) == Snapshot({}, 5)


async def test_a_second_store_goes_on_where_the_first_ended(path: Path) -> None:
    first, second = Key("jupyterhub/routes", "one"), Key("jupyterhub/routes", "two")
    async with TomlFileStore(path=str(path)) as store:
        await store.apply(Batch(1, {first: HOSTILE_TEXT}))
    async with TomlFileStore(path=str(path)) as store:
        await store.apply(Batch(2, {second: None}))
    assert await stored(path) == Snapshot({first: HOSTILE_TEXT, second: None}, 2)


async def test_traefik_finds_records_and_generation_where_it_looks(path: Path) -> None:
    async with TomlFileStore(path=str(path)) as store:
        await store.apply(Batch(3, HOSTILE))
    tree = tomllib.loads(path.read_text())
    assert tree["http"]["routers"]["user_mary"]["rule"] == HOSTILE_TEXT
    assert tree["tls"]["certificates"][1]["stores"] == ["{{"]
    marker = tree["http"]["middlewares"][GENERATION_MARKER.name]
    assert marker == {"headers": {"customResponseHeaders": {GENERATION_HEADER: "3"}}}


@pytest.mark.parametrize(
    ("key", "document"),
    [
        (Key("http/routers", "x"), {"a": None}),
        (Key("http/routers", "x@file"), {"a": 1}),
        (Key("http/routers", "x"), {"a": [{"b": None}]}),
        (Key("http/routers", "x"), {"a": 2**63}),
        (Key("http/routers", "x"), None),
        (Key("http/routers", "x"), "text"),
        (Key("http/routers", "x"), ["list"]),
        (Key("tls", "certificates"), "text"),
        (Key("tls", "certificates"), {}),
        (Key("tls", "second"), []),
        (Key("http", "routers"), []),
        (Key("jupyterhub", "routes"), {}),
        (Key("jupyterhub/meta", "traefikhub__end"), 1),
    ],
)
async def test_what_the_file_has_no_form_for_is_refused_whole(
    path: Path, key: Key, document: Document
) -> None:
    good: dict[Key, Document] = {
        Key("http/routers", "good"): {"priority": 1},
        Key("jupyterhub/routes", "good"): {},
        Key("tls", "certificates"): [],
    }
    async with TomlFileStore(path=str(path)) as store:
        await store.apply(Batch(1, good))
        before = path.read_bytes()
        with pytest.raises(RecordRefused, match=key.name):
            await store.apply(Batch(2, {Key("http/routers", "other"): {}, key: document}))
        assert path.read_bytes() == before
        assert await store.load() == Snapshot(good, 1)
        await store.apply(Batch(2, {Key("http/routers", "other"): {}}))
    assert (await stored(path)).generation == 2


async def test_the_file_is_for_its_owner_alone(path: Path) -> None:
    old_mask = os.umask(0)
    try:
        async with TomlFileStore(path=str(path)) as store:
            for generation in (1, 2):
                await store.apply(Batch(generation, HOSTILE))
                assert stat.S_IMODE(path.stat().st_mode) == 0o600
    finally:
        os.umask(old_mask)


async def test_every_moment_shows_whole_batches(path: Path) -> None:
    """Half of every batch is at the file's begin and half at its end."""
    keys = [Key("http/middlewares", f"m{number}") for number in range(50)]
    keys += [Key("jupyterhub/routes", f"r{number}") for number in range(50)]
    seen: set[int] = set()
    problems: list[Any] = []
    done, looked = threading.Event(), threading.Event()

    def look() -> None:
        while not done.is_set():
            try:
                tree = tomllib.loads(path.read_text())
                values = {value["v"] for name, value in tree["http"]["middlewares"].items()
                          if name != GENERATION_MARKER.name}  # fmt: skip
                values |= {int(value[5:-1]) for value in tree["jupyterhub"]["routes"].values()}
                if values != {tree["jupyterhub"]["meta"]["traefikhub__end"]}:
                    problems.append(values)
                seen.update(values)
            except Exception as error:
                problems.append(error)
            looked.set()

    async with TomlFileStore(path=str(path)) as store:
        await store.apply(Batch(1, {key: {"v": 1} for key in keys}))
        reader = threading.Thread(target=look)
        reader.start()
        try:
            for generation in range(2, 40):
                await store.apply(Batch(generation, {key: {"v": generation} for key in keys}))
                if generation % 10 == 0:  # let it see something in between
                    looked.clear()
                    await anyio.to_thread.run_sync(looked.wait)
        finally:
            done.set()
            reader.join()
    assert not problems
    assert len(seen) > 1


async def test_loads_during_writes_lose_nothing(path: Path) -> None:
    async with TomlFileStore(path=str(path)) as store, anyio.create_task_group() as group:
        for generation in range(1, 31):
            key = Key("jupyterhub/routes", str(generation))
            group.start_soon(store.load)
            await store.apply(Batch(generation, {key: generation}))
    assert len((await stored(path)).records) == 30


async def test_what_it_wrote_itself_is_intact(path: Path) -> None:
    """Not even a look that comes between the renaming and the end of the write says no."""
    async with TomlFileStore(path=str(path)) as store:
        await store.load()
        answers = []

        async def look() -> None:
            answers.append(await store.intact())

        async with anyio.create_task_group() as group:
            for generation in range(1, 21):
                group.start_soon(look)
                await store.apply(Batch(generation, HOSTILE))
        assert answers == [True] * 20
        assert await store.load() == Snapshot(HOSTILE, 20)
        assert await store.intact()


async def test_what_another_program_did_is_not_intact_until_it_is_loaded(path: Path) -> None:
    async with TomlFileStore(path=str(path)) as store:
        assert not await store.intact()  # nobody knows what it holds
        await store.load()
        assert await store.intact()
        await store.apply(Batch(1, {Key("http/routers", "x"): {"rule": "a"}}))
        path.write_text(path.read_text().replace('"a"', '"b"'))
        assert not await store.intact()
        assert not await store.intact()
        edited = (await store.load()).records
        assert edited == {Key("http/routers", "x"): {"rule": "b"}}
        assert await store.intact()
        path.unlink()
        assert not await store.intact()
        assert await store.load() == Snapshot({}, 0)
        assert await store.intact()


async def test_what_nobody_has_loaded_is_not_intact(path: Path) -> None:
    async with TomlFileStore(path=str(path)) as store:
        await store.apply(Batch(1, {Key("http/routers", "x"): {"rule": "a"}}))
    async with TomlFileStore(path=str(path)) as store:
        await store.apply(Batch(2, {Key("http/routers", "y"): {"rule": "a"}}))
        assert not await store.intact()
        await store.load()
        assert await store.intact()


async def test_an_edit_met_by_a_write_that_failed_is_not_intact(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with TomlFileStore(path=str(path)) as store:
        await store.load()
        await store.apply(Batch(1, {Key("http/routers", "x"): {"rule": "a"}}))
        path.write_text(path.read_text().replace('"a"', '"b"'))

        def full(*args: object) -> NoReturn:
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(StoreUnavailable):
                await store.apply(Batch(2, {Key("http/routers", "y"): {"rule": "a"}}))
        assert not await store.intact()


async def test_a_snapshot_stays_what_it_was(path: Path) -> None:
    key = Key("jupyterhub/routes", "x")
    async with TomlFileStore(path=str(path)) as store:
        await store.apply(Batch(1, {key: 1}))
        earlier = await store.load()
        await store.apply(Batch(2, {key: 2, Key("jupyterhub/routes", "y"): 2}))
        assert earlier == Snapshot({key: 1}, 1)
        await store.apply(Batch(3, deletes=frozenset({key})))
        assert earlier == Snapshot({key: 1}, 1)


async def test_the_default_path_is_in_the_run_directory(tmp_path: Path) -> None:
    store = TomlFileStore(run_dir=str(tmp_path))
    expected = str(tmp_path / "routes.toml")
    assert store.provider_config() == {"file": {"filename": expected, "watch": True}}


async def test_a_store_that_is_not_open_says_so(path: Path) -> None:
    store = TomlFileStore(path=str(path))
    with pytest.raises(StoreError, match="not open"):
        await store.load()
    with pytest.raises(StoreError, match="not open"):
        await store.apply(Batch(1))
    await store.close()
    async with store:
        await store.apply(Batch(1))
    with pytest.raises(StoreError, match="not open"):
        await store.load()
