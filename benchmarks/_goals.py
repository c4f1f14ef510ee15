"""What traefikhub promises of its speed, as ratios within one run, and whether it holds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from benchmarks._contestants import CHEAP, CHP, OURS, OWN, RIVAL
from benchmarks._results import Results

__all__ = ["STALLING", "Goal", "goals_of", "longest_stall", "mib_per_route", "ratio"]

_FEW: Final = 10
_SOME: Final = 1_000
_MANY: Final = 10_000

_FILE: Final = (f"{OWN}, toml-file", f"{RIVAL}, file")
_ETCD: Final = (f"{OWN}, etcd", f"{RIVAL}, etcd")

STALLING: Final = ("stall in", "burst")
"""The measurements that hold stalls of a Hub at work; the start is none of them, as a Hub that
starts serves nobody yet."""


@dataclass(frozen=True, slots=True)
class Goal:
    """One promise.

    text: what is measured.
    needed: the limit, with its sense.
    value: as measured; None if it was not.
    met: None if it was not measured.
    """

    text: str
    needed: str
    value: float | None
    met: bool | None


def goals_of(results: Results) -> list[Goal]:
    """All goals, each with what was measured."""
    return [
        *_changes(results),
        *_bursts(results),
        *_requests(results),
        *_lists(results),
        *_stalls(results),
        *_memory(results),
        *_own(results),
    ]


def ratio(over: float | None, under: float | None) -> float | None:
    """A quotient, if both are there."""
    return over / under if over is not None and under else None


def longest_stall(results: Results, contestant: str) -> tuple[float, str] | None:
    """Milliseconds, and in which operation."""
    stalls = [
        (row.values["stall"], f"{row.what.removeprefix('stall in ')}, {row.routes:,} routes")
        for row in results.of(contestant)
        if row.what.startswith(STALLING) and "stall" in row.values
    ]
    return max(stalls, default=None)


def mib_per_route(results: Results, contestant: str, whose: str) -> float | None:
    """By how much each route makes the process of the Hub, or of the proxy, larger."""
    sizes = sorted(row.routes for row in results.of(contestant) if row.what == "memory")
    if not sizes or sizes[0] == sizes[-1]:
        return None
    least, most = (
        results.value(contestant, "memory", whose, size) for size in (sizes[0], sizes[-1])
    )
    if least is None or most is None:
        return None
    return (most - least) / (sizes[-1] - sizes[0])


def _at_least(text: str, limit: float, value: float | None) -> Goal:
    return Goal(text, f"≥ {limit:g}", value, None if value is None else value >= limit)


def _below(text: str, limit: float, value: float | None, unit: str = "") -> Goal:
    return Goal(text, f"< {limit:g}{unit}", value, None if value is None else value < limit)


def _at_most(text: str, limit: float, value: float | None) -> Goal:
    return Goal(text, f"≤ {limit:g}", value, None if value is None else value <= limit)


def _changes(results: Results) -> Iterator[Goal]:
    for ours, rival in (_FILE, _ETCD):
        for theirs, routes, limit in (
            (rival, _FEW, 40),
            (f"{rival}, {CHEAP}", _FEW, 8),
            (rival, _SOME, 8),
        ):
            value = ratio(
                results.value(theirs, "add", "p50", routes),
                results.value(ours, "add", "p50", routes),
            )
            text = f"add_route, {routes:,} routes: times faster than {theirs} ({ours})"
            yield _at_least(text, limit, value)


def _bursts(results: Results) -> Iterator[Goal]:
    for ours, theirs in (_FILE, _ETCD):
        count = next((row.at_once for row in results.of(ours) if row.what == "burst"), 0)
        value = ratio(
            results.value(theirs, "burst", "seconds", at_once=count),
            results.value(ours, "burst", "seconds", at_once=count),
        )
        text = f"burst of {count or 500}: times faster than {theirs} ({ours})"
        yield _at_least(text, 50, value)


def _requests(results: Results) -> Iterator[Goal]:
    for contestant in OURS:
        for what in ("user requests", "hub requests"):

            def at(routes: int, name: str = contestant.name, what: str = what) -> float | None:
                return results.value(name, what, "per_second", routes)

            yield _at_least(
                f"{what}/s, {_MANY:,} routes: share of those with {_FEW} ({contestant.name})",
                0.75,
                ratio(at(_MANY), at(_FEW)),
            )
            yield _at_least(
                f"{what}/s, {_MANY:,} routes: times those of {CHP} ({contestant.name})",
                3,
                ratio(at(_MANY), at(_MANY, CHP)),
            )


def _lists(results: Results) -> Iterator[Goal]:
    for (ours, _), limit in ((_FILE, 150), (_ETCD, 500)):
        value = results.value(ours, "get_all_routes", "p50", _MANY)
        yield _below(f"get_all_routes, {_MANY:,} routes ({ours})", limit, value, " ms")


def _stalls(results: Results) -> Iterator[Goal]:
    for contestant in OURS:
        worst = longest_stall(results, contestant.name)
        where = f", worst in {worst[1]}" if worst else ""
        text = f"longest stall of the event loop ({contestant.name}{where})"
        yield _below(text, 20, worst[0] if worst else None, " ms")


def _memory(results: Results) -> Iterator[Goal]:
    for contestant in OURS:
        each = mib_per_route(results, contestant.name, "hub")
        text = f"memory in the Hub for each route ({contestant.name})"
        yield _below(text, 4, None if each is None else 1024 * each, " KiB")


def _own(results: Results) -> Iterator[Goal]:
    floor = next(iter(results.tables.get("floor", [])), {})
    text = f"add_route, {_FEW} routes: times the floor ({_FILE[0]})"
    yield _at_most(text, 1.3, floor.get("ratio p50"))
    reloads = {row["contestant"]: row for row in results.tables.get("reloads", [])}
    for contestant in OURS:
        row = reloads.get(contestant.name, {})
        text = f"burst of {row.get('routes added at once', 500)}: reloads ({contestant.name})"
        yield _at_most(text, 4, row.get("reloads of Traefik"))
