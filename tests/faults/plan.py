"""What a run is to do, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from faults.hub_control import PATIENCE
from faults.record import History
from faults.verdict import Stored
from faults.violation import Violation

__all__ = ["NothingToDo", "Plan", "Report"]


class NothingToDo(Exception):
    """A run without a single fault would prove nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run is to do.

    seconds: how long faults are injected; 0 for each kind once.
    changes_per_second, requests_per_second: as they say.
    scale: of the time that faults last, and of that between them.
    pairs: whether two may come together.
    only: faults with this in their name.
    faultless: no fault at all.
    lie: how the Hub breaks its promises, see ``hub.py``, to see that this is found out.
    patience: seconds after which a call of the Hub is taken for one that never ends.
    """

    store: str
    seed: int
    seconds: float = 0
    changes_per_second: float = 6
    requests_per_second: float = 20
    scale: float = 1
    pairs: bool = True
    only: str = ""
    faultless: bool = False
    lie: str = ""
    patience: float = PATIENCE


@dataclass(slots=True)
class Report:
    """What came of it.

    stored: what the store held after each recovery, and at the end.
    """

    plan: Plan
    history: History
    stored: list[Stored] = field(default_factory=list)
    violations: list[Violation] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    seconds: float = 0
