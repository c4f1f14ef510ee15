"""Take programs out of an archive: nothing else, and from nowhere else than where they belong."""

from __future__ import annotations

import gzip
import stat
import tarfile
import zipfile
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO, BinaryIO, Final

from traefikhub.install._errors import InstallError

__all__ = ["head_of", "unpack"]

_CHUNK: Final = 1024 * 1024
_DEEP: Final = 2
"""Components of a program's path: ``traefik``, ``etcd-v3.6.16-linux-amd64/etcd``."""

_HUGE: Final = 2 * 1024**3
"""Bytes that no program has."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """Something in an archive. plain: a file, neither a directory nor a link."""

    path: PurePosixPath
    plain: bool
    size: int
    open: Callable[[], IO[bytes]]


def unpack(
    file: BinaryIO, programs: Collection[str], take: Callable[[str, IO[bytes], int], None]
) -> None:
    """Hand each program to ``take``: its name, what it is made of, and how many bytes.

    It is called before the rest of the archive has been looked at, so what it took counts only
    when this has returned.

    Raises:
        InstallError: the archive is damaged, lacks a program, or holds what it should not.
    """
    missing = set(programs)
    try:
        for entry in _entries(file):
            if entry.path.is_absolute() or ".." in entry.path.parts:
                raise InstallError(
                    f"the archive holds a path that leads out of it, {str(entry.path)!r}; nobody "
                    "packs a release like that. Get the archive from the project's own page."
                )
            name = entry.path.name
            if name not in programs or len(entry.path.parts) > _DEEP:
                continue
            if entry.path.parts == (name,) and not entry.plain and entry.size == _DIRECTORY:
                continue  # the directory that everything is in
            _require_program(entry, name, missing)
            missing.remove(name)
            with entry.open() as content:
                take(name, content, entry.size)
    except InstallError:
        raise
    # What they raise for a damaged file has no root: OSError, zlib.error, LZMAError, ValueError for
    # a header of tar, RuntimeError for a zip that is encrypted, and so on.
    except Exception as error:
        raise InstallError(
            f"the archive is damaged ({str(error) or type(error).__name__}). Download it again."
        ) from error
    if missing:
        raise InstallError(
            f"the archive lacks {' and '.join(sorted(missing))}. Is it a release for this system, "
            "not the sources or another program?"
        )


def _require_program(entry: _Entry, name: str, missing: set[str]) -> None:
    if not entry.plain:
        raise InstallError(
            f"{str(entry.path)!r} of the archive is a link or a directory, not a program. Get the "
            "archive from the project's own page."
        )
    if name not in missing:
        raise InstallError(f"the archive holds {name} twice. Get it from the project's own page.")
    if entry.size > _HUGE:
        raise InstallError(f"{name} of the archive claims {entry.size} bytes; that is no program.")


def head_of(file: BinaryIO) -> str:
    """The first few characters, as a message may show them."""
    file.seek(0)
    head = file.read(40)
    file.seek(0)
    return repr(head.decode("utf-8", errors="backslashreplace"))


_DIRECTORY: Final = -1
"""As the size of an entry."""


def _entries(file: BinaryIO) -> Iterator[_Entry]:
    file.seek(0)
    head = file.read(4)
    if head[:2] == b"\x1f\x8b":
        return _tar_entries(file)
    if head == b"PK\x03\x04":
        return _zip_entries(file)
    raise InstallError(
        f"that is neither a tar.gz nor a zip; it begins with {head_of(file)}. Download the archive "
        "again."
    )


def _tar_entries(file: BinaryIO) -> Iterator[_Entry]:
    file.seek(0)
    with (
        gzip.GzipFile(fileobj=file, mode="rb") as plain,
        tarfile.open(fileobj=plain, mode="r:") as tar,
    ):
        for each in tar:

            def content(member: tarfile.TarInfo = each) -> IO[bytes]:
                found = tar.extractfile(member)
                assert found is not None  # as it is for every plain file
                return found

            size = _DIRECTORY if each.isdir() else each.size
            yield _Entry(PurePosixPath(each.name), each.isreg(), size, content)
        while plain.read(_CHUNK):
            pass  # up to the end, where gzip compares its own checksum


def _zip_entries(file: BinaryIO) -> Iterator[_Entry]:
    file.seek(0)
    with zipfile.ZipFile(file) as packed:
        for each in packed.infolist():

            def content(member: zipfile.ZipInfo = each) -> IO[bytes]:
                return packed.open(member)

            kind = stat.S_IFMT(each.external_attr >> 16)
            plain = kind in (0, stat.S_IFREG) and not each.is_dir()
            size = _DIRECTORY if each.is_dir() else each.file_size
            yield _Entry(PurePosixPath(each.filename), plain, size, content)
