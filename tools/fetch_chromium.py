"""Bring Debian's chromium for the tests: ``python tools/fetch_chromium.py``; prints where it is.

The one on PATH will do. Else apt finds out which packages it needs beside those of this machine,
downloads and verifies them, and they are unpacked into ``.cache/chromium`` of the project. Needs no
root, and changes nothing of the system: apt gets directories of its own for all that it writes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

TARGET: Final = Path(__file__).resolve().parent.parent / ".cache" / "chromium"
STARTER: Final = TARGET / "chromium"

_STARTER: Final = """\
#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
export LD_LIBRARY_PATH="{libraries}"
# Where the machine has no fonts, they are among the packages.
[ -e /etc/fonts/fonts.conf ] || export FONTCONFIG_SYSROOT="$here"
exec "$here/usr/lib/chromium/chromium" "$@"
"""


class FetchError(Exception):
    """No chromium could be brought; the message says why."""


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
        FetchError: this is no Debian, or they can't be downloaded.
    """
    for tool in ("apt-get", "dpkg-deb"):
        if not shutil.which(tool):
            raise FetchError(
                f"there is no {tool} here: this way of getting chromium needs a Debian system. Any "
                "other chromium on PATH will do."
            )
    TARGET.parent.mkdir(exist_ok=True)
    # Beside the target, so that a rename completes it: whoever looks sees all of it or nothing.
    with tempfile.TemporaryDirectory(dir=TARGET.parent, prefix="chromium-fetch-") as scratch:
        work, unpacked = Path(scratch), Path(scratch) / "unpacked"
        for directory in ("state/lists/partial", "cache/archives/partial", "unpacked"):
            (work / directory).mkdir(parents=True)
        settings = work / "apt.conf"
        settings.write_text(
            f'Dir::State "{work}/state";\n'
            'Dir::State::Status "/var/lib/dpkg/status";\n'
            f'Dir::Cache "{work}/cache";\n'
            # Nothing is installed, so that another apt may be at work.
            'Debug::NoLocking "true";\n'
            # The user apt would change to can't enter a private directory.
            'APT::Sandbox::User "root";\n'
            'APT::Install-Recommends "false";\n'
            'Acquire::Languages "none";\n'
            'Acquire::Retries "2";\n'
            # The system's hooks would refresh its own caches.
            + "".join(
                f"#clear APT::Update::{hook};\n"
                for hook in ("Pre-Invoke", "Post-Invoke", "Post-Invoke-Success")
            )
        )
        environment = os.environ | {"APT_CONFIG": str(settings), "LC_ALL": "C"}
        _run("apt-get", "update", "-q", env=environment)
        _run("apt-get", "install", "-q", "-y", "--download-only", "chromium", env=environment)
        for package in (work / "cache" / "archives").glob("*.deb"):
            _run("dpkg-deb", "-x", str(package), str(unpacked), env=environment)
        starter = unpacked / STARTER.name
        starter.write_text(_STARTER.format(libraries=_libraries(unpacked)))
        starter.chmod(0o755)
        _run(str(starter), "--version", env=environment)
        try:
            unpacked.rename(TARGET)
        except OSError:
            if not STARTER.exists():  # else another run was faster
                raise


def _libraries(unpacked: Path) -> str:
    """All directories of the packages that hold shared libraries, but chromium's own, below
    ``$here``. Some libraries know others by a path that is of the system."""
    found = {
        path.parent.relative_to(unpacked)
        for path in unpacked.glob("**/*.so*")
        if not path.is_relative_to(unpacked / "usr" / "lib" / "chromium")
    }
    return ":".join(f"$here/{directory}" for directory in sorted(found))


def _run(*command: str, env: dict[str, str]) -> None:
    done = subprocess.run(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode:
        raise FetchError(
            f"{' '.join(command)} failed; is there a network, and has this Debian a chromium?\n"
            f"{done.stdout.strip()[-2000:]}"
        )


if __name__ == "__main__":
    sys.exit(main())
