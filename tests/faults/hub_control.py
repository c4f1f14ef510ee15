"""The driver's end of a Hub process: starts it, calls it, records what it answers, breaks it."""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from faults.record import Call, History, Outcome

__all__ = ["PATIENCE", "HubControl", "StartFailed"]

_TESTS = Path(__file__).parents[1]
_RETRY_SECONDS = 0.5
_LAST_WORDS_SECONDS = 1.0
PATIENCE = 60.0
"""Seconds after which a call is taken for one that never ends."""


class StartFailed(Exception):
    """The Hub ended instead of coming up; the text is its own."""


class HubControl:
    """One Hub after another, for the same directory and on the same ports.

    Args:
        given: what each is started with, see ``HubProcess``.
        log: for what they log.
        history: every call goes there.
        patience: seconds for which an answer is waited for, but that of a start.

    silent: set when one has not come by then. The run is to end, and ``kill`` to be called.
    """

    def __init__(
        self, given: Mapping[str, Any], log: Path, history: History, patience: float = PATIENCE
    ) -> None:
        self._given = dict(given)
        self._log = log
        self._history = history
        self._patience = patience
        self.silent = asyncio.Event()
        self._numbers = itertools.count(1)
        self._process: asyncio.subprocess.Process | None = None
        self._reads = False
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._reader: asyncio.Task[None] | None = None
        self.cleanup_proxy = True
        """Whether the one that runs ends Traefik when it ends in good order."""

    @property
    def pid(self) -> int:
        """Of the process that runs, 0 if none."""
        return self._process.pid if self._process and self._process.returncode is None else 0

    async def start(self, *, cleanup_proxy: bool) -> None:
        """Start it; return when it serves.

        Raises:
            StartFailed: it ended instead.
        """
        call = self._begin("start")
        self.cleanup_proxy = cleanup_proxy
        given = self._given | {"cleanup_proxy": cleanup_proxy}
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "faults.hub", json.dumps(given)),
                cwd=_TESTS,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                limit=2**24,
            )
        self._reads = True
        ready = self._expect(0)
        self._reader = asyncio.create_task(self._read(self._process))
        if "ok" not in await self._finished(call, ready, PATIENCE):
            if call.outcome is Outcome.SILENT:
                await asyncio.sleep(_LAST_WORDS_SECONDS)
                await self.kill()
            await self._exit()
            raise StartFailed(call.error)

    async def start_again_and_again(self, *, cleanup_proxy: bool) -> None:
        """Until it comes up, as an init system would, which gives up at last."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            try:
                await self.start(cleanup_proxy=cleanup_proxy)
                return
            except StartFailed:
                await asyncio.sleep(_RETRY_SECONDS)

    async def call(
        self,
        do: str,
        writes: dict[str, str | None],
        written: dict[str, Any] | None = None,
        **arguments: Any,
    ) -> Call:
        """One call of add, delete, check or ping. Its answer is in its outcome.

        Args:
            written: the data of the routes.
        """
        call = self._begin(do, writes, written)
        await self._finished(call, self._send(_COMMANDS.get(do, do), arguments))
        return call

    async def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Something else; its answer. Without ``ok`` if it failed."""
        return await self._finished(self._begin(do), self._send(do, arguments))

    def _send(self, do: str, arguments: dict[str, Any]) -> asyncio.Future[dict[str, Any]]:
        number = next(self._numbers)
        answer = self._expect(number)
        process = self._process
        # A process that was killed stops answering before it is known to have ended.
        if process is None or process.stdin is None or not self._reads:
            self._answered(number, _LOST)
            return answer
        with suppress(ConnectionError):
            process.stdin.write(json.dumps({"id": number, "do": do} | arguments).encode() + b"\n")
        return answer

    def suspend(self) -> None:
        """SIGSTOP."""
        if self._process:
            self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        with suppress(ProcessLookupError):
            if self._process:
                self._process.send_signal(signal.SIGCONT)

    async def kill(self) -> None:
        """SIGKILL. Idempotent; returns when it has ended."""
        with suppress(ProcessLookupError):
            if self._process:
                self._process.kill()
        await self._ended()

    async def end(self) -> None:
        """End it in good order: as JupyterHub does, which stops Traefik, or leaves it running."""
        await self.ask("stop" if self.cleanup_proxy else "leave")
        await self._exit()

    async def _exit(self) -> None:
        await self._finished(self._begin("exit"), asyncio.ensure_future(self._ended()))

    async def _ended(self) -> dict[str, Any]:
        if self._process:
            await self._process.wait()
        if self._reader:
            await self._reader
        return {"ok": None}

    def _expect(self, number: int) -> asyncio.Future[dict[str, Any]]:
        self._waiting[number] = asyncio.get_running_loop().create_future()
        return self._waiting[number]

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout
        with suppress(ConnectionError):
            while line := await process.stdout.readline():
                if not line.endswith(b"\n"):
                    break  # it was killed in the midst of it
                answer = json.loads(line)
                self._answered(answer["id"], answer)
        self._reads = False
        for number in list(self._waiting):
            self._answered(number, _LOST)

    def _answered(self, number: int, answer: dict[str, Any]) -> None:
        future = self._waiting.pop(number, None)
        if future and not future.done():
            future.set_result(answer)

    def _begin(
        self,
        do: str,
        writes: dict[str, str | None] | None = None,
        written: dict[str, Any] | None = None,
    ) -> Call:
        call = Call(
            len(self._history.calls), do, writes or {}, time.monotonic(), data=written or {}
        )
        self._history.calls.append(call)
        return call

    async def _finished(
        self, call: Call, future: asyncio.Future[dict[str, Any]], patience: float = 0
    ) -> dict[str, Any]:
        """Wait for an answer, but not for ever."""
        patience = patience or self._patience
        try:
            answer = await asyncio.wait_for(future, patience)
        except asyncio.TimeoutError:
            self._give_up(call, patience)
            return _LOST
        self._finish(call, answer)
        return answer

    def _give_up(self, call: Call, patience: float) -> None:
        call.end = time.monotonic()
        call.outcome = Outcome.SILENT
        call.error = f"no answer within {patience:g} s"
        self._history.ended = min(self._history.ended, call.end)
        with suppress(ProcessLookupError):
            if self._process and not self.silent.is_set():
                self._process.send_signal(signal.SIGUSR1)  # its log shows where it hangs
        self.silent.set()

    @staticmethod
    def _finish(call: Call, answer: dict[str, Any]) -> None:
        call.end = time.monotonic()
        if "ok" in answer:
            call.outcome = Outcome.OK
        elif "error" not in answer:
            call.outcome = Outcome.LOST
        else:
            call.outcome = Outcome.REFUSED if answer.get("refused") else Outcome.ERROR
            call.error = f"{answer['error']}: {answer['text']}"


_COMMANDS = {"update": "add"}

_LOST: dict[str, Any] = {}
