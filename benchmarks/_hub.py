"""A Hub's process with one proxy and nothing else, so that what it costs is the proxy's cost.

``python -m benchmarks._hub`` reads commands from standard input, one JSON object a line, and
answers each with one. It runs in the environment of the proxy that is measured.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import sys
import time
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from benchmarks._adapters import Adapter, Unsupported, make_adapter
from benchmarks._routes import data_of, spec_of
from benchmarks._watch import LoopWatch


class Hub:
    """Carries out commands. Every public method is one; all values are JSON-able."""

    def __init__(self) -> None:
        self._adapter: Adapter | None = None

    @property
    def adapter(self) -> Adapter:
        """The proxy that was started."""
        assert self._adapter, "nothing was started"
        return self._adapter

    async def start(self, *, path: str, **options: Any) -> dict[str, Any]:
        """Start a proxy; see ``make_adapter``."""
        adapter = make_adapter(path, **options)
        self._adapter = adapter
        answer = await self._measured(adapter.start, watch=True)
        return answer | {"remembers": adapter.remembers}

    async def stop(self) -> dict[str, Any]:
        """Stop the proxy, if there is one."""
        adapter, self._adapter = self._adapter, None
        if adapter:
            await adapter.stop()
        return {}

    async def fill(self, *, first: int, count: int, target: str) -> dict[str, Any]:
        """Add many routes the quick way."""
        numbers = range(first, first + count)
        return await self._measured(lambda: self.adapter.fill(numbers, target), watch=False)

    async def change(
        self, *, what: str, target: str, first: int, count: int, at_once: int, **limits: Any
    ) -> dict[str, Any]:
        """Add, update or delete routes of consecutive users, so many at once.

        Args:
            limits: ``budget``, the seconds after which no more calls begin once there were
                ``least``; ``watch``, whether to look for stalls of the event loop.

        Returns:
            also ``each``, the seconds of every call; fewer than ``count`` if the budget is spent.
        """
        each: list[float] = []
        numbers = iter(range(first, first + count))
        deadline = time.perf_counter() + limits.get("budget", 1e9)

        async def work() -> None:
            for number in numbers:
                started = time.perf_counter()
                await self._change(what, number, target)
                each.append(time.perf_counter() - started)
                if time.perf_counter() > deadline and number - first + 1 >= limits.get("least", 1):
                    return

        async def everyone() -> None:
            await asyncio.gather(*(work() for _ in range(at_once)))

        return await self._measured(everyone, watch=limits.get("watch", False)) | {"each": each}

    async def _change(self, what: str, number: int, target: str) -> None:
        spec = spec_of(number)
        if what == "delete":
            await self.adapter.proxy.delete_route(spec)
        else:
            await self.adapter.proxy.add_route(spec, target, data_of(number))

    async def list(self, *, watch: bool) -> dict[str, Any]:
        """Ask for all routes."""
        count = 0

        async def ask() -> None:
            nonlocal count
            count = len(await self.adapter.proxy.get_all_routes())

        return await self._measured(ask, watch=watch) | {"routes": count}

    async def get(self, *, number: int) -> dict[str, Any]:
        """Ask for one route."""
        spec = spec_of(number)
        return await self._measured(lambda: self.adapter.proxy.get_route(spec), watch=True)

    async def collect(self) -> dict[str, Any]:
        """Collect garbage, before memory is measured."""
        gc.collect()
        return {}

    async def _measured(self, work: Callable[[], Awaitable[Any]], *, watch: bool) -> dict[str, Any]:
        """Seconds by the clock and of the processors, and if watched the longest stall."""
        stall = LoopWatch()
        if watch:
            async with stall.watching():
                answer = await self._timed(work)
            return answer | {"stall": stall.worst, "stall_busy": stall.busy}
        return await self._timed(work)

    async def _timed(self, work: Callable[[], Awaitable[Any]]) -> dict[str, Any]:
        started, computed = time.perf_counter(), time.process_time()
        await work()
        return {
            "seconds": time.perf_counter() - started,
            "cpu": time.process_time() - computed,
        }


async def serve(commands: int, answers: int) -> None:
    """Carry out commands until there are no more; then stop the proxy."""
    hub = Hub()
    reader = asyncio.StreamReader()
    pipe = os.fdopen(commands, "rb", 0)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), pipe
    )
    try:
        while line := await reader.readline():
            answer = await _answer(hub, json.loads(line))
            os.write(answers, json.dumps(answer).encode() + b"\n")
    finally:
        await hub.stop()


async def _answer(hub: Hub, command: dict[str, Any]) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = await getattr(hub, command.pop("do"))(**command)
    except Unsupported as error:
        return {"unsupported": str(error)}
    except Exception as error:
        root: BaseException = error
        while root.__cause__:
            root = root.__cause__
        place = traceback.extract_tb(root.__traceback__)[-1]
        where = f"{Path(place.filename).name}, line {place.lineno}"
        return {"error": f"{type(error).__name__}: {_text_of(error)} ({where})"}
    return answer


def _text_of(error: Exception) -> str:
    """On one line; gRPC's errors tell theirs apart from much that is not for people."""
    details = getattr(error, "details", None)
    text = details() if callable(details) else error
    return " ".join(str(text).split())[:200]


def main() -> None:
    """Keep the parent's pipes from whatever the proxies start, which may print."""
    commands, answers = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    asyncio.run(serve(commands, answers))


if __name__ == "__main__":
    main()
