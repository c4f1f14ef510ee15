"""All records of the file with their texts, so kept that a change touches little. Pure.

The records of a section lie in buckets. A bucket keeps its documents, and their texts as one piece
of the file: of 10,000 routes, one that changes costs the joining of a few hundred records, and the
file is written in some hundred pieces.
"""

from __future__ import annotations

import json
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final
from zlib import crc32

from traefikhub.stores import Document, Key, RecordRefused, Snapshot, is_private
from traefikhub_backends._toml_text import END, HEADER, Record, ending, heading

__all__ = ["Content"]

_BUCKETS: Final = 128
"""In each section. At 10,000 routes a bucket then holds some 80 records, or 10 KiB. Half as many
make one change dearer, twice as many make a burst and the writing dearer."""

_Buckets = Mapping[int, "_Bucket"]


@dataclass(frozen=True, slots=True)
class _Bucket:
    """Some records of one section.

    documents: in the order of their texts.
    lengths: of their texts, in bytes.
    text: their texts, joined.
    """

    documents: dict[Key, Document] = field(default_factory=dict)
    # Texts of their own, or text twice, would cost more memory than the text itself.
    lengths: array[int] = field(default_factory=lambda: array("I"))
    text: bytes = b""

    def after(self, puts: Mapping[Key, Record], deletes: Iterable[Key]) -> _Bucket:
        documents = dict(self.documents)
        texts: dict[Key, bytes] = {}
        end = 0
        for key, length in zip(documents, self.lengths, strict=True):
            start, end = end, end + length
            texts[key] = self.text[start:end]
        for key in deletes:
            documents.pop(key, None)
            texts.pop(key, None)
        for key, record in puts.items():
            documents[key], texts[key] = record
        return _Bucket(documents, array("I", map(len, texts.values())), b"".join(texts.values()))


@dataclass(frozen=True, slots=True)
class Content:
    """One version of the file. Never changed: a load in one thread may meet a write in another,
    and a write that fails leaves nothing to undo.

    generation: 0 if there is no file.
    """

    generation: int = 0
    _sections: Mapping[str, _Buckets] = field(default_factory=lambda: MappingProxyType({}))

    def after(
        self, generation: int, puts: Mapping[Key, Record], deletes: Iterable[Key] = ()
    ) -> Content:
        """The content with some records put and others gone; what is left alone is shared."""
        put_into: defaultdict[tuple[str, int], dict[Key, Record]] = defaultdict(dict)
        deleted_from: defaultdict[tuple[str, int], list[Key]] = defaultdict(list)
        for key, record in puts.items():
            put_into[key.section, _number(key)][key] = record
        for key in deletes:
            deleted_from[key.section, _number(key)].append(key)
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
            if left := {number: bucket for number, bucket in buckets.items() if bucket.documents}:
                sections[section] = left
        return Content(generation, sections)

    def snapshot(self) -> Snapshot:
        """All documents. Made anew for each caller, as a copy kept would cost its memory."""
        records: dict[Key, Document] = {}
        for buckets in self._sections.values():
            for bucket in buckets.values():
                records.update(bucket.documents)
        return Snapshot(records, self.generation)

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
            names = [key.name for key in self._keys(section)]
            if len(names) > 1 and not is_private(section):
                raise RecordRefused(
                    f"[{section}] holds one list, not {' and '.join(sorted(names))}"
                )
            for name in names:
                if f"{section}/{name}" in self._sections:
                    raise RecordRefused(
                        f"{name!r} of [{section}] can't be a list and a table at once"
                    )

    def like(self, other: Content) -> Content:
        """This content, made of what ``other`` holds of it already.

        Of a file that somebody edited, most is as it was. Then it takes no memory, and callers
        that compare documents with those that they know see at once that they are the same.
        """
        sections: dict[str, _Buckets] = {}
        for section, buckets in self._sections.items():
            known = other._sections.get(section, {})
            sections[section] = {
                number: same if (same := known.get(number)) and same.text == bucket.text else bucket
                for number, bucket in buckets.items()
            }
        return Content(self.generation, sections)

    def share(self, key: Key, document: Document) -> None:
        """Keep ``document`` in place of one that can't be told from it.

        After a restart this content and the routing table hold the same documents twice: two
        fifths of a Hub's memory for its routes.
        """
        documents = self._sections.get(key.section, {}).get(_number(key), _EMPTY).documents
        mine = documents.get(key)
        if mine is document or mine != document or key not in documents:
            return
        if json.dumps(mine) == json.dumps(document):  # unlike 1, 1.0 and True
            documents[key] = document

    def _keys(self, section: str) -> Iterator[Key]:
        for bucket in self._sections[section].values():
            yield from bucket.documents


_EMPTY: Final = _Bucket()


def _number(key: Key) -> int:
    """The bucket of a key: by a hash that is the same in every process, for the file's sake."""
    return crc32(key.name.encode("utf-8", "surrogatepass")) % _BUCKETS


def _texts(buckets: _Buckets) -> Iterator[bytes]:
    return (bucket.text for bucket in buckets.values())
