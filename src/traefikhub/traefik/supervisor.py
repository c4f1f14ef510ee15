"""Keep Traefik running: start it again when it ends or hangs. The routes are in the store."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from enum import Enum
from pathlib import Path
from typing import Final

import anyio

from traefikhub.traefik._errors import TraefikExited, TraefikUnusable
from traefikhub.traefik.api import Sign
from traefikhub.traefik.process import TraefikProcess
from traefikhub.traefik.running import forget, is_noted, remember

__all__ = ["Supervisor", "TraefikState"]

_SHORTEST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 10.0
_STABLE_SECONDS: Final = 30.0
"""One that ran for so long did not fail for the reason of the last time."""

_ASK_SECONDS: Final = 1.0
_HUNG_SECONDS: Final = 10.0
_HUNG_QUESTIONS: Final = 4
"""One that leaves so many questions unanswered, for so long, hangs. The time alone doesn't tell:
the Hub may have been stopped itself."""

_BIRTH_SECONDS: Final = 90.0
_REFUSALS: Final = 2
_DRAIN_SLACK: Final = 15.0
_MANY_FAILURES: Final = 5


class TraefikState(Enum):
    """How the Traefik of a Hub stands."""

    UP = "up"
    SILENT = "silent"
    """It runs, but doesn't answer."""
    DOWN = "down"
    """It has ended, and is about to be started again, or can't be."""


class Supervisor:
    """Owns the Traefik process of a Hub, and those that drain. No two for one run directory.

    Args:
        run_dir: where a next Hub looks for what runs.
        launch: starts Traefik and returns at once; called again for every restart.
        sign: asks Traefik for a sign of life.
        drain_seconds: how long one that was told to stop may go on with what is open.
        log: where restarts are told.
        on_restart: called with True when it was started again, with False when that failed.
    """

    def __init__(
        self,
        run_dir: Path,
        launch: Callable[[], TraefikProcess],
        sign: Callable[[], Awaitable[Sign]],
        drain_seconds: float,
        log: logging.Logger,
        on_restart: Callable[[bool], None] = lambda _started: None,
    ) -> None:
        self._run_dir = run_dir
        self._launch = launch
        self._sign = sign
        self._drain_seconds = drain_seconds
        self._log = log
        self._on_restart = on_restart
        self._watch: asyncio.Task[None] | None = None
        self._scope = anyio.CancelScope()
        self._process: TraefikProcess | None = None
        self._draining: list[TraefikProcess] = []
        self._drain_began: dict[int, float] = {}
        self._told: TraefikProcess | None = None  # whose end was told
        self._remembered = False
        self._life = _Life(answered=True)
        self._state = TraefikState.DOWN

    @property
    def process(self) -> TraefikProcess:
        """The one that serves."""
        assert self._process is not None, "begin() comes first"
        return self._process

    def state(self) -> TraefikState:
        """How it stands, as far as was seen."""
        return self._state

    def begin(
        self, adopted: TraefikProcess | None = None, draining: Iterable[TraefikProcess] = ()
    ) -> None:
        """Start Traefik, or take over one that runs.

        Raises:
            TraefikUnusable: it can't be started.
        """
        self._draining = list(draining)
        if adopted is not None:
            self._process = adopted
            self._remember()
        else:
            self._start()
        self._state = TraefikState.UP

    def has_answered(self) -> None:
        """Somebody else has got an answer of Traefik: it isn't one that has yet to begin."""
        self._life.answered = True

    def watch(self) -> None:
        """Begin to start it again when it ends, in a task of the running event loop."""
        self._watch = asyncio.get_running_loop().create_task(
            self._keep_running(), name="traefikhub-supervisor"
        )

    def stop_blocking(self) -> None:
        """End all of them, for the last moments of the interpreter."""
        for process in self._all():
            process.drain()
        for process in self._all():
            process.stop_blocking()
        if self._process is not None:
            forget(self._run_dir)

    def disown(self) -> None:
        """Leave the one that serves as it was found. For a start that fails."""
        self._process = None

    def _all(self) -> list[TraefikProcess]:
        return [*self._draining, *([self._process] if self._process else [])]

    async def aclose(self) -> None:
        """Stop watching, then stop Traefik. Idempotent; finishes even if cancelled."""
        with anyio.CancelScope(shield=True):
            if self._watch is not None:
                self._scope.cancel()
                await asyncio.wait([self._watch])
            self._state = TraefikState.DOWN
            async with anyio.create_task_group() as group:
                for process in self._all():
                    group.start_soon(process.stop)
            if self._process is not None:  # else what an earlier Hub left may still run
                forget(self._run_dir)

    def _start(self) -> None:
        self._process = self._launch()
        self._remember()

    def _remember(self) -> None:
        self._draining = [process for process in self._draining if process.runs]
        remember(self._run_dir, [self.process.known, *(each.known for each in self._draining)])
        self._remembered = True

    def _remember_if_possible(self) -> None:
        """After a restart with the disk full, or if somebody removed the file: else a next Hub
        would not find this one."""
        if not (self._remembered and is_noted(self._run_dir)):
            with suppress(TraefikUnusable):
                self._remember()

    async def _keep_running(self) -> None:
        pause, failures = _SHORTEST_PAUSE, 0
        self._life = _Life(answered=True)  # it serves, or nobody would watch it
        with self._scope:
            while True:
                began = time.monotonic()
                await self._until_ended(self._life)
                self._state = TraefikState.DOWN
                if time.monotonic() - began > _STABLE_SECONDS:
                    pause, failures = _SHORTEST_PAUSE, 0
                failures += 1
                self._tell_end(pause)
                if failures == _MANY_FAILURES:
                    self._log.critical(
                        "Traefik ended %d times in a row: users can't reach the Hub or their "
                        "servers. It is tried again until it stays.",
                        failures,
                    )
                await anyio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
                try:
                    self._process = self._launch()
                except (TraefikUnusable, OSError) as error:
                    self._log.error("Traefik can't be started again: %s", error)
                    self._on_restart(False)
                else:
                    self._life = _Life(answered=False)
                    self._remembered = False
                    self._remember_if_possible()
                    self._log.warning("Started Traefik again, process %d", self.process.pid)
                    self._on_restart(True)

    def _tell_end(self, pause: float) -> None:
        if self.process is self._told:
            return  # what came after it could not be started
        self._told = self.process
        try:
            self.process.check()
        except TraefikExited as error:
            self._log.error("%s\nStarting it again in %g s", error, pause)

    async def _until_ended(self, life: _Life) -> None:
        """Return when Traefik has ended, by itself or because it hung, or takes no connections any
        more."""
        while True:
            with anyio.move_on_after(_ASK_SECONDS):
                await self.process.exited()
                return
            asked = time.monotonic()
            sign = await self._sign()
            if not self.process.runs:
                return
            await self._end_what_drained()
            life.note(sign, asked)
            if sign is Sign.ANSWERS:
                if self._state is TraefikState.SILENT:
                    self._log.warning("Traefik %d answers again", self.process.pid)
                self._state = TraefikState.UP
                self._remember_if_possible()
            elif self.process.wake():
                # Users keep their connections, which a new one would cost them.
                self._silent("Traefik %d was suspended (SIGSTOP); let it go on")
            elif life.was_told_to_stop:
                self._log.error(
                    "Traefik %d takes no connections any more: somebody told it to stop. What is "
                    "open goes on, beside another one",
                    self.process.pid,
                )
                self._draining.append(self.process)
                return
            else:
                self._silent("Traefik %d doesn't answer", again=False)
                if life.hangs and await self._hung(life):
                    return

    def _silent(self, text: str, again: bool = True) -> None:
        if again or self._state is TraefikState.UP:
            self._log.warning(text, self.process.pid)
        if self._state is TraefikState.UP:
            self._state = TraefikState.SILENT

    async def _hung(self, life: _Life) -> bool:
        """End it, unless that would only cost more connections; whether it was ended."""
        if limit := self.process.lacks_descriptors:
            if not life.told:
                self._log.critical(
                    "Traefik %d has as many files and connections open as it may (%d): it takes no "
                    "more. Raise the limit of the Hub, which it inherits (ulimit -n, systemd's "
                    "LimitNOFILE=), and restart both",
                    self.process.pid,
                    limit,
                )
            life.told = True
            return False
        self._log.error(
            "Traefik %d has not answered for %.0f s: it hangs. Ending it",
            self.process.pid,
            time.monotonic() - life.silent_since,
        )
        await self.process.kill()
        return True

    async def _end_what_drained(self) -> None:
        """End those whose time is over, and that don't see to that themselves."""
        now = time.monotonic()
        for process in self._draining:
            began = self._drain_began.setdefault(process.pid, now)
            if now - began > self._drain_seconds + _DRAIN_SLACK and process.runs:
                self._log.warning("Traefik %d has drained for long enough: ending it", process.pid)
                await process.kill()
        self._draining = [process for process in self._draining if process.runs]


class _Life:
    """What the signs of life of one process amount to.

    told: whether it was told what it lacks.
    answered: whether it ever has.
    """

    def __init__(self, *, answered: bool) -> None:
        self.told = False
        self.answered = answered
        self.silent_since = time.monotonic()
        self._born = time.monotonic()
        self._unanswered = 0
        self._refused = 0

    def note(self, sign: Sign, asked: float) -> None:
        """Take one in, from when it was asked for."""
        if sign is Sign.ANSWERS:
            self.answered = True
            self._unanswered = self._refused = 0
            return
        if self._unanswered == 0:
            self.silent_since = asked
        self._unanswered += 1
        self._refused = self._refused + 1 if sign is Sign.REFUSES else 0

    @property
    def was_told_to_stop(self) -> bool:
        """It closes its ports at once then, and goes on with what is open."""
        return self.answered and self._refused >= _REFUSALS

    @property
    def hangs(self) -> bool:
        """Whether nothing is to be hoped for. One that has just begun may have to fetch plug-ins,
        or to read a large store from a slow disk."""
        now = time.monotonic()
        if not self.answered and now - self._born < _BIRTH_SECONDS:
            return False
        return self._unanswered >= _HUNG_QUESTIONS and now - self.silent_since >= _HUNG_SECONDS
