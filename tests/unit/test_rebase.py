"""Records beside the routes' that change while the Hub runs, such as a renewed certificate."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from prometheus_client import CollectorRegistry

from traefikhub.metrics import Metrics
from traefikhub.stores import Document, Key, StoreUnavailable
from traefikhub.table import Route, Table
from traefikhub.traefik import NotLive
from traefikhub.writer import RouteWriter, WriterClosed
from unit.memory_store import Live, MemoryStore, route, settle, spec

pytestmark = pytest.mark.anyio

BASE = Key("tls/stores", "default")
OTHER = Key("http/middlewares", "beside")


def certificate(name: str) -> dict[Key, Document]:
    return {BASE: {"defaultCertificate": {"certFile": name, "keyFile": name}}}


class Scene:
    def __init__(self) -> None:
        self.store = MemoryStore()
        self.live = Live()

        def table(routes: list[Route]) -> Table:
            return Table(
                entry_point="http",
                base={**certificate("old"), OTHER: {"compress": {}}},
                extra={BASE: {"added": True}},
                routes=routes,
            )

        metrics = Metrics(CollectorRegistry())
        log = logging.getLogger("test.hub")
        self.writer = RouteWriter(self.store, table, self.live, log, metrics)

    @property
    def stored(self) -> Document:
        return self.store.records[BASE]


def whole(name: str) -> Document:
    return {"defaultCertificate": {"certFile": name, "keyFile": name}, "added": True}


@asynccontextmanager
async def scene() -> AsyncIterator[Scene]:
    made = Scene()
    await made.writer.restore(await made.store.load())
    made.writer.run()
    try:
        yield made
    finally:
        await made.writer.aclose()


async def test_it_returns_when_the_new_record_is_live_with_the_admins_part() -> None:
    async with scene() as hub, anyio.create_task_group() as tasks:
        hub.live.gate.close()
        done = anyio.Event()

        async def rebase() -> None:
            await hub.writer.rebase(certificate("new"))
            done.set()

        tasks.start_soon(rebase)
        await hub.live.until_asked(2)
        assert hub.stored == whole("new")
        assert not done.is_set()
        hub.live.gate.open()
        await done.wait()
        assert set(hub.store.applied[-1].puts) == {BASE}


async def test_what_says_nothing_new_writes_nothing() -> None:
    async with scene() as hub:
        await hub.writer.rebase(certificate("old"))
        assert hub.store.generation == 1


async def test_it_stays_whatever_comes_after() -> None:
    async with scene() as hub:
        await hub.writer.rebase(certificate("new"))
        await hub.writer.change(spec("mary"), route("mary"))
        del hub.store.records[BASE]
        await hub.writer.check()
        assert hub.stored == whole("new")


async def test_a_store_that_refuses_keeps_the_old_one() -> None:
    async with scene() as hub:
        hub.store.refusals.append(StoreUnavailable("down"))
        with pytest.raises(StoreUnavailable):
            await hub.writer.rebase(certificate("new"))
        await hub.writer.change(spec("mary"), route("mary"))
        assert hub.stored == whole("old")
        await hub.writer.rebase(certificate("new"))
        assert hub.stored == whole("new")


async def test_an_answer_that_was_lost_leaves_no_mixture() -> None:
    async with scene() as hub:
        hub.store.lost_answers.append(StoreUnavailable("down"))
        with pytest.raises(StoreUnavailable):
            await hub.writer.rebase(certificate("new"))
        await hub.writer.check()
        assert hub.stored == whole("old")
        await hub.writer.rebase(certificate("new"))
        assert hub.stored == whole("new")


async def test_while_a_change_is_on_its_way() -> None:
    async with scene() as hub, anyio.create_task_group() as tasks:
        hub.live.gate.close()
        tasks.start_soon(hub.writer.change, spec("mary"), route("mary"))
        await hub.live.until_asked(2)
        tasks.start_soon(hub.writer.rebase, certificate("new"))
        await settle()
        assert hub.stored == whole("new")
        hub.live.gate.open()
    assert hub.store.generation == 3


async def test_a_traefik_that_does_not_show_it_is_told() -> None:
    async with scene() as hub:
        hub.live.failures.append(NotLive("not in time"))
        with pytest.raises(NotLive):
            await hub.writer.rebase(certificate("new"))


async def test_after_the_end_it_says_so() -> None:
    async with scene() as hub:
        await hub.writer.aclose()
        with pytest.raises(WriterClosed):
            await hub.writer.rebase(certificate("new"))
