"""A batch as transactions of a key-value server: which keys, and in which order. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from traefikhub.stores._batch import (
    GENERATION_HEADER,
    GENERATION_MARKER,
    Batch,
    Document,
    Key,
    Snapshot,
    is_private,
)
from traefikhub.stores._errors import RecordRefused
from traefikhub.stores._layout import key_of, keys_of, read_records

__all__ = ["Change", "KnownKeys", "Plan", "portions"]


class Change(NamedTuple):
    """A put, or a delete if ``value`` is None, of one key below the prefix."""

    path: str
    value: str | None


class Plan(NamedTuple):
    """What a batch means for a server.

    changes: those of each record that changes, in the order in which they may be made.
    after: the keys of every record that the batch puts.
    """

    changes: list[list[Change]]
    after: dict[Key, dict[str, str]]


class KnownKeys:
    """What a server is known to hold: the keys of each record.

    Kept up to date by ``commit``, so that a batch costs work in proportion to itself.
    """

    def __init__(self, flat: Mapping[str, str]) -> None:
        records, self._keys = read_records(flat)
        self.snapshot = Snapshot(records, _generation_in(records.pop(GENERATION_MARKER, None)))
        self._mixed: dict[Key, set[str]] = {}  # the names with capitals, by their folded form
        self._count = len(flat)
        for key in self._keys:
            self._note_name(key)

    def agrees(self, changed: Mapping[str, str], count: int) -> bool:
        """Whether a server that has so many keys, of which these may have changed since this was
        true, holds just what is known.

        Args:
            changed: paths below the prefix, and values.
            count: the number of all keys.
        """
        if count != self._count:
            return False
        for path, value in changed.items():
            key = key_of(path)  # None: nobody's, and of no concern
            if key is not None and self._keys.get(key, {}).get(path) != value:
                return False
        return True

    def _note_name(self, key: Key) -> None:
        if _is_mixed(key):
            self._mixed.setdefault(_folded(key), set()).add(key.name)

    def _names_like(self, key: Key) -> set[str]:
        """The names of other records that Traefik's key-value providers take for this one: they
        ignore case."""
        folded = _folded(key)
        names = set(self._mixed.get(folded, ()))
        if folded in self._keys:
            names.add(folded.name)
        return names - {key.name}

    def plan(self, batch: Batch) -> Plan:
        """What must change to apply a batch.

        Raises:
            RecordRefused: a record has no form in the layout, or its name none of its own.
        """
        after = {key: keys_of(key, document) for key, document in batch.puts.items()}
        self._require_distinct(batch)
        turns = _turns(batch, self._keys)
        changes = [
            _difference(self._keys.get(key, {}), after.get(key, {}))
            for key in sorted(turns, key=turns.__getitem__)
        ]
        marker_key, marker = batch.marker
        after[marker_key] = keys_of(marker_key, marker)
        changes.append(_difference({}, after[marker_key]))
        return Plan([each for each in changes if each], after)

    def _require_distinct(self, batch: Batch) -> None:
        added: dict[Key, Key] = {}
        for key in batch.puts:
            if is_private(key.section):
                continue
            others = self._names_like(key)
            kept = {name for name in others if Key(key.section, name) not in batch.deletes}
            other = added.setdefault(_folded(key), key).name
            clash = next(iter(kept), None) or (other if other != key.name else None)
            if clash is not None:
                raise RecordRefused(
                    f"{key.section}: {clash!r} and {key.name!r} differ only in case, which "
                    "Traefik's key-value providers ignore"
                )

    def commit(self, batch: Batch, plan: Plan) -> None:
        """The batch has been applied."""
        for key in batch.deletes:
            self._count -= len(self._keys.pop(key, ()))
            if _is_mixed(key):
                self._mixed.get(_folded(key), set()).discard(key.name)
        for key, own in plan.after.items():
            self._count += len(own) - len(self._keys.get(key, ()))
            self._keys[key] = own
            self._note_name(key)


def _folded(key: Key) -> Key:
    return Key(key.section, key.name.casefold())


def _is_mixed(key: Key) -> bool:
    return key.name.casefold() != key.name and not is_private(key.section)


def _generation_in(marker: Document) -> int:
    """The generation that the marker shows; 0 if there is none.

    Raises:
        ValueError: it shows something else.
    """
    match marker:
        case None:
            return 0
        case {"headers": {"customResponseHeaders": dict(headers)}}:
            text = headers.get(GENERATION_HEADER)
            if isinstance(text, str) and text.isdecimal():
                return int(text)
    raise ValueError(f"the generation marker {GENERATION_MARKER.name} is damaged: {marker}")


def _difference(old: Mapping[str, str], new: Mapping[str, str]) -> list[Change]:
    """What turns the keys of one record into others."""
    puts = [Change(path, value) for path, value in new.items() if old.get(path) != value]
    return puts + [Change(path, None) for path in old if path not in new]


def _size(change: Change) -> int:
    return len(change.path.encode()) + len((change.value or "").encode())


def _require_small(changes: Iterable[Change], most: int) -> None:
    for change in changes:
        # Four bytes are the most that a character takes; few changes need a closer look.
        if 4 * (len(change.path) + len(change.value or "")) > most and _size(change) > most:
            raise RecordRefused(
                f"{change.path}: {_size(change)} bytes are more than the server takes at once "
                f"({most})"
            )


def portions(
    records: Iterable[Sequence[Change]], limit: int, most: int | None
) -> Iterator[list[Change]]:
    """Fill transactions in the order given; a record that fits into one is not torn apart.

    Args:
        limit: how many changes a transaction takes.
        most: how many bytes of keys and values; None for any number.

    Raises:
        RecordRefused: one change is too large by itself.
    """
    portion: list[Change] = []
    size = 0
    for changes in records:
        if most is not None:
            _require_small(changes, most)
        sizes = [_size(change) if most else 0 for change in changes]
        number, total = len(changes), sum(sizes)  # what must have room at once
        for change, own in zip(changes, sizes, strict=True):
            if portion and (len(portion) + number > limit or size + total > (most or 0)):
                yield portion
                portion, size = [], 0
            portion.append(change)
            size += own
            number, total = 1, own
    if portion:
        yield portion


def _turns(batch: Batch, before: Mapping[Key, Mapping[str, str]]) -> dict[Key, tuple[int, int]]:
    """When each record of a batch is written, should it not fit into one transaction.

    What routers name comes before them, parents before children; they go in reverse.
    """
    parents = {
        key.name: list(_parents(keys_of(key, document)))
        for key, document in batch.puts.items()
        if key.section == "http/routers"
    }
    for key in batch.deletes:
        if key.section == "http/routers":
            parents.setdefault(key.name, list(_parents(before.get(key, {}))))
    depths: dict[str, int] = {}

    def depth(name: str) -> int:
        if name not in depths:
            depths[name] = 0  # should they name each other in a circle
            depths[name] = 1 + max(map(depth, parents.get(name, ())), default=0)
        return depths[name]

    turns: dict[Key, tuple[int, int]] = {}
    for key in batch.puts:
        is_router = key.section == "http/routers"
        turns[key] = (1, depth(key.name)) if is_router else (4 if is_private(key.section) else 0, 0)
    for key in batch.deletes:
        is_router = key.section == "http/routers"
        turns[key] = (2, -depth(key.name)) if is_router else (3, 0)
    return turns


def _parents(own: Mapping[str, str]) -> Iterator[str]:
    return (value for path, value in own.items() if path.split("/")[3:4] == ["parentRefs"])
