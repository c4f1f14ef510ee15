"""Pictures of pages of a built site: ``python tools/picture_docs.py docs/_build/html build/docs``.

Needs chromium; ``python tools/fetch_chromium.py`` brings it. Each page is there for light and dark.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from _packages import CACHE

_PAGES: Final = {
    "index": ("index.html", 1300),
    "diagram": ("route-becomes-live.html", 1500),
    "plots": ("benchmarks.html#new-routes", 2200),
    "options": ("reference-options.html", 1500),
}
"""By name of the picture, what it shows and how high it is."""

_WIDTH: Final = 1440
_SCHEMES: Final = {"light": "1", "dark": "0"}
"""As Blink counts what a reader prefers."""


def main(arguments: list[str]) -> int:
    """Take them all, and print where they are."""
    if len(arguments) != 2:
        sys.stderr.write("picture_docs: python tools/picture_docs.py SITE PICTURES\n")
        return 2
    site, target = (Path(argument).resolve() for argument in arguments)
    program = shutil.which("chromium") or shutil.which(CACHE / "chromium" / "chromium")
    if not program:
        sys.stderr.write("picture_docs: no chromium; get it: python tools/fetch_chromium.py\n")
        return 1
    target.mkdir(parents=True, exist_ok=True)
    for name, (page, height) in _PAGES.items():
        for scheme, number in _SCHEMES.items():
            picture = target / f"{name}-{scheme}.png"
            picture.unlink(missing_ok=True)
            take(program, f"{site.as_uri()}/{page}", picture, height, number)
            if not picture.exists():
                sys.stderr.write(f"picture_docs: chromium took no picture of {page}\n")
                return 1
            sys.stdout.write(f"{picture}\n")
    return 0


def take(program: str, url: str, picture: Path, height: int, scheme: str) -> None:
    """Let chromium, which has never been anywhere, look at one page."""
    with tempfile.TemporaryDirectory(prefix="picture-docs-") as directory:
        # A page that is opened at an anchor comes out blank, unless another one holds it.
        frame = Path(directory, "frame.html")
        style = f"border: 0; width: {_WIDTH}px; height: {height}px"
        frame.write_text(
            f'<body style="margin: 0"><iframe src="{url}" style="{style}"></iframe></body>'
        )
        subprocess.run(
            [
                *(program, "--headless", f"--screenshot={picture}"),
                f"--user-data-dir={directory}/profile",
                # The pages are our own, and a container may have no namespaces to give.
                *("--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--hide-scrollbars"),
                *("--no-first-run", "--no-proxy-server", "--disable-background-networking"),
                *(f"--window-size={_WIDTH},{height}", "--virtual-time-budget=3000"),
                *(f"--blink-settings=preferredColorScheme={scheme}", frame.as_uri()),
            ],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=120,
        )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
