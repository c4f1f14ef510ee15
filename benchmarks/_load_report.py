"""A run as text, and as a document."""

from __future__ import annotations

import re
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from benchmarks._load_book import Book
from benchmarks._load_plan import Plan
from benchmarks._load_samples import Sample
from benchmarks._load_verdict import Growth
from benchmarks._report import number, table
from benchmarks._results import percentile

__all__ = ["Run", "document_of", "render_run"]

_SHOWN: Final = 20
_DIGITS: Final = re.compile(r"\d{4,}|(?<=after )\d+")


@dataclass(frozen=True, slots=True)
class Run:
    """All that is known of one.

    about: versions and machine.
    warnings: lines of the logs of Hub and Traefik at WARNING or above, by kind.
    """

    plan: Plan
    about: dict[str, str]
    book: Book
    samples: Sequence[Sample]
    growths: Sequence[Growth]
    warnings: Counter[str]
    problems: Sequence[str]


def document_of(run: Run) -> dict[str, Any]:
    """For JSON."""
    return {
        "plan": asdict(run.plan),
        "about": run.about,
        "problems": list(run.problems),
        "counts": dict(sorted(run.book.counts.items())),
        "unexplained": len(run.book.unexplained),
        "strangers": len(run.book.strangers),
        "incidents": [asdict(each) for each in run.book.incidents],
        "calls": _calls(run.book),
        "warnings": dict(run.warnings.most_common()),
        "growth": [asdict(each) for each in run.growths],
        "samples": [{k: round(v, 2) for k, v in each.items()} for each in run.samples],
    }


def render_run(run: Run) -> str:
    """Markdown."""
    plan = run.plan
    counts = run.book.counts
    went_well = [{"what": what, "times": f"{n:,}"} for what, n in sorted(counts.items())]
    by_kind = Counter(
        (each.kind, _DIGITS.sub("…", each.text), each.why) for each in run.book.incidents
    )
    incidents = [
        {"what": kind, "seen": text, "explanation": why or "**none**", "times": f"{n:,}"}
        for (kind, text, why), n in by_kind.most_common(_SHOWN)
    ]
    calls = [
        {"call": what, **{name: number(value) for name, value in values.items()}}
        for what, values in _calls(run.book).items()
    ]
    parts = [
        f"## {plan.store}",
        f"{plan.users:,} users, {plan.minutes:g} minutes, seed {plan.seed}. "
        + (f"**Not in order**: {'; '.join(run.problems)}." if run.problems else "In order."),
        table([_growth(each) for each in run.growths]),
        table(calls),
        table(went_well),
        table(incidents) if incidents else "No errors, explained or not.",
        f"Answers of servers that were not the user's: {len(run.book.strangers)}.",
        "\n".join(f"- {n} × {what}" for what, n in run.warnings.most_common())
        or "No warnings in the logs.",
    ]
    return "\n\n".join(parts) + "\n"


def _growth(each: Growth) -> dict[str, str]:
    bound = "" if each.bound is None else f"{number(each.bound)}{'' if each.ok else ' **no**'}"
    return {
        "": f"{each.what}{', ' + each.unit if each.unit else ''}",
        "before": number(each.start),
        "meanwhile": number(each.steady),
        "all gone": number(each.end),
        "growth in ten minutes": f"{each.per_period:+.2f}",
        "at least": f"{each.surely:+.2f}",
        "bound": bound,
    }


def _calls(book: Book) -> dict[str, dict[str, float]]:
    return {
        what: {
            "calls": len(seconds),
            "p50 ms": 1e3 * statistics.median(seconds),
            "p99 ms": 1e3 * percentile(seconds, 0.99),
            "longest ms": 1e3 * max(seconds),
        }
        for what, seconds in sorted(book.seconds.items())
    }
