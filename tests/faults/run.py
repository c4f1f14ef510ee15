"""One run on one store: users come and go, requests are made, and things break."""

from __future__ import annotations

import asyncio
import random
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from math import inf
from pathlib import Path
from typing import Any

import anyio
import psutil

from faults.breaking import Breaker
from faults.ends import StoreReader, sweep, told
from faults.growth import OLD_SECONDS
from faults.hub_control import HubControl, StartFailed
from faults.kinds import kinds_for
from faults.link import Link
from faults.looks import Looker
from faults.plan import NothingToDo, Plan, Report
from faults.probes import Prober
from faults.record import Call, History
from faults.recovery import Recovery
from faults.server_places import PLACES, ServerPlace
from faults.targets import HUB, Targets
from faults.threads import seen_through
from faults.users import SPECS, Users
from faults.verdict import judge
from faults.violation import Violation
from faults.world import World
from support import free_port

__all__ = ["NothingToDo", "Plan", "Report", "run"]

_TARGETS = 9
_NEVER_MADE = ["/user/nobody/", "/user/a/x/", "/user/u1/lab/", "/"]
_PING_SECONDS = 0.5
_LAST_WORDS_SECONDS = 1.0


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
        self._violations: list[Violation] = []
        self._ping: asyncio.Task[Call] | None = None

    async def run(self) -> None:
        began = time.monotonic()
        async with AsyncExitStack() as stack:
            world, users, prober = await self._bring_up(stack)
            if not self._plan.faultless and not kinds_for(world.place, self._plan.only):
                text = f"no fault with {self._plan.only!r} in its name can be made here"
                raise NothingToDo(text)
            with anyio.CancelScope() as scope:
                async with _background(_end_when_silent(world.hub, scope)):
                    await self._do_all(world, users, prober)
            self._history.ended = min(self._history.ended, time.monotonic())
        self._report.seconds = time.monotonic() - began
        self._report.violations = self._violations + judge(self._history, self._report.stored)

    async def _do_all(self, world: World, users: Users, prober: Prober) -> None:
        if not await self._started(world.hub):
            return
        await users.add_hub()
        reader = StoreReader(world.place, world.targets)
        self._report.stored.append(await reader.read_at_rest())
        looker = Looker(
            world, self._history, lambda: world.targets.connections + prober.connections
        )
        await looker.look("begin")
        recovery = Recovery(users, prober, reader, self._history)
        breaker = Breaker(self._report, world, users, recovery, reader, looker, self._tell)
        async with _background(
            users.keep_changing(self._plan.changes_per_second),
            self._keep_pinging(world.hub),
            prober.keep_asking(
                SPECS + _NEVER_MADE, self._plan.requests_per_second, self._rng["probes"]
            ),
            looker.keep_looking(),
        ):
            await breaker.run()
        if self._ping:
            await self._ping
        await users.done()
        await prober.answered()
        await self._come_to_rest(world, prober, reader, looker)

    async def _started(self, hub: HubControl) -> bool:
        """Start it; a promise is broken if it can't be."""
        try:
            await hub.start(cleanup_proxy=True)
        except StartFailed as error:
            violation = Violation("the Hub does not start", str(error), time.monotonic(), inf)
            self._violations.append(violation)
            return False
        return True

    async def _bring_up(self, stack: AsyncExitStack) -> tuple[World, Users, Prober]:
        place = PLACES[self._plan.store](self._directory)
        stack.push_async_callback(seen_through, place.close)
        await seen_through(place.open)
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
        log = self._directory / "hub.log"
        hub = HubControl(given, log, self._history, self._plan.patience)
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
        return world, users, Prober(url, self._history)

    def _keep_logs(self, world: World) -> None:
        logs = [self._directory / "hub.log", *world.run_dir.glob("traefik.log*")]
        for log in [*logs, *self._directory.glob("*/*.log")]:
            with suppress(FileNotFoundError):  # it ended before that was begun
                shutil.copyfile(log, self._keep / log.name)

    async def _keep_pinging(self, hub: HubControl) -> None:
        while True:
            await asyncio.sleep(_PING_SECONDS)
            if hub.pid:
                # Its answer is waited for, even if this ends meanwhile.
                self._ping = asyncio.create_task(hub.call("ping", {}))
                await asyncio.wait([self._ping])

    async def _come_to_rest(
        self, world: World, prober: Prober, reader: StoreReader, looker: Looker
    ) -> None:
        """All faults are over. What is served and stored now must be what the record says, and
        after a restart, too."""
        stored = self._report.stored
        await sweep(prober, SPECS)
        stored.append(await reader.read_at_rest())
        for whose in ("the Hub", "a new Hub"):
            answer = await world.hub.ask("routes")
            if "ok" in answer:  # else the call is judged
                stored.append(told(answer["ok"], world.targets, f"get_all_routes of {whose}"))
            await looker.rest("end", OLD_SECONDS)
            await sweep(prober, SPECS)
            await world.hub.end()
            if whose == "the Hub" and not await self._started(world.hub):
                return
        stored.append(await reader.read_at_rest(stopped=True))
        if left := await asyncio.to_thread(world.traefiks):
            text = f"{len(left)} Traefik still run after a normal stop"
            self._violations.append(Violation("a process was left", text, time.monotonic(), inf))


async def _end_when_silent(hub: HubControl, scope: anyio.CancelScope) -> None:
    await hub.silent.wait()
    await asyncio.sleep(_LAST_WORDS_SECONDS)
    scope.cancel()


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
