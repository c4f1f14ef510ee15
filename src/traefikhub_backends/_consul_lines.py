"""Many requests to a consul agent at once, from one thread: over several connections, each with one
request under way.

What reaches consul within a few milliseconds, it writes within a few milliseconds. Traefik, which
begins to read everything anew at the first change that it sees, then sees few states in between.
A library that takes a thread and a millisecond for each request would need longer to ask than
consul to answer.
"""

from __future__ import annotations

import http.client
import ssl
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

__all__ = ["MOST", "Lines", "tls_context"]

MOST: Final = 64
"""Connections. Consul's raft takes as many entries at once; its agent takes 200 connections of one
machine (``limits.http_max_conns_per_client``), Traefik's among them."""

_FAILURES: Final = (OSError, http.client.HTTPException)


class Lines:
    """Connections to one address, kept until ``close``.

    Args:
        url: where the requests go.
        headers: theirs.
        context: for an ``https`` URL.
    """

    def __init__(
        self, url: str, headers: Mapping[str, str], context: ssl.SSLContext | None
    ) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port
        self._target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        self._headers = dict(headers)
        self._context = context
        self._lines: list[_Line] = []

    def open(self, count: int, deadline: float) -> None:
        """Connect beforehand, for as many requests at once."""
        while len(self._lines) < min(count, MOST):
            self._lines.append(_Line(self._connection()))
            self._lines[-1].connect(deadline)

    def close(self) -> None:
        """Close the connections."""
        for line in self._lines:
            line.close()
        self._lines.clear()

    def put(self, bodies: Sequence[bytes], deadline: float) -> list[int]:
        """Send each once, and wait for the answers. Blocks, until ``deadline`` at the most.

        Returns:
            the numbers of those whose answer isn't 200, or didn't come. They may have arrived.
        """
        failed = []
        for start in range(0, len(bodies), MOST):
            some = bodies[start : start + MOST]
            self.open(len(some), deadline)
            for line, body in zip(self._lines, some, strict=False):
                line.send(self._target, self._headers, body, deadline)
            for number, line in enumerate(self._lines[: len(some)], start):
                if line.status(deadline) != 200:
                    failed.append(number)
        return failed

    def _connection(self) -> http.client.HTTPConnection:
        if self._context:
            return http.client.HTTPSConnection(self._host, self._port, context=self._context)
        return http.client.HTTPConnection(self._host, self._port)


class _Line:
    """One connection. What fails closes it, and the next request opens it anew."""

    def __init__(self, connection: http.client.HTTPConnection) -> None:
        self._connection = connection
        self._is_sent = False

    def connect(self, deadline: float) -> None:
        try:
            self._hurry(deadline)
            self._connection.connect()
        except _FAILURES:
            self.close()

    def close(self) -> None:
        self._connection.close()

    def send(self, target: str, headers: Mapping[str, str], body: bytes, deadline: float) -> None:
        self._is_sent = False
        try:
            self._hurry(deadline)
            self._connection.request("PUT", target, body, headers)
            self._is_sent = True
        except _FAILURES:
            self.close()

    def status(self, deadline: float) -> int | None:
        """That of the answer, when it is there; None if none comes."""
        if not self._is_sent:
            return None
        try:
            self._hurry(deadline)
            with self._connection.getresponse() as answer:
                while answer.read1(1 << 16):
                    self._hurry(deadline)
        except _FAILURES:
            self.close()
            return None
        return answer.status

    def _hurry(self, deadline: float) -> None:
        """Whatever comes next may take until the deadline."""
        if (left := deadline - time.monotonic()) <= 0:
            raise TimeoutError
        self._connection.timeout = left
        if self._connection.sock:
            self._connection.sock.settimeout(left)


def tls_context(verify: str | bool, cert: tuple[str, str] | None) -> ssl.SSLContext:
    """What requests makes of its options of these names."""
    if isinstance(verify, str):
        authorities = verify
    else:
        from requests.utils import DEFAULT_CA_BUNDLE_PATH as authorities
    is_file = Path(authorities).is_file()
    context = ssl.create_default_context(
        cafile=authorities if is_file else None, capath=None if is_file else authorities
    )
    if cert:
        context.load_cert_chain(*cert)
    return context
