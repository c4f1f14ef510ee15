"""A short run for each store, and one with a Hub that lies, which must be found out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from faults.run import Plan, run
from faults.summary import around, summary

SEED = int(os.environ.get("TRAEFIKHUB_FAULTS_SEED", "1"))


@pytest.mark.timeout(240)
@pytest.mark.parametrize("store", ["toml-file", "etcd", "consul"])
def test_nothing_is_lost(store: str, tmp_path: Path) -> None:
    report = run(Plan(store=store, seed=SEED, scale=0.5, pairs=False), tmp_path)
    shown = "\n".join([*around(report, report.violations), summary(report), f"see {tmp_path}"])
    print(shown)  # noqa: T201
    assert not report.violations, shown


def test_a_hub_that_acknowledges_too_early_is_found_out(tmp_path: Path) -> None:
    """Else the runs above would prove nothing."""
    plan = Plan(
        store="toml-file",
        seed=SEED,
        only="no fault at all",
        changes_per_second=20,
        requests_per_second=60,
        lie=True,
    )
    rules = {violation.rule for violation in run(plan, tmp_path).violations}
    assert "a former target is served" in rules
    assert "a deleted route is served" in rules
    assert "an acknowledged route is not served" in rules
