"""Records as the text of one TOML file, and back. Pure.

The text of one record never depends on another's, so that a change renders only what changed.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator
from typing import Any, Final, TypeAlias

import tomli_w

from traefikhub.stores import (
    GENERATION_MARKER,
    Batch,
    Document,
    Key,
    RecordRefused,
    Snapshot,
    is_private,
)

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["TextError", "Texts", "join", "parse", "render"]

Texts: TypeAlias = "dict[str, dict[str, str]]"
"""Section, name, rendered record."""

_HEADER: Final = "# Written by traefikhub, and rewritten with every change of a route.\n"
_END: Final = Key("jupyterhub/meta", "traefikhub__end")
"""The last table of the file. Its absence tells that the file was cut short or is not ours."""

_INT64: Final = range(-(2**63), 2**63)


class TextError(ValueError):
    """A file's text is not what ``join`` makes.

    line: counted from 1.
    """

    def __init__(self, line: int, why: str) -> None:
        super().__init__(why)
        self.line = line


def render(key: Key, document: Document) -> str:
    """One record as TOML.

    Braces are escaped: Traefik runs the file through Go's templates first, and a stray ``{{``
    would freeze the whole configuration.

    Raises:
        RecordRefused: TOML, or Traefik's reading of it, has no form for the document.
    """
    try:
        if key == _END:
            raise ValueError("that name is this store's own")
        if is_private(key.section):
            # Compact, so that braces of JSON's own never stand together either.
            value = json.dumps(document, ensure_ascii=False)
            text = tomli_w.dumps({key.name: value})
        else:
            _require_toml(document)
            if "@" in key.name:
                raise ValueError("Traefik takes what follows '@' for a provider")
            if "/" not in key.section and not isinstance(document, list):
                raise ValueError(f"only a list can stand in [{key.section}] itself")
            if "/" in key.section and not isinstance(document, dict):
                raise ValueError(f"only a table can stand in [{key.section}]")
            tree: dict[str, Any] = {key.name: document}
            for part in reversed(key.section.split("/")):
                tree = {part: tree}
            text = tomli_w.dumps(tree)
        text.encode("utf-8")
    except ValueError as error:
        raise RecordRefused(
            f"the toml-file store can't keep {key.section} {key.name!r}: {error}"
        ) from error
    return text.replace("{{", "{\\u007B")


def _require_toml(document: Document) -> None:
    """TOML has no null, and Traefik no integer beyond 64 bits."""
    match document:
        case None:
            raise ValueError("null has no form in Traefik's configuration")
        case int() if document not in _INT64:
            raise ValueError(f"{document} is no 64-bit integer")
        case dict():
            for value in document.values():
                _require_toml(value)
        case list():
            for value in document:
                _require_toml(value)


def join(texts: Texts, generation: int) -> bytes:
    """The whole file of these records at this generation.

    Raises:
        RecordRefused: two records claim the same place.
    """
    _require_room(texts)
    marker = render(*Batch(generation).marker)

    def parts() -> Iterable[str]:
        yield _HEADER
        for section, names in texts.items():
            if section != _END.section:  # whose records go into the last table
                yield f"\n[{section.replace('/', '.')}]\n" if is_private(section) else "\n"
                yield from names.values()
        yield "\n" + marker
        yield f"\n[{_END.section.replace('/', '.')}]\n"
        yield from texts.get(_END.section, {}).values()
        yield f"{_END.name} = {generation}\n"

    return "".join(parts()).encode("utf-8")


def _require_room(texts: Texts) -> None:
    """Each name stands in one place of the file, or it would be no TOML."""
    for section, names in texts.items():
        if "/" in section:
            continue
        if len(names) > 1 and not is_private(section):
            raise RecordRefused(f"[{section}] holds one list, not {' and '.join(sorted(names))}")
        for name in names:
            if texts.get(f"{section}/{name}"):
                raise RecordRefused(f"{name!r} of [{section}] can't be a list and a table at once")


def parse(content: bytes) -> tuple[Snapshot, Texts]:
    """The records of a file, and the text of each.

    Raises:
        TextError: it is broken, cut short, or something else than ``join`` makes.
    """
    try:
        tree = tomllib.loads(content.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise TextError(_line_of(error, content), str(error)) from error
    records = {
        Key(section, name): document
        for section, table in _sections(tree)
        for name, document in table.items()
    }
    end = records.pop(_END, None)
    marker = records.pop(GENERATION_MARKER, None)
    # The number, too, may have lost its last digits.
    if type(end) is not int or end < 1 or marker != Batch(end).marker[1]:
        raise TextError(
            content.count(b"\n") + 1,
            "the end mark is missing: the file was cut short, or traefikhub did not write it",
        )
    texts: Texts = {}
    for key, document in records.items():
        try:
            if is_private(key.section):
                records[key] = json.loads(document)
            Batch(1, {key: records[key]})  # an editor may have added what is no record
            texts.setdefault(key.section, {})[key.name] = render(key, records[key])
        except (TypeError, ValueError, RecordRefused) as error:
            line = _line_holding(content, key)
            raise TextError(line, f"[{key.section}] {key.name}: {error}") from error
    return Snapshot(records, end), texts


def _sections(tree: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Sections are two levels deep (``http/routers``); anything else belongs to its root."""
    for root, table in tree.items():
        if not isinstance(table, dict):
            yield root, {"": table}
            continue
        for name, value in table.items():
            if isinstance(value, dict):
                yield f"{root}/{name}", value
            else:
                yield root, {name: value}


def _line_of(error: Exception, content: bytes) -> int:
    if isinstance(error, UnicodeDecodeError):
        return content.count(b"\n", 0, error.start) + 1
    if found := re.search(r"at line (\d+)", str(error)):
        return int(found.group(1))
    return content.count(b"\n") + 1  # at the end of the document


def _line_holding(content: bytes, key: Key) -> int:
    """The line of a record; of its section if that can't be told, as in an edited file."""
    name = re.escape(tomli_w.dumps({key.name: ""}).split(" =")[0])
    table = re.escape(key.section.replace("/", "."))
    text = content.decode("utf-8")
    section = text.find(f"\n[{key.section.replace('/', '.')}]\n") + 1
    found = re.compile(rf"^(?:\[+{table}\.{name}[].]|{name}\s*=)", re.MULTILINE).search(
        text, section
    )
    return text.count("\n", 0, found.start() if found else section) + 1
