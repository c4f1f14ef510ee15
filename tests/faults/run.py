"""One run on one store: users come and go, requests are made, and things break."""

from __future__ import annotations

import asyncio
import random
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any

import anyio
import psutil

from faults.ends import read_all, sweep
from faults.hub_control import HubControl, StartFailed
from faults.kinds import Kind, kinds_for
from faults.link import Link
from faults.probes import Prober
from faults.record import Fault, History
from faults.recovery import Recovery
from faults.server_places import PLACES, ServerPlace
from faults.targets import HUB, Targets
from faults.users import SPECS, Users
from faults.verdict import Stored, Violation, judge
from faults.world import World
from support import free_port

__all__ = ["Plan", "Report", "run"]

_TARGETS = 9
_NEVER_MADE = ["/user/nobody/", "/user/a/x/", "/user/u1/lab/", "/"]
_PING_SECONDS = 0.5
_PAIR_SHARE = 0.3
_PAIRS = [{"traefik", "hub"}, {"store", "hub"}, {"store", "traefik"}]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run is to do.

    seconds: how long faults are injected; 0 for each kind once.
    per_second: changes and requests.
    scale: of the time that faults last.
    pairs: whether two may come together.
    only: faults with this in their name.
    lie: let the Hub acknowledge what it has not done yet, to see that this is found out.
    """

    store: str
    seed: int
    seconds: float = 0
    changes_per_second: float = 6
    requests_per_second: float = 20
    scale: float = 1
    pairs: bool = True
    only: str = ""
    lie: bool = False


@dataclass(slots=True)
class Report:
    """What came of it."""

    plan: Plan
    history: History
    violations: list[Violation] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    seconds: float = 0


def run(plan: Plan, keep: Path, tell: Callable[[str], None] = lambda _text: None) -> Report:
    """Run it, and judge it. Leaves no process and no mount behind.

    Args:
        keep: a directory; the history and the logs go there.
        tell: called with a line for each fault.
    """
    keep.mkdir(parents=True, exist_ok=True)
    report = Report(plan, History())
    try:
        with tempfile.TemporaryDirectory(prefix="faults-") as directory:
            asyncio.run(_Run(report, Path(directory), keep, tell).run())
    finally:
        report.history.write(keep / "history.jsonl")
    return report


class _Run:
    def __init__(
        self, report: Report, directory: Path, keep: Path, tell: Callable[[str], None]
    ) -> None:
        self._report = report
        self._history = report.history
        plan = report.plan
        self._plan = plan
        self._keep = keep
        self._tell = tell
        self._directory = directory
        # Each has its own numbers, so that one doesn't shift those of the others.
        self._rng = {
            name: random.Random(f"{plan.seed} {plan.store} {name}")
            for name in ("users", "probes", "faults", "link")
        }
        self._stored: list[Stored] = []
        self._violations: list[Violation] = []

    async def run(self) -> None:
        began = time.monotonic()
        async with AsyncExitStack() as stack:
            world, users, prober = await self._bring_up(stack)
            await users.add_hub()
            before = await read_all(world.place, world.targets)
            async with _background(
                users.keep_changing(self._plan.changes_per_second),
                self._keep_pinging(world.hub),
                prober.keep_asking(
                    SPECS + _NEVER_MADE, self._plan.requests_per_second, self._rng["probes"]
                ),
            ):
                await self._break_things(world, Recovery(users, prober))
            await users.done()
            await prober.answered()
            await self._come_to_rest(world, users, prober, before)
        self._report.seconds = time.monotonic() - began
        self._report.violations = self._violations + judge(self._history, self._stored)

    async def _bring_up(self, stack: AsyncExitStack) -> tuple[World, Users, Prober]:
        place = PLACES[self._plan.store](self._directory)
        stack.push_async_callback(asyncio.to_thread, place.close)
        await asyncio.to_thread(place.open)
        targets = Targets(_TARGETS, self._history)
        await targets.start()
        stack.push_async_callback(targets.aclose)
        link = None
        if isinstance(place, ServerPlace):
            link = Link(place.url, lambda port: world.whose(port), self._rng["link"])
            await link.start()
            stack.push_async_callback(link.aclose)
            place.address = link.address
        url = f"http://127.0.0.1:{free_port()}"
        options = {
            "public_url": url,
            "traefik_api_url": f"http://127.0.0.1:{free_port()}",
            "run_dir": str(place.run_dir),
            "store": self._plan.store,
            "grace_seconds": 1,
            "drain_seconds": 5,
            "check_route_timeout": 10,
        }
        given = {"options": options, "config": place.config(), "hub_url": targets.url(HUB)}
        given["lie"] = self._plan.lie
        hub = HubControl(given, self._directory / "hub.log", self._history)
        users = Users(hub, targets, self._rng["users"])
        world = World(
            place=place,
            link=link,
            hub=hub,
            targets=targets,
            rng=self._rng["faults"],
            scale=self._plan.scale,
            some_route=users.some_route,
        )
        stack.callback(self._keep_logs, world)
        stack.push_async_callback(asyncio.to_thread, _end_traefiks, world)
        stack.push_async_callback(hub.kill)
        await hub.start(cleanup_proxy=True)
        return world, users, Prober(url, self._history)

    def _keep_logs(self, world: World) -> None:
        logs = [self._directory / "hub.log", *world.run_dir.glob("traefik.log*")]
        for log in [*logs, *self._directory.glob("*/*.log")]:
            shutil.copyfile(log, self._keep / log.name)

    async def _keep_pinging(self, hub: HubControl) -> None:
        while True:
            await asyncio.sleep(_PING_SECONDS)
            if hub.pid:
                await hub.call("ping", {})

    async def _break_things(self, world: World, recovery: Recovery) -> None:
        kinds = [kind for kind in kinds_for(world.place) if self._plan.only in kind.name]
        if not world.place.can_fill:
            self._report.left_out.append("disk full: this user can't mount a small disk")
        rng = self._rng["faults"]
        until = time.monotonic() + self._plan.seconds
        await asyncio.sleep(3)  # some users first
        while True:
            for kind in rng.sample(kinds, len(kinds)):
                if not await self._break(world, recovery, self._with_another(kind, kinds)):
                    self._report.left_out.append("whatever comes after what nothing recovers from")
                    return
                await asyncio.sleep(self._plan.scale * rng.uniform(0.2, 2))
                if self._plan.seconds and time.monotonic() > until:
                    return
            if not self._plan.seconds:
                return

    def _with_another(self, kind: Kind, kinds: Sequence[Kind]) -> list[Kind]:
        rng = self._rng["faults"]
        if not self._plan.pairs or rng.random() > _PAIR_SHARE:
            return [kind]
        others = [each for each in kinds if {kind.subject, each.subject} in _PAIRS]
        return [kind, rng.choice(others)] if others else [kind]

    async def _break(self, world: World, recovery: Recovery, kinds: Sequence[Kind]) -> bool:
        """Some faults at once; whether all was well again."""
        now = time.monotonic()
        faults = [Fault(kind.name, now, kind.limit, kind.excuses) for kind in kinds]
        self._history.faults += faults
        async with anyio.create_task_group() as group:
            for kind, fault in zip(kinds, faults, strict=True):
                group.start_soon(_inject, kind, world, fault)
                await asyncio.sleep(self._rng["faults"].uniform(0, self._plan.scale))
        if len(faults) > 1:
            for fault in faults:
                fault.note += f" ({faults[0].kind} + {faults[1].kind})"
        well = await recovery.wait(faults)
        for fault in faults:
            self._tell(f"{fault.kind} {fault.note}: well after {fault.recovered - fault.end:.1f} s")
        for kind in kinds:
            if kind.undo:
                await kind.undo(world)
        return well

    async def _come_to_rest(
        self, world: World, users: Users, prober: Prober, before: Stored
    ) -> None:
        """All faults are over. What is served and stored now must be what the record says, and
        after a restart, too."""
        await sweep(prober, SPECS)
        self._stored.append(await read_all(world.place, world.targets, before))
        await world.hub.end()
        try:
            await world.hub.start(cleanup_proxy=True)
        except StartFailed as error:
            text = f"after a normal stop: {error}"
            self._violations.append(
                Violation("the Hub does not start", text, time.monotonic(), inf)
            )
            return
        answer = await world.hub.ask("routes")
        routes = {spec: world.targets.name(url) for spec, url in answer.get("ok", {}).items()}
        self._stored.append(Stored(time.monotonic(), routes, "get_all_routes of a new Hub"))
        await sweep(prober, SPECS)
        await world.hub.end()
        if left := await asyncio.to_thread(world.traefiks):
            text = f"{len(left)} Traefik still run after a normal stop"
            self._violations.append(Violation("a process was left", text, time.monotonic(), inf))


async def _inject(kind: Kind, world: World, fault: Fault) -> None:
    fault.begin = time.monotonic()
    await kind.inject(world, fault)
    fault.end = time.monotonic()


def _end_traefiks(world: World) -> None:
    for process in world.traefiks():
        with suppress(psutil.NoSuchProcess):
            process.kill()


@asynccontextmanager
async def _background(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Do this meanwhile, and end it. What fails there fails here."""
    async with anyio.create_task_group() as group:
        for each in work:
            group.start_soon(_await, each)
        yield
        group.cancel_scope.cancel()


async def _await(work: Coroutine[Any, Any, None]) -> None:
    await work
