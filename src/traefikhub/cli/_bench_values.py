"""What a measurement found. Pure values; all times are seconds."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

__all__ = ["Burst", "Machine", "Result", "Table", "Times", "seconds_of"]

_UNITS: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True, slots=True)
class Times:
    """How long something took, each time that it was tried."""

    count: int
    median: float
    p95: float
    worst: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Times:
        """Of at least one."""
        ordered = sorted(seconds)
        p95 = ordered[math.ceil(0.95 * len(ordered)) - 1]
        return cls(len(ordered), statistics.median(ordered), p95, ordered[-1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Burst:
    """Many new routes at once.

    routes: how many.
    all: until the last of them was live.
    one: until one of them was, of all bursts.
    reloads: of Traefik, for one burst, on average.
    loop_held: for how long nothing else of the Hub could run, at worst.
    """

    routes: int
    all: Times
    one: Times
    reloads: float
    loop_held: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """What one new route takes when there are so many already.

    routes: of users, in the table.
    live: from the Hub's call until Traefik serves the route; the next three are its parts.
    store: the store's part: written, and durable.
    reload: from then until Traefik serves it.
    hub: what is left.
    traefik_cpu: what Traefik computed for one reload, on all cores together, on average.
    """

    routes: int
    live: Times
    store: Times
    reload: Times
    hub: Times
    traefik_cpu: float
    burst: Burst


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Where it was measured.

    load: average number of processes that computed or wanted to, in the minute before.
    memory, memory_free: bytes, the second of what programs could still have.
    """

    cores: int
    load: float
    memory: int
    memory_free: int


@dataclass(slots=True, kw_only=True)
class Result:
    """All of it, as far as it was measured.

    versions: of what took part.
    store: by its name in the configuration.
    on_server: whether the store is a server; else it is a file.
    place: where in the store it was measured.
    throttle: c.TraefikProxy.traefik_providers_throttle_duration.
    write: small writes of the store, while nothing else uses it.
    round_trip: reading one key from the store's server.
    fsync: of a small file beside the store's.
    notes: what else is to be known.
    """

    versions: dict[str, str]
    machine: Machine
    store: str
    on_server: bool
    place: str
    throttle: float
    write: Times | None = None
    round_trip: Times | None = None
    fsync: Times | None = None
    tables: list[Table] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """For scripts."""
        return asdict(self)


def seconds_of(duration: str | int | float) -> float:
    """A duration as Traefik reads it: ``1.5s``, ``200ms``, ``1m30s``; a bare number is seconds."""
    text = str(duration)
    if re.fullmatch(r"[0-9.]+", text):
        return float(text)
    parts = re.findall(r"([0-9.]+)([a-zµ]+)", text)
    return sum(float(number) * _UNITS[unit] for number, unit in parts)
