"""Look at the store again and again, and put right what differs. JupyterHub looks every five
minutes, too rarely for a file that somebody emptied, which Traefik then serves at once."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Iterable
from typing import Final

import anyio

from traefikhub.metrics import Health
from traefikhub.stores import FencedError, StoreError, StoreUnavailable
from traefikhub.traefik import TraefikError
from traefikhub.writer import RouteWriter, WriterClosed

__all__ = ["SelfCheck", "pause"]

_SHARE: Final = 100
"""A look that takes long, because the store can't tell cheaply, is taken more rarely: one hundredth
of the time at most."""

_LONGEST: Final = 10.0
"""Seconds between two looks at the most. A store that is far away takes long, too."""

_PATIENT: Final = 6
"""Looks in a row that may find the same to be put right. Further ones are taken more rarely:
whoever changes that does so again and again, or the store can't be put right."""

_ASK_SECONDS: Final = 1.0
"""How long a question to Traefik may keep those of changes waiting."""

_AMISS: Final = (Health.UNCERTAIN, Health.DRIFTED)


def pause(interval: float, took: Iterable[float], drifts: int) -> float:
    """How long no look is needed, in seconds.

    Args:
        took: how long the last looks took that found all in order.
        drifts: how many in a row have found the same to be put right, but the first.
    """
    busy = _SHARE * min(took)
    in_vain = interval * 2.0 ** min(drifts - _PATIENT, 10) if drifts > _PATIENT else 0.0
    return min(max(busy, in_vain), _LONGEST)


class SelfCheck:
    """Keeps the store as the writer's table says, and Traefik with it.

    Ends for good when another Hub has taken over the store.

    Args:
        writer: which runs.
        log: where it is told that the store can't be looked at, once.
        interval: seconds between two looks.
    """

    def __init__(self, writer: RouteWriter, log: logging.Logger, interval: float) -> None:
        self._writer = writer
        self._log = log
        self._interval = interval
        self._failing = False
        self._drifts = 0  # how many looks in a row have found the same difference
        self._found: object = None  # that
        self._late = 0  # the generation that Traefik was not seen to serve at the last look
        self._task: asyncio.Task[None] | None = None
        self._scope = anyio.CancelScope()

    def run(self) -> None:
        """Begin, in a task of the running event loop."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="traefikhub-check")

    async def aclose(self) -> None:
        """Stop. Idempotent; a write that has begun is seen through."""
        task, self._task = self._task, None
        if task is not None:
            self._scope.cancel()
            with anyio.CancelScope(shield=True):
                await asyncio.wait([task])

    async def _run(self) -> None:
        # Those that waited for a server to be back are no measure.
        took: deque[float] = deque([0.0], maxlen=3)
        due = 0.0
        with self._scope:
            while True:
                await anyio.sleep(self._interval)
                began, health = time.monotonic(), self._writer.standing().health
                if health is Health.FENCED:
                    return  # a caller of a change found out
                if began < due and health not in _AMISS:
                    continue
                try:
                    in_order = await self._look()
                except (FencedError, WriterClosed):
                    return  # the former was told by the writer
                except Exception as error:
                    in_order = False
                    self._tell(error, unexpected=not isinstance(error, StoreError | TraefikError))
                ended = time.monotonic()
                took.append(ended - began if in_order else 0.0)
                due = ended + pause(self._interval, took, self._drifts)

    async def _look(self) -> bool:
        """Whether all is in order now.

        Raises:
            as ``RouteWriter.routes`` and ``repair``, but for what the writer tells itself.
        """
        await self._writer.routes()
        found = self._writer.outstanding
        self._drifts = self._drifts + 1 if found and found == self._found else 0
        self._found = found
        try:
            await self._writer.repair()
            if not await self._is_served():
                return False
        except (StoreUnavailable, TraefikError):
            return False
        if self._failing:
            self._log.info("The stored routes can be checked again, and are in order")
        self._failing = False
        return True

    async def _is_served(self) -> bool:
        """Whether Traefik serves by now what it was late with."""
        standing, late = self._writer.standing(), self._late
        self._late = standing.stored if standing.live < standing.stored else 0
        if not self._late or self._late != late:  # the change may be on its way
            return True
        with anyio.move_on_after(_ASK_SECONDS) as scope:
            await self._writer.wait_live()
        return not scope.cancelled_caught

    def _tell(self, error: Exception, *, unexpected: bool) -> None:
        level = logging.DEBUG if self._failing else logging.WARNING
        self._log.log(
            level,
            "The stored routes can't be checked: %s",
            error,
            exc_info=error if unexpected else None,
        )
        self._failing = True
