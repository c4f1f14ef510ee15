"""What Hub and Traefik held in the course of a run, as curves."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from faults.plan import Report
from faults.record import Fault, Look

__all__ = ["draw"]


def draw(report: Report, file: Path) -> list[Path]:
    """Write them.

    Args:
        file: for the picture. The numbers come beside it, as CSV.

    Returns:
        What was written; without matplotlib there is no picture.
    """
    looks = report.history.looks
    file.parent.mkdir(parents=True, exist_ok=True)
    table = file.with_suffix(".csv")
    names = [field.name for field in fields(Look)]
    with table.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(names)
        writer.writerows([getattr(look, name) for name in names] for look in looks)
    if not looks:
        return [table]
    try:
        _draw(f"{report.plan.store}, seed {report.plan.seed}", looks, report.history.faults, file)
    except ImportError:
        return [table]
    return [file, table]


def _draw(title: str, looks: Sequence[Look], faults: Sequence[Fault], file: Path) -> None:
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcParams["svg.hashsalt"] = "traefikhub"
    figure = Figure(figsize=(9, 9), layout="constrained")
    figure.suptitle(f"{title}: things break")
    subplots: Any = figure.subplots(3, sharex=True)
    memory, descriptors, threads = subplots
    first = looks[0].at
    minutes = [(look.at - first) / 60 for look in looks]
    own = [max(0, look.traefik_descriptors - look.connections) for look in looks]
    curves: list[tuple[Any, Sequence[float], str, str]] = [
        (memory, [look.hub_mib for look in looks], "Hub", "C0"),
        (memory, [look.traefik_mib for look in looks], "Traefik", "C1"),
        (descriptors, [look.hub_descriptors for look in looks], "Hub", "C0"),
        (descriptors, [look.traefik_descriptors for look in looks], "Traefik", "C1"),
        (descriptors, own, "… beside users' connections", "C1:"),
        (threads, [look.hub_threads for look in looks], "Hub", "C0"),
        (threads, [look.traefik_threads for look in looks], "Traefik", "C1"),
        (threads, [len(look.traefiks) for look in looks], "Traefik's processes", "C2"),
    ]
    for axes, values, label, colour in curves:
        # Where a process wasn't there, the curve is interrupted.
        axes.plot(minutes, [value or None for value in values], colour, label=label, linewidth=1)
    memory.set_ylabel("memory, MiB")
    descriptors.set_ylabel("open file descriptors")
    threads.set_ylabel("threads, processes")
    threads.set_xlabel("minutes; grey from a fault to the recovery from it")
    for axes in (memory, descriptors, threads):
        for fault in faults:
            until = min(fault.recovered, looks[-1].at)
            axes.axvspan((fault.begin - first) / 60, (until - first) / 60, color="0.93")
        axes.set_ylim(bottom=0)
        axes.grid(visible=True, alpha=0.25)
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize="small")
    figure.savefig(file, metadata={"Date": None})
