"""What a key-value server is known to hold, and what a batch changes of that. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from traefikhub.stores._batch import (
    GENERATION_HEADER,
    GENERATION_MARKER,
    Batch,
    Document,
    Key,
    Snapshot,
    is_private,
    marker_of,
)
from traefikhub.stores._errors import RecordRefused
from traefikhub.stores._layout import by_record, documents, key_of, keys_of
from traefikhub.stores._stages import Change, Step, delete_order, marker_step, put_order

__all__ = ["KnownKeys", "Plan"]


class Plan(NamedTuple):
    """What a batch means for a server.

    groups: steps that are best made at once, as ``stages`` takes them.
    after: the keys of every record that the batch puts.
    """

    groups: list[list[Step]]
    after: dict[Key, dict[str, str]]


class KnownKeys:
    """What a server is known to hold: the keys of each record.

    Kept up to date by ``commit``, so that a batch costs work in proportion to itself.
    """

    def __init__(self, flat: Mapping[str, str]) -> None:
        self._keys = by_record(flat)
        self._count = len(flat)
        self._nobodys = {path for path in flat if key_of(path) is None}
        self._mixed: dict[Key, set[str]] = {}  # the names with capitals, by their folded form
        for key in self._keys:
            self._note_name(key)

    def snapshot(self) -> tuple[Snapshot, list[str]]:
        """What the keys mean, and what is wrong with those that mean nothing: a private document
        that is no JSON, a marker that shows no generation. Made anew each time: kept, it would
        cost as much again."""
        records, wrong = documents(self._keys)
        try:
            generation = _generation_in(records.pop(GENERATION_MARKER, None))
        except ValueError as error:
            wrong.append(str(error))
            generation = 0
        return Snapshot(records, generation), wrong

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
            key = key_of(path)
            if key is None:
                # Of no concern; but a new one may hide that one of ours is gone.
                if path not in self._nobodys:
                    return False
            elif self._keys.get(key, {}).get(path) != value:
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

    def plan(self, batch: Batch, check_value: Callable[[str, str], None] | None = None) -> Plan:
        """What must change to apply a batch.

        Args:
            batch: the batch.
            check_value: refuses keys and values that the server can't hold.

        Raises:
            RecordRefused: a record has no form in the layout, or its name none of its own, or
                ``check_value`` says so.
        """
        after = {key: keys_of(key, document) for key, document in batch.puts.items()}
        if check_value:
            for own in after.values():
                for path, value in own.items():
                    check_value(path, value)
        self._require_distinct(batch)
        before = {key: self._keys.get(key, {}) for key in batch.deletes}
        marker_key, marker = batch.marker
        marker_keys = keys_of(marker_key, marker)
        groups = [
            *put_order(after, lambda key: _difference(self._keys.get(key, {}), after[key])),
            *delete_order(before, lambda key: _difference(before[key], {})),
            [marker_step(marker_key, _difference(self._keys.get(marker_key, {}), marker_keys))],
        ]
        after[marker_key] = marker_keys
        return Plan(groups, after)

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
        case {"headers": {"customResponseHeaders": {**headers}}}:
            text = headers.get(GENERATION_HEADER)
            # Whatever else is there may be to Traefik's dislike, and then it shows nothing new.
            if isinstance(text, str) and text.isdecimal() and marker == marker_of(int(text)):
                return int(text)
    raise ValueError(f"the generation marker {GENERATION_MARKER.name} is damaged: {marker}")


def _difference(old: Mapping[str, str], new: Mapping[str, str]) -> list[Change]:
    """What turns the keys of one record into others."""
    puts = [Change(path, value) for path, value in new.items() if old.get(path) != value]
    return puts + [Change(path, None) for path in old if path not in new]
