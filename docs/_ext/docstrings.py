"""Fields of a value that its docstring names, for autodoc: ``name: meaning``, a line each."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from sphinx.util.inspect import TypeAliasForwardRef

if TYPE_CHECKING:
    from sphinx.application import Sphinx

_FIELD: Final = re.compile(r"[a-z_]\w*(, [a-z_]\w*)*: ")


def with_attributes(lines: list[str]) -> list[str]:
    """Put the fields of a docstring below a heading that napoleon knows."""
    found: list[str] = []
    within = False
    for before, line in zip(["", *lines], lines, strict=False):
        if not within and not before and found and _FIELD.match(line):
            found.append("Attributes:")
            within = True
        elif within and not before and line and not _FIELD.match(line):
            within = False
        found.append(f"    {line}" if within and line else line)
    return found


def _process(app: Sphinx, what: str, name: str, found: Any, options: Any, lines: list[str]) -> None:
    if what == "class":
        lines[:] = with_attributes(lines)
    elif what in ("attribute", "data", "property"):
        lines.insert(0, "")  # napoleon takes what precedes a colon in the first line for a type


def setup(app: Sphinx) -> dict[str, bool]:
    """Before napoleon, whose priority is the usual 500."""
    app.connect("autodoc-process-docstring", _process, priority=400)
    # Within another type, Sphinx shows how an alias is made rather than its name.
    TypeAliasForwardRef.__repr__ = lambda alias: alias.name
    return {"parallel_read_safe": True, "parallel_write_safe": True}
