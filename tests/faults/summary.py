"""A run in words and numbers, for people."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from math import inf

from faults.growth import NUMBERS
from faults.plan import Report
from faults.record import Fault, Look, Outcome
from faults.verdict import by_rule
from faults.violation import Violation

__all__ = ["around", "summary"]

_CHANGES = ("add", "update", "delete", "check")
_SHOWN = 5
_BEFORE, _AFTER = 5.0, 2.0
_RESTS = ("begin", "end")


def summary(report: Report) -> str:
    """A table for one run."""
    history = report.history
    plan = report.plan
    lines = [
        f"store {plan.store}, seed {plan.seed}, {report.seconds:.0f} s",
        "",
        f"calls           {_calls(report)}",
        f"requests        {len(history.probes)}: {_requests(report)}",
        f"slowest call    {_slowest(report)}",
        f"slowest ping    {_slowest_ping(report)}",
        "",
        f"{'fault':28} {'times':>5} {'worst recovery':>15} {'limit':>6}",
    ]
    by_kind: dict[str, list[Fault]] = defaultdict(list)
    for fault in history.faults:
        by_kind[fault.kind].append(fault)
    for kind, faults in sorted(by_kind.items()):
        worst = max(fault.recovered - fault.end for fault in faults)
        shown = "never" if worst == inf else f"{worst:.1f} s"
        lines.append(f"{kind:28} {len(faults):5} {shown:>15} {faults[0].limit:>4.0f} s")
    lines += [f"left out: {text}" for text in report.left_out]
    lines += ["", *_held(history.looks), f"readings of the store  {len(report.stored)}"]
    lines += ["", f"violations      {len(report.violations)}"]
    lines += [f"  {rule}: {count}" for rule, count in by_rule(report.violations).items()]
    return "\n".join(lines)


def _held(looks: Sequence[Look]) -> Iterator[str]:
    """What Hub and Traefik held: at rest, and at most after a recovery."""
    after = [look for look in looks if look.rest == "well"]
    yield f"{'':50} {'begin':>6} {'most':>6} {'end':>6}"
    for number in NUMBERS:
        begin, end = ([number.of(look) for look in looks if look.rest == at] for at in _RESTS)
        most = max(map(number.of, after), default=0)
        yield f"{number.what:50} {_first(begin):>6} {most:>6.0f} {_first(end):>6}"
    most = max((len(look.traefiks) for look in after), default=0)
    yield f"{'Traefiks':50} {'':6} {most:>6}"


def _first(values: Sequence[float]) -> str:
    return f"{values[0]:.0f}" if values else ""


def _calls(report: Report) -> str:
    found: dict[str, int] = defaultdict(int)
    failed: dict[str, int] = defaultdict(int)
    for call in report.history.calls:
        found[call.do] += 1
        failed[call.do] += call.outcome is not Outcome.OK
    return ", ".join(f"{do} {count} ({failed[do]} failed)" for do, count in sorted(found.items()))


def _requests(report: Report) -> str:
    answered = sum(probe.status == 200 for probe in report.history.probes)
    return f"{answered} answered, {len(report.history.arrivals)} arrived"


def _slowest(report: Report) -> str:
    calls = [call for call in report.history.calls if call.do in _CHANGES]
    worst = max(calls, key=lambda call: call.end - call.begin, default=None)
    if not worst:
        return "none"
    return f"{worst.end - worst.begin:.1f} s: {worst.do} {worst.outcome.value} {worst.error[:60]}"


def _slowest_ping(report: Report) -> str:
    lasted = [
        call.end - call.begin
        for call in report.history.calls
        if call.do == "ping" and call.outcome is Outcome.OK
    ]
    return f"{max(lasted, default=0):.2f} s"


def around(report: Report, violations: Iterable[Violation]) -> Iterator[str]:
    """The first violations, each with the history around it."""
    for index, violation in enumerate(violations):
        if index == _SHOWN:
            yield "… the rest is in the history"
            return
        yield f"VIOLATION (seed {report.plan.seed}, store {report.plan.store}) {violation}"
        end = violation.begin if violation.end == inf else violation.end
        for line in report.history.around(violation.begin - _BEFORE, end + _AFTER, violation.spec):
            yield f"    {line}"
