"""Bring pebble, Let's Encrypt's ACME server for tests: ``python tools/fetch_pebble.py``; prints the
directory of the programs ``pebble`` and ``pebble-challtestsrv``.

Those on PATH will do. Else apt downloads Debian's package, verifies it, and it is unpacked into
``.cache/pebble`` of the project.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Final

from _packages import CACHE, FetchError, fetch_packages

TARGET: Final = CACHE / "pebble"
PROGRAMS: Final = TARGET / "usr" / "bin"


def main() -> int:
    """Print where the programs are, after fetching them if they aren't there."""
    found = shutil.which("pebble")
    if found and shutil.which("pebble-challtestsrv"):
        sys.stdout.write(f"{Path(found).parent}\n")
        return 0
    try:
        if not PROGRAMS.exists():
            fetch_packages(
                TARGET,
                "pebble",
                otherwise="Any pebble (2.4 or later), with pebble-challtestsrv, on PATH will do.",
                finish=lambda unpacked: unpacked / "usr" / "bin" / "pebble",
            )
    except FetchError as error:
        sys.stderr.write(f"fetch_pebble: {error}\n")
        return 1
    sys.stdout.write(f"{PROGRAMS}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
