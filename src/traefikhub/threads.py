"""Blocking work off the event loop, in threads that never keep the program from ending.

``anyio.to_thread`` and executors end their idle threads when the event loop, or the interpreter,
ends in an orderly way. JupyterHub leaves a failed start by ``SystemExit`` out of a coroutine: its
loop just stops, and the interpreter would wait for their threads for ever. Daemon threads it
doesn't wait for.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, TypeVar

import anyio
import anyio.lowlevel

__all__ = ["in_thread"]

_T = TypeVar("_T")

_IDLE_SECONDS: Final = 30.0
_lock = threading.Lock()
_idle: list[queue.SimpleQueue[Callable[[], None]]] = []


async def in_thread(work: Callable[..., _T], *args: Any, abandon: bool = False) -> _T:
    """Run ``work(*args)`` in a thread and return what it returns, or raise what it raises.

    A cancelled call waits until the work has ended, be it cancelled by a cancel scope or by
    ``Task.cancel``: nothing is half-done, nothing goes on unseen. With ``abandon`` it returns at
    once, and what becomes of the work is nobody's business.
    """
    # Work done in a loop must leave a cancelled caller a moment at which to notice.
    await anyio.lowlevel.checkpoint_if_cancelled()
    loop = asyncio.get_running_loop()
    future: asyncio.Future[_T] = loop.create_future()

    def tell(result: _T | None, error: BaseException | None) -> None:
        if future.cancelled():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def job() -> None:
        result, error = None, None
        try:
            result = work(*args)
        except BaseException as caught:
            # A coroutine can't raise StopIteration, nor should a thread end the program.
            error = caught if isinstance(caught, Exception) else RuntimeError(repr(caught))
        with suppress(RuntimeError):  # the loop has been closed
            loop.call_soon_threadsafe(tell, result, error)

    _submit(job)
    if abandon:
        return await future
    cancelled: asyncio.CancelledError | None = None
    with anyio.CancelScope(shield=True):
        while not future.done():
            try:
                await asyncio.wait([future])
            except asyncio.CancelledError as error:
                cancelled = error
    if cancelled is not None:
        future.exception()  # looked at, lest asyncio complain
        raise cancelled
    return future.result()


def _submit(job: Callable[[], None]) -> None:
    with _lock:
        mailbox = _idle.pop() if _idle else None
    if mailbox is None:
        mailbox = queue.SimpleQueue()
        threading.Thread(
            target=_serve, args=(mailbox,), name="traefikhub-worker", daemon=True
        ).start()
    mailbox.put(job)


def _serve(mailbox: queue.SimpleQueue[Callable[[], None]]) -> None:
    while True:
        try:
            job = mailbox.get(timeout=_IDLE_SECONDS)
        except queue.Empty:
            with _lock:
                if mailbox in _idle:
                    _idle.remove(mailbox)
                    return
            continue  # it was given a job at the last moment
        job()
        del job  # with all that it holds
        with _lock:
            _idle.append(mailbox)
