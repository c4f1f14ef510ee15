"""What goes on for long, through a proxy: uploads, downloads, events, upgraded connections.

Nothing is held back on the way: each side sends its next piece only when the other has the last
one, so that a proxy which waits for more would wait for ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager

import anyio

from traefikhub import TraefikProxy
from wire import Arrived, WireServers

__all__ = ["KINDS", "LIMIT", "SIZE", "Peer", "Stage", "all_go_on", "peers", "within_limit"]

LIMIT = 30.0
SIZE = 10_000_000  # what downloads announce

KINDS = {
    # One for each of the routers that the error pages put above all routes.
    "page": ("lab/", "Accept: text/html"),
    "api": ("api/kernels/", "Accept: application/json"),
    "other": ("files/", "Accept: */*"),
}


class Stage:
    """A server whose answers go on for as long as the test wants."""

    def __init__(self, servers: WireServers, name: str) -> None:
        self.name = name
        self.received: dict[str, bytes] = {}
        self.ended: list[str] = []
        self._servers = servers
        self._queues: dict[str, asyncio.Queue[bytes]] = {}
        self.url = servers.add(name, self._handle)

    def send(self, path: str, data: bytes) -> None:
        """Let an answer go on; with nothing, end it."""
        self._servers.call(lambda: self._queues[path].put_nowait(data))

    async def _handle(
        self, arrived: Arrived, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        path = arrived.path
        queue = self._queues[path] = asyncio.Queue()
        self.received[path] = b""
        try:
            match path.rpartition("/")[2]:
                case "socket":
                    writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n")
                    writer.write(b"Upgrade: websocket\r\n\r\n")
                    while data := await reader.read(65536):
                        writer.write(f"{self.name}:".encode() + data)
                        await writer.drain()
                case "events":
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n")
                    writer.write(b"Transfer-Encoding: chunked\r\n\r\n")
                    await self._until_told(reader, queue, writer, True)
                case "download":
                    head = f"HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n"
                    writer.write(head.encode())
                    await self._until_told(reader, queue, writer, False)
                case "upload":
                    while size := int(await reader.readuntil(b"\r\n"), 16):
                        self.received[path] += (await reader.readexactly(size + 2))[:-2]
                    await reader.readuntil(b"\r\n")
                    self._answer(writer, b"%d" % len(self.received[path]))
                case "slow":
                    self._answer(writer, await queue.get())
                case _:
                    self._answer(writer, self.name.encode())
        finally:
            self.ended.append(path)

    @staticmethod
    def _answer(writer: asyncio.StreamWriter, text: bytes) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(text) + text)

    @staticmethod
    async def _until_told(
        reader: asyncio.StreamReader,
        queue: asyncio.Queue[bytes],
        writer: asyncio.StreamWriter,
        framed: bool,
    ) -> None:
        gone = asyncio.ensure_future(reader.read(1))
        told = asyncio.ensure_future(queue.get())
        try:
            while True:
                await asyncio.wait([gone, told], return_when=asyncio.FIRST_COMPLETED)
                data = told.result() if told.done() else b""
                writer.write(b"%x\r\n%s\r\n" % (len(data), data) if framed else data)
                if not data:
                    break
                told = asyncio.ensure_future(queue.get())
                await writer.drain()
        finally:
            gone.cancel()
            told.cancel()
        if gone.done() or not framed:
            raise ConnectionResetError


class Peer:
    """A client's end of something that goes on."""

    def __init__(self, stage: Stage, path: str, kind: str) -> None:
        self.stage = stage
        self.path = path
        self.kind = kind
        self.sent = 0
        self.reader: asyncio.StreamReader
        self.writer: asyncio.StreamWriter

    async def open(self, proxy: TraefikProxy, field: str) -> None:
        address = proxy.public_url.removeprefix("http://").split(":")
        self.reader, self.writer = await asyncio.open_connection(address[0], int(address[1]))
        method = "POST" if self.kind == "upload" else "GET"
        head = f"{method} {self.path} HTTP/1.1\r\nHost: hub.test\r\n{field}\r\n"
        if self.kind == "socket":
            head += "Connection: Upgrade\r\nUpgrade: websocket\r\n"
        elif self.kind == "upload":
            head += "Transfer-Encoding: chunked\r\n"
        self.writer.write(head.encode() + b"\r\n")
        if self.kind in ("socket", "events", "download"):
            status = await self._until(b"\r\n\r\n")
            assert b" 101 " in status or b" 200 " in status, status

    async def go_on(self) -> None:
        """One piece more, all the way."""
        self.sent += 1
        data = b"data: %d\n\n" % self.sent
        match self.kind:
            case "socket":
                self.writer.write(data)
                wanted = f"{self.stage.name}:".encode() + data
                assert await self._until(b"\n\n") == wanted
            case "events":
                self.stage.send(self.path, data)
                assert (await self._until(b"\n\n\r\n")).endswith(data + b"\r\n")
            case "download":
                data = b"%09d\n" % self.sent
                self.stage.send(self.path, data)
                assert await self._until(b"\n") == data
            case "upload":
                self.writer.write(b"%x\r\n%s\r\n" % (len(data), data))
                while not self.stage.received.get(self.path, b"").endswith(data):
                    await anyio.sleep(0.005)

    async def end(self) -> None:
        """To its proper end."""
        match self.kind:
            case "socket":
                self.writer.write_eof()
                assert await self.reader.read() == b""
            case "events":
                self.stage.send(self.path, b"")
                assert await self._until(b"0\r\n\r\n") == b"0\r\n\r\n"
            case "download":
                rest = SIZE - 10 * self.sent
                self.stage.send(self.path, b"x" * rest)
                assert len(await self.reader.readexactly(rest)) == rest
            case "upload":
                self.writer.write(b"0\r\n\r\n")
                answer = await self._until(b"\r\n\r\n")
                size = b"%d" % len(self.stage.received[self.path])
                assert b" 200 " in answer
                assert await self.reader.readexactly(len(size)) == size
            case "slow":
                self.stage.send(self.path, b"at last")
                assert b" 200 " in await self._until(b"\r\n\r\n")
                assert await self.reader.readexactly(7) == b"at last"

    async def _until(self, end: bytes) -> bytes:
        with anyio.fail_after(LIMIT):
            return await self.reader.readuntil(end)


@asynccontextmanager
async def peers(
    proxy: TraefikProxy, stage: Stage, base: str, kinds: Iterable[str]
) -> AsyncIterator[list[Peer]]:
    """All kinds of what goes on, through each of the routers above."""
    made = []
    async with AsyncExitStack() as stack:
        for below, field in KINDS.values():
            for kind in kinds:
                made.append(Peer(stage, f"{base}{below}{kind}", kind))
                await made[-1].open(proxy, field)
                stack.callback(made[-1].writer.close)
        yield made


async def all_go_on(going: Iterable[Peer]) -> None:
    async with anyio.create_task_group() as group:
        for peer in going:
            group.start_soon(within_limit, peer)


async def within_limit(peer: Peer) -> None:
    with anyio.move_on_after(LIMIT) as scope:
        await peer.go_on()
    assert not scope.cancelled_caught, f"{peer.kind} at {peer.path}, piece {peer.sent}"
