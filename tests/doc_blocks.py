"""The blocks of the documentation, as they stand in Markdown, and the commands in them."""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from markdown_it import MarkdownIt
from markdown_it.token import Token

__all__ = ["PAGES", "ROOT", "Block", "Command", "blocks_of", "commands_of"]

ROOT: Final = Path(__file__).parents[1]

_DIRECTORIES: Final = ("docs", "plugins")
_NOT_OURS: Final = {"_build", "_generated", "_diagrams", ".nox", ".cache", "node_modules"}

_MARKER: Final = re.compile(r"<!-- (not run|run by): (.+?) -->", re.DOTALL)


def _pages() -> Iterator[str]:
    for path in ROOT.glob("*.md"):
        yield path.name
    for directory in _DIRECTORIES:
        for path in (ROOT / directory).rglob("*.md"):
            if not _NOT_OURS & {part for part in path.parts if part != path.name}:
                yield str(path.relative_to(ROOT))


PAGES: Final = sorted(_pages())
"""Every page that people read, relative to ``ROOT``."""


@dataclass(frozen=True)
class Block:
    """One fenced block.

    line: of its fence, from 1.
    not_run: why nothing tries it, as the page says in a comment just before it.
    run_by: the file of the test that runs it instead, as such a comment says.
    """

    page: str
    line: int
    language: str
    text: str
    not_run: str
    run_by: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


@cache
def blocks_of(page: str) -> tuple[Block, ...]:
    """All of a page, in their order, but for directives of the site."""
    return tuple(_blocks(page, (ROOT / page).read_text(encoding="utf-8")))


def _blocks(page: str, text: str) -> Iterator[Block]:
    before: Token | None = None
    for token in MarkdownIt("commonmark").parse(text):
        if token.type == "fence" and not token.info.startswith("{"):
            marker = _MARKER.fullmatch(before.content.strip()) if before else None
            said = " ".join(marker[2].split()) if marker else ""
            assert token.map is not None
            yield Block(
                page,
                token.map[0] + 1,
                (token.info.split() or [""])[0],
                textwrap.dedent(token.content),
                not_run=said if marker and marker[1] == "not run" else "",
                run_by=said if marker and marker[1] == "run by" else "",
            )
        before = token if token.type == "html_block" else None


@dataclass(frozen=True)
class Command:
    """One command, and what the page shows of its output (``console`` only)."""

    words: tuple[str, ...]
    text: str
    shown: tuple[str, ...] = ()


def commands_of(block: Block) -> Iterator[Command]:
    """Those of a shell's block; ``$`` or ``#`` begins one in a ``console``, the rest is output.

    Raises:
        ValueError: no shell takes it.
    """
    if block.language != "console":
        for line in _joined(block.text.splitlines()):
            yield from _split(line, ())
        return
    parts: list[tuple[str, list[str]]] = []
    for line in block.text.splitlines():
        if line.startswith(("$ ", "# ", "> ")):
            if line.startswith("> ") and parts:
                parts[-1] = (f"{parts[-1][0]}\n{line[2:]}", parts[-1][1])
            else:
                parts.append((line[2:], []))
        elif parts:
            parts[-1][1].append(line)
        else:
            raise ValueError(f"{block}: the first line is no command: {line!r}")
    for command, shown in parts:
        for line in _joined(command.split("\n")):
            yield from _split(line, tuple(shown))


def _joined(lines: list[str]) -> Iterator[str]:
    kept = ""
    for line in lines:
        kept += line
        if kept.endswith("\\"):
            kept = kept[:-1] + " "
        elif _is_open(kept):
            kept += "\n"
        else:
            yield kept
            kept = ""
    if kept:
        yield kept


def _is_open(text: str) -> bool:
    """Whether a quotation goes on in the next line."""
    try:
        shlex.split(text, comments=True)
    except ValueError:
        return True
    return False


def _split(line: str, shown: tuple[str, ...]) -> Iterator[Command]:
    """At ``&&``, ``|`` and ``;``; without redirections, and variables set for one command."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split = True
    words: list[str] = []
    skip = False
    for word in [*lexer, ";"]:
        if skip:
            skip = False
        elif word in ("<", ">", ">>", "2>", "<<"):
            skip = True
        elif word and not word.strip("|&;"):
            if words:
                yield Command(tuple(words), line.strip(), shown)
            words = []
        elif words or not re.fullmatch(r"[A-Za-z_]\w*=.*", word):
            words.append(word)
