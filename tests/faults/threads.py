"""Blocking work in a thread, which is seen through."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

import anyio

__all__ = ["seen_through"]

_T = TypeVar("_T")


async def seen_through(work: Callable[[], _T]) -> _T:
    """Do it in a thread. Whoever cancels this waits until it is done: what it starts must be there
    before it is ended."""
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        with anyio.CancelScope(shield=True):
            await asyncio.wait([task])
        raise
