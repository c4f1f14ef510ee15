"""Records as TOML, and back. Pure.

The text of one record never depends on another's, so that a change renders only what changed.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
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

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["END", "HEADER", "ForeignText", "TextError", "ending", "heading", "parse", "render"]

HEADER: Final = b"# Written by traefikhub, and rewritten with every change of a route.\n"
END: Final = Key("jupyterhub/meta", "traefikhub__end")
"""The last table of the file. Its absence tells that the file was cut short or is not ours."""

_INT64: Final = range(-(2**63), 2**63)
_LISTED: Final = 4

_MOST: Final = 2**62
"""Above all generations. Traefik's number for the next one has room for it."""


class TextError(ValueError):
    """A file's text is not what this store writes.

    line: counted from 1.
    """

    def __init__(self, line: int, why: str) -> None:
        super().__init__(why)
        self.line = line


class ForeignText(TextError):
    """It never was: another program wrote it, or an admin."""


def render(key: Key, document: Document) -> bytes:
    """One record as TOML.

    Braces are escaped: Traefik runs the file through Go's templates first, and a stray ``{{``
    would freeze the whole configuration.

    Raises:
        RecordRefused: TOML, or Traefik's reading of it, has no form for the document.
    """
    try:
        if key == END:
            raise ValueError("that name is this store's own")
        text = _private(key, document) if is_private(key.section) else _public(key, document)
        return text.replace("{{", "{\\u007B").encode("utf-8")
    except ValueError as error:
        raise RecordRefused(
            f"the toml-file store can't keep {key.section} {key.name!r}: {error}"
        ) from error


def heading(section: str) -> bytes:
    """What stands before the records of a section. Those that Traefik reads need none: each
    names its table itself."""
    return f"\n[{_path(section)}]\n".encode() if is_private(section) else b"\n"


def ending(generation: int, records: bytes) -> bytes:
    """The end of the file, with the records of the end mark's section."""
    marker = render(*Batch(generation).marker)
    return b"".join(
        [b"\n", marker, heading(END.section), records, f"{END.name} = {generation}\n".encode()]
    )


# --- TOML. A general writer takes four times as long, and a login waits for it ----------------

_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_is_bare = re.compile(r"[A-Za-z0-9_-]+").fullmatch


def _private(key: Key, document: Document) -> str:
    """One JSON text, as TOML has no form for everything that JSON has."""
    return f"{_name(key.name)} = {_quoted(_json(document))}\n"


def _public(key: Key, document: Document) -> str:
    if "@" in key.name:
        raise ValueError("Traefik takes what follows '@' for a provider")
    if "/" in key.section:
        if not isinstance(document, dict):
            raise ValueError(f"only a table can stand in [{key.section}]")
        return _table(f"{_path(key.section)}.{_name(key.name)}", document)
    if not isinstance(document, list):
        raise ValueError(f"only a list can stand in [{key.section}] itself")
    return _table(key.section, {key.name: document})


def _table(path: str, table: dict[str, Document]) -> str:
    values, tables = [f"[{path}]\n"], []
    for name, value in table.items():
        if isinstance(value, dict):
            tables.append(_table(f"{path}.{_name(name)}", value))
        else:
            values.append(f"{_name(name)} = {_value(value)}\n")
    if tables and len(values) == 1:
        values = []  # the tables below say that this one exists
    return "".join(values + tables)


def _value(value: Document) -> str:
    """A value on one line.

    Raises:
        ValueError: TOML has no null, and Traefik no integer beyond 64 bits.
    """
    match value:
        case str():
            return _url(value) if value.startswith("http") else _quoted(value)
        case bool():
            return "true" if value else "false"
        case int() if value not in _INT64:
            raise ValueError(f"{value} is no 64-bit integer")
        case int() | float():
            return repr(value)
        case list():
            return f"[{', '.join([_value(item) for item in value])}]"
        case dict():
            items = [f"{_name(name)} = {_value(item)}" for name, item in value.items()]
            return f"{{{', '.join(items)}}}"
        case _:
            raise ValueError("null has no form in Traefik's configuration")


def _quoted(text: str) -> str:
    # JSON's escapes are TOML's, and TOML forbids one character more.
    return _json(text).replace("\x7f", "\\u007F")


def _url(url: str) -> str:
    # Traefik's TOML reader cuts strings out of the file's text, which stays in memory as a whole
    # for as long as one of them is used: the URL of a connection, or of a route until its counters
    # are read. One with an escape is a string of its own.
    return f'"\\u{ord(url[0]):04X}{_quoted(url)[2:]}'


def _name(name: str) -> str:
    return name if _is_bare(name) else _quoted(name)


def _path(section: str) -> str:
    return section.replace("/", ".")


# --- back ---------------------------------------------------------------------------------------


def parse(content: bytes) -> Snapshot:
    """What a file says.

    Raises:
        ForeignText: it is something else than this store writes.
        TextError: it is broken or cut short.
    """
    ours = _may_be_ours(content)
    try:
        tree = tomllib.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits is the former
        line = _line_of(error, content)
        if not ours:
            raise ForeignText(line, f"it is no TOML ({error})") from error
        raise TextError(line, str(error)) from error
    if not ours:
        raise ForeignText(1, f"it holds {_listed(tree)}")
    documents = {
        Key(section, name): document
        for section, table in _sections(tree)
        for name, document in table.items()
    }
    end = documents.pop(END, None)
    marker = documents.pop(GENERATION_MARKER, None)
    # The number, too, may have lost its last digits.
    if type(end) is not int or not 1 <= end < _MOST or marker != Batch(end).marker[1]:
        raise TextError(
            content.count(b"\n") + 1, "the end mark is missing: the file was cut short or edited"
        )
    records: dict[Key, Document] = {}
    for key, document in documents.items():
        try:
            if is_private(key.section):
                document = json.loads(document)
            Batch(1, {key: document})  # an editor may have added what is no record
            render(key, document)
            records[key] = document
        except (TypeError, ValueError, RecursionError, RecordRefused) as error:
            line = _line_holding(content, key)
            raise TextError(line, f"[{key.section}] {key.name}: {error}") from error
    return Snapshot(records, end)


def _may_be_ours(content: bytes) -> bool:
    """Whether a file of this store may have been cut short or edited to this. A disk that fails
    leaves zeros."""
    if HEADER.startswith(content.strip(b"\0\t\n\r ")):
        return True
    return HEADER.rstrip() in content or END.name.encode() in content


def _listed(tree: dict[str, Any]) -> str:
    """What stands at the top, without values: they may be secrets."""
    names = [
        f"[{name}]" if isinstance(value, dict | list) else name for name, value in tree.items()
    ]
    if not names:
        return "nothing"
    return ", ".join(names[:_LISTED]) + (", …" if len(names) > _LISTED else "")


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
    name, table = re.escape(_name(key.name)), re.escape(_path(key.section))
    text = content.decode("utf-8")
    section = text.find(f"\n[{_path(key.section)}]\n") + 1
    found = re.compile(rf"^(?:\[+{table}\.{name}[].]|{name}\s*=)", re.MULTILINE).search(
        text, section
    )
    return text.count("\n", 0, found.start() if found else section) + 1
