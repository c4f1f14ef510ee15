"""Users who log in and out meanwhile: each time a route is added, and later deleted."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import anyio
from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest

from hubs import TOKEN
from replicas.book import Book
from replicas.stage import REPLICAS, Stage

__all__ = ["Changes", "NotDone"]

_PATIENCE: Final = 60.0
_LOOK_SECONDS: Final = 0.1
_LATE_PATIENCE: Final = 30.0


class NotDone(Exception):
    """The Hub did not do what it was asked for in time."""


class Changes:
    """Asks the Hub, through HAProxy, and then looks at each replica.

    Args:
        stage: what runs. It must not be asked for anything that blocks.
    """

    def __init__(self, stage: Stage, book: Book) -> None:
        self._stage = stage
        self._book = book
        self._client = AsyncHTTPClient(force_instance=True, max_clients=50)

    async def add_users(self, names: list[str]) -> None:
        """Tell the Hub of users, before anything else."""
        await self._ask("POST", "users", {"usernames": names})

    async def come_and_go(self, user: str) -> None:
        """Until it is cancelled."""
        while True:
            for change in (self.log_in, self.log_out):
                try:
                    await change(user)
                except NotDone as error:
                    self._book.now.lost += 1
                    self._book.note("change", str(error))
                await asyncio.sleep(0.5)

    async def log_in(self, user: str) -> None:
        """Start a server; return when all replicas that can be asked lead to it."""
        await self._change("add", "POST", user, wanted=True)

    async def log_out(self, user: str) -> None:
        """Stop it; return when none leads to it any more."""
        await self._change("delete", "DELETE", user, wanted=False)

    async def _change(self, kind: str, method: str, user: str, *, wanted: bool) -> None:
        began = time.monotonic()
        asked, refusals = False, 0

        async def done() -> bool:
            nonlocal asked, refusals
            try:
                if not asked:
                    await self._ask(method, f"users/{user}/server")
                    asked = True
                model = await self._ask("GET", f"users/{user}")
            except (HTTPClientError, OSError) as error:
                # 400 says that it is being done, or has been: an earlier request was heard.
                asked = asked or (isinstance(error, HTTPClientError) and error.code == 400)
                if not asked:
                    refusals += 1
                    self._book.note(kind, f"{user}: {error}")
                return False
            server = model["servers"].get("")
            if server is None and wanted and asked and not model["pending"]:
                asked = False  # it was lost with a Hub
            return bool(server and server["ready"]) if wanted else server is None

        if not await _within(_PATIENCE, done):
            raise NotDone(f"{kind} {user}: not within {_PATIENCE:g} s")
        self._book.changed(kind, time.monotonic() - began)
        self._book.now.refused += min(refusals, 1)
        await asyncio.gather(*(self._look(kind, user, each, wanted) for each in REPLICAS))

    async def _look(self, kind: str, user: str, replica: str, wanted: bool) -> None:
        """See that a replica does as the Hub says, if it can be asked."""
        began = time.monotonic()
        tries = 0

        async def as_wanted() -> bool:
            nonlocal tries
            tries += 1
            leads = await self._leads(replica, user)
            return leads is None or leads == wanted

        if not await _within(_LATE_PATIENCE, as_wanted) or tries > 1:
            self._book.now.late.append(time.monotonic() - began)
            self._book.note(f"late {kind}", f"{user} on {replica}")

    async def _leads(self, replica: str, user: str) -> bool | None:
        """Whether a replica leads to a user's server; None if HAProxy would not ask it."""
        url = self._stage.replica_url(replica)
        try:
            ping = await self._fetch(HTTPRequest(self._stage.ping_url(replica), request_timeout=5))
            if ping.code != 200:
                return None
            path = f"/user/{user}/page"
            request = HTTPRequest(f"{url}{path}", follow_redirects=False, request_timeout=10)
            answer = await self._fetch(request)
        except (OSError, HTTPClientError):
            return None
        return bool(answer.body == f"{user} {path}".encode())

    async def _fetch(self, request: HTTPRequest) -> Any:
        return await self._client.fetch(request, raise_error=False)

    async def _ask(self, method: str, path: str, body: Any = None) -> Any:
        request = HTTPRequest(
            f"{self._stage.url}/hub/api/{path}",
            method=method,
            headers={"Authorization": f"token {TOKEN}"},
            body=json.dumps(body) if body is not None else "" if method == "POST" else None,
            request_timeout=_PATIENCE,
        )
        answer = await self._client.fetch(request)
        return json.loads(answer.body) if answer.body else None


async def _within(seconds: float, done: Callable[[], Awaitable[bool]]) -> bool:
    """Look until something is done; whether it was in time."""
    with anyio.move_on_after(seconds):
        while not await done():
            await asyncio.sleep(_LOOK_SECONDS)
        return True
    return False
