"""The Hub's private directory: static configuration, password, log, and the lock that keeps a
second Hub out of it. Everything here blocks, for about a millisecond."""

from __future__ import annotations

import fcntl
import os
import secrets
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

from traefikhub.traefik._errors import TraefikUnusable

__all__ = ["RunDir"]

_SETTING: Final = "c.TraefikProxy.run_dir"


class RunDir:
    """A directory of mode 0700, locked for as long as this process uses it.

    Raises:
        TraefikUnusable: it can't be made or written, or another live Hub uses it.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).expanduser().absolute()
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.path.chmod(0o700)
            lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise TraefikUnusable(
                f"the proxy's directory {self.path} can't be used: {error.strerror}. Make it "
                f"writable for the Hub's user, or set {_SETTING}."
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Its holder may have removed the file since it was opened here.
            if os.fstat(lock).st_ino != os.stat(self.path / "lock").st_ino:
                raise FileNotFoundError
        except OSError as error:
            holder = os.pread(lock, 40, 0).decode(errors="replace").strip() or "unknown"
            os.close(lock)
            raise TraefikUnusable(
                f"another JupyterHub (process {holder}) uses {self.path}. Stop it, or give this "
                f"one a directory of its own ({_SETTING})."
            ) from error
        os.truncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)
        self._lock: int | None = lock

    def unlock(self) -> None:
        """Let others use the directory. Idempotent."""
        lock, self._lock = self._lock, None
        if lock is not None:
            with suppress(FileNotFoundError):
                os.unlink(self.path / "lock")
            os.close(lock)

    def secret(self, name: str) -> str:
        """A random text of 256 bits, made once and kept in a file of this name."""
        path = self.path / name
        try:
            if kept := path.read_text().strip():
                return kept
        except FileNotFoundError:
            pass
        except (OSError, UnicodeError) as error:
            raise TraefikUnusable(f"{path} can't be read: {error} ({_SETTING})") from error
        made = secrets.token_hex(32)
        write_private(path, made + "\n")
        return made


def write_private(path: Path, text: str) -> None:
    """Replace a file that only its owner may read.

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
        raise TraefikUnusable(f"{path} can't be written: {error.strerror} ({_SETTING})") from error
