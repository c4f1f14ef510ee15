"""Draw mermaid diagrams while the site is built.

A code host draws the same text on its own page; a reader of the site gets a picture, and no script.
There are two pictures of each, for a light page and a dark one.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import mermaidx
from docutils import nodes
from sphinx.util.docutils import SphinxDirective

if TYPE_CHECKING:
    from sphinx.application import Sphinx

DIRECTORY: Final = "_diagrams"
"""Below the pages; made anew by each build, not kept."""

_FONT: Final = "system-ui, 'Segoe UI', 'DejaVu Sans', Arial, sans-serif"
_LOOKS: Final = {
    "light": {
        **{"background": "#ffffff", "primaryColor": "#f3f4f5", "primaryTextColor": "#222832"},
        **{"primaryBorderColor": "#8a949e", "lineColor": "#48566b", "textColor": "#222832"},
        **{"secondaryColor": "#fdf0e6", "tertiaryColor": "#fafbfc", "noteBkgColor": "#fdf0e6"},
        **{"noteTextColor": "#222832", "noteBorderColor": "#f37726"},
        **{"edgeLabelBackground": "#ffffff", "clusterBkg": "#fafbfc", "clusterBorder": "#c9ced4"},
    },
    "dark": {
        **{"background": "#14181e", "primaryColor": "#29313d", "primaryTextColor": "#ced6dd"},
        **{"primaryBorderColor": "#6d7a8a", "lineColor": "#9ca4af", "textColor": "#ced6dd"},
        **{"secondaryColor": "#3d2c1f", "tertiaryColor": "#1c222b", "noteBkgColor": "#3d2c1f"},
        **{"noteTextColor": "#ced6dd", "noteBorderColor": "#f37726"},
        **{"edgeLabelBackground": "#14181e", "clusterBkg": "#1c222b", "clusterBorder": "#48566b"},
        "darkMode": True,
    },
}
"""Mermaid's colours that go with the theme's, light and dark."""

_ALT: Final = re.compile(r"^\s*accDescr\s*:\s*(.+)$|^\s*accDescr\s*\{(.+?)\}", re.M | re.S)
_TITLE: Final = re.compile(r"^\s*accTitle\s*:\s*(.+)$", re.M)


class Mermaid(SphinxDirective):
    """A block ```` ```mermaid ````. What it shows in words, for who can't see it, is mermaid's own
    ``accTitle`` and ``accDescr``."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """Two images, of which the theme shows the one that suits the page."""
        source = "\n".join(self.content)
        try:
            drawn = {look: draw(source, look) for look in _LOOKS}
        except Exception as error:  # whatever the library raises, it is about this text
            raise self.error(f"mermaid can't draw this: {error}") from None
        figure = nodes.container(classes=["diagram"], is_div=False)
        name = hashlib.sha256(source.encode()).hexdigest()[:16]
        for look, svg in drawn.items():
            file = Path(self.env.srcdir, DIRECTORY, f"{name}-{look}.svg")
            if not file.exists() or file.read_text(encoding="utf-8") != svg:
                file.parent.mkdir(exist_ok=True)
                file.write_text(svg, encoding="utf-8")
            figure += nodes.image(
                uri=f"/{DIRECTORY}/{file.name}",
                alt=words_of(source),
                classes=["diagram", f"only-{look}"],
            )
        self.set_source_info(figure)
        return [figure]


def draw(source: str, look: str) -> str:
    """The picture as SVG.

    Args:
        look: ``light`` or ``dark``.
    """
    config = {
        "fontFamily": _FONT,
        "themeVariables": {**_LOOKS[look], "fontFamily": _FONT, "fontSize": "16px"},
        # As wide as a page's text, so that words are not made smaller.
        "sequence": {"mirrorActors": False, "wrap": True, "width": 130, "actorMargin": 70},
    }
    svg: str = mermaidx.render(source, theme="base", config=config).svg()
    return _with_size(svg)


def words_of(source: str) -> str:
    """For who can't see the picture."""
    title, text = _TITLE.search(source), _ALT.search(source)
    said = [title[1]] if title else []
    said += [text[1] or text[2]] if text else []
    return " ".join(" ".join(said).split()) or "diagram"


def _with_size(svg: str) -> str:
    """An image whose width is 100 % of nothing has none: name the size that it was drawn in."""
    found = re.search(r'viewBox="\S+ \S+ (\S+) (\S+)"', svg)
    assert found, "mermaid names the size of what it has drawn"
    width, height = (round(float(number)) for number in found.groups())
    return svg.replace('width="100%"', f'width="{width}" height="{height}"', 1)


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_directive("mermaid", Mermaid)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
