"""Wait until all is well again after a fault, and measure how long that took."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from math import inf

from faults.ends import StoreReader
from faults.model import Model
from faults.probes import Prober
from faults.record import Fault, History, Outcome
from faults.users import NEW, Users
from faults.verdict import judge_store
from traefikhub.stores import StoreError

__all__ = ["Recovery"]

_PATIENCE = 4.0
"""So many times the limit is waited for a recovery, before the run goes on without it."""
_PAUSE = 0.1


class Recovery:
    """Tells when all is well: a new route can be added, and is served; so are all others that were
    acknowledged."""

    def __init__(self, users: Users, prober: Prober, reader: StoreReader, history: History) -> None:
        self._users = users
        self._prober = prober
        self._reader = reader
        self._history = history

    async def wait(
        self, faults: Sequence[Fault], *, edited: bool = False, by_itself: bool = False
    ) -> bool:
        """Until all is well after these faults, which are over; whether it ever was. Notes when,
        for all of them.

        Args:
            edited: the store was, and must be put right, too.
            by_itself: nobody changes a route meanwhile, for any change would be a repair, too. The
                store must be put right before the new route is added.
        """
        limit = max(fault.limit for fault in faults)
        over = max(fault.end for fault in faults)
        steps = [self._is_well]
        if edited:
            steps.insert(0 if by_itself else 1, self._is_repaired)
        while steps and time.monotonic() < over + _PATIENCE * limit:
            if await steps[0]():
                if steps.pop(0) == self._is_repaired:
                    faults[0].note += f", put right after {time.monotonic() - over:.1f} s"
            else:
                await asyncio.sleep(_PAUSE)
        recovered = inf if steps else time.monotonic()
        for fault in faults:
            # A fault that came first is judged by the time since the last one was over.
            fault.end = over
            fault.recovered = recovered
        return not steps

    async def _is_repaired(self) -> bool:
        """Whether the store holds what it should, and all is served. Only looks."""
        async with self._users.quiet():  # they may be so already
            return await self._holds_and_serves()

    async def _holds_and_serves(self) -> bool:
        try:
            stored = await self._reader.read()
        except StoreError:
            return False
        # Nothing that a stranger wrote may be there any more.
        if any(judge_store(stored, Model(self._history.calls, []))):
            return False
        return await self._all_served()

    async def _is_well(self) -> bool:
        target = self._users.any_target()
        # This is what tells that Traefik has seen all that the store held before.
        call = await self._users.set("add", NEW, target)
        if call.outcome is not Outcome.OK:
            return False
        probe = await self._prober.ask(NEW)
        if probe.target != target:
            return False
        return await self._all_served() and await self._is_gone()

    async def _is_gone(self) -> bool:
        call = await self._users.set("delete", NEW, None)
        return call.outcome is Outcome.OK

    async def _all_served(self) -> bool:
        for spec, target in self._users.sure().items():
            probe = await self._prober.ask(spec)
            # Somebody may have changed it meanwhile.
            if probe.target != target and self._users.sure().get(spec) == target:
                return False
        return True
