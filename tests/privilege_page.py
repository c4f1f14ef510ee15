"""The page about least privilege: its commands and units, as a reader would take them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

__all__ = ["SYSTEMD", "commands_of"]

_DOCS: Final = Path(__file__).parents[1] / "docs"

SYSTEMD: Final = _DOCS / "systemd"
"""The directory of the units."""


def commands_of(section: str) -> str:
    """The commands below a heading of ``docs/least-privilege.md``."""
    text = (_DOCS / "least-privilege.md").read_text(encoding="utf-8")
    (below,) = re.findall(rf"^## {re.escape(section)}\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    (block,) = re.findall(r"^```bash\n(.*?)^```", below, re.M | re.S)
    return str(block)
