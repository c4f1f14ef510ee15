"""Whether anything grew, and whether anything went wrong that should not have. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

from benchmarks._load_samples import Sample

__all__ = ["Growth", "grown", "problems_of"]

_PERIOD: Final = 600.0
"""Growth is told for so many seconds."""

_MEMORY_SHARE: Final = 0.02
_COLLECTED_SHARE: Final = 0.10
"""Go gives memory back late, and takes more when a collection meets a reload."""

_REMEMBERED: Final = 300 / (1 << 20)
"""MiB of the Hub for each route that has ended: last activity remembers where it led, of the last
10,000."""

_LESS_THAN_ONE: Final = 1.0
_NEAR: Final = 5
"""Descriptors that may be more at the end than at the beginning: a connection kept for the next
question, a log."""

_BLOCK_SECONDS: Final = 30.0
_SURE: Final = 1.645
"""One in twenty runs without any growth is taken for one that grows."""


@dataclass(frozen=True, slots=True)
class Growth:
    """What became of one number while the number of routes stayed about the same.

    what, unit: for people.
    start: before the first login.
    steady: the median of the second half.
    end: when all have logged out.
    per_period: growth in ten minutes, beyond what the number of routes explains.
    surely: at least so much of that is no chance.
    bound: for what is no chance; None if it is only told.
    """

    what: str
    unit: str
    start: float
    steady: float
    end: float
    per_period: float
    surely: float
    bound: float | None

    @property
    def ok(self) -> bool:
        """Whether it is within the bound."""
        return self.bound is None or self.surely <= self.bound


def grown(first: Sample, samples: Sequence[Sample], last: Sample) -> list[Growth]:
    """Of all that could grow.

    Args:
        first: before the first login.
        samples: from the second half.
        last: when all have logged out.
    """
    blocks = _blocks(samples)

    def of(
        what: str, value: Callable[[Sample], float], *, unit: str = "", bound: float | None = None
    ) -> Growth:
        values = [value(each) for each in blocks]
        routes = [each["routes"] for each in blocks]
        steady = statistics.median(values)
        beside = statistics.median(routes) - first["routes"]
        each_route = (steady - value(first)) / beside if beside else 0.0
        rest = [value - each_route * count for value, count in zip(values, routes, strict=True)]
        slope, surely = _slope([each["at"] for each in blocks], rest)
        return Growth(
            what,
            unit,
            value(first),
            steady,
            value(last),
            _PERIOD * slope,
            _PERIOD * surely,
            bound,
        )

    def named(name: str) -> Callable[[Sample], float]:
        return lambda sample: sample[name]

    def some(name: str, share: float = _MEMORY_SHARE) -> float:
        return share * statistics.median(each[name] for each in blocks)

    ended, _ = _slope([each["at"] for each in blocks], [each["ended"] for each in blocks])
    hub = some("hub_mib") + _REMEMBERED * _PERIOD * ended
    traefik = some("traefik_mib", _COLLECTED_SHARE)
    return [
        of("Hub, memory", named("hub_mib"), unit="MiB", bound=hub),
        of("Hub, descriptors", named("hub_fds"), bound=_LESS_THAN_ONE),
        of("Hub, threads", named("hub_threads"), bound=_LESS_THAN_ONE),
        of("Hub, tasks of the event loop", named("tasks"), bound=_LESS_THAN_ONE),
        of("Hub, Python's objects", named("objects")),
        of("Traefik, memory", named("traefik_mib"), unit="MiB", bound=traefik),
        of("Traefik, live heap", named("traefik_heap"), unit="MiB", bound=some("traefik_heap")),
        of("Traefik, descriptors", named("traefik_fds")),
        of("… beside users' connections", _own_descriptors, bound=_LESS_THAN_ONE),
        of("Traefik, threads", named("traefik_threads")),
        of("Traefik, goroutines", named("traefik_goroutines")),
    ]


def _own_descriptors(sample: Sample) -> float:
    return sample["traefik_fds"] - sample["clients"] - sample["backends"]


def _blocks(samples: Sequence[Sample]) -> list[Sample]:
    """The medians of some samples each: what one sees, the next sees too."""
    blocks: dict[int, list[Sample]] = {}
    for each in samples:
        blocks.setdefault(int(each["at"] // _BLOCK_SECONDS), []).append(each)
    return [
        {name: statistics.median(each[name] for each in block) for name in block[0]}
        for block in blocks.values()
    ]


def _slope(times: Sequence[float], values: Sequence[float]) -> tuple[float, float]:
    """The median of the slopes between any two points (Theil and Sen), and the lower end of its
    confidence interval."""
    points = list(zip(times, values, strict=True))
    slopes = sorted((b[1] - a[1]) / (b[0] - a[0]) for a, b in combinations(points, 2))
    if not slopes:
        return 0.0, 0.0
    count = len(points)
    spread = _SURE * math.sqrt(count * (count - 1) * (2 * count + 5) / 18)
    lowest = max(0, round((len(slopes) - spread) / 2))
    return statistics.median(slopes), slopes[lowest]


def problems_of(
    growths: Sequence[Growth],
    last: Sample,
    unexplained: int,
    others: Sequence[str],
    strangers: int = 0,
) -> list[str]:
    """What keeps the run from being in order.

    Args:
        unexplained: errors.
        others: whatever else was seen.
        strangers: the errors among them in which a server answered that wasn't the user's.
    """
    found = list(others)
    if strangers:
        found.append(f"answers of servers that were not the user's: {strangers}")
    if unexplained:
        found.append(f"errors without an explanation: {unexplained}")
    found += [
        f"{each.what}: grows by {each.surely:.2f} {each.unit} or more in ten minutes, the bound "
        f"is {each.bound:.2f}"
        for each in growths
        if not each.ok
    ]
    found += [
        f"{each.what}: {each.end:.0f} at the end, {each.start:.0f} at the start"
        for each in growths
        if "descriptors" in each.what and each.end > each.start + _NEAR
    ]
    found += [
        f"{each.what}: {each.end:,.0f} at the end, {each.start:,.0f} at the start"
        for each in growths
        # Meanwhile a quarter may be garbage that waits for Python's next full collection.
        if "objects" in each.what and each.end > (1 + _MEMORY_SHARE) * each.start
    ]
    if last["routes"] != 1:
        found.append(f"routes at the end: {last['routes']:.0f}, not the Hub's alone")
    for what in ("drifts", "restarts"):
        if last[what]:
            found.append(f"{what}: {last[what]:.0f}")
    return found
