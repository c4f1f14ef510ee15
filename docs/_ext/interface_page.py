"""All that a store's author may import, from the docstrings of ``traefikhub.stores``."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from typing import Any, Final

from traefikhub import stores

_GROUPS: Final = ("Stores", "Values", "Errors", "Functions", "Constants and types")


def interface_page() -> str:
    """As Markdown, in which Sphinx's autodoc fills in each name."""
    parts: dict[str, list[str]] = {group: [] for group in _GROUPS}
    for name in sorted(stores.__all__, key=_depth):
        found = getattr(stores, name)
        group, directive = _kind_of(found)
        # The arguments of a store are those of traitlets.
        brackets = "()" if group == "Stores" else ""
        parts[group] += _entry(f"{name}{brackets}", directive, getattr(found, "_fields", ()))
    return "\n".join(line for group in _GROUPS for line in (f"## {group}\n", *parts[group]))


def _depth(name: str) -> int:
    """How far below ``object`` a class is: the one to inherit from, or to catch, comes first."""
    return len(getattr(getattr(stores, name), "__mro__", ()))


def _kind_of(found: Any) -> tuple[str, str]:
    if inspect.isclass(found):
        if issubclass(found, stores.RouteStore):
            return "Stores", "autoclass"
        if issubclass(found, Exception):
            return "Errors", "autoexception"
        return "Values", "autoclass"
    if inspect.isroutine(found):
        return "Functions", "autofunction"
    return "Constants and types", "autodata"


def _home_of(constant: str) -> str:
    """The module that defines a constant: autodoc finds what is said of it there alone."""
    modules = (name for name in sorted(sys.modules) if name.startswith(f"{stores.__name__}._"))
    assigned = re.compile(rf"^{constant}(: \w+)? = ", re.MULTILINE)
    return next(name for name in modules if assigned.search(inspect.getsource(sys.modules[name])))


def _entry(name: str, directive: str, fields: tuple[str, ...]) -> Iterator[str]:
    yield "```{eval-rst}"
    module = _home_of(name) if directive == "autodata" else stores.__name__
    yield f".. {directive}:: {module}.{name}"
    if directive in ("autoclass", "autoexception"):
        yield "   :members:"
        if fields:  # of a named tuple: told in its docstring, and noise beside that
            yield f"   :exclude-members: {', '.join(fields)}, __new__"
    yield "```\n"
