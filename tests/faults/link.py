"""The way to the store, with trouble on it: a TCP proxy between it and those who use it.

It stands for loss and delay on a network. TCP hides loss: what an application sees of it are pieces
that come late, by one or more retransmission times, and connections that are reset at last.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from faults.listening import Listening

__all__ = ["CLEAR", "Link", "Trouble"]

_PIECE = 2**16
_LOOK_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Trouble:
    """What the way does.

    delay: seconds that every piece takes, up to twice of that.
    loss: the share of pieces that are late by ``late`` to three times that.
    resets: the share of pieces at which the connection ends instead.
    stalled: whose pieces are held back until this is over; "" for nobody's, "all".
    refuses: connections are reset, and no new ones are taken.
    """

    delay: float = 0
    loss: float = 0
    late: float = 0.2
    resets: float = 0
    stalled: str = ""
    refuses: bool = False


CLEAR = Trouble()


class Link:
    """Forwards connections to a server.

    Args:
        upstream: the server's URL.
        whose: tells who a connection from this port comes from, "hub" or "traefik". May block.
        rng: for which pieces are late.
    """

    def __init__(self, upstream: str, whose: Callable[[int], str], rng: random.Random) -> None:
        parts = urlsplit(upstream)
        self._upstream = (parts.hostname or "", parts.port or 80)
        self._whose = whose
        self._rng = rng
        self._listening = Listening(self._connected)
        self._open: set[asyncio.StreamWriter] = set()
        self._trouble = CLEAR

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self._listening.port}"

    async def start(self) -> None:
        """Listen."""
        await self._listening.start()

    def set(self, trouble: Trouble) -> None:
        """From now on."""
        self._trouble = trouble
        if trouble.refuses:
            self._reset_all()

    async def aclose(self) -> None:
        """Stop, and end all connections. Idempotent."""
        await self._listening.aclose()

    def _reset_all(self) -> None:
        for writer in self._open:
            writer.transport.abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._trouble.refuses:
            writer.transport.abort()
            return
        who = await asyncio.to_thread(self._whose, writer.get_extra_info("peername")[1])
        try:
            there, back = await asyncio.open_connection(*self._upstream)
        except OSError:
            writer.transport.abort()
            return
        self._open |= {writer, back}
        try:
            await asyncio.gather(
                self._forward(who, reader, back, writer), self._forward(who, there, writer, back)
            )
        finally:
            self._open -= {writer, back}
            back.close()
            with suppress(OSError):
                await back.wait_closed()

    async def _forward(
        self,
        who: str,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        other: asyncio.StreamWriter,
    ) -> None:
        try:
            while data := await reader.read(_PIECE):
                await self._hold(who)
                if self._rng.random() < self._trouble.resets:
                    raise ConnectionResetError
                writer.write(data)
                await writer.drain()
            writer.write_eof()
        except (OSError, RuntimeError):
            writer.transport.abort()
            other.transport.abort()

    async def _hold(self, who: str) -> None:
        trouble = self._trouble
        if trouble.delay:
            await asyncio.sleep(trouble.delay * self._rng.uniform(1, 2))
        if self._rng.random() < trouble.loss:
            await asyncio.sleep(trouble.late * self._rng.uniform(1, 3))
        while self._trouble.stalled in (who, "all"):
            await asyncio.sleep(_LOOK_SECONDS)
