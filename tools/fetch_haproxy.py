"""Bring HAProxy for the example with many replicas: ``python tools/fetch_haproxy.py``; prints where
it is.

The one on PATH will do. Else apt downloads Debian's package and what it needs, verifies them, and
they are unpacked into ``.cache/haproxy`` of the project.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Final

from _packages import CACHE, FetchError, fetch_packages, run

TARGET: Final = CACHE / "haproxy"
PROGRAM: Final = TARGET / "haproxy"

# In any place, with the libraries that came along.
_STARTER: Final = """\
#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
LD_LIBRARY_PATH=$(echo "$here"/usr/lib/*-linux-*) exec "$here/usr/sbin/haproxy" "$@"
"""


def main() -> int:
    """Print where the program is, after fetching it if it isn't there."""
    if found := shutil.which("haproxy"):
        sys.stdout.write(f"{found}\n")
        return 0
    try:
        if not PROGRAM.exists():
            fetch()
    except FetchError as error:
        sys.stderr.write(f"fetch_haproxy: {error}\n")
        return 1
    sys.stdout.write(f"{PROGRAM}\n")
    return 0


def fetch() -> None:
    """Download and unpack Debian's packages.

    Raises:
        FetchError: this is no Debian, or they can't be downloaded.
    """

    def finish(unpacked: Path) -> Path:
        starter = unpacked / PROGRAM.name
        starter.write_text(_STARTER)
        starter.chmod(0o755)
        run(str(starter), "-v", env=dict(os.environ), cwd=unpacked)
        return starter

    fetch_packages(
        TARGET,
        "haproxy",
        otherwise="Any other HAProxy (2.4 or later) on PATH will do.",
        finish=finish,
        with_needed=True,
    )


if __name__ == "__main__":
    sys.exit(main())
