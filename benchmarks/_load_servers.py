"""The servers of users, and the Hub's pages: each at an address of its own, and only while it runs.

All of 127.0.0.0/8 is this machine (on Linux), so that each server can have an address that no other
had before, as pods have. A request that goes to a wrong one, or to one of the past, shows.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

from benchmarks._load_book import HUB, NO_ROUTE

__all__ = ["DOWNLOAD", "HUB", "NO_ROUTE", "Server", "Servers"]

DOWNLOAD: Final = 2 * 1024 * 1024
"""Bytes."""

_CHUNK: Final = 32 * 1024
_PAUSE: Final = 0.5
_FIRST: Final = 127 << 24 | 64 << 16
_HUB_ADDRESS: Final = "127.0.0.2"
_BACKLOG: Final = 512


class Server:
    """One server, and its connections.

    Args:
        address, port: where it listens.
    """

    def __init__(self, address: str, port: int) -> None:
        self.name = address
        self.url = f"http://{address}:{port}"
        self.connections: set[asyncio.Task[None]] = set()
        self._place = address, port

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._connected, *self._place, backlog=_BACKLOG)

    async def stop(self) -> None:
        """Refuse connections, and cut those that there are."""
        self._server.close()
        tasks = list(self.connections)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self.connections.add(task)
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                await self._serve(reader, writer)
        except asyncio.CancelledError:
            pass  # by stop
        finally:
            self.connections.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            path = head.split(b" ", 2)[1].decode("latin-1")
            if b"\r\nupgrade:" in head.lower():
                await self._echo(reader, writer)
            elif "/files/" in path:
                await self._download(writer)
            else:
                self._answer(path, writer)
            await writer.drain()

    def _answer(self, path: str, writer: asyncio.StreamWriter) -> None:
        _write(writer, "200 OK", f"{self.name} {path}")

    async def _download(self, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % DOWNLOAD)
        line = f"{self.name}\n".rjust(32).encode()
        for _ in range(DOWNLOAD // _CHUNK):
            writer.write(line * (_CHUNK // len(line)))
            await writer.drain()
            await asyncio.sleep(_PAUSE)

    async def _echo(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\n")
        writer.write(b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        while line := await reader.readline():
            writer.write(f"{self.name} ".encode() + line)
            await writer.drain()
        raise ConnectionResetError  # the peer has ended it


class _HubPages(Server):
    """What the Hub says: of users who have no server, and instead of servers that are gone."""

    def _answer(self, path: str, writer: asyncio.StreamWriter) -> None:
        if path.startswith("/user/"):
            _write(writer, "404 Not Found", f"{NO_ROUTE}\n{path}")
        else:
            _write(writer, "200 OK", f"{HUB}\n{path}")

    async def _echo(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _write(writer, "404 Not Found", NO_ROUTE)


def _write(writer: asyncio.StreamWriter, status: str, body: str) -> None:
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nContent-Type: text/html\r\n\r\n"
    writer.write(f"{head}{body}".encode())


class Servers:
    """All of them. Use it as an asynchronous context manager.

    Args:
        port: of each.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._next = _FIRST
        self._running: set[Server] = set()
        self.hub: Server = _HubPages(_HUB_ADDRESS, port)

    async def __aenter__(self) -> Servers:
        await self.hub.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        for server in [*self._running, self.hub]:
            await server.stop()

    async def new(self) -> Server:
        """One that runs, at a new address."""
        self._next += 1
        while self._next & 0xFF in (0, 0xFF):
            self._next += 1
        address = ".".join(str(byte) for byte in self._next.to_bytes(4, "big"))
        server = Server(address, self._port)
        await server.start()
        self._running.add(server)
        return server

    async def end(self, server: Server) -> None:
        """Stop one. Idempotent."""
        self._running.discard(server)
        await server.stop()

    def connections(self) -> int:
        """How many there are, to all servers."""
        return sum(len(server.connections) for server in [*self._running, self.hub])
