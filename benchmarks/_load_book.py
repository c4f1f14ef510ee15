"""What is true of each user at each time, and what was seen. Pure, but for the clock."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

__all__ = ["GONE", "HUB", "NO_ROUTE", "Book", "Incident", "Timeline"]

GONE: Final = "gone"
"""The server has died, while its route is still there."""

HUB: Final = "the Hub"
NO_ROUTE: Final = "the Hub, 404"
OF_THE_HUB: Final = frozenset({HUB, NO_ROUTE})
"""Who answers for users who have no server. While a route changes, the Hub may."""


@dataclass(frozen=True, slots=True)
class _Since:
    """at: from when on. allowed: who may answer. changing: something is being done about it."""

    at: float
    allowed: frozenset[str]
    changing: bool


class Timeline:
    """Who may answer the requests to one user, at each time.

    Args:
        answers: at the beginning.
    """

    def __init__(self, answers: str) -> None:
        self._now = answers
        self._parts = [_Since(0.0, frozenset((answers,)), False)]

    @property
    def now(self) -> str:
        """Who answers, if nothing is being done about it."""
        return self._now

    @contextmanager
    def change(self, answers: str) -> Iterator[None]:
        """Around what makes another one answer. Both may until that has ended; for ever, if it
        fails, until the next change."""
        both = frozenset((self._now, answers))
        self._parts.append(_Since(time.monotonic(), self._parts[-1].allowed | both, True))
        yield
        self._now = answers
        self._parts.append(_Since(time.monotonic(), frozenset((answers,)), False))

    def between(self, began: float, ended: float) -> tuple[set[str], bool]:
        """Who may answer a request of that time, and whether something changed meanwhile."""
        allowed: set[str] = set()
        changing = False
        for part in reversed(self._parts):
            if part.at <= ended:
                allowed |= part.allowed
                changing = changing or part.changing
            if part.at <= began:
                break
        return allowed, changing


@dataclass(frozen=True, slots=True)
class Incident:
    """Something went wrong.

    at: seconds since the beginning.
    kind: of what was tried.
    who: it was about.
    text: what was seen.
    why: the explanation; empty if there is none.
    stranger: somebody answered whom the user never had, then. Nothing explains that.
    """

    at: float
    kind: str
    who: str
    text: str
    why: str
    stranger: bool = False


@dataclass(slots=True)
class Book:
    """Everything that is counted.

    counts: of what went well, by kind.
    seconds: that each call of the Hub took, by kind.
    """

    began: float = field(default_factory=time.monotonic)
    counts: Counter[str] = field(default_factory=Counter)
    incidents: list[Incident] = field(default_factory=list)
    seconds: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    timelines: dict[str, Timeline] = field(default_factory=dict)

    def now(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self.began

    def well(self, kind: str) -> None:
        """Something went well."""
        self.counts[kind] += 1

    def wrong(self, kind: str, who: str, text: str, why: str = "") -> None:
        """Something did not."""
        self.incidents.append(Incident(self.now(), kind, who, text, why))

    def judge(
        self,
        kind: str,
        user: str,
        began: float,
        seen: str,
        gone: str = "",
        names: Collection[str] = (),
    ) -> None:
        """A request has ended just now.

        Args:
            seen: who answered, or what else became of it.
            gone: what is seen if the server has died.
            names: of all who said that the answer is theirs, be it right or wrong otherwise.
        """
        allowed, changing = self.timelines[user].between(began, time.monotonic())
        wanted = " or ".join(sorted(allowed))
        if not allowed.union(OF_THE_HUB).issuperset(names):
            text = f"{seen}, not {wanted}"
            self.incidents.append(Incident(self.now(), kind, user, text, "", stranger=True))
        elif GONE in allowed and seen == gone:
            self.well(f"{kind}, server died")
        elif seen in allowed:
            self.well(kind)
        else:
            why = "its route or server changed meanwhile" if changing else ""
            self.wrong(kind, user, f"{seen}, not {wanted}" if not changing else seen, why)

    @property
    def strangers(self) -> list[Incident]:
        """Those in which another user's server answered, or one that the user had before."""
        return [each for each in self.incidents if each.stranger]

    @property
    def unexplained(self) -> list[Incident]:
        """Those without an explanation."""
        return [each for each in self.incidents if not each.why]
