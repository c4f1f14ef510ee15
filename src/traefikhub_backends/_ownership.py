"""Who may write a file: the owner's token in a lock file beside it.

Every write holds the lock file's ``flock`` and finds its own token there; taking over replaces the
token, so that an earlier owner notices before its next write.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from traefikhub.stores import FencedError, StoreUnavailable

__all__ = ["Ownership"]


class Ownership:
    """One claim to write ``file``. Every method blocks.

    Args:
        file: what is owned; the lock file is ``file`` with ``.lock`` appended.
        timeout: seconds to wait for a lock that another process holds.
    """

    def __init__(self, file: Path, timeout: float) -> None:
        self._file = file
        self._lock_file = file.with_name(file.name + ".lock")
        self._timeout = timeout
        self._token = ""  # nosec B105 # none yet
        self._seen: int | None = None  # keeps the lock file with the token readable when removed

    @contextmanager
    def taking_over(self) -> Iterator[None]:
        """Hold the lock; become the owner when the block ends well."""
        token = f"{secrets.token_hex(16)} pid {os.getpid()}"
        with self._locked() as descriptor:
            try:
                yield
            except BaseException:
                if not _token_in(descriptor):
                    os.unlink(self._lock_file)  # it is of this call's making
                raise
            os.truncate(descriptor, 0)
            os.pwrite(descriptor, token.encode(), 0)
            self._hold_on()
        self._token = token

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock as the owner.

        Raises:
            FencedError: another has taken over.
            StoreUnavailable: the lock is held by another process for too long.
        """
        with self._locked() as descriptor:
            self._check(descriptor)
            yield

    def let_go(self) -> None:
        """Remove the lock file if it is still this owner's."""
        token, self._token = self._token, ""
        seen, self._seen = self._seen, None
        if seen is not None:
            os.close(seen)
        if token:
            with suppress(FileNotFoundError), self._locked() as descriptor:
                if _token_in(descriptor) in (token, ""):
                    os.unlink(self._lock_file)

    @contextmanager
    def _locked(self) -> Iterator[int]:
        deadline = time.monotonic() + self._timeout
        while True:
            descriptor = os.open(self._lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                if self._try_lock(descriptor):
                    yield descriptor
                    return
            finally:
                os.close(descriptor)
            if time.monotonic() > deadline:
                raise StoreUnavailable(
                    f"{self._lock_file} has been locked by another process for {self._timeout:g} s"
                    f" (c.TomlFileStore.timeout); is it stuck?"
                )
            time.sleep(0.005)

    def _try_lock(self, descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Its owner may have removed the file since it was opened here.
            return os.fstat(descriptor).st_ino == os.stat(self._lock_file).st_ino
        except (BlockingIOError, FileNotFoundError):
            return False

    def _check(self, descriptor: int) -> None:
        found = _token_in(descriptor)
        if found == self._token:
            return
        if not found and self._seen is not None:
            found = _token_in(self._seen)
        if found not in ("", self._token):
            raise FencedError(
                f"another writer ({found.partition(' ')[2] or 'unknown'}) has taken over "
                f"{self._file}; this one writes no more. Run one Hub for each file "
                "(c.TomlFileStore.path)."
            )
        os.pwrite(descriptor, self._token.encode(), 0)  # removed by hand: nobody took over
        self._hold_on()

    def _hold_on(self) -> None:
        """Who takes over writes a token into the lock file, and removes it at the end."""
        if self._seen is not None:
            os.close(self._seen)
        # Not a duplicate of the locked descriptor, which would keep the lock.
        self._seen = os.open(self._lock_file, os.O_RDONLY | os.O_CLOEXEC)


def _token_in(descriptor: int) -> str:
    return os.pread(descriptor, 200, 0).decode(errors="replace")
