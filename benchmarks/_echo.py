"""Websocket messages, sent back as they came: a server for ``python -m benchmarks._echo PORT``, and
a client that counts. Only what the measurement needs: short frames, no extensions."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import os
import sys
import time
from typing import Final

__all__ = ["Messages", "messages_per_second"]

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_SIZE: Final = 64
"""Bytes of a message, as a short one of a kernel; below 126 the length is one byte."""

_FROM_CLIENT: Final = 2 + 4 + _SIZE
_FROM_SERVER: Final = 2 + _SIZE


class _Echo(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._buffer = b""
        self._open = False

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._open:
            self._shake_hands()
            return
        whole = len(self._buffer) // _FROM_CLIENT * _FROM_CLIENT
        for at in range(0, whole, _FROM_CLIENT):
            # The client masks with zeros, so that the payload can go back as it is.
            payload = self._buffer[at + 6 : at + _FROM_CLIENT]
            self._transport.write(bytes((0x82, _SIZE)) + payload)
        self._buffer = self._buffer[whole:]

    def _shake_hands(self) -> None:
        head, end, self._buffer = self._buffer.partition(b"\r\n\r\n")
        if not end:
            self._buffer = head
            return
        lines = (line.partition(b":") for line in head.split(b"\r\n"))
        headers = {name.strip().lower(): value.strip() for name, _, value in lines}
        accept = hashlib.sha1(headers.get(b"sec-websocket-key", b"") + _GUID).digest()
        self._transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + base64.b64encode(accept) + b"\r\n\r\n"
        )
        self._open = True


class Messages:
    """Connections that each send a message when the last one came back."""

    def __init__(self, port: int, path: str) -> None:
        self._port = port
        self._path = path
        self._latencies: list[float] = []

    async def run(self, connections: int, seconds: float) -> list[float]:
        """Seconds that each message took."""
        tasks = [asyncio.create_task(self._talk()) for _ in range(connections)]
        done, pending = await asyncio.wait(
            tasks, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION
        )
        for task in pending:
            task.cancel()
        for task in pending:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        for task in done:
            task.result()
        return self._latencies

    async def _talk(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            key = base64.b64encode(os.urandom(16)).decode()
            writer.write(
                f"GET {self._path} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\n"
                "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                f"Sec-WebSocket-Key: {key}\r\n\r\n".encode()
            )
            head = await reader.readuntil(b"\r\n\r\n")
            if b" 101 " not in head.split(b"\r\n")[0]:
                raise OSError(f"no websocket through the proxy: {head[:80]!r}")
            message = bytes((0x82, 0x80 | _SIZE)) + bytes(4) + b"x" * _SIZE
            while True:
                started = time.perf_counter()
                writer.write(message)
                await reader.readexactly(_FROM_SERVER)
                self._latencies.append(time.perf_counter() - started)
        finally:
            writer.close()


def messages_per_second(port: int, path: str, seconds: float) -> tuple[float, list[float]]:
    """Messages a second through a proxy, and the seconds that each one took."""
    latencies = asyncio.run(Messages(port, path).run(20, seconds))
    return len(latencies) / seconds, latencies


async def _serve(port: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Echo, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
