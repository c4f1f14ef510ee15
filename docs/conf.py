"""Sphinx's configuration. ``nox -s docs`` builds; a warning is an error.

The theme and the extensions are those of JupyterHub's own documentation. What would ask the network
is left out: neither the build nor a reader's browser needs one.
"""

from __future__ import annotations

import sys
from pathlib import Path

from traefikhub import __version__

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "traefikhub"
author = "The traefikhub developers"
copyright = author
version = release = __version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "myst_parser",
    "sphinx_copybutton",
    "sphinxext.opengraph",
    "jupyterhub_sphinx_theme",
    # of this project, in _ext
    "diagrams",
    "docstrings",
    "generated",
]
# Included by other pages, so no pages of their own.
exclude_patterns = ["_build", "_generated", "_diagrams", "benchmarks"]

myst_heading_anchors = 3
myst_fence_as_directive = ["mermaid"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 88
# By their names; in full they take three lines each time.
autodoc_type_aliases = {name: name for name in ("Document", "Records")}
napoleon_attr_annotations = False
add_module_names = False
napoleon_use_ivar = True

# A prompt, and what a command prints, are not copied.
copybutton_prompt_text = r"\$ |# (?=traefikhub )"
copybutton_prompt_is_regexp = True
copybutton_exclude = ".linenos, .gp, .go"

ogp_social_cards = {"enable": False}  # they would take matplotlib

html_theme = "jupyterhub_sphinx_theme"
html_title = f"traefikhub {release}"
html_logo = html_favicon = "_static/logo.svg"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {
    "logo": {"text": "traefikhub"},
    "navbar_align": "left",
    "header_links_before_dropdown": 5,
    "show_prev_next": True,
    "footer_start": ["copyright"],
    "footer_end": [],
}
# Pages that are no part of a longer list.
html_sidebars = {"index": [], "tutorial": []}
html_show_sourcelink = False

# ``nox -s docs -- --online`` asks for each of the links to other sites.
linkcheck_ignore = [
    r"https?://(localhost|127\.0\.0\.1|10\.|hub\.|[^/]*\bexample\.(org|com))",
]
linkcheck_anchors = False
