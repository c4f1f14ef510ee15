"""A plug-in of pytest that writes how each test ended: ``-p compat.recorder``."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Final

import pytest

__all__ = ["FILE"]

FILE: Final = "TRAEFIKHUB_COMPAT_RECORD"
"""The variable that names the file."""

_ended: dict[str, str] = {}
_WORSE: Final = ("passed", "skipped", "failed")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """A test has a set-up, a call and a tear-down; the worst of them counts."""
    earlier = _ended.get(report.nodeid, "passed")
    _ended[report.nodeid] = max(earlier, report.outcome, key=_WORSE.index)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Only where the reports of all processes come together."""
    if not hasattr(session.config, "workerinput"):
        Path(os.environ[FILE]).write_text(json.dumps(_ended))
