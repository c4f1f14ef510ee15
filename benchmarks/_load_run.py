"""Two thousand users who come and go for ten minutes: does anything fail, does anything grow?

``nox -s load``, or ``python -m benchmarks._load_run --store etcd --users 2000 --minutes 10``. What
it does, and what came of it: docs/load.md.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import tempfile
from pathlib import Path
from typing import Final

from benchmarks._backend import Missing
from benchmarks._load_arguments import STORES, parser
from benchmarks._load_driver import Driver
from benchmarks._load_plan import Plan
from benchmarks._load_plots import draw_load
from benchmarks._load_report import Run, document_of, render_run
from benchmarks._machine import describe
from benchmarks._servers import opened_server

_ABOUT: Final = ("date", "traefikhub", "traefik", "jupyterhub", "python", "system", "cores")


def main() -> int:
    """Run what was asked for; 1 if something was not in order."""
    arguments = parser(__doc__ or "").parse_args()
    # Whoever ends this ends what it started: by Ctrl-C, also in the background, or by a kill.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    arguments.output.mkdir(parents=True, exist_ok=True)
    in_order = True
    for store in arguments.store or STORES:
        plan = Plan(
            store=store, users=arguments.users, minutes=arguments.minutes, seed=arguments.seed
        )
        try:
            run = _run(plan, arguments.output)
        except Missing as error:
            print(f"NOT RUN: {store}: {error}", file=sys.stderr)
            in_order = False
            continue
        _write(run, arguments.output)
        in_order = in_order and not run.problems
    return 0 if in_order else 1


def _run(plan: Plan, output: Path) -> Run:
    about = {name: value for name, value in describe().items() if name in (*_ABOUT, plan.store)}
    kind = "" if plan.store == "toml-file" else plan.store
    with (
        opened_server(kind) as server,
        tempfile.TemporaryDirectory(prefix="traefikhub-load-") as directory,
    ):
        driver = Driver(plan, server, Path(directory))
        try:
            return asyncio.run(driver.run(about))
        finally:
            driver.keep_logs(output)


def _write(run: Run, directory: Path) -> None:
    store = run.plan.store
    text = render_run(run)
    (directory / f"{store}.json").write_text(json.dumps(document_of(run), indent=1) + "\n")
    (directory / f"{store}.md").write_text(text)
    draw_load(store, run.samples, 30 * run.plan.minutes, directory / f"{store}.svg")
    print(text)
    print(f"Results are in {directory}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
