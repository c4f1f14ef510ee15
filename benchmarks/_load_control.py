"""The driver's end of the Hub's process."""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import psutil

__all__ = ["CommandFailed", "HubControl"]

_ROOT: Final = Path(__file__).parents[1]
_END_SECONDS: Final = 30.0
_LIMIT: Final = 1 << 24


class CommandFailed(Exception):
    """What the Hub says of it."""


class HubControl:
    """A Hub's process. Use it as an asynchronous context manager.

    Args:
        given: the arguments of ``Hub``.
        directory: where it logs to ``hub.log``.
    """

    def __init__(self, given: dict[str, Any], directory: Path) -> None:
        self._given = given
        self._numbers = itertools.count()
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._ending: asyncio.Task[None] | None = None
        self.log = directory / "hub.log"
        self.traefik: psutil.Process
        """The Traefik that ``start`` has started."""

    async def __aenter__(self) -> HubControl:
        with self.log.open("ab") as log:
            self._child = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "benchmarks._load_hub", json.dumps(self._given)),
                cwd=_ROOT,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                limit=_LIMIT,
                start_new_session=True,  # Ctrl-C is for the driver, which ends this one in order
            )
        self.process = psutil.Process(self._child.pid)
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        """End it, and whatever it started and left behind."""
        await self.end()
        await self._reading

    async def end(self) -> list[str]:
        """Let it stop its proxy and end. What was not in order about that; idempotent."""
        if self._child.returncode is not None:
            return []
        started = self.process.children(recursive=True)
        assert self._child.stdin
        self._child.stdin.close()
        problems = []
        try:
            await asyncio.wait_for(self._child.wait(), _END_SECONDS)
        except asyncio.TimeoutError:
            problems.append("the Hub's process did not end in time")
            with suppress(ProcessLookupError):
                self._child.kill()
            await self._child.wait()
        for process in started:
            with suppress(psutil.NoSuchProcess):
                if process.status() != psutil.STATUS_ZOMBIE:
                    problems.append(f"left behind: {process.name()}")
                process.kill()
        if self._child.returncode:
            problems.append(f"the Hub's process ended with status {self._child.returncode}")
        return problems

    async def start(self) -> None:
        """Have it start its proxy."""
        await self.ask("start")
        (self.traefik,) = [
            each for each in self.process.children(recursive=True) if "traefik" in each.name()
        ]

    async def ask(self, do: str, **arguments: Any) -> Any:
        """Have a command carried out; its answer.

        Raises:
            CommandFailed: it could not be.
        """
        number = next(self._numbers)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        assert self._child.stdin
        line = json.dumps({"id": number, "do": do, **arguments})
        self._child.stdin.write(line.encode() + b"\n")
        said = await answer
        if "error" in said:
            raise CommandFailed(said["error"])
        return said["ok"]

    async def _read(self) -> None:
        assert self._child.stdout
        while line := await self._child.stdout.readline():
            said = json.loads(line)
            future = self._waiting.pop(said["id"])
            if not future.done():
                future.set_result(said)
        for future in self._waiting.values():
            if not future.done():
                future.set_result({"error": "the Hub's process has ended"})
        self._waiting.clear()
