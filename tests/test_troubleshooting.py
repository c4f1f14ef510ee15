"""The messages that docs/troubleshooting.md quotes are those of the code, in its own words."""

from __future__ import annotations

import ast
import itertools
import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[1]
PAGE: Final = ROOT / "docs" / "troubleshooting.md"

_BLOCK: Final = re.compile(r"^```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)

_OF_OTHERS: Final = {
    # Traefik's
    *(
        "field not found, node:",
        "Cannot start the provider *file.Provider error=",
        "permission denied",
    ),
    *(
        "error adding file watcher for",
        "no such file or directory",
        "error reading configuration file:",
    ),
    *("Provider error, retrying in",),
    # HAProxy's
    *("Service Unavailable<", "No server is available to handle this request"),
    # OpenSSL's, and etcd's
    *("KEY_VALUES_MISMATCH", "etcdserver: permission denied", "space exceeded"),
    # those of the operating system
    *map(os.strerror, range(1, 134)),
}
"""Pieces of messages that come from other programs."""

_VALUES: Final = re.compile(
    "|".join(
        (
            "\0",
            r"'[^'\n]{0,60}'",
            r"\"[^\"\n]{0,60}\"",
            r"\bc\.[A-Za-z]+(?:\.[a-z_]+)?|\.[a-z]+_[a-z_]+",  # options
            r"https?://\S*|\b\d+(?:\.\d+)*(?::\d+)?\b",
            r"[\w.@-]*/[\w./@-]*|\b\w+__\w+(?:@\w+)?",  # paths, names of records
            r"\[[^]\n]*\]|%\(?\w*\)?[sdrg]|%[sdrg]|\{\w*\}",
        )
    )
)
"""What differs from hub to hub, in a message or in what it is made by."""


_ENDS: Final = " .,:;()'\"=|?-"


def pieces(text: str) -> list[str]:
    """The constant parts of a message, with its punctuation at the ends cut off."""
    parts = re.split("[…\0]+", _VALUES.sub("\0", text))
    return [part for raw in parts if (part := " ".join(raw.split()).strip(_ENDS))]


@cache
def said() -> str:
    """All that the code says, as pieces."""
    found: list[str] = []
    plugin = ROOT / "plugins" / "traefikhub-redis" / "src"
    for directory in (ROOT / "src", plugin):
        for path in directory.rglob("*.py"):
            for text in _texts(ast.parse(path.read_text(encoding="utf-8"))):
                found += pieces(text)
    return "\n".join(found)


def _texts(node: ast.AST) -> Iterator[str]:
    """The strings of a module, a gap for each value in them; docstrings aside."""
    if isinstance(node, ast.JoinedStr):
        yield "".join(str(v.value) if isinstance(v, ast.Constant) else "\0" for v in node.values)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    for child in ast.iter_child_nodes(node):
        docstring = isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant)
        if not docstring:
            yield from _texts(child)


def quoted() -> list[str]:
    """Every line that the page quotes."""
    blocks = _BLOCK.findall(PAGE.read_text(encoding="utf-8"))
    return [line.strip() for block in blocks for line in block.splitlines() if line.strip()]


def unknown(line: str) -> list[str]:
    """The clauses of a line that nobody says."""
    clauses = (clause for piece in pieces(line) for clause in re.split(r"[.;:()]\s+|[()]", piece))
    return [clause for each in clauses if (clause := each.strip(_ENDS)) and not _is_said(clause)]


def _is_said(clause: str) -> bool:
    """Whether somebody says this, or two or three things of which it is made: what stands before
    a value, the value, and what stands after it."""
    if clause in said() or clause in others():
        return True
    words = clause.split()
    cuts = itertools.combinations(range(1, len(words) + 1), 2)
    return any(
        _ends(" ".join(words[:one]))
        and _is_piece(" ".join(words[one:other]))
        and (other == len(words) or _begins(" ".join(words[other:])))
        for one, other in cuts
    ) or any(
        _ends(" ".join(words[:at])) and _begins(" ".join(words[at:])) for at in range(len(words))
    )


@cache
def _ends(text: str) -> bool:
    return f"{text.strip(_ENDS)}\n" in said()


@cache
def _begins(text: str) -> bool:
    return f"\n{text.strip(_ENDS)}" in said()


@cache
def _is_piece(text: str) -> bool:
    return f"\n{text.strip(_ENDS)}\n" in said()


@cache
def others() -> str:
    """What other programs say, as pieces."""
    return "\n".join(piece for text in _OF_OTHERS for piece in pieces(text))


@pytest.mark.parametrize("line", quoted())
def test_a_quoted_line_is_what_the_code_says(line: str) -> None:
    assert not unknown(line)


def test_a_line_that_the_code_does_not_say_is_found() -> None:
    assert len(quoted()) > 80
    assert unknown("Traefik 12, left running by an earlier Hub, is not what this Hub starts") == []
    assert unknown("Traefik 12, left running by an earlier Hub, is not to my liking")
