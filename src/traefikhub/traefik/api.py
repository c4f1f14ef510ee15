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
from typing import Any, Final
from urllib.parse import quote

from traefikhub.threads import in_thread
from traefikhub.traefik._connection import KeptConnection
from traefikhub.traefik._errors import ApiRejected
from traefikhub.traefik._poll import MISREAD, Pace, Poll
from traefikhub.traefik.binary import Version, parse_version

__all__ = ["Credentials", "Sign", "TraefikApi", "sign_of_life"]

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


class TraefikApi:
    """The API of one Traefik process.

    Args:
        url: where it listens, e.g. ``http://127.0.0.1:8099``.
        credentials: tried in this order; the first that is accepted is kept.
        tls: how to verify an ``https`` URL; the system's trust if None.
    """

    def __init__(
        self, url: str, credentials: Sequence[Credentials], *, tls: ssl.SSLContext | None = None
    ) -> None:
        self.url = url.rstrip("/")
        self._credentials = list(credentials)
        self._connection = KeptConnection(self.url, timeout=_REQUEST_SECONDS, tls=tls)
        self._busy = threading.Lock()  # an abandoned poll may still hold the connection
        self._closed = False
        self._pace = Pace()

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
        marker: str,
        header: str,
        timeout: float,
        stored: threading.Event | None = None,
        newest: Callable[[], int] | None = None,
    ) -> None:
        """Return when Traefik serves this generation of a provider, or a later one of ours.

        Once the API shows it, requests are routed by it (verified: docs/traefik-facts.md).

        Args:
            marker: the middleware that shows the generation, ``name@provider``.
            header: the response header of that middleware whose value is the generation.
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
            served = self._served(marker, header)
            if served is None:
                return None
            seen = f"it serves {served}"
            # One above the newest is a stranger's, or of a store that was set back since: what
            # is stored now is yet to come.
            last = max(generation, newest()) if newest else generation
            return True if generation <= served <= last else None

        poll = Poll(ask, lambda: f"generation {generation} ({marker}: {seen})", self.url)
        # What was stored long ago, before Traefik was started perhaps, says nothing of a reload.
        ahead = stored is not None and not stored.is_set()
        await self._run(poll, timeout, self._pace if ahead else Pace(), stored)

    async def served_generation(self, *, marker: str, header: str) -> int:
        """What Traefik serves now, as in ``wait_for_generation``; 0 if it shows none."""

        def ask() -> int:
            try:
                with self._busy:
                    return self._served(marker, header) or 0
            except (OSError, http.client.HTTPException, ApiRejected, *MISREAD):
                return 0

        return await in_thread(ask, abandon=True)

    def _served(self, marker: str, header: str) -> int | None:
        answer = self._get(f"/api/http/middlewares/{quote(marker, safe='@')}")
        return int(answer["headers"]["customResponseHeaders"][header]) if answer else None

    async def _run(
        self, poll: Poll, timeout: float, pace: Pace, possible: threading.Event | None = None
    ) -> Any:
        """Poll in a thread. A cancelled call leaves the thread to end by itself, soon."""

        def work() -> Any:
            try:
                with self._busy:
                    return poll.until_answered(timeout, pace, possible)
            finally:
                if self._closed:
                    self._close_unless_busy()

        try:
            return await in_thread(work, abandon=True)
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
            finally:
                self._busy.release()


class Sign(Enum):
    """What a Traefik shows of its life."""

    ANSWERS = "answers"
    SILENT = "silent"
    REFUSES = "refuses"
    """Nothing listens there: it has just begun, or was told to stop."""


async def sign_of_life(url: str, pair: tuple[str, str] | None = None) -> Sign:
    """Whether Traefik says anything there, be it 404, within a second or so.

    Args:
        pair: the files of a client's certificate and its key, if it asks for one.

    Raises:
        OSError: they can't be used.
    """
    tls = None
    if url.lower().startswith("https:"):
        tls = ssl.create_default_context()
        tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE  # it is not told anything
        if pair:
            tls.load_cert_chain(*pair)

    def ask() -> Sign:
        connection = KeptConnection(url.rstrip("/"), timeout=_ALIVE_SECONDS, tls=tls)
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
