"""Judge what Hub and Traefik held in the course of a run. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import inf
from statistics import median

from faults.record import Look
from faults.violation import Violation

__all__ = ["NUMBERS", "Number", "judge_looks"]

OLD_SECONDS = 15.0
"""A Traefik that was replaced ends its connections within ``drain_seconds``, 5 s, or is killed."""

_FEW = 4
"""Looks after recoveries, from which on the last ones are compared with the first ones."""


@dataclass(frozen=True, slots=True)
class Number:
    """One that must not grow.

    of: its value in a look.
    by: which process it is of.
    at_rest: so much more may be there at the end, when nothing is going on, than at the beginning.
    in_use: so much more may one process have after its last recoveries than after its first ones,
        among users who come and go.
    """

    what: str
    of: Callable[[Look], float]
    by: Callable[[Look], int]
    at_rest: float
    in_use: float


def _hub(look: Look) -> int:
    return look.hub


def _traefik(look: Look) -> int:
    return look.traefiks[-1] if look.traefiks else 0


def _own(look: Look) -> float:
    return look.traefik_descriptors - look.connections


NUMBERS = [
    Number("descriptors of the Hub", lambda look: look.hub_descriptors, _hub, 6, 8),
    Number("threads of the Hub", lambda look: look.hub_threads, _hub, 8, 8),
    Number("memory of the Hub, MiB", lambda look: look.hub_mib, _hub, 25, 20),
    Number("descriptors of Traefik, beside users' connections", _own, _traefik, 8, 20),
    Number("threads of Traefik", lambda look: look.traefik_threads, _traefik, 12, 12),
    Number("memory of Traefik, MiB", lambda look: look.traefik_mib, _traefik, 60, 60),
]


def judge_looks(looks: Sequence[Look]) -> Iterator[Violation]:
    """One Traefik and no more is left by what happened, and nothing grows."""
    yield from _processes(looks)
    begin = [look for look in looks if look.rest == "begin"]
    end = [look for look in looks if look.rest == "end"]
    for number in NUMBERS:
        for look in end if begin else []:
            first, last = number.of(begin[0]), number.of(look)
            if last > first + number.at_rest:
                text = f"{number.what}: {first:.0f} at the beginning, {last:.0f} at the end"
                yield Violation("something grows", text, look.at, inf)
        yield from _grows(looks, number)


def _grows(looks: Sequence[Look], number: Number) -> Iterator[Violation]:
    """In the life of one process."""
    lives: dict[int, list[Look]] = defaultdict(list)
    for look in looks:
        if look.rest == "well":
            lives[number.by(look)].append(look)
    for process, life in lives.items():
        if not process or len(life) < 2 * _FEW:
            continue
        first = median(number.of(look) for look in life[:_FEW])
        last = median(number.of(look) for look in life[-_FEW:])
        if last > first + number.in_use:
            text = f"{number.what}, process {process}: from {first:.0f} to {last:.0f}"
            yield Violation("something grows", text, life[0].at, life[-1].at)


def _processes(looks: Sequence[Look]) -> Iterator[Violation]:
    """After a recovery there is a Traefik; those that it took the place of go."""
    old_since: dict[int, float] = {}
    unreaped_since = inf
    told: set[int] = set()
    for look in looks:
        if look.rest and not look.traefiks:
            yield Violation("no Traefik runs", f"at {look.at:.3f}", look.at, look.at)
        if look.rest == "end" and len(look.traefiks) > 1:
            text = f"{len(look.traefiks)} Traefik run when nothing goes on"
            yield Violation("a process was left", text, look.at, look.at)
        old = look.traefiks[:-1]
        old_since = {process: old_since.get(process, look.at) for process in old}
        for process, since in old_since.items():
            if look.at - since > OLD_SECONDS and process not in told:
                told.add(process)
                text = f"Traefik {process} runs beside a newer one for {look.at - since:.0f} s"
                yield Violation("a process was left", text, since, look.at)
        unreaped_since = min(unreaped_since, look.at) if look.unreaped else inf
        if look.at - unreaped_since > OLD_SECONDS and 0 not in told:
            told.add(0)
            text = f"{look.unreaped} processes of the Hub have ended, which it doesn't know"
            yield Violation("a process was left", text, unreaped_since, look.at)
