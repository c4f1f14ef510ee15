"""Measure every contestant in one run on one machine: traefikhub with each of its stores, and the
proxies that it may replace. ``nox -s bench``, or ``nox -s bench -- --quick``."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks._backend import Missing, opened_backend
from benchmarks._child import UnsupportedByProxy
from benchmarks._contestants import CONTESTANTS, OURS
from benchmarks._floor import burst, one_route
from benchmarks._machine import describe
from benchmarks._measure import measure
from benchmarks._plan import FULL, QUICK, Plan
from benchmarks._plots import draw
from benchmarks._report import render
from benchmarks._results import Results
from benchmarks._stores import STORES, measure_store

_ROOT = Path(__file__).parents[1]


def main() -> int:
    """Run what was asked for; 1 if something that is installed could not be measured."""
    arguments = _parser().parse_args()
    if arguments.report:
        results = Results.from_document(json.loads(arguments.report.read_text()))
        _write(results, arguments.output or arguments.report.parent)
        return 0
    # Whoever ends this ends what it started: by Ctrl-C, also in the background, or by a kill.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    plan = QUICK if arguments.quick else FULL
    started = time.monotonic()
    results = Results(about=describe() | {"extent": plan.name})
    try:
        _run(plan, arguments.only, results)
    finally:  # also what was measured before Ctrl-C is worth something
        results.about["minutes"] = f"{(time.monotonic() - started) / 60:.1f}"
        if results.rows or results.tables:
            partly = plan is QUICK or arguments.only or sys.exc_info()[0]
            kept = _ROOT / (".benchmarks" if partly else "docs/benchmarks")
            _write(results, arguments.output or kept)
    for name, why in {**results.missing, **results.failed}.items():
        print(f"NOT MEASURED: {name}: {why}", file=sys.stderr)
    return 1 if results.failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="less of everything: 3 minutes")
    parser.add_argument(
        "--only",
        action="append",
        metavar="NAME",
        help="contestants with this in their name; 'floor', 'reloads' and 'stores' are what is "
        "measured of traefikhub alone; may be repeated",
    )
    parser.add_argument(
        "--output",
        type=Path,
        help="the directory for results (default: docs/benchmarks after a whole run, else "
        ".benchmarks)",
    )
    parser.add_argument(
        "--report", type=Path, metavar="JSON", help="only write tables and plots of old results"
    )
    return parser


def _run(plan: Plan, only: list[str] | None, results: Results) -> None:
    def wanted(name: str) -> bool:
        return not only or any(part in name for part in only)

    with tempfile.TemporaryDirectory(prefix="traefikhub-bench-") as directory:
        for contestant in filter(lambda each: wanted(each.name), CONTESTANTS):
            with _noted(contestant.name, results), opened_backend(Path(directory)) as backend:
                measure(contestant, plan, backend, results)
    if wanted("floor"):
        with _noted("floor", results):
            results.tables["floor"] = [one_route(10, plan.floor)]
    if wanted("reloads"):
        for contestant in OURS:
            with _noted(f"reloads, {contestant.name}", results):
                results.tables.setdefault("reloads", []).append(burst(contestant, 500))
    if wanted("stores") and plan.stores:
        for store in STORES:
            with _noted(f"store {store}", results):
                row = asyncio.run(measure_store(store, plan.stores))
                results.tables.setdefault("stores", []).append(row)


@contextmanager
def _noted(name: str, results: Results) -> Iterator[None]:
    """Keep why something can't be measured, and go on with the rest."""
    print(f"--- {name}", file=sys.stderr, flush=True)
    try:
        yield
    except (Missing, UnsupportedByProxy) as error:
        results.missing[name] = str(error)
    except Exception as error:
        traceback.print_exc()
        results.failed[name] = f"{type(error).__name__}: {error}"


def _write(results: Results, directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "results.json").write_text(json.dumps(results.to_document(), indent=1) + "\n")
    draw(results, directory)
    tables = render(results)
    (directory / "tables.md").write_text(tables)
    print(tables)
    print(f"Results are in {directory}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
