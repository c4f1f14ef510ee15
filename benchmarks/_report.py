"""Results as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from benchmarks._changes import CHANGES
from benchmarks._contestants import OWN
from benchmarks._goals import goals_of, longest_stall, mib_per_route
from benchmarks._plan import FULL
from benchmarks._ratios import ratios_of
from benchmarks._results import Measured, Results

__all__ = ["number", "render", "table"]

_NONE = "–"


def render(results: Results) -> str:
    """The page of results: a heading of the third order for each table."""
    about = ", ".join(f"{name} {value}" for name, value in results.about.items())
    parts = [f"Measured with: {about}."]
    if missing := {**results.missing, **results.failed}:
        lines = (f"- {name}: {why}" for name, why in missing.items())
        parts.append("Not measured:\n\n" + "\n".join(lines))
    for title, rows in _tables(results):
        if rows:
            parts.append(f"### {title}\n\n{table(rows)}")
    return "\n\n".join(parts) + "\n"


def table(rows: Sequence[dict[str, str]]) -> str:
    """Rows with the same columns."""
    lines = ["| " + " | ".join(rows[0]) + " |", "|" + " --- |" * len(rows[0])]
    lines += ["| " + " | ".join(row.values()) + " |" for row in rows]
    return "\n".join(lines)


def number(value: float | None) -> str:
    """Three digits that count."""
    if value is None:
        return _NONE
    for least, digits in ((99.95, 0), (9.995, 1), (0.0995, 2)):
        if abs(value) >= least:
            return f"{value:,.{digits}f}"
    return f"{value:.2g}"


def _tables(results: Results) -> Iterator[tuple[str, list[dict[str, str]]]]:
    yield "Goals", _goals(results)
    yield f"How many times better {OWN} is", _ratios(results)
    for what in CHANGES:
        title = f"{what.capitalize()} a route: p50 / p99 ms, so many at once"
        yield title, _by_size(results, what, _latency, each_at_once=True)
    for what in CHANGES:
        yield (
            f"{what.capitalize()} a route, until a user sees it: p50 ms",
            _by_size(results, f"{what} until served", _of("p50")),
        )
    yield "Burst of new routes", _bursts(results)
    yield (
        "Computing time of the Hub for one new route: ms",
        _by_size(results, "add", _of("cpu"), each_at_once=True),
    )
    yield "get_all_routes: p50 ms", _by_size(results, "get_all_routes", _of("p50"))
    yield "Longest stall of the Hub's event loop", _stalls(results)
    yield "Memory: MiB of the Hub / of the proxy", _memory(results)
    for what, title in (("user requests", "Requests/s to users"), ("hub requests", "… to the Hub")):
        yield f"{title} / p99 ms", _by_size(results, what, _rate)
    yield "Websocket messages/s / p99 ms", _by_size(results, "websocket", _rate)
    yield "Cold start", _cold_starts(results)
    for name, title in (
        ("floor", "One new route against the floor"),
        ("reloads", "Reloads of Traefik in a burst"),
        ("stores", "Each store by itself"),
    ):
        yield title, [_plain(row) for row in results.tables.get(name, [])]


def _goals(results: Results) -> list[dict[str, str]]:
    met = {True: "yes", False: "**no**", None: _NONE}
    whole = results.about.get("extent") == FULL.name
    return [
        {
            "goal": goal.text,
            "needed": goal.needed,
            "measured": number(goal.value),
            "met": met[goal.met],
        }
        for goal in goals_of(results)
        if whole or goal.met is not None  # less is asked of a part
    ]


def _ratios(results: Results) -> list[dict[str, str]]:
    return [
        {"measurement": title} | {name: number(value) for name, value in values.items()}
        for title, values in ratios_of(results)
    ]


_Cell = Callable[[Measured], str]


def _by_size(
    results: Results, what: str, cell: _Cell, *, each_at_once: bool = False
) -> list[dict[str, str]]:
    """A row for each contestant, a column for each number of routes."""
    found = [row for row in results.rows if row.what == what]
    columns = sorted({(row.routes, row.at_once) for row in found})
    rows = []
    for contestant in results.contestants():
        cells = {"": contestant}
        for routes, at_once in columns:
            measured = results.find(contestant, what, routes, at_once)
            heading = f"{routes:,} routes" + (f", {at_once}" if each_at_once else "")
            cells[heading] = cell(measured) if measured else _NONE
        if set(list(cells.values())[1:]) - {_NONE}:
            rows.append(cells)
    return rows


def _of(name: str) -> _Cell:
    return lambda row: _noted(row) or number(row.values.get(name))


def _latency(row: Measured) -> str:
    return _noted(row) or f"{number(row.values['p50'])} / {number(row.values['p99'])}"


def _rate(row: Measured) -> str:
    errors = row.values.get("errors", 0)
    failed = f" ({errors:.0f} errors)" if errors else ""
    return f"{number(row.values['per_second'])} / {number(row.values['p99'])}{failed}"


def _noted(row: Measured) -> str:
    return "" if row.values else row.note.removeprefix("not measured: ")


def _bursts(results: Results) -> list[dict[str, str]]:
    return [
        {
            "": row.contestant,
            "routes": f"{row.at_once:,}",
            "seconds": _noted(row) or number(row.values["seconds"]),
            "Hub's computing ms": number(row.values.get("cpu")),
            "longest stall ms": number(row.values.get("stall")),
        }
        for row in results.rows
        if row.what == "burst"
    ]


def _stalls(results: Results) -> list[dict[str, str]]:
    operations = list(
        dict.fromkeys(row.what for row in results.rows if row.what.startswith("stall in "))
    )
    rows = []
    for contestant in results.contestants():
        if not (worst := longest_stall(results, contestant)):
            continue
        cells = {"": contestant, "worst ms": number(worst[0]), "in": worst[1]}
        for what in operations:
            all_sizes = [row for row in results.of(contestant) if row.what == what]
            row = max(all_sizes, key=lambda each: each.values.get("stall", 0), default=None)
            cells[what.removeprefix("stall in ")] = _stall(row)
        cells["start"] = _stall(results.find(contestant, "cold start"))
        rows.append(cells)
    return rows


def _stall(row: Measured | None) -> str:
    if row is None or "stall" not in row.values:
        return _NONE
    return f"{number(row.values['stall'])} ({number(row.values['stall_busy'])})"


def _memory(results: Results) -> list[dict[str, str]]:
    rows = _by_size(
        results,
        "memory",
        lambda row: f"{number(row.values['hub'])} / {number(row.values['proxy'])}",
    )
    for row in rows:
        each = (mib_per_route(results, row[""], whose) for whose in ("hub", "proxy"))
        kib = (None if mib is None else 1024 * mib for mib in each)
        row["KiB for each route"] = " / ".join(map(number, kib))
    return rows


def _cold_starts(results: Results) -> list[dict[str, str]]:
    return [
        {
            "": row.contestant,
            "routes": f"{row.routes:,}",
            "seconds": number(row.values.get("seconds")),
            "Hub's computing ms": number(row.values.get("cpu")),
            "Hub's MiB": number(row.values.get("hub")),
            "note": row.note,
        }
        for row in results.rows
        if row.what == "cold start"
    ]


def _plain(row: dict[str, Any]) -> dict[str, str]:
    return {
        name: number(value) if isinstance(value, float) else str(value)
        for name, value in row.items()
    }
