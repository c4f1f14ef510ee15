"""Batches, documents, snapshots."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traefikhub.stores import (
    GENERATION_HEADER,
    GENERATION_MARKER,
    Batch,
    Document,
    Key,
    Records,
    Snapshot,
    check_document,
    is_private,
)

A = Key("http/routers", "a")
B = Key("jupyterhub/routes", "b")

documents: st.SearchStrategy[Document] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
tables: st.SearchStrategy[Records] = st.dictionaries(
    st.sampled_from([A, B, Key("http/routers", "A"), Key("tls", "certificates")]), documents
)


@pytest.mark.parametrize("generation", [0, -1])
def test_generations_count_from_one(generation: int) -> None:
    with pytest.raises(ValueError, match=str(generation)):
        Batch(generation)


def test_a_key_is_put_or_deleted_but_not_both() -> None:
    with pytest.raises(ValueError, match="both put and deleted"):
        Batch(1, {A: {}}, frozenset({A}))


@pytest.mark.parametrize("section", ["", "http/", "/http", "a/b/c", "a b", "a.b", "a\n", "http\\x"])
def test_a_malformed_section_is_refused(section: str) -> None:
    with pytest.raises(ValueError, match="is no section"):
        Batch(1, {Key(section, "a"): {}})


def test_the_marker_is_the_stores_to_write() -> None:
    with pytest.raises(ValueError, match="belongs to the store"):
        Batch(1, {GENERATION_MARKER: {}})
    with pytest.raises(ValueError, match="belongs to the store"):
        Batch(1, deletes=frozenset({GENERATION_MARKER}))


@pytest.mark.parametrize(
    "document",
    [
        (1, 2),
        {1, 2},
        b"bytes",
        object(),
        math.nan,
        math.inf,
        -math.inf,
        "\ud800",
        {1: "a"},
        {None: "a"},
        {"\udfff": "a"},
        [{"a": [1, (2,)]}],
        {"a": {"b": [math.nan]}},
    ],
)
def test_what_json_would_not_bring_back_is_refused(document: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        check_document(document)
    with pytest.raises(ValueError, match=r"."):
        Batch(1, {B: document})


@given(documents)
def test_what_is_accepted_json_brings_back(document: Document) -> None:
    check_document(document)
    assert json.loads(json.dumps(document)) == document


@given(tables, tables)
def test_between_leads_from_the_old_records_to_the_new(old: Records, new: Records) -> None:
    batch = Batch.between(old, new, generation=3)
    after = {key: document for key, document in old.items() if key not in batch.deletes}
    assert after | dict(batch.puts) == new
    assert batch.generation == 3
    assert bool(batch) == (dict(old) != dict(new))


def test_between_writes_only_what_differs() -> None:
    old: Records = {A: {"x": 1}, B: {"x": 1}}
    batch = Batch.between(old, {A: {"x": 1}, B: {"x": 2}}, generation=1)
    assert batch.puts == {B: {"x": 2}}
    assert not batch.deletes


def test_a_record_that_is_null_is_not_an_absent_one() -> None:
    assert Batch.between({}, {B: None}, generation=1).puts == {B: None}
    assert Batch.between({B: None}, {}, generation=1).deletes == {B}


def test_a_batch_without_puts_and_deletes_is_false() -> None:
    assert not Batch(1)
    assert Batch(1, {A: {}})
    assert Batch(1, deletes=frozenset({A}))


def nested(levels: int) -> Document:
    document: Document = "the end"
    for level in range(levels):
        document = [document] if level % 2 else {"x": document}
    return document


def test_a_document_that_python_could_not_read_again_is_refused() -> None:
    check_document(nested(100))
    for levels in (101, 5_000, 200_000):
        with pytest.raises(ValueError, match="levels deep"):
            check_document(nested(levels))


def test_the_marker_shows_the_generation_as_a_header() -> None:
    key, document = Batch(42).marker
    assert key == GENERATION_MARKER
    assert document == {"headers": {"customResponseHeaders": {GENERATION_HEADER: "42"}}}


def test_a_snapshot_gives_one_section() -> None:
    other = Key("http/routersX", "c")
    snapshot = Snapshot({A: 1, B: 2, other: 3}, generation=1)
    assert dict(snapshot.section("http/routers")) == {"a": 1}
    assert dict(snapshot.section("none/such")) == {}


@pytest.mark.parametrize(
    ("section", "private"),
    [
        ("jupyterhub", True),
        ("jupyterhub/routes", True),
        ("jupyterhubs/routes", False),
        ("http/routers", False),
        ("tls", False),
    ],
)
def test_what_is_ours_alone(section: str, private: bool) -> None:
    assert is_private(section) is private
