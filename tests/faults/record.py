"""What happened, in values: calls, requests, arrivals and faults, each with its times.

All times are seconds of one monotonic clock, that of the process which drives the run.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from enum import Enum
from math import inf
from pathlib import Path
from typing import Any, TypeAlias

__all__ = ["Arrival", "Call", "Excuse", "Fault", "History", "Look", "Outcome", "Probe"]


class Outcome(str, Enum):
    """What a caller was told."""

    OK = "ok"
    ERROR = "error"
    """It may have been done, now or later."""
    REFUSED = "refused"
    """It was not done, and never will be."""
    LOST = "lost"
    """The Hub ended before it answered."""
    OPEN = "open"
    """It was not answered before the run ended."""
    SILENT = "silent"
    """It was not answered for so long that the run was ended for that."""


class Excuse(str, Enum):
    """What may fail while a fault lasts, and until everything has recovered from it."""

    REQUESTS = "requests"
    CALLS = "calls"
    STARTS = "starts"
    SLOW_HUB = "slow hub"


@dataclass(slots=True)
class Call:
    """One call of the Hub.

    do: add, update, delete, check; start, stop, leave, exit (of a Hub), ping, and the like.
    writes: what it asks for: the target of each routespec, None to delete it.
    data: of the same routes. A check writes it only where it finds another target.
    """

    number: int
    do: str
    writes: dict[str, str | None]
    begin: float
    end: float = inf
    outcome: Outcome = Outcome.OPEN
    error: str = ""
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Probe:
    """One request through Traefik.

    spec: of the route that was meant; the path is below it.
    status: of the answer, 0 if there was none.
    target: who says that it answered.
    """

    number: int
    spec: str
    begin: float
    end: float = inf
    status: int = 0
    target: str = ""
    error: str = ""


@dataclass(slots=True)
class Arrival:
    """A request reached a target, whether or not the answer came back."""

    probe: int
    target: str
    at: float


@dataclass(slots=True)
class Fault:
    """One fault.

    end: when it was over, apart from what must recover.
    recovered: when all acknowledged routes were served and a new one could be added.
    limit: seconds that the recovery may take.
    strange: what a stranger wrote: values that a route, or every one ("*"), may have meanwhile.
    below: only requests below this path may fail for it; empty for all.
    """

    kind: str
    begin: float
    limit: float
    excuses: frozenset[Excuse] = frozenset()
    end: float = inf
    recovered: float = inf
    note: str = ""
    strange: dict[str, list[str | None]] = field(default_factory=dict)
    below: str = ""

    def excuses_at(self, begin: float, end: float) -> frozenset[Excuse]:
        """What it excuses of something that lasted from ``begin`` to ``end``."""
        return self.excuses if begin <= self.recovered and end >= self.begin else frozenset()


@dataclass(slots=True)
class Look:
    """What Hub and Traefik hold at a moment.

    rest: "begin" or "end" when nothing is going on, "well" after a recovery, else empty.
    hub: the process; 0 if none.
    traefiks: all that run for this Hub, the newest last.
    unreaped: processes of the Hub that have ended, which it doesn't know.
    connections: of users and to targets, which are Traefik's descriptors, too.
    """

    at: float
    rest: str
    hub: int
    traefiks: list[int]
    unreaped: int = 0
    connections: int = 0
    hub_mib: float = 0
    hub_descriptors: int = 0
    hub_threads: int = 0
    traefik_mib: float = 0
    traefik_descriptors: int = 0
    traefik_threads: int = 0


Entry: TypeAlias = Call | Probe | Arrival | Fault | Look


@dataclass(slots=True)
class History:
    """All of a run.

    ended: when. What ended later is not judged, but for how long it took until then.
    """

    calls: list[Call] = field(default_factory=list)
    probes: list[Probe] = field(default_factory=list)
    arrivals: list[Arrival] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    ended: float = inf

    def write(self, path: Path) -> None:
        """As JSON lines, in the order of their begins. Numbers that are endless become null."""
        with path.open("w") as stream:
            for entry in self.in_order():
                stream.write(json.dumps(_plain(entry)) + "\n")

    def in_order(self) -> list[Entry]:
        """Everything, by its begin."""
        entries: list[Entry] = [
            *self.calls,
            *self.probes,
            *self.arrivals,
            *self.faults,
            *self.looks,
        ]
        return sorted(entries, key=_at)

    def around(self, begin: float, end: float, spec: str) -> Iterator[str]:
        """What happened then to one route, and the faults, as lines to read."""
        probes = {probe.number: probe for probe in self.probes}
        for entry in self.in_order():
            if _at(entry) > end or _until(entry) < begin:
                continue
            match entry:
                case Call():
                    relevant = spec in entry.writes or entry.do == "start"
                case Probe():
                    relevant = entry.spec == spec
                case Arrival():
                    probe = probes.get(entry.probe)
                    relevant = probe is not None and probe.spec == spec
                case Fault():
                    relevant = True
                case Look():
                    relevant = False
            if relevant:
                yield _line(entry, spec)


def _at(entry: Entry) -> float:
    return entry.at if isinstance(entry, Arrival | Look) else entry.begin


def _until(entry: Entry) -> float:
    match entry:
        case Arrival() | Look():
            return entry.at
        case Fault():
            return entry.recovered
    return entry.end


def _plain(entry: Entry) -> dict[str, Any]:
    values: dict[str, Any] = {"type": type(entry).__name__.lower()} | asdict(entry)
    for name, value in values.items():
        if isinstance(value, float):
            values[name] = None if value == inf else round(value, 4)
        elif isinstance(value, frozenset):
            values[name] = _names(value)
    return values


def _names(excuses: Iterable[Excuse]) -> list[str]:
    return sorted(excuse.value for excuse in excuses)


def _line(entry: Entry, spec: str) -> str:
    match entry:
        case Look():
            return f"{entry.at:9.3f}           Hub {entry.hub}, Traefik {entry.traefiks}"
        case Call():
            wanted = f" {spec} -> {entry.writes[spec]}" if spec in entry.writes else ""
            what = f"call {entry.number} {entry.do}{wanted}: {entry.outcome.value} {entry.error}"
        case Probe():
            what = f"request {entry.number} {entry.spec}: {entry.status} {entry.target}"
            what += f" {entry.error}"
        case Arrival():
            return f"{entry.at:9.3f}           request {entry.probe} reached {entry.target}"
        case Fault():
            what = f"FAULT {entry.kind} {entry.note}, over at {entry.end:.3f}"
    return f"{_at(entry):9.3f}-{_until(entry):9.3f} {what.rstrip()}"
