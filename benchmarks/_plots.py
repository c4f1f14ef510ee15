"""Results as plots."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import matplotlib
from matplotlib.figure import Figure

from benchmarks._results import Results

__all__ = ["draw"]

_PLOTS: Final = {
    "add-route": ("add", "p50", "add_route, one at a time: p50, milliseconds"),
    "add-served": ("add until served", "p50", "add_route until a user sees it: p50, milliseconds"),
    "requests-user": ("user requests", "per_second", "requests/s to users, picked at random"),
    "requests-hub": ("hub requests", "per_second", "requests/s to the Hub"),
}

_STYLES: Final = ("o-", "s-", "^-", "o:", "D-", "v-", "v--", "P-", "P--")


def draw(results: Results, directory: Path) -> None:
    """One SVG for each plot, with the same bytes for the same results."""
    matplotlib.rcParams["svg.hashsalt"] = "traefikhub"
    for name, (what, value, title) in _PLOTS.items():
        if figure := _figure(results, what, value, title):
            figure.savefig(directory / f"{name}.svg", metadata={"Date": None})


def _figure(results: Results, what: str, value: str, title: str) -> Figure | None:
    figure = Figure(figsize=(11, 5), layout="constrained")
    axes = figure.add_subplot(xscale="log", yscale="log", xlabel="routes", title=title)
    for number, contestant in enumerate(results.contestants()):
        points = [
            (row.routes, row.values[value])
            for row in results.of(contestant)
            if row.what == what and row.at_once == 1 and value in row.values
        ]
        if points:
            # A contestant has the same style in every plot.
            axes.plot(
                *zip(*sorted(points), strict=True),
                _STYLES[number % len(_STYLES)],
                color=f"C{number % 10}",
                label=contestant,
                markersize=5,
            )
    if not axes.lines:
        return None
    axes.grid(visible=True, which="both", alpha=0.25)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize="small")
    return figure
