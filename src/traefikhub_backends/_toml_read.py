"""The file's text to records: fast if it is as this store wrote it. Pure."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable
from sys import intern
from typing import Any, Final

from traefikhub.stores import (
    GENERATION_MARKER,
    Batch,
    Document,
    Key,
    RecordRefused,
    Snapshot,
    is_private,
)
from traefikhub_backends._toml_content import Content
from traefikhub_backends._toml_text import END, parse, render

__all__ = ["read"]


def read(text: bytes) -> tuple[Content, Snapshot]:
    """The content of a file, and what it means.

    Raises:
        ForeignText: it is something else than this store writes.
        TextError: it is broken or cut short.
    """
    if found := _read_as_written(text):
        return found
    return _rendered(parse(text))  # somebody edited it


def _rendered(snapshot: Snapshot) -> tuple[Content, Snapshot]:
    texts = {key: render(key, document) for key, document in snapshot.records.items()}
    return Content().after(snapshot.generation, texts), snapshot


def _read_as_written(text: bytes) -> tuple[Content, Snapshot] | None:
    """The content and its meaning, if its text is this one to the byte; otherwise None.

    A TOML parser in Python takes more than a second for 10,000 routes, and leaves garbage whose
    collection holds the event loop. What is guessed here needs to be right for our own files only:
    ``render`` gives each text one meaning, so that equal texts prove the guess.
    """
    try:
        documents = _guess(io.BytesIO(text))
        end = documents.pop(END)
        del documents[GENERATION_MARKER]
        batch = Batch(end, documents)  # checks that they are records
        content, snapshot = _rendered(Snapshot(batch.puts, batch.generation))
        content.require_room()
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError, RecordRefused):
        return None
    position = 0
    for piece in content.pieces():
        if not text.startswith(piece, position):
            return None
        position += len(piece)
    return (content, snapshot) if position == len(text) else None


_INLINE_NAME: Final = re.compile(r"(?<=[{ ])([A-Za-z0-9_-]+) = ")


def _unique(pairs: list[tuple[str, Document]]) -> dict[str, Document]:
    """A table whose names are kept in memory once, not once for each route."""
    return {intern(name): value for name, value in pairs}


_decode: Final = json.JSONDecoder(object_pairs_hook=_unique).decode


def _guess(lines: Iterable[bytes]) -> dict[Key, Any]:
    """What the lines mean, if they are as ``render`` writes them and hold no odd names."""
    documents: dict[Key, Any] = {}
    section = ""
    table: Any = None  # where the values go, unless each is a record
    for raw in lines:
        line = raw.decode("utf-8")
        if line.startswith("["):
            root, *path = line[1:-2].split(".")
            section = intern("/".join([root, *path[:1]]))
            table = documents.setdefault(Key(section, intern(path[1])), {}) if path[1:] else None
            for part in path[2:]:
                table = table.setdefault(intern(part), {})
        elif line != "\n" and not line.startswith("#"):
            name, value = line.split(" = ", 1)
            name = intern(name)
            if table is not None:
                table[name] = _guess_value(value)
            elif is_private(section) and value.startswith('"'):
                documents[Key(section, name)] = _decode(_decode(value))
            else:
                documents[Key(section, name)] = _guess_value(value)
    return documents


def _guess_value(value: str) -> Any:
    """JSON, but for the names in inline tables."""
    return _decode(_INLINE_NAME.sub(r'"\1": ', value) if "{" in value else value)
