"""Bring Debian's chromium for the tests: ``python tools/fetch_chromium.py``; prints where it is.

The one on PATH will do. Else apt finds out which packages it needs beside those of this machine,
downloads and verifies them, and they are unpacked into ``.cache/chromium`` of the project. Needs no
root, and changes nothing of the system: apt gets directories of its own for all that it writes.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Final

from _packages import CACHE, FetchError, fetch_packages, run

TARGET: Final = CACHE / "chromium"
STARTER: Final = TARGET / "chromium"

_STARTER: Final = """\
#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
export LD_LIBRARY_PATH="{libraries}"
# Where the machine has no fonts, they are among the packages.
[ -e /etc/fonts/fonts.conf ] || export FONTCONFIG_SYSROOT="$here"
exec "$here/usr/lib/chromium/chromium" "$@"
"""


def main() -> int:
    """Print the path of the program, after fetching it if there is none."""
    try:
        found = shutil.which("chromium") or STARTER
        if found == STARTER and not STARTER.exists():
            fetch()
    except FetchError as error:
        sys.stderr.write(f"fetch_chromium: {error}\n")
        return 1
    sys.stdout.write(f"{found}\n")
    return 0


def fetch() -> None:
    """Download and unpack the packages.

    Raises:
        FetchError: this is no Debian, or the package can't be downloaded.
    """

    def finish(unpacked: Path) -> Path:
        starter = unpacked / STARTER.name
        starter.write_text(_STARTER.format(libraries=_libraries(unpacked)))
        starter.chmod(0o755)
        run(str(starter), "--version", env=dict(os.environ), cwd=unpacked)
        return starter

    fetch_packages(
        TARGET,
        "chromium",
        otherwise="Any other chromium on PATH will do.",
        finish=finish,
        with_needed=True,
    )


def _libraries(unpacked: Path) -> str:
    """All directories of the packages that hold shared libraries, but chromium's own, below
    ``$here``. Some libraries know others by a path that is of the system."""
    found = {
        path.parent.relative_to(unpacked)
        for path in unpacked.glob("**/*.so*")
        if not path.is_relative_to(unpacked / "usr" / "lib" / "chromium")
    }
    return ":".join(f"$here/{directory}" for directory in sorted(found))


if __name__ == "__main__":
    sys.exit(main())
