"""One process of the operating system, that is never mistaken for another with the same id."""

from __future__ import annotations

import os
import select
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

import psutil

__all__ = ["Child", "Handle", "Stranger", "birth_of", "is_suspended", "lacks_descriptors"]


class Handle(Protocol):
    """A process that can be watched and signalled."""

    @property
    def pid(self) -> int:
        """Its id."""

    def ended(self) -> str:
        """How it ended, as the end of a sentence; empty while it runs."""

    def send(self, number: signal.Signals) -> None:
        """Send a signal, unless it has ended."""


class Child:
    """A process that this one started, and whose end it reaps."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        """Its id."""
        return self._process.pid

    def ended(self) -> str:
        """How it ended, as the end of a sentence; empty while it runs."""
        code = self._process.poll()
        if code is None:
            return ""
        return f"was ended by signal {-code}" if code < 0 else f"exited with code {code}"

    def send(self, number: signal.Signals) -> None:
        """Send a signal, unless it has ended."""
        self._process.send_signal(number)


class Stranger:
    """A process that an earlier Hub started.

    Args:
        pid: its id.
        birth: what ``birth_of`` said of it.

    Raises:
        ProcessLookupError: there is none, or a later one has that id.
    """

    def __init__(self, pid: int, birth: str) -> None:
        self.pid = pid
        self._birth = birth
        self._descriptor = -1
        if hasattr(os, "pidfd_open"):
            # Not on macOS, nor in every sandbox. It tells of this process whoever has the id later.
            with suppress(OSError):
                self._descriptor = os.pidfd_open(pid)
        if birth_of(pid) != birth:
            self.close()
            raise ProcessLookupError(f"no process {pid} of that birth")

    def ended(self) -> str:
        """How it ended, as the end of a sentence; empty while it runs."""
        if self._descriptor >= 0:
            # Not the birth: while some of its threads still end, it has its ports, but is a zombie.
            poll = select.poll()
            poll.register(self._descriptor, select.POLLIN)
            return "ended" if poll.poll(0) else ""
        return "" if birth_of(self.pid) == self._birth else "ended"

    def send(self, number: signal.Signals) -> None:
        """Send a signal, unless it has ended."""
        if self.ended():
            return
        with suppress(ProcessLookupError):
            if self._descriptor >= 0 and hasattr(signal, "pidfd_send_signal"):
                signal.pidfd_send_signal(self._descriptor, number)
            else:
                os.kill(self.pid, number)

    def close(self) -> None:
        """Let go of it. Idempotent."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __del__(self) -> None:
        self.close()


def birth_of(pid: int) -> str:
    """What tells this process from a later one with its id; empty if none runs.

    The time of day won't do: what Linux reckons as the start of a process moves when somebody sets
    the clock. It counts the ticks since it was booted.
    """
    try:
        if psutil.LINUX:
            # After the name, which may hold anything, the 20th field (proc(5): starttime).
            stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            if stat[0] in "ZX" and len(os.listdir(f"/proc/{pid}/task")) < 2:
                return ""
            return f"{_boot()} {stat[19]}"
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return ""
        return f"{process.create_time():.3f}"
    except (OSError, psutil.Error):
        return ""


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "unknown"  # some sandboxes hide it


def is_suspended(pid: int) -> bool:
    """Whether it was stopped by a signal (SIGSTOP), which SIGCONT undoes."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_STOPPED)
    except psutil.Error:
        return False


_NEARLY: Final = 0.95


def lacks_descriptors(pid: int) -> int:
    """The limit of open files that a process has come to, as good as; 0 if it has enough."""
    try:
        process = psutil.Process(pid)
        limit = process.rlimit(psutil.RLIMIT_NOFILE)[0] if psutil.LINUX else 0
        return int(limit) if 0 < limit <= process.num_fds() / _NEARLY else 0
    except (psutil.Error, OSError):
        return 0
