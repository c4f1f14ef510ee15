"""How much is measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["FULL", "QUICK", "Plan"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The extent of a run.

    sizes: numbers of routes, ascending.
    at_once: by size, how many calls are in flight.
    calls, least: how many calls make a measurement, at most and at least.
    budget: seconds after which a measurement begins no more calls.
    limit: what would take more seconds than this is left out.
    patience: seconds with one contestant after which less is measured of it.
    burst: how many routes are added at once, with the least number of routes in the table.
    served: how many changes are watched from outside, through the proxy; 0 for none.
    load: seconds of requests.
    warm_up_at: sizes with which a second of requests goes before those that count.
    messages_at, stalls_at: sizes with which websockets are measured, and the event loop's stalls.
    floor: rounds against the floor.
    stores: the number of routes with which stores are measured by themselves; 0 for
        not at all.
    """

    name: str
    sizes: tuple[int, ...]
    at_once: dict[int, tuple[int, ...]]
    calls: int
    least: int
    budget: float
    limit: float
    patience: float
    burst: int
    served: int
    load: int
    warm_up_at: tuple[int, ...]
    messages_at: tuple[int, ...]
    stalls_at: tuple[int, ...]
    floor: int
    stores: int


_SIZES: Final = (10, 1_000, 10_000)

FULL: Final = Plan(
    name="full",
    sizes=_SIZES,
    at_once=dict.fromkeys(_SIZES, (1, 10, 100)),
    calls=200,
    least=2,
    budget=4,
    limit=15,
    patience=240,
    burst=500,
    served=10,
    load=5,
    warm_up_at=_SIZES,
    messages_at=(10, 1_000),
    stalls_at=_SIZES,
    floor=200,
    stores=10_000,
)

QUICK: Final = Plan(
    name="quick",
    sizes=(10, 1_000),
    at_once={10: (1, 10), 1_000: (1,)},
    calls=50,
    least=2,
    budget=0.4,
    limit=15,
    patience=40,
    burst=50,
    served=0,
    load=1,
    warm_up_at=(10,),
    messages_at=(),
    stalls_at=(1_000,),
    floor=50,
    stores=0,
)
