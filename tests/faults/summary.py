"""A run in words and numbers, for people."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from math import inf

from faults.record import Fault, Outcome
from faults.run import Report
from faults.verdict import Violation, by_rule

__all__ = ["around", "summary"]

_SHOWN = 5
_BEFORE, _AFTER = 5.0, 2.0


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
    lines += ["", f"violations      {len(report.violations)}"]
    lines += [f"  {rule}: {count}" for rule, count in by_rule(report.violations).items()]
    return "\n".join(lines)


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
    calls = [call for call in report.history.calls if call.do not in ("ping", "start")]
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
