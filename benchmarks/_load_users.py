"""The lives of the users: their servers start, move, die and stop."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import suppress

from benchmarks._load_book import GONE, Book, Timeline
from benchmarks._load_control import CommandFailed, HubControl
from benchmarks._load_plan import Plan
from benchmarks._load_servers import NO_ROUTE, Server, Servers

__all__ = ["Users"]


class Users:
    """All of them. What each does, and when, comes from the seed."""

    def __init__(
        self, plan: Plan, names: list[str], hub: HubControl, servers: Servers, book: Book
    ) -> None:
        self._plan = plan
        self._hub = hub
        self._servers = servers
        self._book = book
        self._leaving = asyncio.Event()
        self.names = names
        book.timelines.update((name, Timeline(NO_ROUTE)) for name in names)
        self.running: dict[str, Server] = {}
        """Those whose server is there, and is routed to."""

    async def live(self) -> None:
        """Let them come and go until ``leave``."""
        await asyncio.gather(*(self._life(name) for name in self.names))

    def leave(self) -> None:
        """Let all of them log out, for good."""
        self._leaving.set()

    async def _life(self, name: str) -> None:
        plan, rng = self._plan, random.Random(f"{self._plan.seed} {name}")
        if rng.random() < plan.present:
            away = rng.uniform(0, plan.login_burst)
        else:
            away = plan.login_burst + rng.expovariate(1 / plan.away)
        while not await self._left_within(away):
            server = await self._servers.new()
            if await self._changed(name, "login", server.name, target=server.url):
                self.running[name] = server
                server = await self._session(name, server, rng)
                await self._changed(name, "logout", NO_ROUTE)
                self.running.pop(name, None)
            await self._servers.end(server)
            away = 1 + rng.expovariate(1 / plan.away)

    async def _session(self, name: str, server: Server, rng: random.Random) -> Server:
        """While the server runs; the one that it has in the end."""
        time_left = 1 + rng.expovariate(1 / self._plan.running)
        fate = rng.random()
        if fate < self._plan.moves:
            if await self._left_within(time_left / 2):
                return await self._logging_out(server, rng)
            server = await self._move(name, server)
            time_left /= 2
        if await self._left_within(time_left):
            return await self._logging_out(server, rng)
        if fate > 1 - self._plan.crashes:
            with self._book.timelines[name].change(GONE):
                del self.running[name]
                await self._servers.end(server)
            self._book.well("server died")
            await asyncio.sleep(rng.uniform(1, 10))  # until the Hub notices
        return server

    async def _logging_out(self, server: Server, rng: random.Random) -> Server:
        await asyncio.sleep(rng.uniform(0, self._plan.logout_burst))
        return server

    async def _move(self, name: str, old: Server) -> Server:
        new = await self._servers.new()
        if await self._changed(name, "move", new.name, target=new.url):
            self.running[name] = new
            await self._servers.end(old)
            return new
        await self._servers.end(new)
        return old

    async def _changed(self, name: str, do: str, answers: str, **arguments: str) -> bool:
        """Have the Hub do it; whether it could."""
        began = time.monotonic()
        try:
            with self._book.timelines[name].change(answers):
                await self._hub.ask(do, user=name, **arguments)
        except CommandFailed as error:
            self._book.wrong(do, name, str(error))
            return False
        self._book.seconds[do].append(time.monotonic() - began)
        self._book.well(do)
        return True

    async def _left_within(self, seconds: float) -> bool:
        """Wait; whether all are to leave."""
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._leaving.wait(), seconds)
        return self._leaving.is_set()
