"""Memory, descriptors and routes over time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from benchmarks._load_samples import Sample

__all__ = ["draw_load"]


def draw_load(store: str, samples: Sequence[Sample], half: float, file: Path) -> None:
    """One SVG, with the same bytes for the same samples.

    Args:
        half: when the second half began, in seconds; what grows is judged from there.
    """
    matplotlib.rcParams["svg.hashsalt"] = "traefikhub"
    figure = Figure(figsize=(9, 9), layout="constrained")
    figure.suptitle(f"{store}: users come and go")
    memory, descriptors, routes = figure.subplots(3, sharex=True)
    minutes = [sample["at"] / 60 for sample in samples]

    def line(axes: matplotlib.axes.Axes, name: str, label: str, style: str) -> None:
        axes.plot(minutes, [sample[name] for sample in samples], style, label=label, linewidth=1.2)

    line(memory, "hub_mib", "Hub", "C0-")
    line(memory, "traefik_mib", "Traefik", "C1-")
    line(memory, "traefik_heap", "Traefik, live heap", "C1:")
    memory.set_ylabel("memory, MiB")
    line(descriptors, "hub_fds", "Hub", "C0-")
    line(descriptors, "traefik_fds", "Traefik", "C1-")
    own = [each["traefik_fds"] - each["clients"] - each["backends"] for each in samples]
    descriptors.plot(minutes, own, "C1:", label="Traefik, beside users' connections", linewidth=1.2)
    descriptors.set_yscale("log")  # a dozen, and hundreds
    descriptors.set_ylim(bottom=1)
    descriptors.set_ylabel("open file descriptors")
    line(routes, "routes", "routes", "C2-")
    routes.set_ylabel("routes")
    routes.set_xlabel("minutes")
    for axes in (memory, descriptors, routes):
        axes.axvspan(half / 60, 2 * half / 60, color="0.95")
        if axes is not descriptors:
            axes.set_ylim(bottom=0)
        axes.grid(visible=True, alpha=0.25)
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize="small")
    figure.savefig(file, metadata={"Date": None})
