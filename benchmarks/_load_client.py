"""A client's end of connections to the proxy: requests, sockets, downloads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import anyio

__all__ = ["Answer", "Broken", "Connection", "Door"]

_PATIENCE: Final = 30.0
_LIMIT: Final = 1 << 20


class Broken(Exception):
    """A connection ended, or nothing came in time. The text is for people."""


@dataclass(frozen=True, slots=True)
class Answer:
    """status: of HTTP. body: all of it."""

    status: int
    body: bytes


class Door:
    """Where users come in.

    Args:
        port: of the proxy, on 127.0.0.1.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.open = 0
        """How many connections there are."""

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A new one.

        Raises:
            Broken: it is refused.
        """
        try:
            with anyio.fail_after(_PATIENCE):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=_LIMIT)
        except (OSError, TimeoutError) as error:
            raise Broken(f"no connection: {error!r}") from error
        self.open += 1
        try:
            yield Connection(reader, writer)
        finally:
            self.open -= 1
            writer.close()


class Connection:
    """One connection. Whatever goes wrong is ``Broken``."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def get(self, path: str, *fields: str, patience: float = _PATIENCE) -> Answer:
        """Ask for a page."""
        async with _told(patience):
            await self._send(path, *fields)
            status, length = await self._head()
            if length is None:
                return Answer(status, await self._chunks())
            return Answer(status, await self._reader.readexactly(length))

    async def upgrade(self, path: str) -> int:
        """Ask for a socket; the status, 101 if it is there."""
        async with _told(_PATIENCE):
            await self._send(path, "Connection: Upgrade", "Upgrade: websocket")
            return (await self._head())[0]

    async def say(self, line: bytes) -> bytes:
        """One message over a socket; its answer."""
        async with _told(_PATIENCE):
            self._writer.write(line)
            await self._writer.drain()
            return await self._reader.readuntil(b"\n")

    async def _send(self, path: str, *fields: str) -> None:
        head = "\r\n".join((f"GET {path} HTTP/1.1", "Host: hub.example", *fields, "", ""))
        self._writer.write(head.encode())
        await self._writer.drain()

    async def _head(self) -> tuple[int, int | None]:
        """The status, and the length of the body; None if it comes in chunks."""
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.split("\r\n")
        fields = {
            name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)
        }
        length = fields.get("content-length")
        if length is None and "chunked" in fields.get("transfer-encoding", ""):
            return int(first.split()[1]), None
        return int(first.split()[1]), int(length or 0)

    async def _chunks(self) -> bytes:
        body = b""
        while size := int(await self._reader.readuntil(b"\r\n"), 16):
            body += (await self._reader.readexactly(size + 2))[:-2]
        await self._reader.readuntil(b"\r\n")
        return body


@asynccontextmanager
async def _told(patience: float) -> AsyncIterator[None]:
    try:
        with anyio.fail_after(patience):
            yield
    except TimeoutError as error:
        raise Broken(f"nothing within {patience:g} s") from error
    except asyncio.IncompleteReadError as error:
        raise Broken(f"closed after {len(error.partial)} bytes") from error
    except (OSError, ValueError, asyncio.LimitOverrunError) as error:
        raise Broken(type(error).__name__) from error
