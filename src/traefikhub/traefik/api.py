"""Ask Traefik's API which generation it serves: the one question that tells a route is live.

The questions are put from a worker thread with the standard library's client: it keeps its
connection, and polling every few milliseconds costs the Hub's event loop nothing.
"""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlsplit

from traefikhub.threads import in_thread
from traefikhub.traefik._errors import ApiRejected, NotLive
from traefikhub.traefik.binary import Version, parse_version

__all__ = ["Credentials", "TraefikApi"]

_REQUEST_SECONDS: Final = 5.0
_REJECTED_SECONDS: Final = 3.0
"""How long a 401 is taken for a password that is just being replaced."""

_SHORTEST_STEP: Final = 0.0005
_LONGEST_STEP: Final = 0.25


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


class _Poll:
    """One question, put again and again until it is answered.

    Args:
        ask: puts it; returns None for "not yet".
        what: what is waited for, for the error.
        where: who is asked, for the error.
    """

    def __init__(self, ask: Callable[[], Any], what: Callable[[], str], where: str) -> None:
        self._ask = ask
        self._what = what
        self._where = where
        self._rejected_since: float | None = None
        self._trouble = ""
        self.questions = 0
        self.cancelled = threading.Event()

    def until_answered(self, timeout: float, pause: float) -> Any:
        """The first answer that is not None.

        The first question comes after ``pause`` seconds; later ones after a part of the time that
        has passed, so that an answer is never noticed much later than it could have been.

        Raises:
            NotLive: there was none in ``timeout`` seconds, or the poll was cancelled.
            ApiRejected: no credentials are accepted.
        """
        started = time.monotonic()
        passed = 0.0
        while not self.cancelled.wait(min(pause, timeout - passed)):
            answer = self._once()
            if answer is not None:
                return answer
            passed = time.monotonic() - started
            if passed >= timeout:
                break
            pause = min(max(0.15 * passed, _SHORTEST_STEP), _LONGEST_STEP)
        raise NotLive(
            f"Traefik at {self._where} did not show {self._what()} within {timeout:g} s"
            f"{self._trouble}"
        )

    def _once(self) -> Any:
        self.questions += 1
        try:
            answer = self._ask()
        except ApiRejected as error:
            now = time.monotonic()
            self._rejected_since = self._rejected_since or now
            if now - self._rejected_since > _REJECTED_SECONDS:
                raise
            self._trouble = f"; {error}"
        except (OSError, http.client.HTTPException) as error:
            self._trouble = f"; the last request failed: {error or type(error).__name__}"
        except (ValueError, KeyError, TypeError) as error:
            self._trouble = f"; the last answer was not the one awaited: {error}"
        else:
            self._trouble, self._rejected_since = "", None
            return answer
        return None


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
        self._parts = urlsplit(self.url)
        self._credentials = list(credentials)
        self._tls = tls
        self._connection: http.client.HTTPConnection | None = None
        self._busy = threading.Lock()  # an abandoned poll may still hold the connection
        self._pause = 0.0  # before the first question: about the time that a reload takes

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

        version: Version = await self._run(_Poll(ask, lambda: "its version", self.url), timeout)
        return version

    async def wait_for_generation(
        self, generation: int, *, marker: str, header: str, timeout: float
    ) -> None:
        """Return when Traefik serves this generation of a provider, or a later one.

        Once the API shows it, requests are routed by it (verified: docs/traefik-facts.md).

        Args:
            marker: the middleware that shows the generation, ``name@provider``.
            header: the response header of that middleware whose value is the generation.

        Raises:
            NotLive: it didn't in ``timeout`` seconds.
            ApiRejected: no credentials are accepted.
        """
        path = f"/api/http/middlewares/{quote(marker, safe='@')}"
        seen = "none yet"

        def ask() -> bool | None:
            nonlocal seen
            answer = self._get(path)
            if answer is None:
                return None
            served = answer["headers"]["customResponseHeaders"][header]
            seen = f"it serves {served}"
            return True if int(served) >= generation else None

        started = time.monotonic()
        poll = _Poll(ask, lambda: f"generation {generation} ({marker}: {seen})", self.url)
        await self._run(poll, timeout, pause=self._pause)
        taken = time.monotonic() - started
        # Aim for the second question: an answer to the first may have been there for long.
        if poll.questions == 1:
            self._pause *= 0.8
        else:
            self._pause = (self._pause + 0.8 * taken) / 2

    async def _run(self, poll: _Poll, timeout: float, *, pause: float = 0.0) -> Any:
        """Poll in a thread. A cancelled call leaves the thread to end by itself, soon."""

        def work() -> Any:
            with self._busy:
                return poll.until_answered(timeout, pause)

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
        headers = {"Accept": "application/json"}
        if self._credentials:
            headers["Authorization"] = self._credentials[0].header()
        fresh = self._connection is None
        connection = self._connection = self._connection or self._connect()
        try:
            connection.request("GET", self._parts.path + path, headers=headers)
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException):
            self.close()
            if fresh:
                raise
        return self._request(path)  # Traefik had closed the idle connection

    def _connect(self) -> http.client.HTTPConnection:
        host = self._parts.hostname or "127.0.0.1"
        if self._parts.scheme == "https":
            return http.client.HTTPSConnection(
                host, self._parts.port, timeout=_REQUEST_SECONDS, context=self._tls
            )
        return http.client.HTTPConnection(host, self._parts.port, timeout=_REQUEST_SECONDS)

    def close(self) -> None:
        """Close the kept connection; the next question opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
