"""The way to the store does what it is told."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
import pytest

from faults.link import CLEAR, Link, Trouble
from faults.listening import Listening

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def a_link(whose: Callable[[int], str] = lambda _port: "hub") -> AsyncIterator[Link]:
    """To a server that sends back what it gets."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1000):
            writer.write(data)

    server = Listening(echo)
    await server.start()
    link = Link(f"http://127.0.0.1:{server.port}", whose, random.Random(1))
    await link.start()
    try:
        yield link
    finally:
        await link.aclose()
        await server.aclose()


async def exchange(link: Link) -> float:
    """Seconds for a word there and back; it arrives whole and once."""
    host, port = link.address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        began = time.monotonic()
        writer.write(b"word")
        assert await reader.readexactly(4) == b"word"
        return time.monotonic() - began
    finally:
        writer.close()


async def test_nothing_is_changed_when_it_is_clear() -> None:
    async with a_link() as link:
        assert await exchange(link) < 1


@pytest.mark.parametrize("trouble", [Trouble(delay=0.1), Trouble(loss=1, late=0.1)])
async def test_pieces_come_late(trouble: Trouble) -> None:
    async with a_link() as link:
        link.set(trouble)
        assert await exchange(link) >= 0.2


@pytest.mark.parametrize("trouble", [Trouble(refuses=True), Trouble(resets=1)])
async def test_connections_are_reset(trouble: Trouble) -> None:
    async with a_link() as link:
        link.set(trouble)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await exchange(link)
        link.set(CLEAR)
        assert await exchange(link) < 1


@pytest.mark.parametrize(("stalled", "waits"), [("hub", True), ("all", True), ("traefik", False)])
async def test_a_stall_holds_back_and_then_delivers(stalled: str, waits: bool) -> None:
    async with a_link() as link:
        link.set(Trouble(stalled=stalled))
        async with anyio.create_task_group() as group:
            took: list[float] = []

            async def ask() -> None:
                took.append(await exchange(link))

            group.start_soon(ask)
            await anyio.sleep(0.5)
            assert bool(took) is not waits
            link.set(CLEAR)
        assert (took[0] > 0.3) is waits


async def test_a_server_that_is_down_is_down() -> None:
    async with a_link() as link:
        link._upstream = ("127.0.0.1", 1)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await exchange(link)
