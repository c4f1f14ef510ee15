"""How the etcd store fills a transaction, against etcd's own rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from traefikhub.stores import Change, Guard
from traefikhub_backends._etcd_txn import Requests, groups, room

DEFAULT_OPS = 128
DEFAULT_BYTES = 1_572_864

MOST_OPS = st.integers(8, 300)


def changes_of(count: int) -> list[Change]:
    return [Change(str(number), None if number % 3 == 0 else "x") for number in range(count)]


def accepts(request: Any, most_ops: int) -> bool:
    """What etcd's ``checkTxnRequest`` says of a transaction's width, and of those within it."""
    width = max(len(request.compare), len(request.success), len(request.failure))
    nested = [
        each.request_txn
        for each in (*request.success, *request.failure)
        if each.HasField("request_txn")
    ]
    return width <= most_ops and all(accepts(each, most_ops - width) for each in nested)


def flattened(operations: Sequence[Any]) -> list[Any]:
    found = []
    for each in operations:
        nested = each.HasField("request_txn")
        found += flattened(each.request_txn.success) if nested else [each]
    return found


@st.composite
def filled(draw: st.DrawFn) -> tuple[int, int]:
    """A limit of etcd, and a number of changes that fit."""
    most_ops = draw(MOST_OPS)
    most = room(most_ops, 10**9, 7).changes
    near = st.sampled_from([most_ops - 2, most_ops - 1, most_ops, most - 1, most])
    return most_ops, draw(st.one_of(near, st.integers(0, most)))


def test_at_etcds_defaults() -> None:
    assert room(DEFAULT_OPS, DEFAULT_BYTES, len("traefik")).changes == 4032


@given(filled())
def test_groups_keep_the_changes_and_their_order(case: tuple[int, int]) -> None:
    most_ops, count = case
    changes = changes_of(count)
    found = groups(changes, most_ops)
    assert [change for group in found for change in group] == changes
    assert (len(found) == 1) == (count < most_ops), "few changes stay flat"


@given(filled(), st.booleans(), st.sampled_from([None, "before"]))
def test_etcd_accepts_what_fits(case: tuple[int, int], guarded: bool, last: str | None) -> None:
    most_ops, count = case
    changes = changes_of(count)
    guard = Guard("jupyterhub/owner", "token") if guarded else None
    request = Requests("hub", most_ops).write(changes, guard, last, "name")
    assert accepts(request, most_ops)
    *operations, name = flattened(request.success)
    assert name.request_put.value == b"name"
    assert name in request.success, "the name is written by the outermost transaction"
    assert [
        (each.request_delete_range.key, None)
        if each.HasField("request_delete_range")
        else (each.request_put.key, each.request_put.value)
        for each in operations
    ] == [(f"hub/{path}".encode(), value and value.encode()) for path, value in changes]


@given(
    st.integers(8, 40),
    st.integers(10_000, 300_000),
    st.integers(1, 1500),
    st.sampled_from([0.1, 0.5, 1]),
    st.sampled_from([0, 0.9, 1]),
)
def test_a_full_transaction_is_no_larger_than_etcd_takes(
    most_ops: int, most_bytes: int, prefix: int, share: float, uneven: float
) -> None:
    """Whether its bytes are in one change or in all; etcd adds some for its log."""
    fits = room(most_ops, most_bytes, prefix)
    count = max(1, int(share * fits.changes))
    paths = [f"{number:04}" for number in range(count)]
    left = fits.size - sum(map(len, paths))
    each = max(0, int((1 - uneven) * left / count))
    values = ["x" * each for _ in paths]
    values[-1] += "x" * (left - count * each)
    changes = [Change(*pair) for pair in zip(paths, values, strict=True)]
    guard = Guard("jupyterhub/owner", "t" * 32)
    request = Requests("p" * prefix, most_ops).write(changes, guard, "n" * 16, "n" * 16)
    assert request.ByteSize() + 300 <= most_bytes


@given(MOST_OPS, st.integers(10_000, 10**8), st.integers(1, 20_000))
def test_there_is_room_for_something(most_ops: int, most_bytes: int, prefix: int) -> None:
    """Too large a change is refused by its size, with a message; none may hang or divide by 0."""
    fits = room(most_ops, most_bytes, prefix)
    assert fits.changes >= 1
    assert fits.size >= 1
