"""Where an archive comes from, a release page or a disk, and that it is the one that was meant."""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from traefikhub.install._archive import head_of
from traefikhub.install._download import (
    Missing,
    Patience,
    Report,
    download,
    no_room,
    read_text,
    shown,
)
from traefikhub.install._errors import InstallError
from traefikhub.install._releases import Platform, Project, checksum_in, checksum_of

__all__ = ["Verified", "from_disk", "from_page", "sha256_of"]

_CHUNK: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Verified:
    """An archive whose checksum is right.

    origin: the URL or path, as may be shown.
    sha256: what it is.
    vouched: who says so.
    """

    file: BinaryIO
    origin: str
    sha256: str
    vouched: str


@contextmanager
def from_page(
    project: Project,
    version: str,
    platform: Platform,
    *,
    base_url: str,
    sha256: str,
    patience: Patience,
    report: Report,
    say: Callable[[str], None],
) -> Iterator[Verified]:
    """Download from the release page, or a mirror of it.

    Args:
        sha256: what it must be; empty to ask the page.

    Raises:
        InstallError: it isn't there, or can't be had whole.
    """
    archive = project.archive_of(version, platform)
    folder = f"{base_url.rstrip('/')}/v{version}"
    checksums = project.checksums_of(version)
    if folder.startswith("http://") and not sha256:
        say(
            "Note: over http:// a checksum shows that the archive is whole, not whose it is; give "
            "--sha256 with the one of the release page"
        )
    try:
        expected = sha256 or _published(f"{folder}/{checksums}", archive, patience, say)
        vouched = "--sha256" if sha256 else checksums
        # A name of its own for each content: what was begun of another file is never gone on with.
        with _part_file(f"{expected[:16]}-{archive}.part") as file:
            url = f"{folder}/{archive}"
            _fetch(url, file, expected, vouched, patience, report, say)
            yield Verified(file, shown(url), expected, vouched)
            _empty(file)  # it has served its purpose; after an error it is there for the next try
    except Missing as error:
        raise InstallError(
            f"{error}. Check --version {version} (releases: {project.page}) and --base-url, below "
            f"which v{version}/{archive} and v{version}/{checksums} are expected; without the "
            "latter, give --sha256."
        ) from error


@contextmanager
def from_disk(project: Project, path: Path, *, sha256: str, report: Report) -> Iterator[Verified]:
    """An archive that was brought here by other means.

    Args:
        sha256: what it must be; empty to look for a file of checksums beside it.

    Raises:
        InstallError: it can't be read, nobody vouches for it, or it is another.
    """
    with _opened(path) as file:
        expected, vouched = (
            (sha256, "--sha256") if sha256 else _beside(project, Path(os.path.abspath(path)))
        )
        try:
            found = sha256_of(file, report)
            differs = "" if found == expected else _differs(file, found, expected, vouched)
        except OSError as error:
            raise InstallError(
                f"--from {path} can't be read: {error.strerror or error}."
            ) from error
        if differs:
            raise InstallError(
                f"{path}: {differs} It is damaged or another file; copy it again, and its "
                "checksums with it."
            )
        yield Verified(file, str(path), expected, vouched)


def _opened(path: Path) -> BinaryIO:
    """A plain file: a pipe would be waited for."""

    def without_waiting(name: str, flags: int) -> int:
        return os.open(name, flags | os.O_NONBLOCK)

    advice = "Give the archive as it was downloaded."
    try:
        file = open(path, "rb", opener=without_waiting)  # noqa: SIM115 (the caller closes it)
    except OSError as error:
        raise InstallError(
            f"--from {path} can't be read: {error.strerror or error}. {advice}"
        ) from error
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise InstallError(f"--from {path} is no plain file. {advice}")
    return file


def sha256_of(file: BinaryIO, report: Report) -> str:
    """Of everything in a file."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    digest = hashlib.sha256()
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
        report("Verify", file.tell(), size)
    return digest.hexdigest()


def _fetch(
    url: str,
    file: BinaryIO,
    expected: str,
    vouched: str,
    patience: Patience,
    report: Report,
    say: Callable[[str], None],
) -> None:
    while True:
        earlier = download(url, file, patience=patience, report=report, say=say)
        found = sha256_of(file, report)
        if found == expected:
            return
        differs = _differs(file, found, expected, vouched)
        _empty(file)
        if not earlier:
            raise InstallError(
                f"{shown(url)}: {differs} It was removed. Try again; if it stays so, don't trust "
                "this server: give another with --base-url."
            )
        say(f"{shown(url)}: what was here of an earlier download doesn't fit; beginning anew")


def _empty(file: BinaryIO) -> None:
    file.seek(0)
    file.truncate()


def _differs(file: BinaryIO, found: str, expected: str, vouched: str) -> str:
    file.seek(0)
    if file.read(64).lstrip().startswith(b"<"):
        return (
            f"that is a web page, not an archive (it begins with {head_of(file)}); a login or an "
            "error page of a proxy perhaps."
        )
    size = file.seek(0, os.SEEK_END)
    return f"wrong checksum: its SHA-256 is {found} ({size} bytes), {vouched} says {expected}."


def _published(url: str, archive: str, patience: Patience, say: Callable[[str], None]) -> str:
    text = read_text(url, patience=patience, say=say)
    try:
        found = checksum_in(text.splitlines(), archive)
    except ValueError as error:
        raise InstallError(f"{shown(url)}: {error}. Give --sha256.") from error
    if not found:
        page = " It is a web page." if text.lstrip().startswith("<") else ""
        raise InstallError(
            f"{shown(url)} has no checksum of {archive}.{page} Check --base-url, or give --sha256."
        )
    return found


def _beside(project: Project, path: Path) -> tuple[str, str]:
    """The checksum that a file beside an archive has for it, and the name of that file."""
    named = [f"{path.name}.sha256", "SHA256SUMS"]
    if version := project.version_in(path.name):
        named.insert(0, project.checksums_of(version))
    for name in dict.fromkeys(named):
        beside = path.with_name(name)
        if not beside.is_file():
            continue
        try:
            text = beside.read_text(encoding="utf-8", errors="replace")
            if found := checksum_in(text.splitlines(), path.name):
                return found, name
            if name.endswith(".sha256"):
                return checksum_of(text), name
        except (OSError, ValueError) as error:
            raise InstallError(f"{beside}: {error}. Give --sha256.") from error
    raise InstallError(
        f"nothing vouches for {path}: no checksum of it was given, and none is beside it (looked "
        f"in {', '.join(dict.fromkeys(named))}). Give --sha256 HEX, from the release page, or put "
        "the release's file of checksums beside it."
    )


@contextmanager
def _part_file(name: str) -> Iterator[BinaryIO]:
    """What is being downloaded. Stays if it isn't empty in the end."""
    with _directory() as directory:
        path = directory / name
        try:
            file = path.open("a+b", buffering=0)
        except OSError as error:
            raise InstallError(
                f"{no_room(error, str(path))}. Set XDG_CACHE_HOME to a directory of yours."
            ) from error
        with file:
            _lock(file, path)
            try:
                yield file
            finally:
                # What has begun stays for the next time to go on with.
                if not os.fstat(file.fileno()).st_size:
                    path.unlink(missing_ok=True)


def _lock(file: BinaryIO, path: Path) -> None:
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InstallError(
            f"another process downloads {path.name.removesuffix('.part')}. Wait until it is done."
        ) from None
    except OSError:
        pass  # a file system without locks


@contextmanager
def _directory() -> Iterator[Path]:
    """Where downloads are kept; a temporary one where the user has no such place."""
    if usual := _usual_directory():
        yield usual
    else:
        with tempfile.TemporaryDirectory(prefix="traefikhub-") as temporary:
            yield Path(temporary)


def _usual_directory() -> Path | None:
    below = "Library/Caches" if sys.platform == "darwin" else ".cache"
    try:
        directory = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / below) / "traefikhub"
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # such as a user without a home
        return None
    return directory if os.access(directory, os.W_OK | os.X_OK) else None
