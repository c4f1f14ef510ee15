"""Records, batches and snapshots: what a store keeps, and how it is changed. Pure values."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Final, NamedTuple, TypeAlias

__all__ = [
    "GENERATION_HEADER",
    "GENERATION_MARKER",
    "Batch",
    "Document",
    "Key",
    "Records",
    "Snapshot",
    "check_document",
    "is_private",
    "marker_of",
]

Document: TypeAlias = "bool | int | float | str | list[Document] | dict[str, Document] | None"
"""Any JSON value."""


class Key(NamedTuple):
    """Where a record stands.

    section: path of a table in one or two words, e.g. ``http/routers`` or ``jupyterhub/routes``.
        One word only for what Traefik keeps as a list, such as ``certificates`` in ``tls``.
    name: any text, the record's name within its section.
    """

    section: str
    name: str


Records: TypeAlias = Mapping[Key, Document]

PRIVATE_ROOT: Final = "jupyterhub"
"""Traefik's providers ignore top-level tables that they don't know (verified with 3.7.15: file,
etcd, consul), so our own state stands beside Traefik's under this name."""

GENERATION_MARKER: Final = Key("http/middlewares", "traefikhub__generation")
"""An unused middleware whose only job is to show in Traefik's API which generation it serves."""

GENERATION_HEADER: Final = "X-Traefikhub-Generation"


def is_private(section: str) -> bool:
    """Whether a section is ours alone, unread by Traefik; its documents must come back exactly."""
    return section == PRIVATE_ROOT or section.startswith(PRIVATE_ROOT + "/")


@lru_cache(maxsize=256)
def _check_section(section: str) -> None:
    if not re.fullmatch(r"[A-Za-z]+(/[A-Za-z]+)?", section):
        raise ValueError(f"{section!r} is no section: one or two words, joined by a slash")


_DEEPEST: Final = 100
"""Levels of a document. Python's own JSON gives up somewhere below a thousand."""


def check_document(document: object, _level: int = 0) -> None:
    """Refuse what JSON can't bring back exactly as it was.

    Raises:
        ValueError: a tuple, a name that is no text, NaN, text that is no Unicode, more than a
            hundred lists and dicts within each other, …
    """
    if _level > _DEEPEST:
        raise ValueError(f"it is nested more than {_DEEPEST} levels deep")
    match document:
        case None | bool() | int():
            pass
        case float():
            if not math.isfinite(document):
                raise ValueError(f"{document} is no JSON number")
        case str():
            try:
                document.encode("utf-8")
            except UnicodeEncodeError as error:
                raise ValueError(f"{document!r} is no Unicode text") from error
        case list():
            for value in document:
                check_document(value, _level + 1)
        case dict():
            for name, value in document.items():
                if not isinstance(name, str):
                    raise ValueError(f"the name {name!r} is {type(name).__name__}, not str")
                check_document(name)
                check_document(value, _level + 1)
        case _:
            raise ValueError(f"{document!r} is {type(document).__name__}, which JSON lacks")


def marker_of(generation: int) -> Document:
    """The document of the record that shows a generation to Traefik."""
    header: dict[str, Document] = {GENERATION_HEADER: str(generation)}
    return {"headers": {"customResponseHeaders": header}}


@dataclass(frozen=True, slots=True)
class Batch:
    """Record puts and deletes that a store applies as one change.

    generation: the number of this batch, larger than every earlier one of the same store.
    puts: records to write, each whole: a put replaces what was there.
    deletes: keys to remove; absent ones are no error.

    Raises:
        ValueError: the generation is not positive, a key is both put and deleted, a section is
            malformed, a document is not JSON, or a key is the generation marker's (stores write
            ``marker`` themselves).
    """

    generation: int
    puts: Records = field(default_factory=lambda: MappingProxyType({}))
    deletes: frozenset[Key] = frozenset()

    def __post_init__(self) -> None:
        if self.generation < 1:
            raise ValueError(f"a batch's generation is at least 1, not {self.generation}")
        if clash := next((key for key in self.deletes if key in self.puts), None):
            raise ValueError(f"{clash} is both put and deleted in batch {self.generation}")
        for key, document in self.puts.items():
            _check_section(key.section)
            check_document(key.name)
            check_document(document)
        if GENERATION_MARKER in self.puts or GENERATION_MARKER in self.deletes:
            raise ValueError(f"{GENERATION_MARKER} belongs to the store, not to a batch's records")

    @property
    def marker(self) -> tuple[Key, Document]:
        """The record that shows this generation to Traefik. A store writes it with the batch,
        last if the batch must be split."""
        return GENERATION_MARKER, marker_of(self.generation)

    @classmethod
    def between(cls, old: Records, new: Records, *, generation: int) -> Batch:
        """The batch that turns the records ``old`` into ``new``; empty if they are equal."""
        missing = object()
        puts = {key: doc for key, doc in new.items() if old.get(key, missing) != doc}
        return cls(generation, puts, frozenset(key for key in old if key not in new))

    def __bool__(self) -> bool:
        """Whether the batch changes any record."""
        return bool(self.puts or self.deletes)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything in a store at one moment.

    records: all records but the generation marker.
    generation: the newest applied generation; 0 if the store has never been written.
    """

    records: Records
    generation: int

    def section(self, section: str) -> Iterable[tuple[str, Document]]:
        """Name and document of each record in one section."""
        return ((key.name, doc) for key, doc in self.records.items() if key.section == section)
