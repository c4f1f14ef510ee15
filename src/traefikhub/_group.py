"""What the writer sends on its way: changes with their callers, and the question for them."""

from __future__ import annotations

import asyncio
import copy
import threading
from collections.abc import Awaitable, Callable
from typing import Final

import anyio

from traefikhub.stores import StoreUnavailable
from traefikhub.table import Route

__all__ = ["Group", "Question", "WaitLive", "already_stored", "copy_of"]

_HEAD_START: Final = 0.001
"""Seconds that the store has before Traefik is asked; the event loop's clock is no finer."""

WaitLive = Callable[[int, threading.Event], Awaitable[None]]
"""Returns when every replica serves the generation given. Called when that is on its way to the
store; the event tells that it is there. Raises within its own deadline after that."""


def already_stored() -> threading.Event:
    """The event for a generation that the store has."""
    stored = threading.Event()
    stored.set()
    return stored


class Group:
    """Changes that go out together, and what became of them.

    in_vain: why the store couldn't be read while they waited for that, if it couldn't.
    """

    def __init__(self) -> None:
        self.changes: dict[str, Route | None] = {}
        self.done = anyio.Event()
        self.error: Exception | None = None
        self.in_vain: StoreUnavailable | None = None
        self.refused: dict[str, Exception] = {}

    def finish(self, error: Exception | None = None) -> None:
        """Tell all callers."""
        self.error = error
        self.done.set()

    async def wait(self, routespec: str = "") -> None:
        """Return when the change is live, or raise why it isn't."""
        await self.done.wait()
        if error := self.error or self.refused.get(routespec):
            # A copy for each caller: raised in many tasks, one object would mix their tracebacks.
            raise copy_of(error) from error


def copy_of(error: Exception) -> Exception:
    """To raise in one of several tasks."""
    try:
        return copy.copy(error)
    except Exception:  # a store's own class may not allow it
        return error


class Question:
    """Whether a batch is live, asked while the store still makes sure of it.

    Traefik reloads meanwhile: to begin with asking when the store has answered costs up to half a
    millisecond. To begin at once costs, too: it keeps the interpreter from the thread that
    writes. What was asked ahead counts for nothing until the store has answered.
    """

    def __init__(self, wait_live: WaitLive) -> None:
        self._wait_live = wait_live
        self._stored = threading.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Future[None] | None = None
        self.generation = 0
        """That which is asked for; 0 for none."""

    def begin(self, generation: int) -> None:
        """Ask for this generation, which is about to be stored."""
        self.generation = generation
        self._timer = asyncio.get_running_loop().call_later(_HEAD_START, self._ask)

    def _ask(self) -> None:
        self._task = asyncio.ensure_future(self._wait_live(self.generation, self._stored))

    async def answer(self) -> None:
        """Now that it is stored, return when it is live.

        Raises:
            TraefikError: it isn't in time.
        """
        if self._task is None:
            self._cancel_timer()
            self._ask()
            assert self._task
        self._stored.set()
        await self._task

    def _cancel_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    async def aclose(self) -> None:
        """Ask no more. Idempotent."""
        self._cancel_timer()
        task, self._task, self.generation = self._task, None, 0
        if task is None:
            return
        if task.cancel():
            with anyio.CancelScope(shield=True):
                await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # looked at, lest asyncio complain
