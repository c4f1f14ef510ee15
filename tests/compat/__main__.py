"""``python -m compat``: run cells, and write the table from what all runs so far have found."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from compat.cells import Cell, chosen
from compat.run import RECORDS, ROOT, Record, run_cell
from compat.table import write

PAGE = ROOT / "docs" / "compatibility.md"


def main(arguments: Sequence[str]) -> int:
    """0 if nothing failed, and with ``--strict`` all ran."""
    parser = argparse.ArgumentParser(prog="nox -s compat --", description=__doc__)
    parser.add_argument("--list", action="store_true", help="names of the cells, one a line")
    parser.add_argument("--json", action="store_true", help="with --list: a document, for scripts")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="CELL",
        help="this cell, or those that a pattern such as 'traefik-*' means; may be given again",
    )
    parser.add_argument("--strict", action="store_true", help="a cell that can't run is a failure")
    parser.add_argument("--no-table", action="store_true", help="leave the page as it is")
    parser.add_argument("--table", action="store_true", help="run nothing, write the table anew")
    given = parser.parse_args(arguments)
    try:
        cells = chosen(given.only)
    except ValueError as error:
        parser.error(str(error))
    if given.list:
        names = [cell.name for cell in cells]
        sys.stdout.write((json.dumps(names) if given.json else "\n".join(names)) + "\n")
        return 0
    ran = [] if given.table else [_run(cell) for cell in cells]
    if not given.no_table:
        write(PAGE, known(), (ROOT / "pyproject.toml").read_text())
    for record in ran:
        _say(record)
    strictly = given.strict and any(record.result == "not run" for record in ran)
    return int(strictly or not all(record.as_it_should_be for record in ran))


def known() -> dict[str, Record]:
    """What this and earlier runs have found, by cell."""
    records = [Record(**json.loads(each.read_text())) for each in RECORDS.glob("*.json")]
    return {record.cell: record for record in records}


def _run(cell: Cell) -> Record:
    sys.stdout.write(f"=== {cell.name}\n")
    sys.stdout.flush()
    record = run_cell(cell)
    _say(record)
    return record


def _say(record: Record) -> None:
    what = record.why or ", ".join(f"{k} {v}" for k, v in record.servers.items())
    lines = [f"{record.cell}: {record.result} ({what}; {record.seconds:.0f} s)"]
    lines += [f"  FAILED {name}" for name in record.failed]
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
