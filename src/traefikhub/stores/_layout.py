"""Records in the key layout that Traefik's key-value providers read, and back. Pure.

Traefik reads ``PREFIX/http/routers/NAME/rule = …``, lists as ``…/entryPoints/0``; every value is a
string. Our private sections stand under the same prefix, each document as one JSON value.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Final
from urllib.parse import quote, unquote

from traefikhub.stores._batch import Document, Key, is_private
from traefikhub.stores._errors import RecordRefused

__all__ = ["by_record", "canonical", "documents", "key_of", "keys_of"]

_EMPTY_NAME: Final = "%"
_EMPTY_TABLE: Final = "true"
"""How Traefik's providers spell a table without entries, such as ``compress``."""

_TRAEFIKS: Final = ("http", "tcp", "tls", "udp")
"""The roots of Traefik's sections. It ignores case, and how many slashes part the words."""


def keys_of(key: Key, document: Document) -> dict[str, str]:
    """What one record is in the store: key below the prefix, value.

    Raises:
        RecordRefused: the layout has no form for it.
    """
    if is_private(key.section):
        path = f"{key.section}/{quote(key.name, safe='') or _EMPTY_NAME}"
        return {path: json.dumps(document, ensure_ascii=False)}
    if key.name == "" or key.name.isdecimal() or "/" in key.name or "@" in key.name:
        # Traefik takes digits for a place in a list, and what follows "@" for a provider.
        raise RecordRefused(
            f"{key.section} {key.name!r}: as a key, a name is no number and has no '/' or '@'"
        )
    flat = dict(_flatten(f"{key.section}/{key.name}", document, key))
    if not flat or f"{key.section}/{key.name}" in flat:
        raise RecordRefused(f"{key.section} {key.name!r}: a record needs at least one entry")
    return flat


def _flatten(path: str, document: Document, key: Key) -> Iterable[tuple[str, str]]:
    match document:
        case dict() if not document:
            yield path, _EMPTY_TABLE
        case dict():
            if len({name.casefold() for name in document}) < len(document):
                raise RecordRefused(
                    f"{key.section} {key.name!r}: of {sorted(document)} some differ only in case, "
                    "which Traefik's key-value providers ignore"
                )
            for name, value in document.items():
                if name == "" or "/" in name or name.isdecimal():
                    raise RecordRefused(f"{key.section} {key.name!r}: {name!r} is no key's part")
                yield from _flatten(f"{path}/{name}", value, key)
        case list():
            # An empty list is an absent one: that is how Traefik reads it, too. It sorts the
            # indices as texts (seen: m0, m1, m10, m11, m2), so all are of one width.
            width = len(str(len(document) - 1))
            for index, value in enumerate(document):
                if isinstance(value, str) and ("," in value or value != value.strip()):
                    raise RecordRefused(
                        f"{key.section} {key.name!r}: Traefik splits {value!r} at commas and blanks"
                    )
                if isinstance(value, list | dict) and not value:
                    raise RecordRefused(f"{key.section} {key.name!r}: an empty entry of a list")
                yield from _flatten(f"{path}/{index:0{width}}", value, key)
        case None:
            raise RecordRefused(f"{key.section} {key.name!r}: null has no form in Traefik's keys")
        case bool():
            yield path, "true" if document else "false"
        case str():
            yield path, document
        case float() if document.is_integer():
            yield path, str(int(document))  # Traefik's integer fields take no exponent
        case _:
            yield path, json.dumps(document)


def canonical(
    key: Key, document: Document, check_value: Callable[[str, str], None] | None = None
) -> Document:
    """A document as it comes back: in Traefik's sections, as strings, tables and lists.

    Args:
        check_value: refuses keys and values; not asked of private ones, which cost too much to
            write out just for that.

    Raises:
        RecordRefused: as ``keys_of``.
    """
    if is_private(key.section):
        return document
    own = keys_of(key, document)
    if check_value:
        for path, value in own.items():
            check_value(path, value)
    return _document(key, own)


def key_of(path: str) -> Key | None:
    """The record that a key below the prefix belongs to; None if it is nobody's.

    A key too short for a record, somebody else's or a "folder" of consul's, is one by itself if it
    lies where Traefik reads, so that a repair deletes it: a single ``http/x`` or ``udp/`` keeps
    Traefik from reading anything (docs/traefik-facts.md).
    """
    parts = path.split("/")
    if is_private(parts[0]):
        if len(parts) != 3 or not parts[2]:  # a key of somebody else's, or a "folder" of consul's
            return None
        return Key("/".join(parts[:2]), "" if parts[2] == _EMPTY_NAME else unquote(parts[2]))
    if next(filter(None, parts), "").casefold() not in _TRAEFIKS:
        return None
    # A list such as tls/certificates has numbers where tables have names.
    if len(parts) > 2 and parts[2].isdecimal() and parts[:2] == ["tls", "certificates"]:
        return Key(parts[0], parts[1])
    if len(parts) > 3:
        return Key("/".join(parts[:2]), parts[2])
    return Key(parts[0], "/".join(parts[1:]))


def by_record(flat: Mapping[str, str]) -> dict[Key, dict[str, str]]:
    """The keys below a prefix by the record that they spell, without those that belong to none."""
    keys: dict[Key, dict[str, str]] = {}
    for path, value in flat.items():
        if (key := key_of(path)) is not None:
            keys.setdefault(key, {})[path] = value
    return keys


def documents(
    keys: Mapping[Key, Mapping[str, str]],
) -> tuple[dict[Key, Document], list[str]]:
    """What the keys of each record mean, and what is wrong with those that mean nothing. In place
    of these stands a document that no record of ours has."""
    found: dict[Key, Document] = {}
    wrong: list[str] = []
    for key, own in keys.items():
        try:
            found[key] = _document(key, own)
        except (ValueError, RecursionError) as error:
            found[key] = {"damaged": [*own]}
            wrong.append(str(error))
    return found, wrong


def _document(key: Key, own: Mapping[str, str]) -> Document:
    if is_private(key.section):
        if len(own) > 1:
            raise ValueError(f"{' and '.join(own)} spell the same name")
        ((path, text),) = own.items()
        try:
            document: Document = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path} is no JSON: {error}") from error
        return document
    tree: dict[str, Document] = {}
    start = len(f"{key.section}/{key.name}/")
    for path, value in own.items():
        *parents, leaf = path[start:].split("/")
        node = tree
        for parent in parents:
            below = node.setdefault(parent, {})
            if not isinstance(below, dict):
                node[parent] = below = {}  # a key and keys below it: Traefik reads those below
            node = below
        if not isinstance(node.get(leaf), dict):
            node[leaf] = value
    return _with_lists(tree)


def _with_lists(tree: Document) -> Document:
    if not isinstance(tree, dict):
        return tree
    branches = {name: _with_lists(value) for name, value in tree.items()}
    if branches and all(name.isdecimal() for name in branches):
        return [branches[name] for name in sorted(branches, key=int)]
    return branches
