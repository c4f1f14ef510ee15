"""The Hub's private directory: static configuration, password, log, and the lock that keeps a
second Hub out of it. Everything here blocks, for about a millisecond."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from traefikhub.traefik._errors import TraefikUnusable

__all__ = ["Openness", "RunDir", "openness", "require_appendable", "write_private"]

_SETTING: Final = "c.TraefikProxy.run_dir"
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


class RunDir:
    """A private directory, locked for as long as this process uses it.

    Args:
        path: made by ``acquire``, with mode 0700, if it is absent.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).expanduser().absolute()
        self._lock: int | None = None

    def acquire(self) -> None:
        """Make the directory and lock it.

        Raises:
            TraefikUnusable: it can't be made or written, others may write to it, or another live
                Hub uses it.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self.path.stat().st_mode & stat.S_IWOTH:
                raise TraefikUnusable(
                    f"the proxy's directory {self.path} may be written by everybody. Choose a "
                    f"private one ({_SETTING}), or change its mode to 0700."
                )
            # Not through a link: a file elsewhere would be emptied.
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            lock = os.open(self.path / "lock", flags, 0o600)
            self._lock = lock
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Its holder may have removed the file since it was opened here.
                if os.fstat(lock).st_ino != os.stat(self.path / "lock").st_ino:
                    raise BlockingIOError
            except (BlockingIOError, FileNotFoundError):
                holder = os.pread(lock, 40, 0).decode(errors="replace").strip() or "unknown"
                self._lock = None
                os.close(lock)
                raise TraefikUnusable(
                    f"another JupyterHub (process {holder}) uses {self.path}. Stop it, or give "
                    f"this one a directory of its own ({_SETTING})."
                ) from None
            os.truncate(lock, 0)
            os.pwrite(lock, str(os.getpid()).encode(), 0)
        except OSError as error:
            self.unlock()
            if error.errno == errno.ELOOP:
                raise TraefikUnusable(f"{self.path / 'lock'} is a link; remove it") from error
            raise TraefikUnusable(
                f"the proxy's directory {self.path} can't be used: {error.strerror}. Make it "
                f"writable for the Hub's user, with room on its disk, or set {_SETTING}."
            ) from error

    def close_to_others(self) -> str:
        """Take away what others may do in it, if nothing in it is meant for them.

        Returns:
            What to warn of if that can't be; empty if it is closed.
        """
        problem = openness(self.path)
        if problem is None:
            return ""
        if problem.closable:
            with suppress(OSError):
                self.path.chmod(0o700)
                return ""
        return f"{problem.found}: {problem.mend}"

    def unlock(self) -> None:
        """Let others use the directory. Idempotent."""
        lock, self._lock = self._lock, None
        if lock is not None:
            with suppress(FileNotFoundError):
                os.unlink(self.path / "lock")
            os.close(lock)

    def secret(self, name: str) -> str:
        """A random text of 256 bits, made once and kept in a file of this name. One that others
        could have read or written, as a backup may leave it, is not kept."""
        path = self.path / name
        try:
            with path.open() as stream:
                status = os.fstat(stream.fileno())
                private = status.st_uid == os.geteuid() and not status.st_mode & _OTHERS
                if private and (kept := stream.read().strip()):
                    return kept
        except FileNotFoundError:
            pass
        except (OSError, UnicodeError) as error:
            raise TraefikUnusable(f"{path} can't be read: {error} ({_SETTING})") from error
        made = secrets.token_hex(32)
        write_private(path, made + "\n")
        return made


class Openness(NamedTuple):
    """What others may do in a directory that should be private.

    closable: whether it may be closed to them, for nothing in it is meant for them.
    """

    found: str
    mend: str
    closable: bool


def openness(path: Path) -> Openness | None:
    """What others may do in the Hub's directory; None if nothing.

    Raises:
        OSError: it can't be looked at.
    """
    status = path.stat()
    another = f"choose another directory ({_SETTING})"
    if status.st_uid not in (os.geteuid(), 0):
        return Openness(
            f"the proxy's directory {path} belongs to the user {status.st_uid}, who can replace "
            "all that is in it, Traefik's configuration too",
            f"chown it to the Hub's user, or {another}",
            False,
        )
    if not status.st_mode & _OTHERS:
        return None
    exposed = _readable_inside(path)
    may = "see the names of files"
    if status.st_mode & stat.S_IWGRP:
        may = "replace the files"
    elif exposed:
        may = f"read {', '.join(exposed)}"
    return Openness(
        f"the proxy's directory {path} has mode {stat.S_IMODE(status.st_mode):04o}: others can "
        f"{may} in it",
        f"chmod 700 {path}, or {another}",
        status.st_uid == os.geteuid() and _is_private_inside(path),
    )


def _is_private_inside(path: Path) -> bool:
    """Whether others could not use what is in a directory, if they came into it."""
    try:
        with os.scandir(path) as entries:
            return not any(entry.stat(follow_symlinks=False).st_mode & _OTHERS for entry in entries)
    except OSError:
        return False  # what can't be seen may be meant for others


def _readable_inside(path: Path) -> list[str]:
    with suppress(OSError), os.scandir(path) as entries:
        return sorted(
            entry.name
            for entry in entries
            if entry.stat(follow_symlinks=False).st_mode & (stat.S_IRGRP | stat.S_IROTH)
        )
    return []


def write_private(path: Path, text: str, setting: str = _SETTING) -> None:
    """Replace a file that only its owner may read; ``setting`` decides where it is.

    Raises:
        TraefikUnusable: it can't be written.
    """
    temporary = ""
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "w") as stream:
            stream.write(text)
        os.replace(temporary, path)
    except OSError as error:
        with suppress(OSError):
            os.unlink(temporary)
        raise TraefikUnusable(f"{path} can't be written: {error.strerror} ({setting})") from error


def require_appendable(path: Path, setting: str) -> None:
    """Make a private file that can be written at its end, with its directory, or find it so:
    Traefik tells of one that can't in its own log only.

    Raises:
        TraefikUnusable: it can't be written.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise TraefikUnusable(f"{path} can't be written: {error.strerror} ({setting})") from error
