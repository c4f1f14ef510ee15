"""What people see of a measurement."""

from __future__ import annotations

from rich.text import Text

from traefikhub.cli._bench_measure import BURST
from traefikhub.cli._bench_values import Result, Times
from traefikhub.cli._bench_verdict import Finding, shown, summary
from traefikhub.cli._screen import show_table, show_text

__all__ = ["show_result"]


def show_result(result: Result, findings: list[Finding]) -> None:
    """Tables, the verdict, and what it was measured with."""
    show_table(
        ["routes", "live after", "worst", "the store", "Traefik's reload", "the Hub", "tries"],
        [
            [
                f"{each.routes:,}",
                Text(shown(each.live.median), style="bold"),
                shown(each.live.worst),
                shown(each.store.median),
                shown(each.reload.median),
                shown(each.hub.median),
                each.live.count,
            ]
            for each in result.tables
        ],
        title="One new route: the median, the worst, and the medians of its parts",
    )
    show_table(
        [
            *("routes", "all live after", "worst", "one of them", "worst"),
            *("reloads", "loop held", "tries"),
        ],
        [
            [
                f"{each.routes:,}",
                Text(shown(each.burst.all.median), style="bold"),
                shown(each.burst.all.worst),
                shown(each.burst.one.median),
                shown(each.burst.one.worst),
                f"{each.burst.reloads:.1f}",
                shown(each.burst.loop_held),
                each.burst.all.count,
            ]
            for each in result.tables
        ],
        title=f"{BURST} new routes at once",
    )
    beneath = {
        f"one write of {result.store}, alone": result.write,
        "reading one key from its server": result.round_trip,
        "fsync of 4 KiB on its disk": result.fsync,
    }
    show_table(
        ["beneath", "median", "p95", "worst", "tries"],
        [[what, *_row(times)] for what, times in beneath.items() if times],
    )
    show_text(f"\n{summary(result)}")
    for finding in findings:
        share = "" if finding.share is None else f", {100 * finding.share:.0f} %"
        show_text(f"\nWhat limits: {_NAMES[finding.limit.value]}{share}", style="bold")
        show_text(f"{finding.why}\n{finding.advice}")
    show_text("")
    for note in result.notes:
        show_text(f"Note: {note}")
    show_text(_measured_with(result), style="dim")


_NAMES = {
    "machine": "the machine",
    "store": "the store",
    "reload": "Traefik's reload",
    "throttle": "Traefik's throttle",
    "hub": "the Hub's own process",
}


def _row(times: Times) -> list[str]:
    return [shown(times.median), shown(times.p95), shown(times.worst), str(times.count)]


def _measured_with(result: Result) -> str:
    versions, machine = result.versions, result.machine
    return (
        f"traefikhub {versions['traefikhub']}, Traefik {versions['traefik']}, {result.store} of "
        f"{versions['store']}, Python {versions['python']}; {machine.cores} cores, load "
        f"{machine.load:.1f} before, {machine.memory_free >> 20:,} of {machine.memory >> 20:,} MiB "
        f"free; measured for {result.seconds:.0f} s in {result.place}, which is removed"
    )
