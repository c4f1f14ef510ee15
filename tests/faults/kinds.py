"""The faults, by name: what each does, and what it excuses."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from faults.hub_control import StartFailed
from faults.link import CLEAR, Trouble
from faults.places import ByHand, Fails, Place
from faults.record import Excuse, Fault
from faults.server_places import PLACES, ServerPlace
from faults.targets import STRANGER
from faults.threads import seen_through
from faults.world import World

__all__ = ["DRIFT", "Kind", "kind_names", "kinds_for"]

Inject = Callable[[World, Fault], Awaitable[None]]
"""Does it, and returns when it is over. May add to the fault's note, and to what it excuses."""

LIMIT = 15.0
HUNG_LIMIT = 25.0

DRIFT = "drift"
_DISK_FULL = "disk full"

_HUB_AWAY = frozenset({Excuse.CALLS, Excuse.SLOW_HUB})
_STORE_AWAY = frozenset({Excuse.CALLS, Excuse.STARTS})
_TRAEFIK_AWAY = frozenset({Excuse.REQUESTS, Excuse.CALLS})


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of fault.

    subject: what it breaks: traefik, hung, hub, store, drift, or clock. Two of different subjects
        may come together.
    excuses: what may fail meanwhile. Requests may, only if Traefik itself or what it reads is
        touched: otherwise it goes on serving.
    limit: seconds until all is well again after its end.
    undo: what to do when all is well again.
    """

    name: str
    subject: str
    inject: Inject
    excuses: frozenset[Excuse]
    limit: float = LIMIT
    undo: Callable[[World], Awaitable[None]] | None = None


async def _kill_traefik(world: World, fault: Fault) -> None:
    await asyncio.to_thread(world.signal_traefiks, signal.SIGKILL)


async def _kill_traefik_again(world: World, fault: Fault) -> None:
    """Each new one soon after it was started."""
    for _ in range(2):
        await _kill_traefik(world, fault)
        await asyncio.sleep(world.rng.uniform(0.1, 0.6))
    await _kill_traefik(world, fault)


async def _suspend_traefik(world: World, fault: Fault) -> None:
    """Nobody but the Hub lets it go on."""
    await asyncio.to_thread(world.signal_traefiks, signal.SIGSTOP)


async def _hang_traefik(world: World, fault: Fault) -> None:
    """A hang that no signal ends: the Hub has to replace it. The time for that is the recovery."""
    await world.hub.ask("blind", on=True)
    await asyncio.to_thread(world.signal_traefiks, signal.SIGSTOP)


async def _see_again(world: World) -> None:
    await world.hub.ask("blind", on=False)


async def _kill_hub(world: World, fault: Fault) -> None:
    await world.hub.kill()
    await asyncio.sleep(world.seconds())
    await _next_hub(world)


async def _kill_hub_again(world: World, fault: Fault) -> None:
    """The next one while it starts, too."""
    await world.hub.kill()
    for _ in range(2):
        start = asyncio.create_task(world.hub.start(cleanup_proxy=True))
        await asyncio.sleep(world.rng.uniform(0.5, 2))
        await world.hub.kill()
        with suppress(StartFailed):
            await start
    await _next_hub(world)


async def _next_hub(world: World) -> None:
    await world.hub.start_again_and_again(cleanup_proxy=world.rng.random() < 0.5)


async def _suspend_hub(world: World, fault: Fault) -> None:
    world.hub.suspend()
    try:
        await asyncio.sleep(2 * world.seconds())
    finally:
        world.hub.resume()


async def _restart_hub(world: World, fault: Fault) -> None:
    """In good order. It stops Traefik, or leaves it to the next one: requests fail only then."""
    if world.hub.cleanup_proxy:
        fault.excuses |= {Excuse.REQUESTS}
        fault.note = "Traefik too"
    else:
        fault.note = "Traefik stays"
    await world.hub.end()
    await _next_hub(world)


async def _jump(world: World, fault: Fault) -> None:
    hours = world.rng.choice([-720, -26, -1, 1, 26, 720])
    fault.note = f"by {hours:+d} h"
    await world.hub.ask("clock", seconds=3600 * hours)
    await asyncio.sleep(world.seconds())
    if world.rng.random() < 0.5:
        await world.hub.ask("clock", seconds=0)


def _server_kind(name: str, inject: Callable[[World, ServerPlace], Awaitable[None]]) -> Kind:
    async def on_server(world: World, fault: Fault) -> None:
        assert isinstance(world.place, ServerPlace)
        await inject(world, world.place)

    return Kind(name, "store", on_server, _STORE_AWAY)


async def _kill_store(world: World, place: ServerPlace) -> None:
    await seen_through(place.server.stop)
    await asyncio.sleep(2 * world.seconds())
    await seen_through(place.server.start)


async def _suspend_store(world: World, place: ServerPlace) -> None:
    place.server.pause()
    try:
        await asyncio.sleep(4 * world.seconds())
    finally:
        place.server.resume()


async def _fill_disk(world: World, fault: Fault) -> None:
    try:
        await seen_through(world.place.fill)
        await asyncio.sleep(2 * world.seconds())
    finally:
        await seen_through(world.place.free)


def _link_kind(name: str, make: Callable[[World], Trouble], times: float = 3) -> Kind:
    async def on_link(world: World, fault: Fault) -> None:
        assert world.link
        trouble = make(world)
        fault.note = f"for {trouble.stalled}" if trouble.stalled else ""
        world.link.set(trouble)
        try:
            await asyncio.sleep(times * world.seconds())
        finally:
            world.link.set(CLEAR)

    return Kind(name, "store", on_link, _STORE_AWAY)


_ON_SERVERS = [
    _server_kind("store killed", _kill_store),
    _server_kind("store stopped (SIGSTOP)", _suspend_store),
    _link_kind("link slow", lambda _world: Trouble(delay=0.15)),
    _link_kind("link loses packets", lambda _world: Trouble(loss=0.3, late=0.4, resets=0.02)),
    _link_kind(
        "link cut", lambda world: Trouble(stalled=world.rng.choice(["hub", "traefik", "all"])), 4
    ),
    _link_kind("link resets", lambda _world: Trouble(refuses=True)),
]

_EVERYWHERE = [
    Kind("Traefik killed", "traefik", _kill_traefik, _TRAEFIK_AWAY),
    Kind("Traefik killed 3 times", "traefik", _kill_traefik_again, _TRAEFIK_AWAY),
    Kind("Traefik stopped (SIGSTOP)", "traefik", _suspend_traefik, _TRAEFIK_AWAY),
    Kind("Traefik hangs", "hung", _hang_traefik, _TRAEFIK_AWAY, HUNG_LIMIT, _see_again),
    Kind("Hub killed", "hub", _kill_hub, _HUB_AWAY),
    Kind("Hub killed 3 times", "hub", _kill_hub_again, _HUB_AWAY | {Excuse.STARTS}),
    Kind("Hub stopped (SIGSTOP)", "hub", _suspend_hub, _HUB_AWAY),
    Kind("Hub restarted", "hub", _restart_hub, _HUB_AWAY),
    Kind("clock of the Hub set", "clock", _jump, frozenset()),
]


def _drift_kind(name: str, hand: ByHand) -> Kind:
    async def by_hand(world: World, fault: Fault) -> None:
        async with world.some_route() as spec:
            fault.note = f"near {spec}"
            fault.below = spec if hand.fails is Fails.BELOW else ""
            url = world.targets.url(STRANGER)
            fault.strange |= await asyncio.to_thread(hand.do, spec, url, world.rng)
            await asyncio.sleep(0.5)  # until Traefik has seen it, too

    excuses = frozenset[Excuse]() if hand.fails is Fails.NONE else frozenset({Excuse.REQUESTS})
    return Kind(f"by hand: {name}", DRIFT, by_hand, excuses)


def kinds_for(place: Place, only: str = "") -> list[Kind]:
    """All that can be done to a place which is open, with this in their names."""
    kinds = [kind for kind in _kinds_for(place) if only in kind.name]
    return [kind for kind in kinds if kind.name != _DISK_FULL or place.can_fill]


def kind_names(store: str) -> list[str]:
    """The names of all that may be done with a store, where it is allowed."""
    return [kind.name for kind in _kinds_for(PLACES[store](Path()))]


def _kinds_for(place: Place) -> list[Kind]:
    kinds = list(_EVERYWHERE)
    if isinstance(place, ServerPlace):
        kinds += _ON_SERVERS
    kinds += [_drift_kind(name, hand) for name, hand in place.strangers().items()]
    return [*kinds, Kind(_DISK_FULL, "store", _fill_disk, _STORE_AWAY)]
