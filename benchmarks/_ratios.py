"""Every rival against traefikhub on the same kind of store, as ratios of one run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from benchmarks._contestants import CHEAP, CHP, OWN, RIVAL
from benchmarks._goals import ratio
from benchmarks._results import Results

__all__ = ["ratios_of"]

_PAIRS: Final = {
    CHP: f"{OWN}, toml-file",
    f"{RIVAL}, file": f"{OWN}, toml-file",
    f"{RIVAL}, file, {CHEAP}": f"{OWN}, toml-file",
    f"{RIVAL}, etcd": f"{OWN}, etcd",
    f"{RIVAL}, etcd, {CHEAP}": f"{OWN}, etcd",
}
"""Whom to compare with; configurable-http-proxy with traefikhub as it comes."""


@dataclass(frozen=True, slots=True)
class _Kind:
    what: str
    value: str
    title: str
    more_is_better: bool = False


_KINDS: Final = (
    _Kind("add", "p50", "add_route, p50"),
    _Kind("update", "p50", "update of a route, p50"),
    _Kind("delete", "p50", "delete_route, p50"),
    _Kind("add until served", "p50", "add until served"),
    _Kind("update until served", "p50", "update until served"),
    _Kind("delete until served", "p50", "delete until served"),
    _Kind("burst", "seconds", "burst"),
    _Kind("add", "cpu", "Hub's computing time for add_route"),
    _Kind("get_all_routes", "p50", "get_all_routes"),
    _Kind("user requests", "per_second", "requests/s to users", more_is_better=True),
    _Kind("user requests", "p99", "p99 of requests to users"),
    _Kind("hub requests", "per_second", "requests/s to the Hub", more_is_better=True),
    _Kind("websocket", "per_second", "websocket messages/s", more_is_better=True),
    _Kind("memory", "hub", "memory of the Hub"),
    _Kind("memory", "proxy", "memory of the proxy"),
    _Kind("cold start", "seconds", "cold start"),
)


def ratios_of(results: Results) -> Iterator[tuple[str, dict[str, float | None]]]:
    """A title, and for each rival how many times better traefikhub is; below 1 it is worse."""
    present = set(results.contestants())
    pairs = {rival: ours for rival, ours in _PAIRS.items() if {rival, ours} <= present}
    for kind in _KINDS:
        for routes, at_once in _cases(results, kind.what):
            values = {}
            for rival, ours in pairs.items():
                theirs = results.value(rival, kind.what, kind.value, routes, at_once)
                mine = results.value(ours, kind.what, kind.value, routes, at_once)
                values[rival] = ratio(mine, theirs) if kind.more_is_better else ratio(theirs, mine)
            if any(value is not None for value in values.values()):
                yield _title(kind.title, routes, at_once), values


def _cases(results: Results, what: str) -> list[tuple[int, int]]:
    return sorted({(row.routes, row.at_once) for row in results.rows if row.what == what})


def _title(kind: str, routes: int, at_once: int) -> str:
    if kind == "burst":
        return f"burst of {at_once}"
    return f"{kind}, {routes:,} routes" + (f", {at_once} at once" if at_once > 1 else "")
