"""A server here outlives its tests, and is restarted by some."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def no_process_left() -> None:
    """Each class ends its server itself, in ``run_server``."""
