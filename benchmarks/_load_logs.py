"""What the logs complain of."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Final

__all__ = ["warnings_in"]

_WARNING: Final = re.compile(r"^\S+ \S+ (?:WARNING|ERROR|CRITICAL) (.*)|^\S+ (?:WRN|ERR|FTL) (.*)")
_COLOURS: Final = re.compile(r"\x1b\[\d*m")
_VARIABLE: Final = re.compile(r"/user/\w+|\b(?:\d+\.){3}\d+(?::\d+)?|\b[bg]_\w+|0x\w+|\d+")


def warnings_in(*logs: Path) -> Counter[str]:
    """The lines at WARNING and above, with … for what differs from one to the next."""
    found: Counter[str] = Counter()
    for log in logs:
        for line in log.read_text(errors="replace").splitlines():
            if match := _WARNING.match(_COLOURS.sub("", line)):
                text = _VARIABLE.sub("…", match[1] or match[2])
                found[f"{log.stem}: {text[:200]}"] += 1
    return found
