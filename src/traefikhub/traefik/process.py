"""Traefik as a child process: start it, end it, end what a killed Hub left behind."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import anyio
import psutil

from traefikhub.traefik._errors import TraefikExited, TraefikUnusable
from traefikhub.traefik.rundir import write_private

__all__ = ["TraefikProcess", "end_leftover", "last_words", "tail"]

_LOOK_SECONDS: Final = 0.05
_LOG_TAIL_BYTES: Final = 4000
_LOG_LIMIT_BYTES: Final = 20_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Files:
    """What a run directory holds about the process."""

    directory: Path

    @property
    def state(self) -> Path:
        return self.directory / "traefik.pid.json"

    @property
    def log(self) -> Path:
        return self.directory / "traefik.log"


class TraefikProcess:
    """One running Traefik, in a process group of its own so that Ctrl-C reaches only the Hub.

    It writes its log to ``traefik.log`` in the run directory, not to a pipe: a pipe would break
    when the Hub ends before it.
    """

    def __init__(self, process: subprocess.Popen[bytes], files: _Files, grace: float) -> None:
        self._process = process
        self._files = files
        self._grace = grace

    @classmethod
    def start(
        cls,
        program: str,
        config_file: Path,
        *,
        run_dir: Path,
        env: Mapping[str, str],
        grace: float,
    ) -> TraefikProcess:
        """Start it; it may still fail to come up, see ``check``.

        Blocks for some milliseconds, once: in a thread, a cancelled call could leave a process
        that nobody knows.

        Args:
            grace: seconds that it needs to stop while connections are open.

        Raises:
            TraefikUnusable: the program can't be run.
        """
        files = _Files(directory=run_dir)
        with contextlib.suppress(FileNotFoundError):
            if files.log.stat().st_size > _LOG_LIMIT_BYTES:
                os.replace(files.log, files.log.with_suffix(".log.1"))
        log = os.open(files.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            process = subprocess.Popen(
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
        started = cls(process, files, grace)
        try:
            _write_state(files.state, process.pid)
        except BaseException:
            started.kill()
            raise
        return started

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def check(self) -> None:
        """Raise if it has ended.

        Raises:
            TraefikExited: with its exit code and last log lines.
        """
        code = self._process.poll()
        if code is None:
            return
        ended = f"was ended by signal {-code}" if code < 0 else f"exited with code {code}"
        raise TraefikExited(f"Traefik {ended}.{last_words(self._files.directory)}")

    async def exited(self) -> None:
        """Return when it has ended."""
        # asyncio's own child watchers would tie its life to the event loop; it may outlive both.
        while self._process.poll() is None:  # noqa: ASYNC110
            await anyio.sleep(_LOOK_SECONDS)

    async def stop(self) -> None:
        """End it: SIGTERM, the grace time, SIGKILL. Idempotent; finishes even if cancelled."""
        with anyio.CancelScope(shield=True):
            if self._process.poll() is None:
                self._process.terminate()
                with anyio.move_on_after(self._grace + 2):
                    await self.exited()
            self.kill()

    def kill(self) -> None:
        """End it at once, blocking for the moment that the kernel needs."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._files.state.unlink(missing_ok=True)

    def terminate(self) -> None:
        """Ask it to stop and don't wait: for the last moments of the interpreter."""
        if self._process.poll() is None:
            self._process.terminate()
        self._files.state.unlink(missing_ok=True)


def last_words(run_dir: Path) -> str:
    """The end of Traefik's log as a text to append to an error; empty if it said nothing."""
    log = _Files(directory=run_dir).log
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


def _write_state(path: Path, pid: int) -> None:
    state = {"pid": pid, "started": psutil.Process(pid).create_time()}
    write_private(path, json.dumps(state))


def end_leftover(run_dir: Path, *, grace: float) -> int | None:
    """End the Traefik that an earlier Hub started from this directory and didn't stop. Blocks.

    The process is recognised by its id and start time, so that a reused id is never signalled.

    Returns:
        Its process id, or None if there was none.
    """
    state_file = _Files(directory=run_dir).state
    try:
        state = json.loads(state_file.read_text())
        process = psutil.Process(int(state["pid"]))
        if abs(process.create_time() - float(state["started"])) > 0.5:
            raise psutil.NoSuchProcess(process.pid)
        process.terminate()
        deadline = time.monotonic() + grace + 2
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            if time.monotonic() > deadline:
                process.kill()
            time.sleep(_LOOK_SECONDS)
        found: int | None = process.pid
    except (FileNotFoundError, ValueError, KeyError, TypeError, psutil.NoSuchProcess):
        found = None
    state_file.unlink(missing_ok=True)
    return found
