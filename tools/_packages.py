"""Debian's packages, downloaded and verified by apt, and unpacked into the project's ``.cache``.

Needs no root, and changes nothing of the system: apt gets directories of its own for all that it
writes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

__all__ = ["CACHE", "FetchError", "fetch_packages", "put_in_place", "run"]

CACHE: Final = Path(__file__).resolve().parent.parent / ".cache"


class FetchError(Exception):
    """No program could be brought; the message says why."""


def fetch_packages(
    target: Path,
    *packages: str,
    otherwise: str,
    finish: Callable[[Path], Path],
    with_needed: bool = False,
) -> None:
    """Download packages and unpack them into one directory.

    Args:
        target: below ``CACHE``.
        otherwise: what else will do, for the message.
        finish: does what is left in the directory; returns the program that must be there then.
        with_needed: also those that they need and this machine lacks.

    Raises:
        FetchError: this is no Debian, or they can't be downloaded.
    """
    for tool in ("apt-get", "dpkg-deb"):
        if not shutil.which(tool):
            raise FetchError(
                f"there is no {tool} here: this way of getting {target.name} needs a Debian "
                f"system. {otherwise}"
            )
    CACHE.mkdir(exist_ok=True)
    # Beside the target, so that a rename completes it: whoever looks sees all of it or nothing.
    with tempfile.TemporaryDirectory(dir=CACHE, prefix=f"{target.name}-fetch-") as scratch:
        work, unpacked = Path(scratch), Path(scratch) / "unpacked"
        for directory in ("state/lists/partial", "cache/archives/partial", "unpacked"):
            (work / directory).mkdir(parents=True)
        settings = work / "apt.conf"
        settings.write_text(
            # Nothing is installed, so that another apt may be at work.
            'Debug::NoLocking "true";\n'
            'APT::Install-Recommends "false";\n'
            f'Dir::State "{work}/state";\n'
            'Dir::State::Status "/var/lib/dpkg/status";\n'
            f'Dir::Cache "{work}/cache";\n'
            # The user apt would change to can't enter a private directory.
            'APT::Sandbox::User "root";\n'
            'Acquire::Languages "none";\n'
            'Acquire::Retries "2";\n'
            # The system's hooks would refresh its own caches.
            + "".join(
                f"#clear APT::Update::{hook};\n"
                for hook in ("Pre-Invoke", "Post-Invoke", "Post-Invoke-Success")
            )
        )
        environment = os.environ | {"APT_CONFIG": str(settings), "LC_ALL": "C"}
        run("apt-get", "update", "-q", env=environment, cwd=work)
        archives = work / "cache" / "archives"
        get = ("install", "-y", "--download-only") if with_needed else ("download",)
        run("apt-get", "-q", *get, *packages, env=environment, cwd=archives)
        for package in archives.glob("*.deb"):
            run("dpkg-deb", "-x", str(package), str(unpacked), env=environment, cwd=work)
        program = finish(unpacked).relative_to(unpacked)
        put_in_place(unpacked, target, program)


def put_in_place(unpacked: Path, target: Path, program: Path | str) -> None:
    """Give a directory its name, unless another run was faster."""
    try:
        unpacked.rename(target)
    except OSError:
        if not (target / program).exists():
            raise


def run(*command: str, env: dict[str, str], cwd: Path) -> None:
    """Run a command.

    Raises:
        FetchError: it failed; with what it said.
    """
    done = subprocess.run(
        command, env=env, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode:
        raise FetchError(
            f"{' '.join(command)} failed; is there a network?\n{done.stdout.strip()[-2000:]}"
        )
