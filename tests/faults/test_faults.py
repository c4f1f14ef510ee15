"""A short run for each store, and some with a Hub that lies, which must be found out."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from faults import breaking
from faults.hub import EARLY, NO_CHANGE, NOTHING
from faults.kinds import Kind
from faults.record import Fault
from faults.run import NothingToDo, Plan, run
from faults.summary import around, summary
from faults.world import World

SEED = int(os.environ.get("TRAEFIKHUB_FAULTS_SEED", "1"))


@pytest.mark.timeout(240)
@pytest.mark.parametrize("store", ["toml-file", "etcd", "consul"])
def test_nothing_is_lost(store: str, tmp_path: Path) -> None:
    report = run(Plan(store=store, seed=SEED, scale=0.3, pairs=False), tmp_path)
    shown = "\n".join([*around(report, report.violations), summary(report), f"see {tmp_path}"])
    print(shown)  # noqa: T201
    assert not report.violations, shown


def test_a_hub_that_acknowledges_too_early_is_found_out(tmp_path: Path) -> None:
    """Else the runs above would prove nothing."""
    plan = Plan(
        store="toml-file",
        seed=SEED,
        faultless=True,
        changes_per_second=20,
        requests_per_second=60,
        lie=EARLY,
    )
    rules = {violation.rule for violation in run(plan, tmp_path).violations}
    assert "a former target is served" in rules
    assert "a deleted route is served" in rules
    assert "an acknowledged route is not served" in rules


@pytest.mark.timeout(60)
@pytest.mark.parametrize("lie", [NO_CHANGE, NOTHING])
def test_a_hub_that_never_answers_is_found_out(lie: str, tmp_path: Path) -> None:
    """Whatever waits for it, the run ends soon, and tells seed and history."""
    plan = Plan(
        store="toml-file",
        seed=SEED,
        scale=0.3,
        only="Hub stopped",
        changes_per_second=20,
        lie=lie,
        patience=3,
    )
    began = time.monotonic()
    report = run(plan, tmp_path)
    assert time.monotonic() - began < 30
    assert {violation.rule for violation in report.violations} >= {"the Hub never answers"}
    assert f"seed {SEED}" in summary(report)
    assert any(f"seed {SEED}" in line for line in around(report, report.violations))
    assert '"silent"' in (tmp_path / "history.jsonl").read_text()
    # Where it hangs.
    assert "Current thread" in (tmp_path / "hub.log").read_text()


def test_a_fault_that_never_ends_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def wait(world: World, fault: Fault) -> None:
        await asyncio.Event().wait()

    endless = Kind("endless", "clock", wait, frozenset())
    monkeypatch.setattr(breaking, "kinds_for", lambda *_: [endless])
    monkeypatch.setattr(breaking, "INJECTION_SECONDS", 0.5)
    report = run(Plan(store="toml-file", seed=SEED, seconds=60, scale=0.3), tmp_path)
    assert [violation.rule for violation in report.violations] == ["the recovery took too long"]
    assert report.seconds < 30


def test_a_run_without_a_fault_proves_nothing(tmp_path: Path) -> None:
    with pytest.raises(NothingToDo, match="nonsense"):
        run(Plan(store="toml-file", seed=SEED, only="nonsense"), tmp_path)
