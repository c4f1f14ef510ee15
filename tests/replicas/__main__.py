"""``python -m replicas --seconds 300``; what it means: docs/high-availability.md."""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Final

import pytest

from replicas.files import HAPROXY
from replicas.report import document, text
from replicas.run import STEPS, Plan, run
from servers.etcd import etcd_binary
from traefikhub.traefik import find_traefik, version_of

_OUTPUT: Final = Path("build", "replicas")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; the exit code tells whether all goals were kept."""
    parser = argparse.ArgumentParser(prog="replicas", description=__doc__)
    parser.add_argument(
        "--seconds", type=_positive, default=150.0, help="of traffic in all, beside what steps take"
    )
    parser.add_argument("--sockets", type=int, default=20, help="websockets that are open")
    parser.add_argument("--rate", type=_positive, default=40.0, help="requests a second")
    parser.add_argument(
        "--output", type=Path, default=_OUTPUT, help="directory for the report and the logs"
    )
    given = parser.parse_args(arguments)
    # Whoever ends this ends what it started: by Ctrl-C, also in the background, or by a kill.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    plan = Plan(settle=given.seconds / (STEPS + 1), sockets=given.sockets, rate=given.rate)
    given.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="traefikhub-replicas-") as name:
        directory = Path(name)
        try:
            book = asyncio.run(run(plan, directory, _say))
        except pytest.skip.Exception as reason:
            _say(f"NOT RUN: {reason}")
            return 1
        except KeyboardInterrupt:
            _say("ended before its time")
            return 130
        finally:
            for log in directory.glob("*.log"):
                shutil.copy(log, given.output)
    about = _about()
    report = text(book, about)
    (given.output / "report.md").write_text(report)
    whole = json.dumps(document(book, about), indent=1)
    (given.output / "report.json").write_text(whole + "\n")
    _say(f"\n{report}\nThe report and all logs are in {given.output}")
    return 1 if book.problems() else 0


def _positive(given: str) -> float:
    number = float(given)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{given} is not more than 0")
    return number


def _about() -> dict[str, str]:
    """The versions of all."""
    return {
        "traefikhub": version("traefikhub"),
        "JupyterHub": version("jupyterhub"),
        "Traefik": str(version_of(find_traefik())),
        "etcd": _said([etcd_binary(), "--version"]),
        "HAProxy": _said([HAPROXY or "haproxy", "-v"]),
        "Python": platform.python_version(),
    }


def _said(command: list[str]) -> str:
    """The first version number in what a program says."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    found = re.search(r"\d+\.\d+\.\d+", done.stdout + done.stderr)
    return found.group() if found else "?"


def _say(line: str) -> None:
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
