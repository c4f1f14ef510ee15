"""How many requests Traefik has counted for each service, from its Prometheus metrics.

What it counts when (verified with 3.7.15): ``traefik_service_requests_total`` when the answer has
ended, whatever its status; a websocket when it closes; an answer that was broken off after its
headers never. Over TLS ``traefik_service_requests_tls_total`` counts when the request begins. The
series of a service vanish with the first scrape after its removal, and begin at 0 if it returns.
"""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import SplitResult, urlsplit

import anyio

from traefikhub.threads import in_thread
from traefikhub.traefik._connection import open_socket
from traefikhub.traefik._errors import TraefikError
from traefikhub.traefik.api import Credentials
from traefikhub.traefik.endpoints import Endpoint

__all__ = ["MetricsUnavailable", "Scrape", "parse_metrics", "scrape"]


class MetricsUnavailable(TraefikError):
    """A Traefik could not be asked for its metrics, or its answer isn't understood."""


@dataclass(frozen=True, slots=True)
class Scrape:
    """What one Traefik process has counted.

    process: tells it from others, and from its successor at the same URL.
    requests: by the name of the service, without provider. Only differences mean anything: over
        TLS each request counts twice. A service without requests may be absent.
    """

    process: tuple[str, float]
    requests: dict[str, int] = field(repr=False)


_LARGEST: Final = 256 << 20
"""Bytes of an answer. 10,000 busy routes may have 100 MB."""

_BLOCK: Final = 1 << 16
_LONGEST_LINE: Final = 1 << 20

_COUNTERS: Final = (b"traefik_service_requests_total{", b"traefik_service_requests_tls_total{")
_STARTED: Final = b"process_start_time_seconds "

_VALUE: Final = rb'"(?:[^"\\\n]|\\.)*"'
_COUNTER: Final = re.compile(
    rb"[a-z_]+\{(?:\w+=" + _VALUE + rb",)*?"
    rb"service=(?P<service>" + _VALUE + rb")"
    rb"(?:,\w+=" + _VALUE + rb")*,?\} (?P<count>[0-9.]{1,40}(?:e\+[0-9]{1,2})?)(?: -?[0-9]+)?\r?"
)
"""One line, in which a value may hold quotes, commas and braces: foreign services have any name."""

_ESCAPE: Final = re.compile(rb'\\([\\"n])')


def parse_metrics(blocks: Iterable[bytes], provider: str) -> tuple[float, dict[str, int]]:
    """When Traefik started (seconds of the epoch), and what it counted for each service of a
    provider, from the blocks of its metrics in Prometheus' text format 0.0.4.

    Raises:
        ValueError: they aren't Traefik's metrics, or not all of them.
    """
    started: float | None = None
    counted: dict[bytes, int] = {}
    for line in _lines(blocks):
        if line.startswith(_COUNTERS):
            match = _COUNTER.fullmatch(line)
            if match is None:
                raise ValueError(f"a line can't be understood: {line[:200]!r}")
            service, count = match.groups()
            counted[service] = counted.get(service, 0) + int(float(count))
        elif line.startswith(_STARTED):
            started = float(line[len(_STARTED) :])
    if started is None:
        raise ValueError("they don't tell when Traefik started")
    ours = f"@{provider}"
    requests: dict[str, int] = {}
    for quoted, count in counted.items():
        name = _ESCAPE.sub(_unescape, quoted[1:-1]).decode(errors="replace")
        if name.endswith(ours):
            requests[name[: -len(ours)]] = count
    return started, requests


def _unescape(match: re.Match[bytes]) -> bytes:
    return b"\n" if match[1] == b"n" else match[1]


def _lines(blocks: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for block in blocks:
        *lines, rest = (rest + block).split(b"\n")
        if len(rest) > _LONGEST_LINE:
            raise ValueError("a line is too long")
        yield from lines
    if rest:
        raise ValueError("they end within a line")


async def scrape(
    url: str,
    provider: str,
    *,
    credentials: Sequence[Credentials] = (),
    timeout: float,
    tls: ssl.SSLContext | None = None,
    address: str = "",
) -> Scrape:
    """Ask one Traefik what it has counted. A worker thread reads and parses: 10,000 idle routes
    have 9 MB, 1,000 busy ones as much.

    Args:
        url: of the metrics, e.g. ``http://127.0.0.1:8099/metrics``.
        provider: whose services count, e.g. ``file``.
        credentials: tried in this order, the next one after a 401.
        timeout: seconds for all of it.
        tls: how to verify an ``https`` URL; the system's trust if None.
        address: which of the host's to ask; the first that answers if empty.

    Raises:
        MetricsUnavailable: there was no answer in time, or none that can be understood.
    """
    parts = urlsplit(url)
    shown = Endpoint(url, address).shown
    deadline = time.monotonic() + timeout

    def work() -> Scrape:
        for user in credentials or (None,):
            answer = _scrape(parts, provider, user, deadline, tls, address)
            if answer is not None:
                return Scrape((shown, answer[0]), answer[1])
        users = " and ".join(repr(each.username) for each in credentials) or "nobody"
        raise ValueError(f"it rejects user {users} (401)")

    try:
        with anyio.fail_after(timeout):
            # The thread looks at the deadline, too, but may hang in a lookup of the name.
            return await in_thread(work, abandon=True)
    except TimeoutError as error:
        why = f"no whole answer within {timeout:g} s"
        raise MetricsUnavailable(f"Traefik's metrics at {shown} can't be read: {why}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        why = str(error) or type(error).__name__
        raise MetricsUnavailable(f"Traefik's metrics at {shown} can't be read: {why}") from error


def _scrape(
    parts: SplitResult,
    provider: str,
    user: Credentials | None,
    deadline: float,
    tls: ssl.SSLContext | None,
    address: str,
) -> tuple[float, dict[str, int]] | None:
    """What is counted; None if the user is rejected."""
    # Only speaks HTTP on the socket that it is given, be it one of TLS.
    connection = http.client.HTTPConnection(parts.hostname or "127.0.0.1", parts.port)
    connection.sock = sock = open_socket(
        parts, timeout=_remaining(deadline), tls=tls, address=address
    )
    try:
        # Without "Accept" it may choose OpenMetrics; http.client itself forbids compression.
        headers = {"Accept": "text/plain;version=0.0.4", "Connection": "close"}
        if user is not None:
            headers["Authorization"] = user.header()
        path = parts._replace(scheme="", netloc="", fragment="").geturl()
        connection.request("GET", path or "/", headers=headers)
        sock.settimeout(_remaining(deadline))
        with connection.getresponse() as answer:
            if answer.status == 401:
                return None
            if answer.status != 200:
                raise ValueError(f"it answers {answer.status}")
            return parse_metrics(_blocks(answer, sock, deadline), provider)
    finally:
        connection.close()


def _blocks(
    answer: http.client.HTTPResponse, sock: socket.socket, deadline: float
) -> Iterator[bytes]:
    """The body, whole and in time, or an error."""
    if answer.length is None and not answer.chunked:
        raise ValueError("it doesn't say how long its answer is")
    size = 0
    while block := answer.read1(_BLOCK):
        size += len(block)
        if size > _LARGEST:
            raise ValueError(f"the answer has more than {_LARGEST >> 20} MiB")
        yield block
        if not answer.isclosed():
            sock.settimeout(_remaining(deadline))
    if answer.length:  # http.client complains of cut chunks only
        raise http.client.IncompleteRead(b"", answer.length)


def _remaining(deadline: float) -> float:
    remaining = deadline - time.monotonic()
    if remaining <= 0:
        raise TimeoutError
    return remaining
