"""Sphinx's configuration. ``nox -s docs`` builds; a warning is an error."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pygments.lexers.special import TextLexer

from traefikhub import __version__

if TYPE_CHECKING:
    from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "traefikhub"
author = "The traefikhub developers"
copyright = author
version = release = __version__

extensions = ["myst_parser", "options_page"]
myst_heading_anchors = 3
# Included by configuration.md and benchmarks.md, so no pages of their own.
exclude_patterns = ["_build", "reference-options.md", "benchmarks"]

html_theme = "furo"
html_title = f"traefikhub {release}"


def setup(app: Sphinx) -> None:
    """Show diagrams as the text that they are; a code host's page draws them."""
    app.add_lexer("mermaid", TextLexer)
