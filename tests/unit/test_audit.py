"""What the lint session makes of pip-audit's answers, and of none."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

_FILE = Path(__file__).parents[2] / "tools" / "audit.py"
_SPEC = importlib.util.spec_from_file_location("audit", _FILE)
assert _SPEC
assert _SPEC.loader
audit = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(audit)

SAFE = {"name": "rich", "version": "13.0", "vulns": []}
UNKNOWN = {"name": "grpcio", "skip_reason": "not found"}
OWN = {"name": "traefikhub", "skip_reason": "not found"}
BAD = {
    "name": "requests",
    "version": "2.19",
    "vulns": [{"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["2.20"]}],
}


def found(*packages: Any) -> dict[str, Any]:
    return {"dependencies": [*packages, OWN]}


def test_nothing_is_known_against_anything() -> None:
    assert audit.report(found(SAFE), {}) == ("audited 1 packages", False)


def test_a_vulnerability_fails_and_says_what_mends_it() -> None:
    text, failed = audit.report(found(SAFE, BAD), {})
    assert failed
    assert "requests 2.19: PYSEC-1, mended in 2.20" in text


@pytest.mark.parametrize("name", ["PYSEC-1", "CVE-1"])
def test_one_that_was_accepted_is_told_with_its_reason(name: str) -> None:
    text, failed = audit.report(found(BAD), {name: "not used here"})
    assert not failed
    assert "accepted: not used here" in text


def test_what_the_service_does_not_know_is_named() -> None:
    text, failed = audit.report(found(SAFE, UNKNOWN), {})
    assert not failed
    assert "NOT AUDITED, unknown to the service: grpcio" in text
    assert "traefikhub" not in text


def test_a_mirror_that_knows_none_is_no_audit() -> None:
    with pytest.raises(audit.NotAudited, match="knows none of 1"):
        audit.report(found(UNKNOWN), {})


def program(text: str) -> list[str]:
    return [sys.executable, "-c", text]


def test_it_never_hangs() -> None:
    with pytest.raises(audit.NotAudited, match=r"ended after 0\.2 s"):
        audit.run(program("import time; time.sleep(60)"), 0.2)


def test_a_service_out_of_reach_is_told() -> None:
    with pytest.raises(audit.NotAudited, match="no route to host"):
        audit.run(program("raise SystemExit('no route to host')"), 20)


@pytest.mark.parametrize(("required", "code"), [("", 0), ("1", 1)])
def test_offline_is_loud_and_no_failure_unless_it_is_required(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], required: str, code: int
) -> None:
    monkeypatch.setenv("TRAEFIKHUB_REQUIRE_AUDIT", required)
    monkeypatch.setattr(audit, "_COMMAND", program("raise SystemExit('down')"))
    assert audit.main() == code
    assert "NOT AUDITED: pip-audit failed: down" in capsys.readouterr().out
