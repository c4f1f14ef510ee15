"""``python -m faults --minutes 60 --store etcd --seed 7``; what it means: docs/faults.md."""

from __future__ import annotations

import argparse
import secrets
import sys
import time
from pathlib import Path

import pytest

from faults.run import Plan, run
from faults.server_places import PLACES
from faults.summary import around, summary

_HISTORIES = Path("build", "faults")


def main() -> int:
    """Run it for each store; the exit code tells whether a promise was broken."""
    parser = argparse.ArgumentParser(prog="faults", description=__doc__)
    parser.add_argument(
        "--store", action="append", choices=sorted(PLACES), help="one of them; again for more"
    )
    parser.add_argument(
        "--minutes", type=float, default=0, help="for each store; by default, every fault once"
    )
    parser.add_argument("--seed", type=int, default=None, help="of all that is random")
    parser.add_argument("--only", default="", help="faults with this in their name")
    parser.add_argument("--no-pairs", action="store_true", help="one fault at a time")
    parser.add_argument(
        "--history", type=Path, default=_HISTORIES, help="directory for histories and logs"
    )
    given = parser.parse_args()
    seed = secrets.randbelow(10**6) if given.seed is None else given.seed
    broken = 0
    for store in given.store or sorted(PLACES):
        plan = Plan(
            store=store,
            seed=seed,
            seconds=60 * given.minutes,
            pairs=not given.no_pairs,
            only=given.only,
        )
        broken += _run(plan, given.history)
    return 1 if broken else 0


def _run(plan: Plan, histories: Path) -> bool:
    """One store; whether a promise was broken."""
    kept = histories / f"{plan.store}-{plan.seed}"
    try:
        report = run(plan, kept, lambda text: _say(f"{time.strftime('%H:%M:%S')} {text}"))
    except pytest.skip.Exception as reason:
        _say(f"{plan.store}: left out, {reason}")
        return False
    for line in around(report, report.violations):
        _say(line)
    _say(f"\n{summary(report)}\nhistory         {kept / 'history.jsonl'}\n")
    return bool(report.violations)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
