"""The parent's end of a Hub's process: commands, costs, and the end of all that it started."""

from __future__ import annotations

import json
import os
import select
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import psutil

__all__ = ["CommandFailed", "HubFailed", "HubProcess", "UnsupportedByProxy"]

_ROOT: Final = Path(__file__).parents[1]
_MIB: Final = 1024 * 1024


class HubFailed(Exception):
    """The Hub's process ended, or took too long, or does not do what it should."""


class CommandFailed(HubFailed):
    """A command raised an error in the Hub's process, which goes on."""


class UnsupportedByProxy(Exception):
    """The proxy lacks what was asked for."""


class HubProcess:
    """A Hub's process. Use it as a context manager.

    Args:
        python: the interpreter of the environment that has the proxy.
        directory: where the process runs, and logs to ``hub.log``.
        programs: directories in front of PATH.
    """

    def __init__(self, python: Path, directory: Path, programs: list[Path]) -> None:
        self._python = python
        self._directory = directory
        path = os.pathsep.join([*map(str, programs), os.environ.get("PATH", "")])
        self._environment = os.environ | {"PATH": path, "PYTHONPATH": str(_ROOT)}
        self._buffer = b""

    def __enter__(self) -> HubProcess:
        with (self._directory / "hub.log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._python, "-m", "benchmarks._hub"],
                cwd=self._directory,
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the parent, which ends this one in order
            )
        self._self = psutil.Process(self._process.pid)
        return self

    def __exit__(self, *_: object) -> None:
        """End the process, and whatever it started and left behind."""
        started = self._self.children(recursive=True) if self._self.is_running() else []
        assert self._process.stdin
        assert self._process.stdout
        with suppress(OSError):
            self._process.stdin.close()  # the process stops its proxy and ends
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(15)
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()
        for process in started:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(started, 5)

    # --- commands ------------------------------------------------------------------------------

    def ask(self, do: str, *, timeout: float = 900, **arguments: Any) -> dict[str, Any]:
        """Have a command carried out; its answer.

        Raises:
            CommandFailed, HubFailed, UnsupportedByProxy: see there.
        """
        self.begin(do, **arguments)
        return self.finish(do, timeout=timeout)

    def begin(self, do: str, **arguments: Any) -> None:
        """Have a command begun; ``finish`` waits for its end."""
        assert self._process.stdin
        try:
            self._process.stdin.write(json.dumps({"do": do, **arguments}).encode() + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            raise HubFailed(f"{do}: the Hub's process has ended: {self._last_words()}") from error

    def finish(self, do: str, *, timeout: float = 900) -> dict[str, Any]:
        """The answer to the command that was begun."""
        answer: dict[str, Any] = json.loads(self._line(do, time.monotonic() + timeout))
        if why := answer.get("unsupported"):
            raise UnsupportedByProxy(why)
        if why := answer.get("error"):
            raise CommandFailed(why)
        return answer

    def _line(self, do: str, deadline: float) -> bytes:
        assert self._process.stdout
        pipe = self._process.stdout.fileno()
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([pipe], [], [], max(0, deadline - time.monotonic()))
            if not ready:
                raise HubFailed(f"{do}: no answer in time")
            if not (some := os.read(pipe, 1 << 16)):
                raise HubFailed(f"{do}: the Hub's process has ended: {self._last_words()}")
            self._buffer += some
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def _last_words(self) -> str:
        return (self._directory / "hub.log").read_text(errors="replace")[-500:]

    # --- costs ---------------------------------------------------------------------------------

    def hub_mib(self) -> float:
        """Memory of the Hub's process, after a collection of garbage."""
        self.ask("collect")
        return float(self._self.memory_info().rss) / _MIB

    def proxy_mib(self) -> float:
        """Memory of the proxy's processes."""
        return sum(process.memory_info().rss for process in self._proxies()) / _MIB

    def settle(self, limit: float = 10) -> None:
        """Return when the proxy's processes rest, so that none of their work is counted among
        what comes next; or when the limit is reached."""
        deadline = time.monotonic() + limit
        before = self._proxy_cpu()
        while time.monotonic() < deadline:
            time.sleep(0.1)
            now = self._proxy_cpu()
            if now - before <= 0.01:
                return
            before = now

    def _proxy_cpu(self) -> float:
        times = [process.cpu_times() for process in self._proxies()]
        return sum(each.user + each.system for each in times)

    def _proxies(self) -> list[psutil.Process]:
        return [p for p in self._self.children(recursive=True) if p.is_running()]
