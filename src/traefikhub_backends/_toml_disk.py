"""Replacing a file as a whole, so that a reader, or a crash, sees the old content or the new."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from traefikhub_backends._toml_text import TextError

__all__ = ["Directory", "Signature", "read_regular"]

_BUFFER: Final = 64 * 1024


class Signature(NamedTuple):
    """What tells one version of a file from another without reading it."""

    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> Signature:
        return cls(status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def read_regular(file: Path) -> tuple[Signature, bytes]:
    """A file, and its content. Waits for nobody: a pipe in its place would keep the Hub for ever,
    and a device give without end.

    Raises:
        TextError: it is no regular file.
        OSError: it can't be read.
    """
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(file))
        raise TextError(1, "it is no regular file")
    with open(descriptor, "rb") as stream:
        return Signature.of(status), stream.read()


class Directory:
    """Where ``file`` is, and where new versions of it are written before they are renamed.

    That is a directory beside it: on the same file system, but out of sight of a Traefik that
    watches the whole directory, which each step would make reload. Every method blocks.
    """

    def __init__(self, file: Path) -> None:
        self._path = str(file.parent)
        self._scratch = str(file.with_name(f".{file.name}.tmp"))
        # Another writer, of another process, may be at work in the same directory.
        self._temporary = os.path.join(self._scratch, secrets.token_hex(8))

    def replace(self, file: Path, pieces: Iterable[bytes]) -> Signature:
        """Durably replace a file, readable for its owner alone."""
        descriptor = self._create()
        try:
            # In large pieces: each call lets go of the interpreter, and none holds it for long.
            with os.fdopen(descriptor, "wb", buffering=_BUFFER) as stream:
                stream.writelines(pieces)
                stream.flush()
                os.fsync(descriptor)
                os.replace(self._temporary, file)
                status = os.fstat(descriptor)  # the renaming changes it
        except BaseException:
            with suppress(OSError):
                os.unlink(self._temporary)
            raise
        # Opened each time: it may be another one by now.
        directory = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
        return Signature.of(status)

    def _create(self) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            return os.open(self._temporary, flags, 0o600)
        except FileNotFoundError:
            with suppress(FileExistsError):
                os.mkdir(self._scratch, 0o700)
            return os.open(self._temporary, flags, 0o600)

    def clear(self) -> None:
        """Remove what a writer that was killed left. Only who may write now can tell."""
        shutil.rmtree(self._scratch, ignore_errors=True)

    def leave(self) -> None:
        """Remove the place for new versions, unless another writer is using it."""
        with suppress(OSError):
            os.rmdir(self._scratch)
