"""Ask the entry point of the users, too, which generation it serves.

Traefik gives its entry points their new routers one after another, in no order. Where the API's
came first, and the scheduler then takes the processor away from Traefik, users are routed by the
old ones for some milliseconds more.
"""

from __future__ import annotations

import hashlib
import http.client
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlunsplit

from traefikhub.traefik._connection import KeptConnection

__all__ = ["GenerationQuestion", "UsersEntryPoint", "question_for", "reach"]

_STEP_SECONDS: Final = 0.5
_PATIENCE_SECONDS: Final = 1.0
_REST_SECONDS: Final = 600.0


@dataclass(frozen=True, slots=True)
class GenerationQuestion:
    """What a request has that is answered with the generation, and nobody else's does.

    key: the value of ``header``; not to be guessed, so that the path stays free for users.
    answer: the response header that holds the generation.
    """

    path: str
    header: str
    key: str
    answer: str

    def __repr__(self) -> str:
        return f"GenerationQuestion({self.path!r}, {self.header!r}, '***', {self.answer!r})"


def question_for(secret: str, answer: str) -> GenerationQuestion:
    """The question of the Hub that has this secret, the same after a restart."""
    key = hashlib.sha256(f"generation:{secret}".encode()).hexdigest()
    return GenerationQuestion("/traefikhub/generation", "X-Traefikhub-Key", key, answer)


def reach(address: str, *, https: bool) -> str:
    """The URL at which the Hub reaches what listens at ``host:port``, the host empty for every
    interface."""
    host, _, port = address.rpartition(":")
    with suppress(ValueError):
        if ip_address(host.strip("[]")).is_unspecified:
            host = "[::1]" if ":" in host else ""
    host = host or "127.0.0.1"
    return urlunsplit(("https" if https else "http", f"{host}:{port}", "", "", ""))


class UsersEntryPoint:
    """Where the users of one Traefik come in. For one thread at a time.

    It has nothing to say against what the API shows for longer than a second: the admin may have
    put something before it that keeps the Hub out. Then it isn't asked for ten minutes.

    Args:
        url: where the Hub reaches it. A certificate isn't verified: the Hub learns a number there.
        question: what to ask.
        clock: monotonic, in seconds.
    """

    def __init__(
        self,
        url: str,
        question: GenerationQuestion,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        tls = None
        if url.startswith("https:"):
            tls = ssl.create_default_context()
            tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
        self._connection = KeptConnection(url, timeout=_STEP_SECONDS, tls=tls)
        self._question = question
        self._clock = clock
        self._behind_since: float | None = None
        self._rests_until = clock()

    def agrees(self, first: int, last: int) -> bool:
        """Whether users are routed by a generation from ``first`` to ``last``, as far as can be
        known."""
        now = self._clock()
        if now < self._rests_until:
            return True
        served = self._served()
        if served is None or not first <= served <= last:
            if self._behind_since is None:
                self._behind_since = now
            if now - self._behind_since < _PATIENCE_SECONDS:
                return False
            self._rests_until = now + _REST_SECONDS
        self._behind_since = None
        return True

    def _served(self) -> int | None:
        asked = self._question
        with suppress(OSError, http.client.HTTPException, ValueError):
            answer = self._connection.get(asked.path, f"{asked.header}: {asked.key}\r\n")
            return int(answer.headers.get(asked.answer.lower().encode(), b""))
        return None

    def close(self) -> None:
        """Close the connection. Idempotent."""
        self._connection.close()
