"""Servers that keep every byte, and clients that send any."""

from __future__ import annotations

import re
import socket
import socketserver
import threading
from dataclasses import dataclass
from urllib.parse import urlsplit

__all__ = ["Ambiguous", "Recorder", "Request", "converse", "outcomes", "take"]

_HEAD_END = b"\r\n\r\n"
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,15})\r\n")


class Ambiguous(Exception):
    """Bytes that two servers might take apart in two ways."""


@dataclass(frozen=True)
class Request:
    """A whole request, its body without the framing."""

    method: str
    path: str
    fields: tuple[tuple[str, str], ...]
    body: bytes

    def all(self, name: str) -> list[str]:
        """The values of a header field."""
        return [value for field, value in self.fields if field.lower() == name.lower()]


def take(data: bytes) -> tuple[Request, bytes] | None:
    """The first request of a connection, and the bytes after it; None if it isn't whole yet.

    Reads by the letter of RFC 9112, without any of the liberties that it allows.

    Raises:
        Ambiguous: a server less strict might find another request there.
    """
    head, end, rest = data.partition(_HEAD_END)
    if not end:
        return None
    line, *lines = head.split(b"\r\n")
    if re.search(rb"[\r\n\0]", head.replace(b"\r\n", b"")):
        raise Ambiguous("a bare CR, LF or NUL in the head")
    parts = line.split(b" ")
    if len(parts) != 3 or parts[2] != b"HTTP/1.1" or not _TOKEN.fullmatch(parts[0]):
        raise Ambiguous(f"the request line {line!r}")
    fields = []
    for each in lines:
        name, colon, value = each.partition(b":")
        if not colon or not _TOKEN.fullmatch(name):
            raise Ambiguous(f"the header line {each!r}")
        fields.append((name.decode("latin-1"), value.strip(b" \t").decode("latin-1")))
    request = Request(parts[0].decode(), parts[1].decode("latin-1"), tuple(fields), b"")
    lengths, codings = request.all("Content-Length"), request.all("Transfer-Encoding")
    if len(request.all("Host")) != 1 or len(lengths) + len(codings) > 1:
        raise Ambiguous(f"two of a field that must stand alone: {head!r}")
    if codings and codings != ["chunked"]:
        raise Ambiguous(f"Transfer-Encoding: {codings[0]}")
    if lengths and not re.fullmatch("[0-9]{1,15}", lengths[0]):
        raise Ambiguous(f"Content-Length: {lengths[0]}")
    if codings:
        found = _unchunked(rest)
        if found is None:
            return None
        body, rest = found
    else:
        size = int(lengths[0]) if lengths else 0
        if len(rest) < size:
            return None
        body, rest = rest[:size], rest[size:]
    return Request(request.method, request.path, request.fields, body), rest


def _unchunked(data: bytes) -> tuple[bytes, bytes] | None:
    body = b""
    while True:
        if b"\r\n" not in data:
            return None
        found = _CHUNK.match(data)
        if not found:
            raise Ambiguous(f"the chunk {data[:40]!r}")
        size = int(found[1], 16)
        data = data[found.end() :]
        if len(data) < size + 2:
            return None
        if data[size : size + 2] != b"\r\n":
            raise Ambiguous(f"the end of the chunk {data[:40]!r}, {size} long")
        body += data[:size]
        data = data[size + 2 :]
        if not size:
            return body, data


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 1024


class Recorder:
    """A server that answers each whole request with ``[name METHOD path body]``.

    answers: instead of that, the bytes to answer a path with.
    requests: what arrived whole, on all connections.
    torn: bytes of requests that ended before they were whole.
    faults: what a server less strict might have taken for something else.
    """

    def __init__(self, name: str) -> None:
        recorder = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                connection: socket.socket = self.request
                recorder._serve(connection)

        self.name = name
        self.answers: dict[str, bytes] = {}
        self.requests: list[Request] = []
        self.torn: list[bytes] = []
        self.faults: list[str] = []
        self._server = _Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def forget(self) -> None:
        """What has arrived until now."""
        self.requests.clear()
        self.torn.clear()
        self.faults.clear()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def told(self, request: Request) -> str:
        """A request in short, as it is answered."""
        body = f" {request.body.decode('latin-1')!r}" if request.body else ""
        return f"{self.name} {request.method} {request.path}{body}"

    def _serve(self, connection: socket.socket) -> None:
        data = b""
        try:
            while piece := connection.recv(65536):
                data += piece
                while found := take(data):
                    request, data = found
                    self.requests.append(request)
                    text = f"[{self.told(request)}]".encode()
                    head = b"HTTP/1.1 200 OK\r\nX-Told: %s\r\nContent-Length: %d\r\n\r\n"
                    answer = head % (text, len(text))
                    if request.method != "HEAD":
                        answer += text
                    connection.sendall(self.answers.get(request.path, answer))
        except Ambiguous as error:
            self.faults.append(str(error))
        except OSError:
            pass  # the proxy has closed it
        if data:
            self.torn.append(data)


def converse(url: str, data: bytes, timeout: float = 20) -> bytes:
    """Send bytes, read until the connection is closed by the other side; what was read.

    Raises:
        TimeoutError: it wasn't closed in time.
    """
    parts = urlsplit(url)
    assert parts.hostname
    assert parts.port
    got = b""
    with socket.create_connection((parts.hostname, parts.port), timeout) as connection:
        try:
            connection.sendall(data)
            while piece := connection.recv(65536):
                got += piece
        except ConnectionError:
            pass  # it was closed before all was sent
    return got


def outcomes(got: bytes) -> list[str]:
    """The answers in a conversation: what a ``Recorder`` told, else the status."""
    found = []
    for piece in re.split(rb"(?=HTTP/1\.[01] \d\d\d )", got):
        if piece[9:12] == b"200":
            told = re.search(rb"X-Told: \[(.*)\]\r\n", piece)
            found.append(told[1].decode("latin-1") if told else "200")
        elif piece:
            found.append(piece[9:12].decode("latin-1"))
    return found
