"""Programs in a directory: what is there, and replacing it all at once or not at all."""

from __future__ import annotations

import errno
import os
import platform
import re
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, Final

from traefikhub.install._archive import unpack
from traefikhub.install._download import Report, no_room
from traefikhub.install._errors import InstallError
from traefikhub.install._releases import Program

__all__ = ["Staged", "put_in_place", "require_usable", "staged", "version_there"]

_CHUNK: Final = 1024 * 1024
_STALE: Final = 3600
"""Seconds after which a file that nobody writes to is what a killed process left."""

_PATIENCE: Final = 60
"""Seconds for a program to say its version. macOS looks a new one over first."""


@dataclass(frozen=True, slots=True)
class Staged:
    """A program that runs here, beside the place it is for."""

    program: Program
    path: Path
    target: Path
    version: str


def require_usable(directory: Path, programs: Sequence[Program]) -> None:
    """See whether programs can be put there, before anything long is begun.

    Raises:
        InstallError: they can't.
    """
    existing = directory
    while not os.path.lexists(existing) and existing != existing.parent:
        existing = existing.parent
    if not existing.is_dir():
        what = "a file, not a directory"
        if existing.is_symlink() and not existing.exists():
            what = f"a link to {os.readlink(existing)}, which doesn't exist"
        raise InstallError(f"{existing} is {what}. Move it away, or give another --output DIR.")
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise InstallError(_unwritable(existing, error)) from error
    for each in programs:
        if (directory / each.name).is_dir():
            raise InstallError(
                f"{directory / each.name} is a directory, where the program is to be. Move it "
                "away, or give another --output DIR."
            )


def version_there(program: Program, directory: Path) -> str:
    """The version of a program in a directory; nothing if there is none, or another."""
    path = directory / program.name
    if not os.access(path, os.X_OK):
        return ""
    with suppress(InstallError):
        return _version_of(program, path)
    return ""


@contextmanager
def staged(
    archive: BinaryIO, programs: Sequence[Program], directory: Path, report: Report
) -> Iterator[list[Staged]]:
    """Unpack programs into a directory under names of no consequence, and see that they run.

    The directory is made if need be. What has not been put in place is removed in the end.

    Raises:
        InstallError: see the text.
    """
    with ExitStack() as stack:
        stack.enter_context(_made(directory))
        _remove_stale(directory, programs)
        paths: dict[str, Path] = {}

        def take(name: str, content: IO[bytes], size: int) -> None:
            paths[name] = stack.enter_context(_temporary(directory, name))
            _write(paths[name], name, content, size, report)

        by_name = {each.name: each for each in programs}
        unpack(archive, by_name, take)
        yield [
            Staged(each, paths[name], directory / name, _version_of(each, paths[name], "unpacked"))
            for name, each in by_name.items()
        ]


def put_in_place(new: Sequence[Staged]) -> None:
    """Rename each over what is there: a program that runs goes on with the old file.

    Raises:
        InstallError: one can't be; then all is as it was.
    """
    aside: list[tuple[Path, Path | None]] = []
    try:
        for each in new:
            if each is not new[-1]:  # after the last nothing can fail
                aside.append((each.target, _second_name(each.target)))
            os.replace(each.path, each.target)
    except BaseException as error:  # a Ctrl-C as well
        for target, old in reversed(aside):
            with suppress(OSError):
                if old:
                    os.replace(old, target)
                else:
                    target.unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        raise InstallError(
            f"{each.target} can't be replaced: {error.strerror or error}. Move it away, or give "
            "another --output DIR."
        ) from error
    finally:
        for _, old in aside:
            if old:
                old.unlink(missing_ok=True)


def _second_name(path: Path) -> Path | None:
    """Another name for what is there, by which it can be brought back; none for nothing."""
    if not os.path.lexists(path):
        return None
    # Its end is another: it may become the only one, and is never taken for stale.
    with _temporary(path.parent, path.name, ".old") as second:
        pass
    try:
        os.link(path, second, follow_symlinks=False)
    except OSError:  # a file system without hard links, or somebody else's file
        path.rename(second)
    return second


@contextmanager
def _made(directory: Path) -> Iterator[None]:
    """Make a directory, and remove it again if it stays empty."""
    missing = [each for each in (directory, *directory.parents) if not os.path.lexists(each)]
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InstallError(_unwritable(directory, error)) from error
    try:
        yield
    finally:
        for each in missing:
            with suppress(OSError):
                each.rmdir()


@contextmanager
def _temporary(directory: Path, name: str, suffix: str = ".new") -> Iterator[Path]:
    """An empty file that only its user may read; removed in the end, if it is still there."""
    try:
        handle, path = tempfile.mkstemp(prefix=f".{name}.", suffix=suffix, dir=directory)
    except OSError as error:
        raise InstallError(_unwritable(directory, error)) from error
    os.close(handle)
    try:
        yield Path(path)
    finally:
        Path(path).unlink(missing_ok=True)


def _remove_stale(directory: Path, programs: Sequence[Program]) -> None:
    """Remove what processes that were killed have left of these programs."""
    names = "|".join(re.escape(each.name) for each in programs)
    with suppress(OSError):
        for path in directory.iterdir():
            if re.fullmatch(rf"\.({names})\.\w{{8}}\.new", path.name):
                found = path.lstat()
                if stat.S_ISREG(found.st_mode) and time.time() - found.st_mtime > _STALE:
                    path.unlink()


def _write(path: Path, name: str, content: IO[bytes], size: int, report: Report) -> None:
    """Fill a file and make it executable."""
    done = 0
    # Without a buffer, or else what doesn't fit would come up again on closing.
    with path.open("wb", buffering=0) as file:
        while chunk := content.read(_CHUNK):
            try:
                rest = memoryview(chunk)
                while rest:
                    rest = rest[file.write(rest) :]
            except OSError as error:
                raise InstallError(
                    f"{no_room(error, str(path.parent))} ({name} has {size} bytes)."
                ) from error
            done += len(chunk)
            report(f"Unpack {name}", done, size)
        try:
            os.fchmod(file.fileno(), 0o755)  # nosec B103 # a program, for all to run
            os.fsync(file.fileno())
        except OSError as error:
            raise InstallError(f"{no_room(error, str(path.parent))}.") from error


def _version_of(program: Program, path: Path, about: str = "") -> str:
    """Run a program.

    Args:
        about: what else to call it in an error.

    Raises:
        InstallError: it doesn't run here, or isn't that program.
    """
    what = f"{program.name} as {about}" if about else str(path)
    here = f"{platform.system()} on {platform.machine()}"
    try:
        ended = subprocess.run(  # nosec B603 # what the admin asked for
            [path, program.ask],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise InstallError(f"{what} didn't say its version within {_PATIENCE} s.") from error
    except OSError as error:
        if error.errno == errno.EACCES:
            raise InstallError(
                f"programs in {path.parent} may not be run (is it mounted with noexec?). Give "
                "another --output DIR."
            ) from error
        raise InstallError(
            f"{what} doesn't run here, {here}: {error.strerror or error}. It is for another "
            "system or processor; get the archive for this one."
        ) from error
    if found := program.version_in(ended.stdout):
        return found
    said = (ended.stdout + ended.stderr).strip()[-300:]
    raise InstallError(
        f"{what} doesn't answer as {program.name} does when asked for its version (exit code "
        f"{ended.returncode}; it said {said!r}). Is it for this system, {here}?"
    )


def _unwritable(directory: Path, error: OSError) -> str:
    return (
        f"{no_room(error, str(directory))}. Run this as a user who may, or give another "
        "--output DIR."
    )
