"""Requests byte by byte: servers that tell what arrived, clients that send what they are given.

An HTTP library would put right what these tests are about.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http.client import HTTPResponse
from types import TracebackType
from typing import Any, TypeAlias
from urllib.parse import urlsplit

__all__ = ["Answer", "Arrived", "Line", "WireServers", "exchange"]

Handler: TypeAlias = Callable[
    ["Arrived", asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]
]


@dataclass(frozen=True)
class Arrived:
    """A request as its bytes reached a server.

    name: the server's.
    line: the request line.
    fields: the header fields in their order, names as written.
    body: as it came, with the framing of chunks.
    """

    name: str
    line: str
    fields: list[tuple[str, str]]
    body: str = ""

    @property
    def path(self) -> str:
        """The request target."""
        return self.line.split(" ")[1]

    def all(self, field: str) -> list[str]:
        """The values of a header field, whatever the case of its name."""
        return [value for name, value in self.fields if name.lower() == field.lower()]


@dataclass(frozen=True)
class Answer:
    """What a client gets back."""

    status: int
    fields: list[tuple[str, str]]
    body: bytes

    @property
    def arrived(self) -> Arrived:
        """The request, as the server had it."""
        assert self.status == 200, (self.status, self.body)
        found: dict[str, Any] = json.loads(self.body)
        return Arrived(**found | {"fields": [(name, value) for name, value in found["fields"]]})


class WireServers:
    """Any number of servers on one thread. Each answers with what arrived, as JSON, or with what
    its handler writes."""

    def __init__(self) -> None:
        self.seen: list[Arrived] = []
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._servers: list[asyncio.Server] = []
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def add(self, name: str, handler: Handler | None = None) -> str:
        """Start a server; its URL."""
        return asyncio.run_coroutine_threadsafe(self._add(name, handler), self._loop).result(10)

    def call(self, function: Callable[..., object], *arguments: object) -> None:
        """Call a function soon, on the thread of the servers."""
        self._loop.call_soon_threadsafe(function, *arguments)

    def close(self) -> None:
        """End all servers and their connections."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _add(self, name: str, handler: Handler | None) -> str:
        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task
            self._tasks.add(task)
            try:
                await self._serve(name, handler or _tell, reader, writer)
            except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
                pass  # the client or the test has gone
            finally:
                self._tasks.discard(task)
                writer.close()

        server = await asyncio.start_server(connected, "127.0.0.1", 0, limit=2**24)
        self._servers.append(server)
        return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._loop.shutdown_asyncgens()

    async def _serve(
        self,
        name: str,
        handler: Handler,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            line, *fields = head.removesuffix("\r\n\r\n").split("\r\n")
            split = [field.partition(":") for field in fields]
            arrived = Arrived(name, line, [(key, value.strip(" ")) for key, _, value in split])
            self.seen.append(arrived)
            await handler(arrived, reader, writer)
            await writer.drain()


async def _tell(
    arrived: Arrived, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    if arrived.all("Expect"):
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    body = b""
    if length := arrived.all("Content-Length"):
        body = await reader.readexactly(int(length[0]))
    elif arrived.all("Transfer-Encoding"):
        while not body.endswith(b"0\r\n\r\n"):
            body += await reader.readuntil(b"\r\n")
    told = json.dumps(vars(arrived) | {"body": body.decode("latin-1")}).encode()
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(told))
    if not arrived.line.startswith("HEAD "):
        writer.write(told)


class Line:
    """A client's connection, kept alive."""

    def __init__(self, url: str, timeout: float = 20) -> None:
        parts = urlsplit(url)
        assert parts.hostname
        assert parts.port
        self.socket = socket.create_connection((parts.hostname, parts.port), timeout)

    def __enter__(self) -> Line:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.socket.close()

    def ask(self, data: bytes) -> Answer:
        """Send bytes, and wait for the answer to them."""
        self.socket.sendall(data)
        return self.answer(data.split(b" ", 1)[0].decode("latin-1"))

    def answer(self, method: str = "GET") -> Answer:
        """The next answer; interim ones are passed over."""
        response = HTTPResponse(self.socket, method=method)
        response.begin()
        body = response.read()
        return Answer(response.status, response.getheaders(), body)


def exchange(url: str, data: bytes, timeout: float = 20) -> Answer:
    """One request over a connection of its own."""
    with Line(url, timeout) as line:
        return line.ask(data)
