"""Blocking work off the event loop."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import anyio
import anyio.lowlevel
import pytest

from traefikhub.threads import in_thread

pytestmark = pytest.mark.anyio


async def test_it_returns_and_raises_what_the_work_does() -> None:
    def fail() -> None:
        raise KeyError("x")

    assert await in_thread(divmod, 7, 2) == (3, 1)
    with pytest.raises(KeyError, match="x"):
        await in_thread(fail)
    with pytest.raises(RuntimeError, match="SystemExit"):
        await in_thread(sys.exit, 3)


@pytest.mark.parametrize("how", ["task", "scope"])
async def test_a_cancelled_call_waits_for_its_work(how: str) -> None:
    begun, let_go, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        let_go.wait(30)
        ended.set()

    scope = anyio.CancelScope()

    async def call() -> None:
        with scope:
            await in_thread(work)
            await anyio.lowlevel.checkpoint()

    task = asyncio.create_task(call())
    while not begun.is_set():
        await asyncio.sleep(0)
    task.cancel() if how == "task" else scope.cancel()
    for _ in range(20):
        await asyncio.sleep(0)
    assert not task.done()
    let_go.set()
    await asyncio.wait([task])
    assert ended.is_set()
    assert task.cancelled() if how == "task" else scope.cancelled_caught


async def test_an_abandoned_call_returns_at_once() -> None:
    let_go = threading.Event()
    with anyio.move_on_after(0.01) as scope:
        await in_thread(let_go.wait, 30, abandon=True)
    assert scope.cancelled_caught
    let_go.set()


async def test_a_loop_of_calls_can_be_cancelled() -> None:
    with anyio.fail_after(30), anyio.move_on_after(0.01) as scope:
        while True:
            await in_thread(int)
    assert scope.cancelled_caught


async def test_many_at_once() -> None:
    barrier = threading.Barrier(30)
    async with anyio.create_task_group() as group:
        for _ in range(30):
            group.start_soon(in_thread, barrier.wait, 30)
    assert not barrier.broken


def test_neither_idle_nor_busy_threads_keep_the_program_from_ending() -> None:
    code = """
import asyncio, sys, time
from traefikhub.threads import in_thread
async def main():
    await in_thread(int)
    asyncio.get_running_loop().create_task(in_thread(time.sleep, 600))
    await asyncio.sleep(0.1)
    asyncio.get_running_loop().stop()
loop = asyncio.new_event_loop()
task = loop.create_task(main())
loop.run_forever()
sys.exit(3)
"""
    ended = subprocess.run([sys.executable, "-c", code], timeout=60, check=False)
    assert ended.returncode == 3
