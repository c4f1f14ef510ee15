"""What goes through the proxy meanwhile: requests, sockets, downloads, and the Hub's own looks."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime, timezone
from typing import Final

from benchmarks._load_book import Book
from benchmarks._load_client import Answer, Broken, Connection, Door
from benchmarks._load_control import CommandFailed, HubControl
from benchmarks._load_plan import Plan
from benchmarks._load_servers import DOWNLOAD, HUB
from benchmarks._load_users import Users

__all__ = ["Traffic", "who"]

_VISITORS: Final = 20
_REQUESTS_PER_CONNECTION: Final = 50
_TO_RUNNING: Final = 0.7
_TO_HUB: Final = 0.1
_BETWEEN_MESSAGES: Final = 3.0
_TRANSFER_SECONDS: Final = 120.0

_PAGE: Final = "page"
_KINDS: Final = {
    # For each of the routers that the error pages put above all routes: what is asked for, and
    # what comes if the server has died.
    _PAGE: ("lab", "text/html", "503 Hub's error page"),
    "API": ("api/kernels/1", "application/json", "503 no available server"),
    "other": ("static/main.js", "*/*", "502 Bad Gateway"),
}

_ACTIVE_SECONDS: Final = 30.0
_OPEN_SECONDS: Final = 20.0


class Traffic:
    """All that users' browsers do, and what the Hub does by itself."""

    def __init__(self, plan: Plan, users: Users, door: Door, hub: HubControl, book: Book) -> None:
        self._plan = plan
        self._users = users
        self._door = door
        self._hub = hub
        self._book = book
        self._rng = random.Random(f"{plan.seed} traffic")
        self.sockets: dict[str, float] = {}
        """The users with an open socket, and since when."""

    async def flow(self) -> None:
        """Until it is cancelled."""
        plan = self._plan
        jobs: list[Callable[[], Awaitable[None]]] = [self._visit] * _VISITORS
        jobs += [self._socket] * plan.sockets + [self._download] * plan.downloads
        tasks = [asyncio.create_task(self._again(job)) for job in jobs]
        tasks.append(asyncio.create_task(self._every(plan.check_every, self._check)))
        tasks.append(asyncio.create_task(self._every(plan.list_every, self._list)))
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _again(self, job: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(self._rng.uniform(0, 1))
            await job()

    async def _every(self, seconds: float, job: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                await job()
            except CommandFailed as error:
                self._book.wrong("check or list", HUB, str(error))

    # --- requests --------------------------------------------------------------------------------

    async def _visit(self) -> None:
        """Some requests over one connection."""
        try:
            async with self._door.connection() as connection:
                for _ in range(_REQUESTS_PER_CONNECTION):
                    pause = self._rng.expovariate(self._plan.requests / _VISITORS)
                    await asyncio.sleep(min(pause, 10))
                    if not await self._request(connection):
                        return
        except Broken as error:
            self._book.wrong("connection", "nobody", str(error))

    async def _request(self, connection: Connection) -> bool:
        """One; whether the connection is good for another."""
        where = self._rng.random()
        if where < _TO_HUB:
            return await self._ask_hub(connection)
        among = list(self._users.running) if where < _TO_HUB + _TO_RUNNING else self._users.names
        user = self._rng.choice(among or self._users.names)
        kind = self._rng.choice(list(_KINDS))
        below, accept, gone = _KINDS[kind]
        path = f"/user/{user}/{below}"
        began = time.monotonic()
        try:
            answer = await connection.get(path, f"Accept: {accept}")
        except Broken as error:
            self._book.judge(kind, user, began, f"connection {error}", gone)
            return False
        self._book.judge(kind, user, began, who(answer, path), gone, named(answer, path))
        return True

    async def _ask_hub(self, connection: Connection) -> bool:
        seen = ""
        try:
            seen = who(await connection.get("/hub/home", "Accept: text/html"), "/hub/home")
        except Broken as error:
            seen = f"connection {error}"
        if seen == HUB:
            self._book.well("Hub")
        else:
            self._book.wrong("Hub", HUB, seen)
        return not seen.startswith("connection")

    # --- what stays open -------------------------------------------------------------------------

    async def _socket(self) -> None:
        """One, for some minutes."""
        if not (chosen := self._free_user()):
            return
        user, server = chosen
        lasts = time.monotonic() + self._rng.expovariate(1 / self._plan.socket_seconds)
        began = time.monotonic()
        try:
            async with self._door.connection() as connection:
                status = await connection.upgrade(f"/user/{user}/api/kernels/1/channels")
                if status != 101:
                    self._book.judge("socket", user, began, f"status {status}")
                    return
                self.sockets[user] = time.monotonic()
                while time.monotonic() < lasts:
                    wanted = f"{server} ping\n".encode()
                    answer = await connection.say(b"ping\n")
                    if answer != wanted:
                        name, _, _ = answer.decode("latin-1").rpartition(" ")
                        seen = f"message {answer[:80]!r}"
                        self._book.judge("socket", user, began, seen, names=[name] if name else ())
                        return
                    self._book.well("message over a socket")
                    await asyncio.sleep(_BETWEEN_MESSAGES)
                self._book.well("socket")
        except Broken as error:
            self._book.judge("socket", user, began, f"connection {error}")
        finally:
            self.sockets.pop(user, None)

    def _free_user(self) -> tuple[str, str] | None:
        """One without a socket whose server runs, and the name of that."""
        running = self._users.running
        names = [name for name in running if name not in self.sockets]
        if not names:
            return None
        user = self._rng.choice(names)
        self.sockets[user] = float("inf")  # not open yet
        return user, running[user].name

    async def _download(self) -> None:
        if not self._users.running:
            return
        user = self._rng.choice(list(self._users.running))
        server = self._users.running[user].name
        began = time.monotonic()
        try:
            async with self._door.connection() as connection:
                path = f"/user/{user}/files/data"
                answer = await connection.get(path, patience=_TRANSFER_SECONDS)
        except Broken as error:
            self._book.judge("download", user, began, f"connection {error}")
            return
        whole = answer.status == 200 and len(answer.body) == DOWNLOAD
        lines = {each.strip().decode("latin-1") for each in answer.body.split(b"\n")} - {""}
        if whole and lines == {server}:
            self._book.well("download")
        else:
            seen = f"status {answer.status}, {lines!r:.80}"
            names = lines if whole else named(answer, path)
            self._book.judge("download", user, began, seen, names=names)

    # --- what the Hub does by itself -------------------------------------------------------------

    async def _check(self) -> None:
        began = time.monotonic()
        await self._hub.ask("check")
        self._book.seconds["check_routes"].append(time.monotonic() - began)
        self._book.well("check_routes")

    async def _list(self) -> None:
        """Ask for all routes. Those with an open socket must be active."""
        began = time.monotonic()
        asked = {
            user: since for user, since in self.sockets.items() if began - since > _OPEN_SECONDS
        }
        used = await self._hub.ask("used", users=list(asked))
        self._book.seconds["get_all_routes"].append(time.monotonic() - began)
        self._book.well("get_all_routes")
        for user, since in asked.items():
            _, changed = self._book.timelines[user].between(since, time.monotonic())
            if changed or self.sockets.get(user) != since:
                continue  # the route may be gone, the socket closed
            idle = _seconds_since(used[user]) if user in used else float("inf")
            if idle < _ACTIVE_SECONDS + time.monotonic() - began:
                self._book.well("last activity of an open socket")
            else:
                self._book.wrong("last activity", user, f"{idle:.0f} s ago")


def named(answer: Answer, path: str) -> list[str]:
    """Who says that the answer is his, if anybody."""
    name, _, rest = answer.body.decode("latin-1").replace("\n", " ").rpartition(" ")
    return [name] if rest == path and (answer.status == 200 or name.endswith("404")) else []


def who(answer: Answer, path: str) -> str:
    """Who answered, or what."""
    name, _, rest = answer.body.decode("latin-1").replace("\n", " ").rpartition(" ")
    if answer.status == 503 and rest.startswith("/hub/error/"):
        return _KINDS[_PAGE][2]
    if named(answer, path):
        return name
    with suppress(UnicodeDecodeError):
        return f"{answer.status} {answer.body[:80].decode().strip()}"
    return f"{answer.status} {answer.body[:80]!r}"


def _seconds_since(timestamp: str) -> float:
    at = datetime.fromisoformat(timestamp.removesuffix("Z") + "+00:00")
    return (datetime.now(timezone.utc) - at).total_seconds()
