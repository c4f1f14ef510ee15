"""Break one thing after the other, and see that all is well after each."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import anyio

from faults.ends import StoreReader
from faults.kinds import DRIFT, Kind, kinds_for
from faults.looks import Looker
from faults.plan import Plan, Report
from faults.record import Fault
from faults.recovery import Recovery
from faults.users import Users
from faults.world import World

__all__ = ["INJECTION_SECONDS", "Breaker"]

INJECTION_SECONDS = 120.0
"""A fault that takes longer waits for something that never comes: a route, or a Hub that starts."""

_SOME_USERS_FIRST = 3.0
_PAIR_SHARE = 0.3
_PAIRS = [{"traefik", "hub"}, {"store", "hub"}, {"store", "traefik"}]


class Breaker:
    """Breaks things as the plan says.

    Args:
        report: faults, readings of the store, and what is left out go there.
        tell: called with a line for each fault.
    """

    def __init__(
        self,
        report: Report,
        world: World,
        users: Users,
        recovery: Recovery,
        reader: StoreReader,
        looker: Looker,
        tell: Callable[[str], None],
    ) -> None:
        self._report = report
        self._plan: Plan = report.plan
        self._world = world
        self._users = users
        self._recovery = recovery
        self._reader = reader
        self._looker = looker
        self._tell = tell
        self._rng: random.Random = world.rng
        self._by_hand = 0

    async def run(self) -> None:
        """Every fault once, or for as long as the plan says."""
        plan, rng = self._plan, self._rng
        kinds = kinds_for(self._world.place, plan.only)
        if not self._world.place.can_fill:
            self._report.left_out.append("disk full: this user can't mount a small disk")
        await asyncio.sleep(plan.scale * _SOME_USERS_FIRST)
        if plan.faultless:
            return
        until = time.monotonic() + plan.seconds
        while True:
            for kind in rng.sample(kinds, len(kinds)):
                if not await self._break(self._with_another(kind, kinds)):
                    self._report.left_out.append("whatever comes after what nothing recovers from")
                    return
                await asyncio.sleep(plan.scale * rng.uniform(0.2, 2))
                if plan.seconds and time.monotonic() > until:
                    return
            if not plan.seconds:
                return

    def _with_another(self, kind: Kind, kinds: Sequence[Kind]) -> list[Kind]:
        if not self._plan.pairs or self._rng.random() > _PAIR_SHARE:
            return [kind]
        others = [each for each in kinds if {kind.subject, each.subject} in _PAIRS]
        return [kind, self._rng.choice(others)] if others else [kind]

    async def _break(self, kinds: Sequence[Kind]) -> bool:
        """Some faults at once; whether all was well again."""
        async with self._users_are_quiet(kinds) as quiet:
            now = time.monotonic()
            faults = [Fault(kind.name, now, kind.limit, kind.excuses) for kind in kinds]
            self._report.history.faults += faults
            with anyio.move_on_after(INJECTION_SECONDS) as scope:
                await self._inject_all(kinds, faults)
            if quiet:
                faults[0].note += " while nobody changes a route"
            edited = kinds[0].subject == DRIFT
            if scope.cancelled_caught:  # what it waits for never comes
                well = False
                for fault in faults:
                    fault.end = min(fault.end, time.monotonic())
            else:
                well = await self._recovery.wait(faults, edited=edited, by_itself=quiet)
        for fault in faults:
            how = f"after {fault.recovered - fault.end:.1f} s" if well else "never"
            self._tell(f"{fault.kind} {fault.note}: well {how}")
        for kind in kinds:
            if kind.undo:
                await kind.undo(self._world)
        await self._looker.look("well" if well else "")
        if well:
            async with self._users.quiet():
                self._report.stored.append(await self._reader.read_at_rest())
        return well

    async def _inject_all(self, kinds: Sequence[Kind], faults: Sequence[Fault]) -> None:
        async with anyio.create_task_group() as group:
            for kind, fault in zip(kinds, faults, strict=True):
                group.start_soon(_inject, kind, self._world, fault)
                await asyncio.sleep(self._rng.uniform(0, self._plan.scale))
        if len(faults) > 1:
            for fault in faults:
                fault.note += f" ({faults[0].kind} + {faults[1].kind})"

    @asynccontextmanager
    async def _users_are_quiet(self, kinds: Sequence[Kind]) -> AsyncIterator[bool]:
        """For every other fault by hand: a change would put right what the Hub has to find by
        itself, and without changes nobody would know whether the two get on with each other."""
        if kinds[0].subject == DRIFT:
            self._by_hand += 1
        if kinds[0].subject != DRIFT or self._by_hand % 2 == 0:
            yield False
            return
        async with self._users.quiet():
            yield bool(self._users.sure())  # which to lay hands on


async def _inject(kind: Kind, world: World, fault: Fault) -> None:
    fault.begin = time.monotonic()
    await kind.inject(world, fault)
    fault.end = time.monotonic()
