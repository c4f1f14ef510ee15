"""What an event loop feels of an operation. Needs nothing but Python."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

__all__ = ["LoopWatch"]

_INTERVAL = 0.001


class LoopWatch:
    """The longest time for which the event loop was held.

    worst: seconds by the clock.
    busy: seconds that the loop's thread computed in that time. If that is much less, the thread
        waited for a processor, or for another thread to let go of the interpreter.
    """

    def __init__(self) -> None:
        self.worst = 0.0
        self.busy = 0.0

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Look once a millisecond."""
        task = asyncio.create_task(self._look())
        await asyncio.sleep(5 * _INTERVAL)
        try:
            yield
            await asyncio.sleep(0)  # the last stall counts, too
        finally:
            task.cancel()

    async def _look(self) -> None:
        while True:
            asleep, computed = time.perf_counter(), time.thread_time()
            await asyncio.sleep(_INTERVAL)
            held = time.perf_counter() - asleep - _INTERVAL
            if held > self.worst:
                self.worst, self.busy = held, time.thread_time() - computed
