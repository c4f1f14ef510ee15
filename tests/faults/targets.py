"""The servers that routes lead to. Each knows what reached it."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from urllib.parse import parse_qs, urlsplit

from faults.listening import Listening
from faults.record import Arrival, History

__all__ = ["HUB", "STRANGER", "Targets"]

HUB = "hub"
STRANGER = "stranger"
"""Where nobody but who edits the store by hand sends a route."""

_BELOW = "/below"


class Targets:
    """Many small servers, one port each. Some are two targets: the server, and what is below a path
    of it.

    Args:
        count: besides the Hub and the stranger.
        history: every arrival goes there.
    """

    def __init__(self, count: int, history: History) -> None:
        self._history = history
        self._servers: dict[str, Listening] = {}
        self._names = [HUB, STRANGER, *(f"t{number}" for number in range(count))]

    async def start(self) -> None:
        """Listen."""
        for name in self._names:
            self._servers[name] = Listening(partial(self._serve, name))
            await self._servers[name].start()

    async def aclose(self) -> None:
        """Stop listening. Idempotent."""
        for server in self._servers.values():
            await server.aclose()

    @property
    def for_users(self) -> list[str]:
        """Those that routes may lead to."""
        names = [name for name in self._names if name not in (HUB, STRANGER)]
        return names + [name + _BELOW for name in names[::3]]

    @property
    def connections(self) -> int:
        """How many are open."""
        return sum(server.connections for server in self._servers.values())

    def url(self, target: str) -> str:
        """Of one."""
        name, slash, below = target.partition("/")
        return f"http://127.0.0.1:{self._servers[name].port}{slash}{below}"

    def name(self, url: str) -> str:
        """The target of a URL; the URL itself if it is none of these."""
        for target in [*self._names, *self.for_users]:
            if self.url(target) == url.rstrip("/"):
                return target
        return url

    async def _serve(
        self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            path = head.split(b" ", 2)[1].decode("latin-1")
            below = path.startswith(_BELOW + "/") and name + _BELOW in self.for_users
            target = name + _BELOW if below else name
            parts = urlsplit(path)
            number = parse_qs(parts.query).get("probe", [""])[0]
            # The Hub is asked for its error pages, too; those are no probes.
            if number.isdigit() and not parts.path.startswith("/hub/"):
                self._history.arrivals.append(Arrival(int(number), target, time.monotonic()))
            answer = target.encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(answer) + answer)
            await writer.drain()
