"""What commands show: tables for people, JSON for scripts, notes on standard error."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any, Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

__all__ = [
    "printable",
    "progress_bar",
    "show_json",
    "show_table",
    "show_text",
    "tell",
    "without_passwords",
]

_WIDE: Final = 10_000
"""Columns where no terminal says how many it has: nothing is cut in a file or a pipe."""


def printable(value: object) -> str:
    """A text without what a terminal would obey."""
    text = without_passwords(str(value))
    return "".join(
        each if each.isprintable() or each == "\n" else ascii(each)[1:-1] for each in text
    )


def without_passwords(text: str) -> str:
    """A text without what stands before the ``@`` of a URL."""
    return re.sub(r"//[^/@\s'\"]*@", "//***@", text)


def show_table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str = ""
) -> None:
    """A table on standard output. A cell may be a ``Text`` with a style."""
    table = Table(
        title=printable(title) or None,
        title_justify="left",
        title_style="bold",
        show_header=any(columns),
    )
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(x if isinstance(x, Text) else Text(printable(x)) for x in row))
    _console().print(table)


def show_text(text: str, *, style: str = "") -> None:
    """A text on standard output, as it is but for what a terminal would obey."""
    _console().print(Text(printable(text), style=style), soft_wrap=True)


def show_json(value: Any) -> None:
    """A document on standard output."""
    print(json.dumps(value, indent=2), flush=True)


def tell(text: str) -> None:
    """A note on standard error."""
    print(printable(text), file=sys.stderr, flush=True)


def progress_bar() -> Progress:
    """A bar on standard error, for what takes long; nothing is drawn where that is no terminal.

    Use it as a context manager, with ``add_task(description, total=…)`` and ``advance(task)``.
    """
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
    )


def _console() -> Console:
    return Console(
        markup=False, highlight=False, width=None if sys.stdout.isatty() else _WIDE, emoji=False
    )
