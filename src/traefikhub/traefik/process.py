"""One running Traefik: start it, find it again after a restart of the Hub, end it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import anyio

from traefikhub.traefik._errors import TraefikExited, TraefikKilled, TraefikUnusable
from traefikhub.traefik.handles import (
    Child,
    Handle,
    Stranger,
    birth_of,
    is_suspended,
    lacks_descriptors,
)
from traefikhub.traefik.running import Known

__all__ = ["TraefikProcess", "last_words", "tail"]

_LOOK_SECONDS: Final = 0.05
_KILL_SECONDS: Final = 5.0
"""How long the kernel may take to end a process that was killed, before nobody waits for it."""
_LOG_NAME: Final = "traefik.log"
_LOG_TAIL_BYTES: Final = 4000
_LOG_LIMIT_BYTES: Final = 20_000_000


class TraefikProcess:
    """One running Traefik, in a process group of its own so that Ctrl-C reaches only the Hub.

    It writes its log to ``traefik.log`` in the run directory, not to a pipe: a pipe would break
    when the Hub ends before it.

    known: by which the next Hub finds it.
    adopted: whether an earlier Hub started it.
    """

    def __init__(self, handle: Handle, known: Known, *, run_dir: Path, grace: float) -> None:
        self._handle = handle
        self._run_dir = run_dir
        self._grace = grace
        self.known = known
        self.adopted = isinstance(handle, Stranger)

    @classmethod
    def start(
        cls,
        program: str,
        config_file: Path,
        *,
        run_dir: Path,
        env: Mapping[str, str],
        grace: float,
        fingerprint: str,
        ports: tuple[int, ...],
    ) -> TraefikProcess:
        """Start it; it may still fail to come up, see ``check``.

        Blocks for some milliseconds, once: in a thread, a cancelled call could leave a process
        that nobody knows.

        Args:
            grace: seconds that open connections have when it is stopped.
            fingerprint: of all that it is started with.
            ports: where it is going to listen.

        Raises:
            TraefikUnusable: the program can't be run.
        """
        log = _open_log(run_dir / _LOG_NAME)
        try:
            process = subprocess.Popen(  # nosec B603 # the program that the admin named
                [program, f"--configfile={config_file}"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(env),
                start_new_session=True,
                umask=0o077,  # what it makes itself is private, too: access log, acme.json
            )
        except OSError as error:
            raise TraefikUnusable(
                f"{program} can't be started: {error.strerror}. Check "
                "c.TraefikProxy.traefik_command."
            ) from error
        finally:
            os.close(log)
        known = Known(process.pid, birth_of(process.pid), fingerprint, ports)
        return cls(Child(process), known, run_dir=run_dir, grace=grace)

    @classmethod
    def adopt(cls, known: Known, *, run_dir: Path, grace: float) -> TraefikProcess:
        """One that an earlier Hub started.

        Raises:
            ProcessLookupError: it runs no longer.
            TraefikUnusable: it belongs to another user.
        """
        stranger = Stranger(known.pid, known.birth)
        try:
            stranger.send(signal.SIGCONT)  # which does nothing to it, unless it is suspended
        except PermissionError as error:
            raise TraefikUnusable(
                f"Traefik {known.pid}, which an earlier Hub left running for {run_dir}, belongs to "
                f"another user. End it (kill {known.pid}), or run the Hub as that user."
            ) from error
        return cls(stranger, known, run_dir=run_dir, grace=grace)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._handle.pid

    @property
    def runs(self) -> bool:
        """Whether it hasn't ended."""
        return not self._handle.ended()

    def check(self) -> None:
        """Raise if it has ended.

        Raises:
            TraefikExited: with how it ended and its last log lines.
        """
        if ended := self._handle.ended():
            kind = TraefikKilled if "signal" in ended else TraefikExited
            raise kind(f"Traefik {self.pid} {ended}.{last_words(self._run_dir)}")

    async def exited(self) -> None:
        """Return when it has ended."""
        # asyncio's own child watchers would tie its life to the event loop; it may outlive both.
        while self.runs:  # noqa: ASYNC110
            await anyio.sleep(_LOOK_SECONDS)

    def wake(self) -> bool:
        """Let it go on if somebody stopped it with a signal; whether that was so."""
        if not is_suspended(self.pid):
            return False
        self._handle.send(signal.SIGCONT)
        return True

    @property
    def lacks_descriptors(self) -> int:
        """The limit of open files that it has come to; 0 if it has enough."""
        return lacks_descriptors(self.pid)

    def drain(self) -> None:
        """Tell it to close its ports now, and to end when its open connections have, or after the
        ``graceTimeOut`` of its configuration."""
        self._handle.send(signal.SIGTERM)
        self._handle.send(signal.SIGCONT)

    async def stop(self) -> None:
        """End it: drain it for the grace time, then kill it. Idempotent; finishes even if
        cancelled."""
        with anyio.CancelScope(shield=True):
            self.drain()
            with anyio.move_on_after(self._grace + _LOOK_SECONDS):
                await self.exited()
            await self.kill()

    async def kill(self) -> None:
        """End it at once. Idempotent; finishes even if cancelled."""
        with anyio.CancelScope(shield=True):
            self._handle.send(signal.SIGKILL)
            with anyio.move_on_after(_KILL_SECONDS):
                await self.exited()

    def stop_blocking(self) -> None:
        """As ``stop``, for the last moments of the interpreter."""
        self.drain()
        deadline = time.monotonic() + self._grace
        while self.runs and time.monotonic() < deadline:
            time.sleep(_LOOK_SECONDS)
        self._handle.send(signal.SIGKILL)


def _open_log(path: Path) -> int:
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size > _LOG_LIMIT_BYTES:
            os.replace(path, path.with_suffix(".log.1"))
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def last_words(run_dir: Path) -> str:
    """The end of Traefik's log as a text to append to an error; empty if it said nothing."""
    log = run_dir / _LOG_NAME
    lines = tail(log)
    return f" Traefik's last log lines ({log}):\n{lines}" if lines else ""


def tail(path: Path, lines: int = 8) -> str:
    """The last lines of a log, indented."""
    try:
        with path.open("rb") as stream:
            stream.seek(0, os.SEEK_END)
            stream.seek(max(0, stream.tell() - _LOG_TAIL_BYTES))
            text = stream.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
    return "\n".join("    " + line for line in text.splitlines()[-lines:])
