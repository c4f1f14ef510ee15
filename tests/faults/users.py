"""The routes that come and go, as JupyterHub has them come and go: from a seed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

from faults.hub_control import HubControl
from faults.model import HUB_SPEC
from faults.record import Call, Outcome
from faults.targets import HUB, Targets

__all__ = ["NEW", "SPECS", "Users"]

SPECS = [
    # Some are prefixes of others, some would be the same if somebody forgot about case, a slash, an
    # escape, or the end of a name.
    *("/user/a/", "/user/ab/", "/user/abc/", "/user/A/", "/user/a/lab/", "/user/a/Lab/"),
    *("/user/a/lab/deep/", "/user/a-b/", "/user/a_b/", "/user/a.b/", "/user/a~b/"),
    *("/user/q@home/", "/user/q%40/", "/user/per%25cent/", "/user/sp%20ace/", "/user/pl+us/"),
    *("/user/h%C3%BCbner/", "/user/%E7%A7%80%E6%A8%B9/", "/user/b%60tick/", "/user/%7B%7Bx%7D%7D/"),
    *("/user/quo%22te/", "/user/back%5Cslash/", "/user/semi;colon/", "/user/co:lon/"),
    *("/services/a/", "/services/ab/", "/services/announcement/"),
    # So many that the routers stand below a parent, and now and then just too few for that.
    *(f"/user/u{number}/" for number in range(12)),
]

NEW = "/services/new/"
"""What the recovery from a fault adds and deletes. Nobody else touches it."""

_BUSY = 8
_BURST = 8
_SURE = 0.7
_PAUSE = 0.1


@dataclass(slots=True)
class _Route:
    """What the Hub believes of one.

    target: where it should lead, by what was last asked for.
    known: whether that was acknowledged.
    busy: whether something is being done about it.
    """

    target: str | None = None
    known: bool = True
    busy: bool = False


class Users:
    """Adds, updates, deletes and checks, one thing at a time for each route and many at once.

    Args:
        rng: decides everything.
    """

    def __init__(self, hub: HubControl, targets: Targets, rng: random.Random) -> None:
        self._hub = hub
        self._targets = targets
        self._rng = rng
        self._routes = {spec: _Route() for spec in SPECS}
        self._serial = 0
        self._checking = False
        self._quiet = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def keep_changing(self, per_second: float) -> None:
        """Until it is cancelled."""
        while True:
            await asyncio.sleep(self._rng.expovariate(per_second))
            if self._quiet:
                continue
            what = self._rng.random()
            if what < 0.04:
                self._begin(self.check())
            elif what < 0.06:
                for _ in range(_BURST):
                    self._change_any()
            elif len(self._tasks) < _BUSY:
                self._change_any()

    async def done(self) -> None:
        """Return when nothing is in progress any more."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    @asynccontextmanager
    async def quiet(self) -> AsyncIterator[None]:
        """Nothing is in progress, and nothing begins, for as long as this lasts."""
        self._quiet += 1
        try:
            await self.done()
            yield
        finally:
            self._quiet -= 1

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _change_any(self) -> None:
        idle = [spec for spec, route in self._routes.items() if not route.busy]
        if not idle:
            return
        spec = self._rng.choice(idle)
        route = self._routes[spec]
        if not route.known and self._rng.random() < _SURE:
            target = route.target  # as a user who tries again
        elif route.target and self._rng.random() < 0.5:
            target = None
        else:
            target = self.any_target(route.target)
        self._begin(self._change(spec, target))

    def any_target(self, other_than: str | None = None) -> str:
        """One that a route may lead to."""
        return self._rng.choice([each for each in self._targets.for_users if each != other_than])

    async def _change(self, spec: str, target: str | None) -> None:
        route = self._routes[spec]
        do = "delete" if target is None else "update" if route.target else "add"
        with _busy(route):
            route.target, route.known = target, False
            call = await self.set(do, spec, target)
            route.known = call.outcome is Outcome.OK

    async def set(self, do: str, spec: str, target: str | None) -> Call:
        """Add, update or delete one route."""
        if target is None:
            return await self._hub.call(do, {spec: None}, spec=spec)
        self._serial += 1
        data = _data(spec) | {"serial": self._serial, "odd": ['"', {}, None, "秀\n"]}
        url = self._targets.url(target)
        return await self._hub.call(
            do, {spec: target}, {spec: data}, spec=spec, target=url, data=data
        )

    async def add_hub(self) -> None:
        """The default route, as JupyterHub adds it at its start."""
        await self.set("add", HUB_SPEC, HUB)

    async def check(self) -> None:
        """JupyterHub's check of routes, at a time when half of the users are about to do
        something. One at a time."""
        if self._checking:
            return
        self._checking = True
        idle = [spec for spec, route in self._routes.items() if not route.busy]
        chosen = {spec: self._routes[spec] for spec in idle if self._rng.random() < 0.5}
        for route in chosen.values():
            route.busy, route.known = True, False
        ready = {spec: route.target for spec, route in chosen.items() if route.target}
        call = await self._hub.call(
            "check",
            {HUB_SPEC: HUB, **{spec: route.target for spec, route in chosen.items()}},
            {spec: _data(spec) for spec in (HUB_SPEC, *ready)},
            ready={spec: self._targets.url(target) for spec, target in ready.items()},
            pending=[NEW, *(spec for spec in self._routes if spec not in chosen)],
        )
        for route in chosen.values():
            route.busy, route.known = False, call.outcome is Outcome.OK
        self._checking = False

    @asynccontextmanager
    async def some_route(self) -> AsyncIterator[str]:
        """One that is there for sure, and stays as it is for as long as this lasts. Waits until
        there is one."""
        while not (there := list(self.sure())):
            await asyncio.sleep(_PAUSE)
        spec = self._rng.choice(there)
        with _busy(self._routes[spec]):
            yield spec

    def sure(self) -> dict[str, str]:
        """What should be served now: the target of each route that is there and at rest."""
        return {
            spec: route.target
            for spec, route in self._routes.items()
            if route.known and route.target and not route.busy
        }


def _data(spec: str) -> dict[str, Any]:
    """Of a route as JupyterHub makes it."""
    return {"hub": True} if spec == HUB_SPEC else {"user": spec, "server_name": ""}


@contextmanager
def _busy(route: _Route) -> Iterator[None]:
    route.busy = True
    try:
        yield
    finally:
        route.busy = False
