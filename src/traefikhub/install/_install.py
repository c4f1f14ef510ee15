"""The whole way: from a wish to programs in a directory."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from traefikhub.install._download import Patience, Report
from traefikhub.install._errors import InstallError
from traefikhub.install._programs import (
    Staged,
    put_in_place,
    require_usable,
    staged,
    version_there,
)
from traefikhub.install._releases import Project, this_platform
from traefikhub.install._sources import Verified, from_disk, from_page

__all__ = ["Installed", "Place", "Wish", "beside_python", "install", "place_of"]


_PATIENT: Final = Patience()


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What to install.

    directory: absolute.
    version: empty for that of the archive, or else the project's default.
    base_url: of a mirror; empty for the project's own page.
    archive: on disk, instead of a download.
    sha256: of the archive; empty to go by what the project publishes.
    force: even if it is there already.
    """

    project: Project
    directory: Path
    version: str = ""
    base_url: str = ""
    archive: Path | None = None
    sha256: str = ""
    force: bool = False
    patience: Patience = _PATIENT

    @property
    def wanted(self) -> str:
        """The version, or nothing if only the archive knows."""
        if self.version:
            return self.version
        if self.archive:
            return self.project.version_in(self.archive.name)
        return self.project.version


@dataclass(frozen=True, kw_only=True)
class Installed:
    """What is there now.

    before: the version that was there, by name of the program; empty if there was none, or it
        didn't say.
    origin, sha256, vouched: of the archive; empty if all was there already.
    """

    version: str
    before: dict[str, str]
    changed: bool
    origin: str = ""
    sha256: str = ""
    vouched: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """Which program is run when it is called by its name.

    found: its path; empty if there is none.
    is_it: whether that is the one in question.
    """

    found: str
    is_it: bool


def install(wish: Wish, *, report: Report, say: Callable[[str], None]) -> Installed:
    """Bring programs into a directory, unless they are there.

    Args:
        report: is told of progress.
        say: is told what may interest a waiting person.

    Raises:
        InstallError: nothing was installed, and what was there is untouched.
    """
    programs = wish.project.programs
    before = {each.name: version_there(each, wish.directory) for each in programs}
    if wish.wanted and not wish.force and set(before.values()) == {wish.wanted}:
        return Installed(version=wish.wanted, before=before, changed=False)
    require_usable(wish.directory, programs)
    with (
        _archive(wish, report, say) as archive,
        staged(archive.file, programs, wish.directory, report) as new,
    ):
        version = _agreed(new, wish.wanted, archive.origin)
        put_in_place(new)
    return Installed(
        version=version,
        before=before,
        changed=True,
        origin=archive.origin,
        sha256=archive.sha256,
        vouched=archive.vouched,
    )


def beside_python() -> Path:
    """Where the proxy looks for Traefik when PATH has none."""
    return Path(sys.executable).parent


def place_of(name: str, installed: Path) -> Place:
    """Where the proxy finds a program: on PATH, else beside the running Python."""
    found = shutil.which(name) or shutil.which(name, path=str(beside_python())) or ""
    if not found:
        return Place("", False)
    return Place(os.path.abspath(found), os.path.samefile(found, installed))


@contextmanager
def _archive(wish: Wish, report: Report, say: Callable[[str], None]) -> Iterator[Verified]:
    if wish.archive:
        with from_disk(wish.project, wish.archive, sha256=wish.sha256, report=report) as found:
            yield found
        return
    with from_page(
        wish.project,
        wish.wanted,
        this_platform(),
        base_url=wish.base_url or wish.project.base_url,
        sha256=wish.sha256,
        patience=wish.patience,
        report=report,
        say=say,
    ) as found:
        yield found


def _agreed(new: list[Staged], wanted: str, origin: str) -> str:
    """The version of all of them.

    Raises:
        InstallError: they differ, or it is not the one that was asked for.
    """
    expected = wanted or new[0].version
    for each in new:
        if each.version != expected:
            raise InstallError(
                f"{origin} holds {each.program.name} {each.version}, not {expected}. Check "
                "--version and where the archive comes from."
            )
    return expected
