"""Real servers for the tests of stores. The tests start them, and end what they start."""

from __future__ import annotations

import os
from typing import TypeVar

import pytest

__all__ = ["require"]

_T = TypeVar("_T")

_VARIABLE = "TRAEFIKHUB_REQUIRE_STORES"


def require(store: str, found: _T | None, how_to_get_it: str) -> _T:
    """What a store's tests stand on, e.g. the path of a server's binary.

    If there is none, the test is skipped with the command that brings it; it fails if the
    environment's TRAEFIKHUB_REQUIRE_STORES names the store, as in CI.
    """
    if found is not None:
        return found
    why = f"no server for {store}; get it with: {how_to_get_it}"
    if store in os.environ.get(_VARIABLE, "").replace(",", " ").split():
        pytest.fail(f"{why} ({_VARIABLE} asks for it)")
    pytest.skip(why)
