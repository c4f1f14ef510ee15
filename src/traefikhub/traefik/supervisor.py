"""Keep Traefik running: start it again when it ends by itself. The routes are in the store."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import anyio

from traefikhub.traefik._errors import TraefikExited, TraefikUnusable

if TYPE_CHECKING:
    from traefikhub.traefik.process import TraefikProcess

__all__ = ["Supervisor"]

_SHORTEST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 10.0
_STABLE_SECONDS: Final = 30.0
"""One that ran for so long did not fail for the reason of the last time."""


class Supervisor:
    """Owns the Traefik process of a Hub.

    Args:
        launch: starts Traefik and returns at once; called again for every restart.
        log: where restarts are told.
        on_restart: called with True when it was started again, with False when that failed.

    Raises:
        TraefikUnusable: the first launch failed.
    """

    def __init__(
        self,
        launch: Callable[[], TraefikProcess],
        log: logging.Logger,
        on_restart: Callable[[bool], None] = lambda _started: None,
    ) -> None:
        self._launch = launch
        self._log = log
        self._on_restart = on_restart
        self._watch: asyncio.Task[None] | None = None
        self._scope = anyio.CancelScope()
        self.process = launch()

    def watch(self) -> None:
        """Begin to start it again when it ends, in a task of the running event loop."""
        self._watch = asyncio.get_running_loop().create_task(
            self._keep_running(), name="traefikhub-supervisor"
        )

    def terminate(self) -> None:
        """End Traefik without waiting: for the last moments of the interpreter."""
        self.process.terminate()

    async def aclose(self) -> None:
        """Stop watching, then stop Traefik. Idempotent; finishes even if cancelled."""
        with anyio.CancelScope(shield=True):
            if self._watch is not None:
                self._scope.cancel()
                await asyncio.wait([self._watch])
            await self.process.stop()

    async def _keep_running(self) -> None:
        pause = _SHORTEST_PAUSE
        with self._scope:
            while True:
                started = time.monotonic()
                await self.process.exited()
                if time.monotonic() - started > _STABLE_SECONDS:
                    pause = _SHORTEST_PAUSE
                try:
                    self.process.check()
                except TraefikExited as error:
                    self._log.error("%s\nStarting it again in %g s", error, pause)
                await anyio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
                try:
                    self.process = self._launch()
                except (TraefikUnusable, OSError) as error:
                    self._log.error("Traefik can't be started again: %s", error)
                    self._on_restart(False)
                else:
                    self._log.warning("Started Traefik again, process %d", self.process.pid)
                    self._on_restart(True)
