"""Watch which routes are used while the proxy runs: the looks at Traefik, and when.

What they mean is in ``activity``. Facts, limits and costs: docs/last-activity.md.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

import anyio

from traefikhub.activity import Activity, to_records
from traefikhub.stores import Records
from traefikhub.threads import in_thread
from traefikhub.traefik.connections import Address, Resolver, open_targets
from traefikhub.traefik.metrics import Scrape

__all__ = ["ActivityWatch", "LocalTraefik"]

_SHORTEST: Final = 1.0
_LONGEST: Final = 10.0
"""Seconds between looks at connections. On plain http an answer that is broken off between two of
them is seen by neither these nor the counters."""
_SHARE: Final = 100
"""Looks at many connections are rarer: one hundredth of the time at most goes into them."""

_RESOLVE_SECONDS: Final = 5.0
_LAST_SECONDS: Final = 3.0
"""How long the last look may hold up the end of Traefik. What it would have told is not worth more:
without it, all routes are active at the next start."""


class LocalTraefik:
    """The connections of a Traefik on this host. Blocks; for one thread at a time.

    Args:
        pid: of the process that runs now.
        api_port: where it listens, to prove that its sockets can be seen.
    """

    def __init__(self, pid: Callable[[], int], api_port: int) -> None:
        self._pid = pid
        self._api_port = api_port
        self._resolver = Resolver()

    def look(self, hosts: Collection[str]) -> Look:
        """Where it has connections to, and the addresses of these names."""
        targets = open_targets(self._pid(), proof=self._api_port)
        return targets, self._resolver.resolve(hosts, timeout=_RESOLVE_SECONDS)


Look = tuple["Collection[Address] | None", Mapping[str, Collection[str]]]
_UNKNOWN: Final[Look] = (None, {})


class ActivityWatch:
    """Answers when each route was last used.

    Args:
        traefik: None if its connections can't be seen.
        scrape: asks every Traefik that there is what it has counted, None for one that couldn't be
            asked. None if they can't be asked at all: without ``traefik`` as well, every route is
            always active.
        log: where it is told that Traefik couldn't be asked.
    """

    def __init__(
        self,
        traefik: LocalTraefik | None,
        scrape: Callable[[], Awaitable[Sequence[Scrape | None]]] | None,
        log: logging.Logger,
    ) -> None:
        self._traefik = traefik
        self._scrape = scrape
        self._log = log
        self._activity = Activity()
        self._looking = anyio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._scope = anyio.CancelScope()
        self._asking = anyio.CancelScope()
        self._told = False  # that connections can't be seen
        self._last_look: Look | None = None  # the one before Traefik ends, if it told all

    async def restore(self, targets: Mapping[str, str], saved: Mapping[str, float] | None) -> None:
        """Begin with the routes there are, by routespec, and what was saved of them."""
        if self._traefik is None:
            saved = None
        await in_thread(self._activity.restore, targets, saved, time.time())

    def run(self) -> None:
        """Begin to look at connections, in a task of the running event loop."""
        if self._traefik is not None:
            self._task = asyncio.get_running_loop().create_task(
                self._run(), name="traefikhub-activity"
            )

    async def _run(self) -> None:
        took = 0.0
        with self._scope:
            while True:
                await anyio.sleep(min(max(_SHORTEST, _SHARE * took), _LONGEST))
                try:
                    async with self._looking:
                        began = time.monotonic()
                        await self._look()
                        took = time.monotonic() - began
                except Exception:
                    self._log.exception("A look at the connections of Traefik failed")

    async def aclose(self) -> None:
        """Look for the last time, while Traefik still runs. Idempotent."""
        task, self._task = self._task, None
        if task is None:
            return
        self._scope.cancel()
        with anyio.CancelScope(shield=True):
            await asyncio.wait([task])
            self._asking.cancel()
            with anyio.move_on_after(_LAST_SECONDS):
                async with self._looking:
                    await self._look()
                    if await self._count():
                        # Again: what began while the counters were read is in neither.
                        self._last_look = await self._look()

    def forget(self) -> None:
        """Traefik was started again, or routes vanished from the store: counters began anew."""
        self._activity.forget()

    @contextmanager
    def change(self, routespec: str, target: str | None) -> Iterator[None]:
        """Around the setting of a route, or its deletion if ``target`` is None. Whether that
        succeeds makes no difference: it may have taken place."""
        new = target is not None and not self._activity.knows(routespec, target)
        try:
            yield
        finally:
            if target is None:
                self._activity.ended(routespec)
            elif new:
                self._activity.began(routespec, target, time.time())

    async def times(self, targets: Mapping[str, str]) -> dict[str, float]:
        """When each of these routes was last used, in seconds of the epoch.

        Args:
            targets: of all routes there are, by routespec.
        """
        self._activity.follow(targets, time.time())
        async with self._looking:
            with anyio.CancelScope() as self._asking:
                await self._look()
                await self._count()
            if self._asking.cancelled_caught:
                self._activity.see_connections(*_UNKNOWN, time.time())
            return self._activity.times()

    def to_save(self) -> Records | None:
        """What ``restore`` needs after a restart of the Hub, now that Traefik has ended; None if
        something may be missing from it."""
        if self._last_look is None:
            return None
        # What was open then may have been in use until the end.
        self._activity.see_connections(*self._last_look, time.time())
        return to_records(self._activity.times())

    async def _look(self) -> Look:
        look = _UNKNOWN
        if self._traefik is None and self._scrape is not None:
            return look  # what is counted has to do
        if self._traefik is not None:
            try:
                look = await in_thread(self._traefik.look, self._activity.hosts())
            except Exception as error:
                # Better all servers run too long than one is culled under its user's hands.
                self._tell(f"{type(error).__name__}: {error}")
            else:
                if look[0] is None:
                    self._tell("it has file capabilities, belongs to another user, or is gone")
                else:
                    self._told = False
        self._activity.see_connections(*look, time.time())
        return look

    def _tell(self, why: str) -> None:
        if not self._told:
            self._log.warning(
                "All routes count as active, for Traefik's connections can't be seen: %s. While "
                "that is so, no server is ever idle (c.TraefikProxy.last_activity)",
                why,
            )
        self._told = True

    async def _count(self) -> bool:
        """Fold in what Traefik has counted; whether it could be asked."""
        if self._scrape is None:
            return False  # all are active anyway
        asked = self._activity.asking()
        scrapes = await self._scrape()
        self._activity.see_counters(scrapes, asked, time.time())
        return None not in scrapes and bool(scrapes)
