"""Judge a run by its history. Pure: each rule can be broken by an invented history, and is, in
test_verdict.py."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import inf

from faults.growth import judge_looks
from faults.model import Held, Model
from faults.record import Arrival, Call, Excuse, Fault, History, Outcome, Probe
from faults.violation import Violation

__all__ = ["DEADLINE", "LIVELY", "Stored", "by_rule", "judge", "judge_store"]

DEADLINE = 30.0
"""A call waits for one batch before its own; each takes at most the store's timeout, 5 s, and then
``check_route_timeout``, 10 s."""

LIVELY = 2.0
"""Seconds in which a Hub that isn't stopped answers a question that needs neither store nor
Traefik. It shares two processors with all else."""


_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Stored:
    """What the store held when nothing was going on.

    when: at that time.
    routes: the target and the data of each routespec.
    how: it was read.
    amiss: how all its records differ from what stands for these routes.
    """

    when: float
    routes: Mapping[str, Held]
    how: str
    amiss: tuple[str, ...] = ()


def judge(history: History, stored: Iterable[Stored] = ()) -> list[Violation]:
    """All violations, in the order of time."""
    model = Model(history.calls, history.faults)
    found = [
        *_arrivals(history, model),
        *_answers(history, model),
        *_calls(history),
        *_recoveries(history.faults),
        *judge_looks(history.looks),
    ]
    for each in stored:
        found += judge_store(each, model)
    return sorted(found, key=lambda violation: violation.begin)


def _arrivals(history: History, model: Model) -> Iterator[Violation]:
    """No request reached a target that its route did not have at some moment of that request."""
    probes = {probe.number: probe for probe in history.probes}
    for arrival in history.arrivals:
        if probe := probes.get(arrival.probe):
            halves = _covers(history.faults, probe, "keys deleted")
            yield from _reached(probe, arrival, model, halves)


def _covers(faults: Iterable[Fault], probe: Probe, name: str) -> bool:
    return any(
        name in fault.kind
        and probe.spec.startswith(fault.below)
        and fault.begin <= probe.end
        and probe.begin <= fault.recovered
        for fault in faults
    )


def _reached(probe: Probe, arrival: Arrival, model: Model, halves: bool) -> Iterator[Violation]:
    # An answer that never came leaves the arrival as the end.
    possible = model.reachable(probe.spec, probe.begin, max(arrival.at, probe.begin))
    if halves:  # somebody has deleted what adds the path, and not yet the rest
        possible |= {target.partition("/")[0] for target in possible if target}
    if arrival.target in possible:
        return
    lapse = model.where_from(probe.spec, arrival.target, probe.begin, arrival.at)
    yield Violation(
        lapse.value,
        f"request {probe.number} for {probe.spec} reached {arrival.target} at {arrival.at:.3f}; "
        f"possible from {probe.begin:.3f} on: {_names(possible)}",
        probe.begin,
        arrival.at,
        probe.spec,
    )


def _answers(history: History, model: Model) -> Iterator[Violation]:
    """Every route is served, but while a fault excuses that it isn't."""
    for probe in history.probes:
        if probe.status == 200 and probe.target:
            continue  # where it came from, ``_arrivals`` has judged
        if probe.end > history.ended:
            continue
        faults = [fault for fault in history.faults if probe.spec.startswith(fault.below)]
        if Excuse.REQUESTS in _excuses(faults, probe.begin, probe.end):
            continue
        possible = model.reachable(probe.spec, probe.begin, probe.end)
        if None in possible:
            continue
        yield Violation(
            "an acknowledged route is not served",
            f"request {probe.number} for {probe.spec}, which leads to {_names(possible)}: "
            f"status {probe.status} {probe.error}",
            probe.begin,
            probe.end,
            probe.spec,
        )


def _calls(history: History) -> Iterator[Violation]:
    """Calls fail only while a fault excuses that, and end in time."""
    for call in history.calls:
        spec = next(iter(call.writes), "")
        excuses = _excuses(history.faults, call.begin, call.end)
        what = f"{call.do} {call.number} {spec}".rstrip()
        lasted = min(call.end, history.ended) - call.begin
        if call.outcome is Outcome.SILENT:
            text = f"{what}: {call.error}"
            yield Violation("the Hub never answers", text, call.begin, call.end, spec)
            continue
        if call.do == "ping":
            if lasted > LIVELY and Excuse.SLOW_HUB not in excuses:
                text = f"{what}: {call.outcome.value} after {lasted:.1f} s"
                yield Violation("the Hub was held up", text, call.begin, call.end)
            continue
        if call.outcome is Outcome.REFUSED:
            text = f"{what} was refused: {call.error}"
            yield Violation("a call was refused", text, call.begin, call.end, spec)
            continue
        if call.outcome in (Outcome.ERROR, Outcome.LOST) and call.end <= history.ended:
            needed = Excuse.STARTS if call.do == "start" else Excuse.CALLS
            if needed not in excuses:
                text = f"{what}: {call.outcome.value} {call.error}"
                yield Violation("a call failed for no reason", text, call.begin, call.end, spec)
        stopped = sum(_overlap(call, fault) for fault in history.faults)
        if lasted - stopped > DEADLINE:
            text = f"{what} lasted {lasted:.1f} s: {call.outcome.value} {call.error}"
            yield Violation("a call took too long", text, call.begin, call.end, spec)


def _overlap(call: Call, fault: Fault) -> float:
    """How much of a call is a fault's that stopped the Hub itself."""
    if Excuse.SLOW_HUB not in fault.excuses:
        return 0
    return max(0, min(call.end, fault.end) - max(call.begin, fault.begin))


def _recoveries(faults: Iterable[Fault]) -> Iterator[Violation]:
    """Everything is well again, soon."""
    for fault in faults:
        lasted = fault.recovered - fault.end
        if fault.recovered == inf or lasted > fault.limit:
            how = "never" if fault.recovered == inf else f"after {lasted:.1f} s"
            text = f"{fault.kind} {fault.note}: well {how}; the limit is {fault.limit:.0f} s"
            yield Violation("the recovery took too long", text, fault.begin, fault.recovered)


def judge_store(stored: Stored, model: Model) -> Iterator[Violation]:
    """The store holds just what the record says, and all that stands for that."""
    for spec in sorted({*model.specs, *stored.routes}):
        possible = model.held(spec, stored.when)
        if (held := stored.routes.get(spec)) not in possible:
            wanted = " or ".join(sorted(_shown(each) for each in possible))
            text = f"{stored.how}: {spec} -> {_shown(held)}; the record says {wanted}"
            yield Violation("the store differs from the record", text, stored.when, inf, spec)
    if stored.amiss:
        shown = ", ".join(stored.amiss[:_SHOWN]) + (" …" if len(stored.amiss) > _SHOWN else "")
        text = f"{stored.how}: {len(stored.amiss)} records: {shown}"
        yield Violation("the store's records are amiss", text, stored.when, inf)


def _shown(held: Held | None) -> str:
    return " with ".join(held) if held else "no route"


def _excuses(faults: Iterable[Fault], begin: float, end: float) -> frozenset[Excuse]:
    return frozenset(one for fault in faults for one in fault.excuses_at(begin, end))


def _names(targets: Iterable[str | None]) -> str:
    return " or ".join(sorted(target or "no route" for target in targets))


def by_rule(violations: Iterable[Violation]) -> dict[str, int]:
    """How many of each rule."""
    found: dict[str, int] = defaultdict(int)
    for violation in violations:
        found[violation.rule] += 1
    return dict(found)
