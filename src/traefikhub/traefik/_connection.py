"""A connection that puts the same small questions again and again.

``http.client`` spends 100 µs of the processor on an answer of four header lines, ten times as much
as this does. While Traefik reloads, in some milliseconds and on the same processors, that counts.
"""

from __future__ import annotations

import http.client
import re
import socket
import ssl
from typing import BinaryIO, Final, NamedTuple
from urllib.parse import SplitResult, urlsplit

__all__ = ["Answer", "KeptConnection", "open_socket"]

_LONGEST_LINE: Final = 65_536
_MOST_LINES: Final = 200
_LARGEST_BODY: Final = 1 << 20

_STATUS: Final = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: |\r?\n)")


class Answer(NamedTuple):
    """keep: whether another question may follow on the same connection.

    headers: by their names in lower case.
    """

    status: int
    body: bytes
    keep: bool
    headers: dict[bytes, bytes]


def open_socket(
    parts: SplitResult, *, timeout: float, tls: ssl.SSLContext | None, address: str = ""
) -> socket.socket:
    """Connect to the server of a URL.

    Args:
        timeout: in seconds, for each address that is tried, and for each step after that.
        tls: how to verify an ``https`` URL; the system's trust if None.
        address: which of the host's to take; all in turn if empty. The certificate must be the
            host's all the same.

    Raises:
        OSError: it can't be reached, or has the wrong certificate.
    """
    host = parts.hostname or "127.0.0.1"
    https = parts.scheme == "https"
    sock = socket.create_connection(
        (address or host, parts.port or (443 if https else 80)), timeout=timeout
    )
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if https:
            sock = (tls or ssl.create_default_context()).wrap_socket(sock, server_hostname=host)
    except BaseException:
        sock.close()
        raise
    return sock


class KeptConnection:
    """HTTP/1.1 to one server, one GET at a time; connects when it has to.

    Args:
        url: ``http[s]://host[:port][/path]``; the path goes before that of each question.
        timeout: seconds for which one step of an exchange may take.
        tls: how to verify an ``https`` URL; the system's trust if None.
        address: which of the host's to connect to; all in turn if empty.
    """

    def __init__(
        self, url: str, *, timeout: float, tls: ssl.SSLContext | None, address: str = ""
    ) -> None:
        self._parts = urlsplit(url)
        self._timeout = timeout
        self._tls = tls
        self._address = address
        self._sock: socket.socket | None = None
        self._answers: BinaryIO | None = None

    @property
    def host_header(self) -> str:
        """The server as HTTP names it."""
        host, port = self._parts.hostname or "127.0.0.1", self._parts.port
        name = f"[{host}]" if ":" in host else host
        return name if port is None else f"{name}:{port}"

    def get(self, path: str, headers: str = "") -> Answer:
        """Ask once. After an error the connection is closed, and the next question opens another:
        the server may have closed it while it was idle, so ask again.

        Args:
            path: percent-encoded.
            headers: further lines, each with ``\\r\\n`` at its end.

        Raises:
            OSError: the server can't be reached, or the connection broke.
            http.client.HTTPException: that was no HTTP.
        """
        question = (
            f"GET {self._parts.path}{path} HTTP/1.1\r\nHost: {self.host_header}\r\n"
            f"Accept: application/json\r\n{headers}\r\n"
        )
        keep = False
        try:
            if self._sock is None or self._answers is None:
                self._sock = open_socket(
                    self._parts, timeout=self._timeout, tls=self._tls, address=self._address
                )
                self._answers = self._sock.makefile("rb")
            self._sock.sendall(question.encode("latin-1"))
            answer = read_answer(self._answers)
            keep = answer.keep
        finally:
            if not keep:
                self.close()
        return answer

    def close(self) -> None:
        """Close the connection. Idempotent; the next question opens another."""
        answers, self._answers = self._answers, None
        sock, self._sock = self._sock, None
        if answers is not None:
            answers.close()
        if sock is not None:
            sock.close()


def read_answer(stream: BinaryIO) -> Answer:
    """Read one answer to a GET, and nothing that follows it.

    Raises:
        http.client.HTTPException: it is none, or ends too early.
    """
    status, headers, keep = _read_head(stream)
    while status < 200:  # interim
        status, headers, keep = _read_head(stream)
    length = headers.get(b"content-length")
    if status in (204, 304):
        body = b""
    elif b"chunked" in headers.get(b"transfer-encoding", b"").lower():
        body = _read_chunks(stream)
    elif length is not None:
        body = _read_exactly(stream, _number(length, 10))
    else:
        body, keep = stream.read(_LARGEST_BODY), False
    return Answer(status, body, keep, headers)


def _read_head(stream: BinaryIO) -> tuple[int, dict[bytes, bytes], bool]:
    line = _read_line(stream)
    match = _STATUS.match(line)
    if not match:
        raise http.client.BadStatusLine(repr(line[:80]))
    headers = _read_headers(stream)
    keep = match[1] == b"1" and headers.get(b"connection", b"").lower() != b"close"
    return int(match[2]), headers, keep


def _read_headers(stream: BinaryIO) -> dict[bytes, bytes]:
    headers: dict[bytes, bytes] = {}
    for _ in range(_MOST_LINES):
        line = _read_line(stream)
        if line in (b"\r\n", b"\n"):
            return headers
        name, _, value = line.partition(b":")
        headers[name.lower()] = value.strip()
    raise http.client.HTTPException(f"more than {_MOST_LINES} header lines")


def _read_chunks(stream: BinaryIO) -> bytes:
    body = b""
    while size := _number(_read_line(stream).partition(b";")[0].strip(), 16):
        body += _read_exactly(stream, size)
        _read_line(stream)
        if len(body) > _LARGEST_BODY:
            raise http.client.HTTPException("the answer is too long")
    _read_headers(stream)  # trailers
    return body


def _read_line(stream: BinaryIO) -> bytes:
    line = stream.readline(_LONGEST_LINE)
    if not line:
        raise http.client.RemoteDisconnected("the server closed the connection")
    if not line.endswith(b"\n"):
        raise http.client.IncompleteRead(line[:80])
    return line


def _read_exactly(stream: BinaryIO, size: int) -> bytes:
    if size > _LARGEST_BODY:
        raise http.client.HTTPException("the answer is too long")
    body = stream.read(size)
    if len(body) < size:
        raise http.client.IncompleteRead(body, size - len(body))
    return body


def _number(digits: bytes, base: int) -> int:
    if not digits.isalnum():  # int() takes signs and underscores, too
        raise http.client.HTTPException(f"a length of {digits[:80]!r}")
    try:
        return int(digits, base)
    except ValueError:
        raise http.client.HTTPException(f"a length of {digits[:80]!r}") from None
