"""The requests of the etcd store, and how many changes fit into one of them.

Building a request imports pyetcd, within the methods; the arithmetic stands alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from traefikhub.stores import Change, Guard

__all__ = ["LAST", "NO_TEXT", "Requests", "Room", "groups", "room"]

LAST: Final = "jupyterhub/transaction"
"""The key below the prefix that holds the name of the newest transaction."""

NO_TEXT: Final = "surrogateescape"
"""How bytes that are no UTF-8 are read, and written again."""

_FRAME: Final = 20
"""Bytes around a change, at most: of RequestOp, PutRequest, key and value one for the tag and up to
four for the length each, less one for a key's, and one for the slash after the prefix."""

_GROUP_FRAME: Final = 10
"""Bytes around a group of changes, at most: RequestOp and TxnRequest."""

_OWN: Final = 1200
"""Bytes of what is not a change, less the prefix of its keys: five keys, two tokens and two names,
and what etcd adds for its log, with the name of the user."""

_OWN_KEYS: Final = 5


class Room(NamedTuple):
    """What one transaction takes: so many changes, of so many bytes of keys and values."""

    changes: int
    size: int


def room(most_ops: int, most_bytes: int, prefix: int) -> Room:
    """What fits into one transaction, whatever its changes are.

    Args:
        most_ops: etcd's ``--max-txn-ops``.
        most_bytes: etcd's ``--max-request-bytes``.
        prefix: how many bytes each key has before the slash.
    """
    frame = _FRAME + prefix
    left = most_bytes - _OWN - _OWN_KEYS * prefix - _GROUP_FRAME * _most_groups(most_ops)
    # Frames may take half of it: small requests, or a long prefix, mean fewer changes.
    changes = max(1, min(_most_groups(most_ops) * _group_size(most_ops), left // (2 * frame)))
    return Room(changes, max(1, left - changes * frame))


def groups(changes: Sequence[Change], most_ops: int) -> list[Sequence[Change]]:
    """The changes, in their order: one group if they fit beside the put of the name, else several,
    each to be a transaction within the transaction.

    etcd's rule (``checkTxnRequest``; the same from 3.3 to 3.7): a transaction is as wide as it has
    operations, or comparisons if these are more, and no wider than ``--max-txn-ops``. One within it
    may be as wide as what the outer one leaves of that. So half the operations in each of half as
    many groups are the most that two levels hold: 4,032 of 128.
    """
    if len(changes) < most_ops:
        return [changes]
    size = _group_size(most_ops)
    return [changes[start : start + size] for start in range(0, len(changes), size)]


def _most_groups(most_ops: int) -> int:
    return (most_ops - 1) // 2


def _group_size(most_ops: int) -> int:
    return most_ops // 2


@dataclass(frozen=True, slots=True)
class Requests:
    """Makes requests for the keys below a prefix."""

    prefix: str
    max_txn_ops: int

    def key(self, path: str) -> bytes:
        """A key, by its path below the prefix."""
        return f"{self.prefix}/{path}".encode(errors=NO_TEXT)

    def read(self, **options: Any) -> Any:
        """A range request for all keys below the prefix."""
        from pyetcd import etcdrpc

        # "0" comes after "/": all keys that begin with the prefix and a slash.
        end = f"{self.prefix}0".encode()
        return etcdrpc.RangeRequest(**{"key": self.key(""), "range_end": end, **options})

    def read_as_traefik(self) -> Any:
        """A range request for all that Traefik's provider watches: what begins with the prefix, a
        slash after it or not. It is told their number only."""
        from pyetcd import etcdrpc

        start = self.prefix.encode()
        # No byte of UTF-8 is 255: the next higher one ends the range.
        end = start[:-1] + bytes([start[-1] + 1])
        return etcdrpc.RangeRequest(key=start, range_end=end, count_only=True)

    def read_one(self, path: str) -> Any:
        """A range request for one key."""
        from pyetcd import etcdrpc

        return etcdrpc.RangeRequest(key=self.key(path))

    def read_if(self, last: str | None, **options: Any) -> Any:
        """A transaction that does as ``read`` if that is still the newest one's name."""
        from pyetcd import etcdrpc

        return etcdrpc.TxnRequest(
            compare=[self._equals(LAST, last)],
            success=[etcdrpc.RequestOp(request_range=self.read(**options))],
        )

    def write(
        self, changes: Sequence[Change], guard: Guard | None, last: str | None, name: str | None
    ) -> Any:
        """A transaction that makes the changes and writes its name, or none, if the guard holds
        and ``last`` is still the newest one's name; else it tells both keys."""
        from pyetcd import etcdrpc

        def operation(change: Change) -> Any:
            key = self.key(change.path)
            if change.value is None:
                return etcdrpc.RequestOp(request_delete_range=etcdrpc.DeleteRangeRequest(key=key))
            put = etcdrpc.PutRequest(key=key, value=change.value.encode())
            return etcdrpc.RequestOp(request_put=put)

        def get(path: str) -> Any:
            return etcdrpc.RequestOp(request_range=self.read_one(path))

        parts = [list(map(operation, group)) for group in groups(changes, self.max_txn_ops)]
        if len(parts) == 1:
            operations = parts[0]
        else:
            nested = (etcdrpc.TxnRequest(success=part) for part in parts)
            operations = [etcdrpc.RequestOp(request_txn=each) for each in nested]
        guards = [guard] if guard else []
        return etcdrpc.TxnRequest(
            compare=[*(self._equals(*each) for each in guards), self._equals(LAST, last)],
            success=[*operations, operation(Change(LAST, name))],
            failure=[*(get(each.path) for each in guards), get(LAST)],
        )

    def _equals(self, path: str, value: str | None) -> Any:
        from pyetcd import etcdrpc

        compare = etcdrpc.Compare(key=self.key(path), result=etcdrpc.Compare.EQUAL)
        if value is None:  # absent
            compare.target, compare.version = etcdrpc.Compare.VERSION, 0
        else:
            compare.target, compare.value = etcdrpc.Compare.VALUE, value.encode()
        return compare
