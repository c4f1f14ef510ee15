"""Write what the reference pages include, out of the code, at each build; so it can't go stale."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from command_page import command_page
from interface_page import interface_page
from metrics_page import metrics_page
from options_page import options_page
from promises_page import promises_page

if TYPE_CHECKING:
    from sphinx.application import Sphinx

DIRECTORY: Final = "_generated"
"""Below the pages; not kept."""

PAGES: Final[dict[str, Callable[[], str]]] = {
    "command": command_page,
    "interface": interface_page,
    "metrics": metrics_page,
    "options": options_page,
    "promises": promises_page,
}
"""By name of what ``reference-NAME.md`` includes."""


def _write(app: Sphinx) -> None:
    for name, make in PAGES.items():
        page, text = Path(app.srcdir, DIRECTORY, f"{name}.md"), make()
        # Sphinx reads again what is newer than its last build.
        if not page.exists() or page.read_text(encoding="utf-8") != text:
            page.parent.mkdir(exist_ok=True)
            page.write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Run before Sphinx looks for pages."""
    app.connect("builder-inited", _write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
