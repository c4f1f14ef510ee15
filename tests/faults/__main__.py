"""``python -m faults --minutes 60 --store etcd --seed 7``; what it means: docs/faults.md."""

from __future__ import annotations

import argparse
import secrets
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from faults.curves import draw
from faults.kinds import kind_names
from faults.run import NothingToDo, Plan, run
from faults.server_places import PLACES
from faults.summary import around, summary

_HISTORIES = Path("build", "faults")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it for each store; the exit code tells whether a promise was broken."""
    given = _given(arguments)
    # Whoever ends this ends what it started: by Ctrl-C, also in the background, or by a kill.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    seed = secrets.randbelow(10**6) if given.seed is None else given.seed
    in_order = True
    for store in given.left_out:
        _say(f"{store}: left out, it has no fault with {given.only!r} in its name")
    for store in given.store:
        plan = Plan(
            store=store,
            seed=seed,
            seconds=60 * (given.minutes or 0),
            pairs=not given.no_pairs,
            only=given.only,
        )
        try:
            in_order &= _run(plan, given.history, given.plot)
        except KeyboardInterrupt:
            _say(f"{store}: ended before its time; seed {seed}")
            return 130
    return 0 if in_order else 1


def _given(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="faults", description=__doc__)
    parser.add_argument(
        "--store", action="append", choices=sorted(PLACES), help="one of them; again for more"
    )
    parser.add_argument(
        "--minutes", type=_positive, help="for each store; by default, every fault once"
    )
    parser.add_argument("--seed", type=int, default=None, help="of all that is random")
    parser.add_argument("--only", default="", help="faults with this in their name")
    parser.add_argument("--no-pairs", action="store_true", help="one fault at a time")
    parser.add_argument(
        "--history", type=Path, default=_HISTORIES, help="directory for histories and logs"
    )
    parser.add_argument(
        "--plot",
        type=Path,
        metavar="FILE",
        help="an SVG of descriptors, memory and threads, if there is matplotlib, and the numbers "
        "beside it as CSV; each store's name is added to the name",
    )
    given = parser.parse_args(arguments)
    stores = given.store or sorted(PLACES)
    given.store = [store for store in stores if _matching(store, given.only)]
    given.left_out = [store for store in stores if store not in given.store]
    if not given.store:
        names = sorted({name for store in stores for name in _matching(store, "")})
        parser.error(f"--only {given.only}: no fault is called so. There are: {', '.join(names)}")
    return given


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not more than 0")
    return number


def _matching(store: str, only: str) -> list[str]:
    return [name for name in kind_names(store) if only in name]


def _run(plan: Plan, histories: Path, plot: Path | None) -> bool:
    """One store; whether all was in order."""
    kept = histories / f"{plan.store}-{plan.seed}"
    try:
        report = run(plan, kept, lambda text: _say(f"{time.strftime('%H:%M:%S')} {text}"))
    except pytest.skip.Exception as reason:
        _say(f"{plan.store}: left out, {reason}")
        return True
    except NothingToDo as reason:
        _say(f"{plan.store}: NOT RUN, {reason}")
        return False
    for line in around(report, report.violations):
        _say(line)
    _say(f"\n{summary(report)}\nhistory         {kept / 'history.jsonl'}")
    if plot:
        for file in draw(report, plot.with_stem(f"{plot.stem}-{plan.store}")):
            _say(f"curves          {file}")
    _say("")
    return not report.violations


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
