"""Look after Traefiks that others run: who comes, who goes, who is late, who has caught up."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

import anyio

from traefikhub.traefik._errors import NotLive, TraefikError
from traefikhub.traefik.binary import Version
from traefikhub.traefik.replicas import Replica, Replicas

__all__ = ["ReplicaWatch"]

_LOOK_SECONDS: Final = 1.0
_LOOKUP_SECONDS: Final = 5.0
"""How long it may take until an address that a name has got, or lost, is seen."""
_CATCH_UP_SECONDS: Final = 3.0
_NOT_READ: Final = (
    "It reads another store, or none yet; or it is older than 3.7, and refuses all because of the "
    "Hub's error pages (c.TraefikProxy.error_pages)"
)
_MISSES: Final = 2
"""Looks in a row that one may leave unanswered."""


class ReplicaWatch:
    """Keeps ``Replicas`` true while no changes ask them.

    Args:
        newest: the newest generation that the store has.
        accept: raises TraefikUnusable for a version, of the Traefik of this name, that can't serve
            the routes.
    """

    def __init__(
        self,
        replicas: Replicas,
        newest: Callable[[], int],
        accept: Callable[[Version, str], None],
        log: logging.Logger,
    ) -> None:
        self._replicas = replicas
        self._newest = newest
        self._accept = accept
        self._log = log
        self._task: asyncio.Task[None] | None = None
        self._scope = anyio.CancelScope()

    def run(self) -> None:
        """Begin, in a task of the running event loop."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="traefikhub-replicas")

    async def aclose(self) -> None:
        """Stop. Idempotent."""
        task, self._task = self._task, None
        if task is not None:
            self._scope.cancel()
            with anyio.CancelScope(shield=True):
                await asyncio.wait([task])

    async def _run(self) -> None:
        tended: set[Replica] = set()
        with self._scope:
            async with anyio.create_task_group() as group:
                while True:
                    tended.intersection_update(self._replicas.members)
                    for replica in self._replicas.members:
                        if replica not in tended:
                            tended.add(replica)
                            group.start_soon(self._tend, replica)
                    await anyio.sleep(_LOOKUP_SECONDS)
                    try:
                        await self._replicas.find()
                    except Exception:
                        self._log.exception("Names of Traefiks can't be looked up")

    async def _tend(self, replica: Replica) -> None:
        missed, behind = 0, 0.0
        with replica.left:
            while True:
                await anyio.sleep(_LOOK_SECONDS)
                try:
                    if not replica.counts:
                        missed, behind = 0, 0.0
                        await self._let_catch_up(replica)
                        continue
                    live = self._replicas.live
                    behind = await self._look(replica, live, behind)
                    missed = 0
                except TraefikError as error:
                    missed += 1
                    replica.missed(error)
                    if missed >= _MISSES:
                        self._replicas.leave_out(replica, error)
                except Exception as error:
                    self._log.exception("Traefik at %s can't be looked at", replica.name)
                    self._replicas.leave_out(replica, error)

    async def _look(self, replica: Replica, live: int, behind: float) -> float:
        """See that one that counts serves what was live before.

        Args:
            behind: when it began to serve less; 0 if it doesn't.

        Returns:
            As ``behind``, after that.

        Raises:
            TraefikError: it can't be asked.
        """
        before = replica.served
        replica.served = served = await replica.aside.served_generation()
        replica.reached, replica.gone = True, False
        if served >= live:
            return 0.0
        if served < before:  # it does not go back: another process answers
            self._replicas.leave_out(
                replica, f"it was started again, and serves generation {served}, not {live}"
            )
            return 0.0
        now = time.monotonic()
        if behind and now - behind > self._replicas.patience:
            self._replicas.leave_out(replica, f"it serves generation {served}, not {live}")
        return behind or now

    async def _let_catch_up(self, replica: Replica) -> None:
        """Include it if it serves by now all that was live before."""
        try:
            # Asked once: a poll would ask one that is gone again and again.
            try:
                replica.served = await replica.aside.served_generation()
            except TraefikError as error:
                replica.missed(error)
                raise
            replica.reached, replica.gone = True, False
            version = await replica.aside.version(timeout=_CATCH_UP_SECONDS)
            self._accept(version, replica.name)
            target = 0
            while target < (due := max(self._newest(), self._replicas.live)):
                await replica.aside.wait_for_generation(
                    due, timeout=_CATCH_UP_SECONDS, newest=self._newest
                )
                target = due
        except TraefikError as error:
            replica.well_since = None
            if isinstance(error, NotLive) and replica.reached and not replica.served:
                error = NotLive(f"{error}. {_NOT_READ}")
            self._replicas.late(replica, error)
            return
        replica.version, replica.served = version, max(replica.served, target)
        replica.well_since = replica.well_since or time.monotonic()
        if replica.is_steady:
            self._replicas.include(replica)
