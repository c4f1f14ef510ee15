"""Which targets a route could have at a moment, by what the callers were told. Pure."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from math import inf
from typing import Any, TypeAlias

from faults.record import Call, Fault, Outcome

__all__ = ["HUB_SPEC", "Held", "Lapse", "Model", "as_text"]

Held: TypeAlias = tuple[str, str]
"""What a route is: its target, and its data as text."""


def as_text(data: Any) -> str:
    """Data in a form in which what JSON tells apart differs."""
    return json.dumps(data, sort_keys=True)


HUB_SPEC = "/"


class Lapse(Enum):
    """How a request went wrong."""

    STRANGER = "a request reached a stranger"
    FORMER = "a former target is served"
    DELETED = "a deleted route is served"
    HIDDEN = "an acknowledged route is not served"
    """The request went to a shorter route."""


@dataclass(frozen=True, slots=True)
class _Write:
    """keeps: the data that is there is left as it is, if the target is right."""

    target: str | None
    begin: float
    data: str = ""
    keeps: bool = False

    @property
    def held(self) -> Held | None:
        return None if self.target is None else (self.target, self.data)


class _Route:
    """The writes of one route, in the order of their begins. No two are in progress at once, but
    for those of which nobody knows when they end."""

    def __init__(self) -> None:
        self._writes: list[_Write] = [_Write(None, -inf)]
        self._acknowledged: list[float] = [-inf]
        self._indexes: list[int] = [0]

    def add(self, write: _Write, acknowledged: float | None) -> None:
        """The next one; ``acknowledged`` is when, if ever."""
        if acknowledged is not None:
            assert acknowledged >= self._acknowledged[-1]
            self._acknowledged.append(acknowledged)
            self._indexes.append(len(self._writes))
        self._writes.append(write)

    def values(self, begin: float, end: float) -> set[str | None]:
        """What it could have between two moments: the last value that was acknowledged before,
        and all that was asked for since."""
        last = self._indexes[bisect_right(self._acknowledged, begin) - 1]
        found = set()
        for index in range(last, len(self._writes)):
            write = self._writes[index]
            if index > last and write.begin > end:
                break
            found.add(write.target)
        return found

    def held(self, at: float) -> set[Held | None]:
        """What it could be at a moment, with its data."""
        position = bisect_right(self._acknowledged, at) - 1
        last = self._indexes[position]
        found = {write.held for write in self._writes[last:] if write.begin <= at}
        while self._writes[last].keeps:  # a check found what was asked for before, or wrote
            position -= 1
            target, first = self._writes[last].target, self._indexes[position]
            found |= {write.held for write in self._writes[first:last] if write.target == target}
            last = first
        return found

    def ever(self, target: str, before: float) -> bool:
        """Whether it was asked to lead there before."""
        return any(write.target == target and write.begin <= before for write in self._writes)


class Model:
    """What the record of the calls says, for any time.

    Args:
        calls: in any order.
        faults: of which those matter in which a stranger wrote something.
    """

    def __init__(self, calls: Iterable[Call], faults: Iterable[Fault]) -> None:
        self._strange = [fault for fault in faults if fault.strange]
        self._routes: dict[str, _Route] = defaultdict(_Route)
        for call in sorted(calls, key=lambda each: each.begin):
            if call.outcome is Outcome.REFUSED:
                continue
            acknowledged = call.end if call.outcome is Outcome.OK else None
            for spec, target in call.writes.items():
                data = as_text(call.data.get(spec))
                write = _Write(target, call.begin, data, call.do == "check")
                self._routes[spec].add(write, acknowledged)

    @property
    def specs(self) -> list[str]:
        """Every route that was ever asked for."""
        return sorted(self._routes)

    def values(self, spec: str, begin: float, end: float) -> set[str | None]:
        """The targets that this very route could have at some time from ``begin`` to ``end``; None
        stands for no route."""
        found: set[str | None] = {None}
        if spec in self._routes:
            found = self._routes[spec].values(begin, end)
        for fault in self._strange:
            if begin <= fault.recovered and end >= fault.begin:
                found |= set(fault.strange.get(spec, ())) | set(fault.strange.get("*", ()))
        return found

    def held(self, spec: str, at: float) -> set[Held | None]:
        """What the store may hold of this route, when no stranger has touched it."""
        return self._routes[spec].held(at) if spec in self._routes else {None}

    def reachable(self, path: str, begin: float, end: float) -> set[str | None]:
        """The targets that a request could reach meanwhile: the longest route that is a prefix of
        its path, of all that could be there. None: there may be no route for it at all."""
        found: set[str | None] = set()
        for spec in _prefixes(path):
            if spec not in self._routes:
                continue
            values = self.values(spec, begin, end)
            found |= values - {None}
            if None not in values:
                return found
        return found | {None}

    def where_from(self, path: str, target: str, begin: float, end: float) -> Lapse:
        """How a request reached a target that it could not have reached."""
        hidden = False
        for spec in _prefixes(path):
            if spec not in self._routes:
                continue
            gone = None in self.values(spec, begin, end)
            if self._routes[spec].ever(target, end):
                return Lapse.HIDDEN if hidden else Lapse.DELETED if gone else Lapse.FORMER
            hidden |= not gone
        return Lapse.STRANGER


def _prefixes(path: str) -> Iterable[str]:
    """All routespecs that are prefixes of a path, the longest first."""
    end = len(path)
    while (end := path.rfind("/", 0, end)) >= 0:
        yield path[: end + 1]
