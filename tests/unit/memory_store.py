"""A store in memory, and a Traefik of which the test decides when it shows a generation."""

from __future__ import annotations

import logging
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio

from traefikhub.stores import Batch, Document, Key, RouteStore, Snapshot
from traefikhub.table import Route, Table
from traefikhub.writer import RouteWriter


class MemoryStore(RouteStore):
    """Keeps every promise but durability.

    applied: every batch that was, in order.
    refusals: raised by the next ``apply`` calls, which change nothing.
    lost_answers: raised by the next ``apply`` calls, after the change.
    on_load: called by each ``load``.
    load_errors: raised by the next ``load`` calls.
    """

    provider_name = "memory"

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.records: dict[Key, Document] = {}
        self.generation = 0
        self.applied: list[Batch] = []
        self.refusals: list[Exception] = []
        self.lost_answers: list[Exception] = []
        self.load_errors: list[Exception] = []
        self.applying = Gate()
        self.on_load: Callable[[], None] = lambda: None

    def provider_config(self) -> dict[str, Document]:
        return {}

    async def open(self, *, read_only: bool = False) -> None:
        pass

    async def close(self) -> None:
        pass

    async def load(self) -> Snapshot:
        self.on_load()
        if self.load_errors:
            raise self.load_errors.pop(0)
        return Snapshot(dict(self.records), self.generation)

    async def apply(self, batch: Batch) -> None:
        await self.applying.pass_through()
        if self.refusals:
            raise self.refusals.pop(0)
        assert batch.generation > self.generation
        for key in batch.deletes:
            self.records.pop(key, None)
        self.records.update(batch.puts)
        self.generation = batch.generation
        self.applied.append(batch)
        if self.lost_answers:
            raise self.lost_answers.pop(0)


class Gate:
    """Open at first. While it is closed, who comes waits."""

    def __init__(self) -> None:
        self._open = anyio.Event()
        self._open.set()

    def close(self) -> None:
        self._open = anyio.Event()

    def open(self) -> None:
        self._open.set()

    async def pass_through(self) -> None:
        await self._open.wait()


class Live:
    """Traefik, as the writer sees it. Shows a generation as soon as it is asked, be that stored
    or not; the writer must make nothing of that.

    asked: the generations that were waited for.
    waiting: those for which somebody waits now.
    failures: raised by the next waits.
    """

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.waiting: list[int] = []
        self._asked = anyio.Event()
        self.failures: list[Exception] = []
        self.gate = Gate()

    async def __call__(self, generation: int, stored: threading.Event) -> None:
        self.asked.append(generation)
        self._asked.set()
        self.waiting.append(generation)
        try:
            await self.gate.pass_through()
        finally:
            self.waiting.remove(generation)
        if self.failures:
            raise self.failures.pop(0)

    async def until_asked(self, generation: int) -> None:
        """Return when it has been asked for a generation, and has answered if its gate is open."""
        while generation not in self.asked:
            self._asked = anyio.Event()
            await self._asked.wait()
        await settle()


class Caller:
    """A call of ``change`` in a task of its own."""

    def __init__(self) -> None:
        self.scope = anyio.CancelScope()
        self.error: Exception | None = None
        self.returned = False

    @property
    def waits(self) -> bool:
        return not self.returned and self.error is None and not self.scope.cancelled_caught


class Hub:
    """A writer with its store and Traefik, and calls to it."""

    def __init__(self, store: MemoryStore, tasks: anyio.abc.TaskGroup) -> None:
        self.store = store
        self.live = Live()
        self._tasks = tasks
        self.writer = RouteWriter(store, self._table, self.live, logging.getLogger("test.hub"))

    @staticmethod
    def _table(routes: list[Route]) -> Table:
        return Table(entry_point="web", routes=routes)

    def call(self, spec: str, new: Route | None) -> Caller:
        """Begin a change without waiting for it."""
        caller = Caller()

        async def run() -> None:
            with caller.scope:
                try:
                    await self.writer.change(spec, new)
                    caller.returned = True
                except Exception as error:
                    caller.error = error

        self._tasks.start_soon(run)
        return caller

    async def add(self, name: str, target: str = "http://10.0.0.1:1") -> None:
        await self.writer.change(spec(name), route(name, target))

    async def delete(self, name: str) -> None:
        await self.writer.change(spec(name), None)

    def begin_to_add(self, name: str, target: str = "http://10.0.0.1:1") -> Caller:
        return self.call(spec(name), route(name, target))

    def begin_to_delete(self, name: str) -> Caller:
        return self.call(spec(name), None)

    def targets(self) -> dict[str, str]:
        """Where the stored services lead, by record name."""
        found: dict[str, str] = {}
        for name, document in Snapshot(self.store.records, 0).section("http/services"):
            match document:
                case {"loadBalancer": {"servers": [{"url": str(url)}]}}:
                    found[name] = url
        return found


def spec(name: str) -> str:
    return f"/user/{name}/"


def route(name: str, target: str = "http://10.0.0.1:1", **data: Document) -> Route:
    return Route(spec(name), target, data)


@asynccontextmanager
async def running_hub(store: MemoryStore | None = None) -> AsyncIterator[Hub]:
    """A hub whose writer runs; closed at the end, so that no caller is left waiting."""
    async with anyio.create_task_group() as tasks:
        hub = Hub(store or MemoryStore(), tasks)
        await hub.writer.restore(await hub.store.load())
        hub.writer.run()
        try:
            yield hub
        finally:
            await hub.writer.aclose()


async def settle() -> None:
    """Return when nothing moves any more: everything waits for something."""
    await anyio.wait_all_tasks_blocked()
