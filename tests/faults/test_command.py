"""``python -m faults`` itself: what it refuses, and what it leaves when it is ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from faults.__main__ import main
from faults.curves import draw
from faults.plan import Plan, Report
from faults.record import Fault, History, Look
from support import wait_until

TESTS = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--only", "nonsense"], "Traefik killed"),
        (["--store", "toml-file", "--only", "link"], "by hand: truncated"),
        (["--minutes", "0"], "not more than 0"),
        (["--minutes", "-3"], "not more than 0"),
        (["--minutes", "inf"], "not more than 0"),
        (["--minutes", "nan"], "not more than 0"),
    ],
)
def test_what_would_prove_nothing_is_refused(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_whoever_kills_it_ends_all_that_it_started(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "faults", "--store=toml-file", "--minutes=5", "--seed=1"]
    command += ["--only=Traefik killed", f"--history={tmp_path / 'history'}"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with (tmp_path / "said").open("w") as said:
        process = subprocess.Popen(command, cwd=TESTS, env=environment, stdout=said, stderr=said)
    try:
        wait_until(lambda: "Traefik killed" in (tmp_path / "said").read_text(), "a fault")
        assert _started_below(tmp_path) - {process.pid}
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 130
    finally:
        process.kill()
        process.wait()
    assert not _started_below(tmp_path)
    assert str(tmp_path) not in Path("/proc/mounts").read_text()
    assert list(tmp_path.glob("history/*/history.jsonl"))
    assert not list(tmp_path.glob("faults-*"))


def _started_below(directory: Path) -> set[int]:
    """The processes that were told of this directory."""
    found = set()
    for process in psutil.process_iter(["cmdline"]):
        if any(str(directory) in part for part in process.info["cmdline"] or []):
            found.add(process.pid)
    return found


def test_curves(tmp_path: Path) -> None:
    looks = [Look(float(at), "", 1, [2, 3], hub_mib=90 + at) for at in range(5)]
    faults = [Fault("a fault", 1, 15)]
    report = Report(Plan(store="etcd", seed=7), History(looks=looks, faults=faults))
    written = draw(report, tmp_path / "new" / "curves.svg")
    assert "hub_mib" in written[-1].read_text()
    assert len(written[-1].read_text().splitlines()) == 6
    if len(written) == 2:  # there is matplotlib
        assert "<svg" in written[0].read_text()
