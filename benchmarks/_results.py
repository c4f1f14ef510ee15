"""What was measured, as rows that name themselves."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["Measured", "Results", "percentile"]


@dataclass(frozen=True, slots=True)
class Measured:
    """One measurement.

    contestant, what: of whom, and of what.
    routes: in the table at the time, beside the Hub's.
    at_once: calls in flight.
    values: by name; times are in milliseconds, memory in MiB.
    note: why there are no values, or what to know of them.
    """

    contestant: str
    what: str
    routes: int
    at_once: int = 1
    values: dict[str, float] = field(default_factory=dict)
    note: str = ""


@dataclass(slots=True)
class Results:
    """Everything from one run.

    about: versions, machine, extent.
    missing: contestants that could not be measured, and why.
    failed: the same for those that should have been.
    tables: further measurements, as rows by title.
    """

    about: dict[str, str] = field(default_factory=dict)
    rows: list[Measured] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def find(
        self, contestant: str, what: str, routes: int | None = None, at_once: int = 1
    ) -> Measured | None:
        """The measurement, if there is one."""
        for row in self.rows:
            if (row.contestant, row.what, row.at_once) == (contestant, what, at_once) and (
                routes is None or row.routes == routes
            ):
                return row
        return None

    def value(
        self, contestant: str, what: str, name: str, routes: int | None = None, at_once: int = 1
    ) -> float | None:
        """One value of the measurement, if there is one."""
        row = self.find(contestant, what, routes, at_once)
        return row.values.get(name) if row else None

    def contestants(self) -> list[str]:
        """Those with measurements, in order."""
        return list(dict.fromkeys(row.contestant for row in self.rows))

    def of(self, contestant: str) -> Iterator[Measured]:
        """All of one contestant's measurements."""
        return (row for row in self.rows if row.contestant == contestant)

    def to_document(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Results:
        """The inverse."""
        rows = [Measured(**row) for row in document["rows"]]
        return cls(**{**document, "rows": rows})


def percentile(values: Sequence[float], share: float) -> float:
    """The least value that so large a share does not exceed."""
    return sorted(values)[math.ceil(share * len(values)) - 1]
