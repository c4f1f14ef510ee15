"""Ask Traefik's API which generation it serves: the one question that tells a route is live.

The questions are put from a worker thread, on a connection that is kept: polling costs the Hub's
event loop nothing.
"""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, TypeVar
from urllib.parse import quote

from traefikhub.threads import in_thread
from traefikhub.traefik._connection import KeptConnection
from traefikhub.traefik._errors import ApiRejected, NotLive
from traefikhub.traefik._poll import MISREAD, Pace, Poll
from traefikhub.traefik.binary import Version, parse_version
from traefikhub.traefik.endpoints import Endpoint
from traefikhub.traefik.users_entry_point import UsersEntryPoint

__all__ = ["Credentials", "Marker", "Sign", "TraefikApi", "sign_of_life"]

_T = TypeVar("_T")

_REQUEST_SECONDS: Final = 5.0
_ALIVE_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user of the API, for basic authentication."""

    username: str
    password: str

    def header(self) -> str:
        """The value of the ``Authorization`` header."""
        pair = f"{self.username}:{self.password}".encode()
        return "Basic " + base64.b64encode(pair).decode()

    def __repr__(self) -> str:
        return f"Credentials({self.username!r}, '***')"


@dataclass(frozen=True, slots=True)
class Marker:
    """What shows the generation that Traefik serves.

    name: of the middleware, ``name@provider``.
    header: the response header of that middleware whose value is the generation.
    """

    name: str
    header: str


class TraefikApi:
    """The API of one Traefik process.

    Args:
        endpoint: where it listens.
        credentials: tried in this order; the first that is accepted is kept.
        marker: what shows the generation.
        tls: how to verify an ``https`` URL; the system's trust if None.
        users: where its users come in, if the Hub can ask there.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        credentials: Sequence[Credentials],
        marker: Marker,
        *,
        tls: ssl.SSLContext | None = None,
        users: UsersEntryPoint | None = None,
    ) -> None:
        self.url = endpoint.shown.rstrip("/")
        self._credentials = list(credentials)
        self._marker = marker
        self._connection = KeptConnection(
            endpoint.url.rstrip("/"), timeout=_REQUEST_SECONDS, tls=tls, address=endpoint.address
        )
        self._users = users
        self._busy = threading.Lock()  # an abandoned poll may still hold the connection
        self._closed = False
        self._pace = Pace()
        self._poll: Poll | None = None

    @property
    def trouble(self) -> str:
        """What went wrong with the last question of those that are put again and again, for the
        end of a sentence; empty if nothing did."""
        return self._poll.trouble if self._poll else ""

    async def version(self, *, timeout: float) -> Version:
        """Traefik's version, waiting until the API answers.

        Raises:
            NotLive: it didn't answer in ``timeout`` seconds.
            ApiRejected: no credentials are accepted.
            TraefikUnusable: it is no release.
        """

        def ask() -> Version | None:
            answer = self._get("/api/version")
            if answer is None:
                raise ValueError("404, it has no router for the API yet")
            return parse_version(str(answer["Version"]), self.url)

        poll = Poll(ask, lambda: "its version", self.url)
        version: Version = await self._run(poll, timeout, Pace())
        return version

    async def wait_for_generation(
        self,
        generation: int,
        *,
        timeout: float,
        stored: threading.Event | None = None,
        newest: Callable[[], int] | None = None,
    ) -> None:
        """Return when Traefik serves this generation of a provider, or a later one of ours.

        Once the API shows it, requests are routed by it, within milliseconds; where the entry
        point of the users can be asked, too, at once (verified: docs/traefik-facts.md).

        Args:
            timeout: in seconds, from when it is stored.
            stored: set when the store has it; None if it has.
            newest: the newest generation that the store has by now; None for just this one.

        Raises:
            NotLive: it didn't in ``timeout`` seconds.
            ApiRejected: no credentials are accepted.
        """
        seen = "none yet"

        def ask() -> bool | None:
            nonlocal seen
            served = self._served()
            if served is None:
                return None
            seen = f"it serves {served}"
            # One above the newest is a stranger's, or of a store that was set back since: what
            # is stored now is yet to come.
            last = max(generation, newest()) if newest else generation
            if not generation <= served <= last:
                return None
            if self._users and not self._users.agrees(generation, last):
                seen += ", but not yet to users"
                return None
            return True

        poll = Poll(ask, lambda: f"generation {generation} ({self._marker.name}: {seen})", self.url)
        # What was stored long ago, before Traefik was started perhaps, says nothing of a reload.
        ahead = stored is not None and not stored.is_set()
        await self._run(poll, timeout, self._pace if ahead else Pace(), stored)

    async def served_generation(self) -> int:
        """What Traefik serves now, as in ``wait_for_generation``; 0 if it shows none.

        Raises:
            NotLive: it can't be asked.
            ApiRejected: no credentials are accepted.
        """

        return await self._ask_once(lambda: self._served() or 0, "shows no generation")

    async def metrics_backend(self) -> str:
        """Which metrics its static configuration has on, e.g. ``Prometheus``; empty for none.

        Raises:
            as ``served_generation``.
        """

        def ask() -> str:
            return str((self._get("/api/overview") or {})["features"]["metrics"])

        return await self._ask_once(ask, "doesn't tell its features")

    async def has_service(self, name: str) -> bool:
        """Whether it has a service, ``name@provider``.

        Raises:
            as ``served_generation``.
        """
        path = f"/api/http/services/{quote(name, safe='@')}"
        return await self._ask_once(
            lambda: self._get(path) is not None, "doesn't tell its services"
        )

    async def _ask_once(self, ask: Callable[[], _T], otherwise: str) -> _T:
        try:
            return await in_thread(self._in_turn, ask, abandon=True)
        except (OSError, http.client.HTTPException) as error:
            why = str(error) or type(error).__name__
            raise NotLive(f"Traefik at {self.url} can't be asked: {why}") from error
        except MISREAD as error:
            raise NotLive(f"Traefik at {self.url} {otherwise}: {error}") from error

    def _in_turn(self, work: Callable[[], _T]) -> _T:
        """For a thread, which may be abandoned meanwhile."""
        try:
            with self._busy:
                return work()
        finally:
            if self._closed:
                self._close_unless_busy()

    def _served(self) -> int | None:
        answer = self._get(f"/api/http/middlewares/{quote(self._marker.name, safe='@')}")
        if not answer:
            return None
        return int(answer["headers"]["customResponseHeaders"][self._marker.header])

    async def _run(
        self, poll: Poll, timeout: float, pace: Pace, possible: threading.Event | None = None
    ) -> Any:
        """Poll in a thread. A cancelled call leaves the thread to end by itself, soon."""

        self._poll = poll

        def work() -> Any:
            return poll.until_answered(timeout, pace, possible)

        try:
            return await in_thread(self._in_turn, work, abandon=True)
        finally:
            poll.cancelled.set()

    def _get(self, path: str) -> dict[str, Any] | None:
        """The JSON answer, or None for 404. Tries the next credentials on 401."""
        for _ in range(len(self._credentials) or 1):
            status, body = self._request(path)
            if status == 401 and self._credentials:
                self._credentials.append(self._credentials.pop(0))
                continue
            break
        if status == 200:
            answer = json.loads(body)
            if not isinstance(answer, dict):
                raise ValueError(f"{path} answered with {type(answer).__name__}")
            return answer
        if status == 404:
            return None
        if status in (401, 403):
            users = " and ".join(repr(each.username) for each in self._credentials) or "nobody"
            raise ApiRejected(
                f"Traefik's API at {self.url} rejects user {users} ({status}). Set "
                "c.TraefikProxy.traefik_api_username and c.TraefikProxy.traefik_api_password to "
                "those that its API router asks for"
            )
        raise ValueError(f"{path} answered {status}")

    def _request(self, path: str) -> tuple[int, bytes]:
        headers = ""
        if self._credentials:
            headers = f"Authorization: {self._credentials[0].header()}\r\n"
        answer = self._connection.get(path, headers)
        return answer.status, answer.body

    def close(self) -> None:
        """Close the kept connection, or let an abandoned poll do so when it ends."""
        self._closed = True
        self._close_unless_busy()

    def _close_unless_busy(self) -> None:
        if self._busy.acquire(blocking=False):
            try:
                self._connection.close()
                if self._users:
                    self._users.close()
            finally:
                self._busy.release()


class Sign(Enum):
    """What a Traefik shows of its life."""

    ANSWERS = "answers"
    SILENT = "silent"
    REFUSES = "refuses"
    """Nothing listens there: it has just begun, or was told to stop."""


async def sign_of_life(endpoint: Endpoint, pair: tuple[str, str] | None = None) -> Sign:
    """Whether Traefik says anything there, be it 404, within a second or so.

    Args:
        pair: the files of a client's certificate and its key, if it asks for one.

    Raises:
        OSError: they can't be used.
    """
    tls = None
    if endpoint.url.lower().startswith("https:"):
        tls = ssl.create_default_context()
        tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE  # it is not told anything
        if pair:
            tls.load_cert_chain(*pair)

    def ask() -> Sign:
        connection = KeptConnection(
            endpoint.url.rstrip("/"), timeout=_ALIVE_SECONDS, tls=tls, address=endpoint.address
        )
        try:
            connection.get("/ping")
        except ConnectionRefusedError:
            return Sign.REFUSES
        except (OSError, http.client.HTTPException):
            return Sign.SILENT
        finally:
            connection.close()
        return Sign.ANSWERS

    return await in_thread(ask, abandon=True)
