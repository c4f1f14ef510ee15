"""What users' browsers do meanwhile: pages of their servers and of the Hub, and websockets."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from contextlib import suppress
from typing import Final

import anyio
from benchmarks._load_client import Answer, Broken, Connection, Door
from tornado.httpclient import HTTPError
from tornado.websocket import WebSocketClientConnection, WebSocketError, websocket_connect

from replicas.book import Book

__all__ = ["Traffic"]

_VISITORS: Final = 6
_PER_CONNECTION: Final = 30
_TO_HUB: Final = 0.2
_HUB_PAGE: Final = "/hub/login"
_PATIENCE: Final = 20.0
_PAUSE: Final = 0.2
"""Before a request is made again."""

_SHORT_SECONDS: Final = 10.0


class _Dropped(Exception):
    """A websocket ended, or didn't open."""


class Traffic:
    """Requests and websockets until it is cancelled.

    Args:
        users: whose servers run all the time.
        sockets: how many are open; a half of them all the time, the others for some seconds each.

    open: websockets, by replica.
    """

    def __init__(self, port: int, users: list[str], sockets: int, rate: float, book: Book) -> None:
        self._door = Door(port)
        self._users = users
        self._sockets = sockets
        self._rate = rate
        self._book = book
        self._rng = random.Random(1)
        self.open: Counter[str] = Counter()

    async def flow(self) -> None:
        """Until it is cancelled."""
        async with anyio.create_task_group() as group:
            for _ in range(_VISITORS):
                group.start_soon(self._visit)
            for number in range(self._sockets):
                group.start_soon(self._talk, number % 2 == 0)

    async def _visit(self) -> None:
        while True:
            with suppress(Broken):
                async with self._door.connection() as connection:
                    for _ in range(_PER_CONNECTION):
                        await asyncio.sleep(self._rng.expovariate(self._rate / _VISITORS))
                        if not await self._ask(connection):
                            break

    async def _ask(self, connection: Connection) -> bool:
        """Ask for one page; whether the connection is good for another."""
        to_hub = self._rng.random() < _TO_HUB
        user = "" if to_hub else self._rng.choice(self._users)
        kind, path = ("Hub", _HUB_PAGE) if to_hub else ("user", f"/user/{user}/lab")
        began = time.monotonic()
        wrong = await _seen(connection, path, user)
        if not wrong:
            self._book.well(kind, time.monotonic() - began)
            return True
        await asyncio.sleep(_PAUSE)
        again = "no connection"
        with suppress(Broken):
            async with self._door.connection() as other:
                again = await _seen(other, path, user)
        self._book.failed(kind, wrong, time.monotonic() - began, again)
        return False

    # --- websockets ------------------------------------------------------------------------------

    async def _talk(self, all_the_time: bool) -> None:
        while True:
            user = self._rng.choice(self._users)
            lasts = float("inf") if all_the_time else self._rng.expovariate(1 / _SHORT_SECONDS)
            socket = await self._opened(user)
            if socket is None:
                continue
            replica = socket.headers.get("X-Replica", "?") if socket.headers else "?"
            self.open[replica] += 1
            try:
                await self._keep(socket, user, time.monotonic() + lasts)
            except (_Dropped, WebSocketError) as error:
                self._book.dropped(replica, str(error) or type(error).__name__)
            finally:
                self.open[replica] -= 1
                socket.close()

    async def _opened(self, user: str) -> WebSocketClientConnection | None:
        """A new one; None if it failed twice, which is written down as a request's failure is."""
        url = f"ws://127.0.0.1:{self._door.port}/user/{user}/socket"
        began = time.monotonic()
        seen = []
        for _ in range(2):
            try:
                socket = await websocket_connect(url, connect_timeout=_PATIENCE)
            except (HTTPError, OSError, WebSocketError) as error:
                seen.append(str(error) or type(error).__name__)
                await asyncio.sleep(_PAUSE)
                continue
            if seen:
                self._book.failed("opening a websocket", seen[0], time.monotonic() - began, "")
            else:
                self._book.well("opening a websocket", time.monotonic() - began)
            return socket
        self._book.failed("opening a websocket", seen[0], time.monotonic() - began, seen[1])
        return None

    async def _keep(self, socket: WebSocketClientConnection, user: str, until: float) -> None:
        """Talk over it.

        Raises:
            _Dropped, WebSocketError: it has ended.
        """
        number = 0
        while time.monotonic() < until:
            number += 1
            await socket.write_message(str(number))
            try:
                with anyio.fail_after(_PATIENCE):
                    said = await socket.read_message()
            except TimeoutError as error:
                raise _Dropped(f"no answer within {_PATIENCE:g} s") from error
            if said is None:
                raise _Dropped(f"closed: {socket.close_code}")
            if said != f"{user} {number}":
                raise _Dropped(f"{said!r}, not {user} {number}")
            await asyncio.sleep(0.5)


async def _seen(connection: Connection, path: str, user: str) -> str:
    """What is wrong with the answer; empty if nothing is."""
    try:
        answer = await connection.get(path, "Accept: text/html", patience=_PATIENCE)
    except Broken as error:
        return f"connection {error}"
    return "" if _is_right(answer, path, user) else f"{answer.status} {answer.body[:60]!r}"


def _is_right(answer: Answer, path: str, user: str) -> bool:
    if answer.status != 200:
        return False
    return answer.body == f"{user} {path}".encode() if user else b"JupyterHub" in answer.body
