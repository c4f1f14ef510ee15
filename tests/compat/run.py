"""One cell: its environment, made by uv, and the tests in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final

from compat.behaviours import behaviours_of
from compat.cells import Cell
from compat.recorder import FILE

__all__ = ["RECORDS", "NotThere", "Record", "run_cell"]

ROOT: Final = Path(__file__).resolve().parents[2]
RECORDS: Final = ROOT / "build" / "compat"
"""A file for each cell that has run."""

_OF_THE_PROJECT: Final = ("archives", "changelog", "compat", "versions", "workflows")
"""Unit tests of how this is built and released, which is no matter of what it runs with."""

_CACHE: Final = ROOT / ".cache" / "compat"


class NotThere(Exception):
    """The environment can't be had here; the message says why."""


@dataclass
class Record:
    """How a cell went.

    result: ``passed``, ``failed``, ``refused`` or ``not run``.
    why: of the last.
    servers: versions by name, Python among them.
    packages: versions of all Python packages.
    behaviours: for each, how many tests passed, failed and were skipped.
    failed: the names of those tests.
    """

    cell: str
    date: str
    result: str = "not run"
    why: str = ""
    servers: dict[str, str] = field(default_factory=dict)
    packages: dict[str, str] = field(default_factory=dict)
    behaviours: dict[str, dict[str, int]] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    seconds: float = 0

    @property
    def as_it_should_be(self) -> bool:
        """Whether nothing failed; what was not run has not."""
        return self.result != "failed"


def run_cell(cell: Cell) -> Record:
    """Run it; what is found stands in ``RECORDS``, too."""
    began = time.monotonic()
    record = Record(cell.name, f"{datetime.now(timezone.utc):%Y-%m-%d}")
    RECORDS.mkdir(parents=True, exist_ok=True)
    _CACHE.mkdir(parents=True, exist_ok=True)
    # Its own directory: a Python of the machine must find nothing of another cell.
    with tempfile.TemporaryDirectory(dir=_CACHE, prefix=f"{cell.name}-") as scratch:
        try:
            environment = _make(cell, Path(scratch) / "venv")
        except NotThere as error:
            record.why = str(error)
        else:
            _look(cell, record, environment, Path(scratch))
    record.seconds = round(time.monotonic() - began)
    document = json.dumps(vars(record), indent=1, sort_keys=True)
    (RECORDS / f"{cell.name}.json").write_text(document)
    return record


def _make(cell: Cell, place: Path) -> dict[str, str]:
    """The variables of processes in a new environment."""
    variables = {"UV_CACHE_DIR": str(_CACHE / "uv")} | os.environ
    variables.pop("VIRTUAL_ENV", None)
    variables["PATH"] = os.pathsep.join([variables["PATH"], *_pythons_of_pyenv()])
    uv = (sys.executable, "-m", "uv", "--quiet")
    made = _call(*uv, "venv", "--no-project", f"--python={cell.python}", str(place), env=variables)
    if made.returncode:
        raise NotThere(f"no Python {cell.python} was found, nor could uv download one")
    install = (*uv, "pip", "install", f"--python={place}")
    resolution = ("--resolution=lowest-direct",) if cell.lowest else ()
    # As requirements of the file, not of the project, or else they are no direct ones.
    steps = [(*resolution, "-r", "pyproject.toml", "--extra=test"), ("--no-deps", "-e", ".")]
    if cell.specs:
        newest = [each for each in cell.specs if each.replace("-", "").isalnum()]
        newer = [f"--upgrade-package={each}" for each in newest]
        steps.append((*newer, *cell.specs))
    for step in steps:
        done = _call(*install, *step, env=variables)
        if done.returncode:
            raise SystemExit(f"{cell.name}: uv pip install {' '.join(step)} failed:\n{done.stdout}")
    environment = dict(os.environ) | {
        "PATH": os.pathsep.join([str(place / "bin"), os.environ["PATH"]]),
        "PYTHONPATH": str(ROOT / "tests"),
        "VIRTUAL_ENV": str(place),
    }
    environment.pop("PYTHONHOME", None)
    if cell.etcd:
        fetched = subprocess.run(
            [sys.executable, "tools/fetch_etcd.py"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        given = os.environ.get("TRAEFIKHUB_TEST_ETCD")
        if fetched.returncode and not given:
            raise NotThere(fetched.stderr.strip())
        environment["TRAEFIKHUB_TEST_ETCD"] = given or fetched.stdout.strip()
    return environment


def _pythons_of_pyenv() -> list[str]:
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    return sorted(str(path) for path in root.glob("versions/3.*/bin"))


def _look(cell: Cell, record: Record, environment: Mapping[str, str], scratch: Path) -> None:
    """Run the tests, and write down how they ended."""
    told = subprocess.run(
        ["python", "-m", "compat.versions"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    found: dict[str, Any] = json.loads(told.stdout)
    record.servers, record.packages = found["servers"], found["packages"]
    major, minor, patch = map(int, record.servers["Traefik"].split("."))
    behaviours = list(behaviours_of(cell, (major, minor, patch)))
    names = list(dict.fromkeys(name for each in behaviours for name in each.tests))
    # Those of conformance have a conftest.py of their own, and names of modules that others have.
    apart = [name for name in names if name.startswith("conformance/")]
    others = [name for name in names if name not in apart]
    ended: dict[str, str] = {}
    for some in filter(None, (others, apart)):
        ended |= _test(some, environment, scratch)
    record.failed = sorted(name for name, outcome in ended.items() if outcome == "failed")
    complete = True
    for each in behaviours:
        counts = {"passed": 0, "failed": 0, "skipped": 0}
        for name, outcome in ended.items():
            counts[outcome] += any(_is_of(name, test) for test in each.tests)
        record.behaviours[each.name] = counts
        complete &= bool(counts["passed"]) and not counts["failed"]
    if record.failed or not complete:
        record.result = "failed"
    else:
        record.result = "refused" if cell.refused else "passed"


def _is_of(name: str, test: str) -> bool:
    """Whether a test has this name, or is a variant of it, or stands in that file or directory."""
    name = name.removeprefix("tests/")
    return name == test or (
        name.startswith(test) and name[len(test)] in "[:/" and not test.endswith("]")
    )


def _test(names: list[str], environment: Mapping[str, str], scratch: Path) -> dict[str, str]:
    file = scratch / "ended.json"
    file.unlink(missing_ok=True)
    processes = os.environ.get("TRAEFIKHUB_TEST_PROCESSES", "2")
    subprocess.run(
        [
            *("python", "-m", "pytest", "-n", processes, "-q", "-p", "no:cacheprovider"),
            # What an old package says of a new one, or of a new Python, is no matter here.
            *(f"--ignore=tests/unit/test_{each}.py" for each in _OF_THE_PROJECT),
            *("-p", "compat.recorder", "-W", "default", "--tb=short", f"--basetemp={scratch}/t"),
            *(f"tests/{name}" for name in names),
        ],
        cwd=ROOT,
        env={**environment, FILE: str(file)},
        check=False,
    )
    if not file.exists():
        return {}
    ended: dict[str, str] = json.loads(file.read_text())
    return ended


def _call(*command: str, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=ROOT,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
