"""What may be asked of a run under load."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Final

__all__ = ["STORES", "parser"]

STORES: Final = ("toml-file", "etcd", "consul")
_ROOT: Final = Path(__file__).parents[1]


def parser(about: str) -> argparse.ArgumentParser:
    """Of the command line."""
    made = argparse.ArgumentParser(prog="python -m benchmarks._load_run", description=about)
    made.add_argument("--store", choices=STORES, action="append", help="may be repeated")
    made.add_argument("--users", type=_some, default=2000)
    made.add_argument("--minutes", type=_positive, default=10)
    made.add_argument("--seed", type=int, default=1)
    made.add_argument(
        "--output",
        type=Path,
        default=_ROOT / ".benchmarks" / "load",
        help="the directory for results (default: .benchmarks/load)",
    )
    return made


def _some(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} users are none")
    return number


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not more than 0")
    return number
