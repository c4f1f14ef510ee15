"""How the suite's plain test functions run coroutines."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio

__all__ = ["run"]

_LIMIT_SECONDS = 120


def run(work: Callable[[], Awaitable[Any]]) -> Any:
    """Run a coroutine; one that hangs fails."""

    async def bounded() -> Any:
        with anyio.fail_after(_LIMIT_SECONDS):
            return await work()

    return anyio.run(bounded)
