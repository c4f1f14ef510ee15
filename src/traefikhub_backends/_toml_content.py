"""The texts of all records of the file, so kept that a change touches little. Pure.

The records of a section lie in buckets. A bucket keeps their texts as one piece of the file: of
10,000 routes, one that changes costs the joining of a few hundred records, and the file is written
in some hundred pieces. What the texts mean is kept by nobody: it is read out of the file again when
somebody asks.
"""

from __future__ import annotations

import sys
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final
from zlib import crc32

from traefikhub.stores import Key, RecordRefused, is_private
from traefikhub_backends._toml_text import END, HEADER, ending, heading

__all__ = ["Content"]

_BUCKETS: Final = 128
"""In each section. At 10,000 routes a bucket then holds some 80 records, or 10 KiB. Half as many
make one change dearer, twice as many make a burst and the writing dearer."""

_Buckets = Mapping[int, "_Bucket"]


@dataclass(frozen=True, slots=True)
class _Bucket:
    """Some records of one section.

    names: in the order of their texts.
    lengths: of their texts, in bytes.
    text: their texts, joined.
    """

    names: tuple[str, ...] = ()
    # Texts of their own, or text twice, would cost more memory than the text itself.
    lengths: array[int] = field(default_factory=lambda: array("I"))
    text: bytes = b""

    def after(self, puts: Mapping[str, bytes], deletes: Iterable[str]) -> _Bucket:
        texts: dict[str, bytes] = {}
        end = 0
        for name, length in zip(self.names, self.lengths, strict=True):
            start, end = end, end + length
            texts[name] = self.text[start:end]
        for name in deletes:
            texts.pop(name, None)
        texts.update(puts)
        # A route has its name in several sections; one string is enough.
        names = tuple(map(sys.intern, texts))
        return _Bucket(names, array("I", map(len, texts.values())), b"".join(texts.values()))


@dataclass(frozen=True, slots=True)
class Content:
    """One version of the file. Never changed: a load in one thread may meet a write in another,
    and a write that fails leaves nothing to undo.

    generation: 0 if there is no file.
    """

    generation: int = 0
    _sections: Mapping[str, _Buckets] = field(default_factory=lambda: MappingProxyType({}))

    def after(
        self, generation: int, puts: Mapping[Key, bytes], deletes: Iterable[Key] = ()
    ) -> Content:
        """The content with some records put and others gone; what is left alone is shared.

        Args:
            puts: the texts of records.
        """
        put_into: defaultdict[tuple[str, int], dict[str, bytes]] = defaultdict(dict)
        deleted_from: defaultdict[tuple[str, int], list[str]] = defaultdict(list)
        for key, text in puts.items():
            put_into[key.section, _number(key)][key.name] = text
        for key in deletes:
            deleted_from[key.section, _number(key)].append(key.name)
        changed: defaultdict[str, dict[int, _Bucket]] = defaultdict(dict)
        for place in dict.fromkeys([*put_into, *deleted_from]):
            section, number = place
            before = self._sections.get(section, {}).get(number, _EMPTY)
            changed[section][number] = before.after(
                put_into.get(place, {}), deleted_from.get(place, ())
            )
        sections = dict(self._sections)
        for section, new in changed.items():
            buckets = {**sections.pop(section, {}), **new}
            if left := {number: bucket for number, bucket in buckets.items() if bucket.names}:
                sections[section] = left
        return Content(generation, sections)

    def pieces(self) -> Iterator[bytes]:
        """The text of the file.

        The generation stands last: it tells that all before it is there.
        """
        yield HEADER
        for section, buckets in self._sections.items():
            if section != END.section:  # whose records go into the last table
                yield heading(section)
                yield from _texts(buckets)
        yield ending(self.generation, b"".join(_texts(self._sections.get(END.section, {}))))

    def require_room(self) -> None:
        """See that each name stands in one place of the file, or it would be no TOML.

        Raises:
            RecordRefused: two records claim the same place.
        """
        for section in self._sections:
            if "/" in section:
                continue
            names = [name for bucket in self._sections[section].values() for name in bucket.names]
            if len(names) > 1 and not is_private(section):
                raise RecordRefused(
                    f"[{section}] holds one list, not {' and '.join(sorted(names))}"
                )
            for name in names:
                if f"{section}/{name}" in self._sections:
                    raise RecordRefused(
                        f"{name!r} of [{section}] can't be a list and a table at once"
                    )


_EMPTY: Final = _Bucket()


def _number(key: Key) -> int:
    """The bucket of a key: by a hash that is the same in every process, for the file's sake."""
    return crc32(key.name.encode("utf-8", "surrogatepass")) % _BUCKETS


def _texts(buckets: _Buckets) -> Iterator[bytes]:
    return (bucket.text for bucket in buckets.values())
