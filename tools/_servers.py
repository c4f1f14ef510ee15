"""A server that is one program of a Debian package of the same name."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Final

from _packages import CACHE, FetchError, fetch_packages, run

__all__ = ["bring"]

# In any place, with the libraries that came along.
_STARTER: Final = """\
#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
LD_LIBRARY_PATH=$(echo "$here"/usr/lib/*-linux-*) exec "$here/usr/sbin/{name}" "$@"
"""


def bring(name: str, *, otherwise: str, also: str = "") -> int:
    """Print where the program is, after fetching it if it isn't there; 1 if it can't be had.

    Args:
        otherwise: what else will do, for the message.
        also: a directory in which the tests look for it beside those on PATH.
    """
    if found := shutil.which(name) or (also and shutil.which(name, path=also)):
        sys.stdout.write(f"{found}\n")
        return 0
    target = CACHE / name

    def finish(unpacked: Path) -> Path:
        starter = unpacked / name
        starter.write_text(_STARTER.format(name=name))
        starter.chmod(0o755)
        run(str(starter), "-v", env=dict(os.environ), cwd=unpacked)
        return starter

    try:
        if not (target / name).exists():
            fetch_packages(target, name, otherwise=otherwise, finish=finish, with_needed=True)
    except FetchError as error:
        sys.stderr.write(f"fetch_{name}: {error}\n")
        return 1
    sys.stdout.write(f"{target / name}\n")
    return 0
