"""The small HTTP client: what it takes for an answer, and when it connects anew."""

from __future__ import annotations

import http.client
import io
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from traefikhub.traefik._connection import KeptConnection, read_answer

OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("text", "status", "body", "keep"),
    [
        (OK + b"Content-Length: 2\r\n\r\n{}", 200, b"{}", True),
        (OK + b"content-LENGTH:2\n\n{}", 200, b"{}", True),
        (OK + b"Content-Length: 0\r\n\r\n", 200, b"", True),
        (OK + b"Content-Length: 2\r\nConnection: close\r\n\r\n{}", 200, b"{}", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}", 200, b"{}", False),
        (OK + b"\r\nuntil the end", 200, b"until the end", False),
        (
            OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n",
            200,
            b"abc0123456789",
            True,
        ),
        (
            OK + b"Transfer-Encoding: Chunked\r\n\r\n1\r\na\r\n0\r\nTrailer: x\r\n\r\n",
            200,
            b"a",
            True,
        ),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b"", True),
        (b"HTTP/1.1 404\r\nContent-Length: 1\r\n\r\nx", 404, b"x", True),
        (
            b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK + b"Content-Length: 1\r\n\r\ny",
            200,
            b"y",
            True,
        ),
    ],
)
def test_answers(text: bytes, status: int, body: bytes, keep: bool) -> None:
    stream = io.BytesIO(text)
    assert read_answer(stream)[:3] == (status, body, keep)
    assert stream.read() == b""


def test_what_follows_an_answer_is_left_alone() -> None:
    stream = io.BytesIO((OK + b"Content-Length: 1\r\n\r\na") * 2)
    assert read_answer(stream).body == read_answer(stream).body == b"a"


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 20\r\n\r\n",
        OK,
        OK + b"Content-Length: 2\r\n",
        OK + b"Content-Length: 2\r\n\r\n{",
        OK + b"Content-Length: -1\r\n\r\n",
        OK + b"Content-Length: two\r\n\r\n",
        OK + b"Content-Length: \xb2\r\n\r\n",
        OK + b"Content-Length: 999999999999\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab",
        OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"80000\r\n%b\r\n" % (b"x" * 0x80000) * 3,
        OK + b"x: y\r\n" * 1000 + b"\r\n",
        OK + b"x: " + b"y" * 100_000 + b"\r\n\r\n",
    ],
    ids=lambda text: repr(text[:60]),
)
def test_what_is_no_answer(text: bytes) -> None:
    with pytest.raises(http.client.HTTPException):
        read_answer(io.BytesIO(text))


class Server:
    """Answers each question by the next text given; None closes the connection instead."""

    def __init__(self, *answers: bytes | None) -> None:
        self._answers = list(answers)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.connections = 0
        self.questions: list[bytes] = []

    def _serve(self) -> None:
        while self._answers:
            peer, _ = self._listener.accept()
            self.connections += 1
            with peer, peer.makefile("rb") as stream:
                while self._answers and (question := _question(stream)):
                    self.questions.append(question)
                    answer = self._answers.pop(0)
                    if answer is None:
                        break
                    peer.sendall(answer)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._listener.close()
        self._thread.join(10)


def _question(stream: io.BufferedReader) -> bytes:
    text = b""
    while (line := stream.readline()) not in (b"", b"\r\n"):
        text += line
    return text


@contextmanager
def connected(*answers: bytes | None, path: str = "") -> Iterator[tuple[Server, KeptConnection]]:
    server = Server(*answers)
    server.start()
    connection = KeptConnection(server.url + path, timeout=10, tls=None)
    try:
        yield server, connection
    finally:
        connection.close()
        server.stop()


ANSWER = OK + b"Content-Length: 2\r\n\r\n{}"


def test_one_connection_for_all_questions() -> None:
    with connected(ANSWER, ANSWER, path="/traefik") as (server, connection):
        for path in ("/a", "/b"):
            assert connection.get(path, "Authorization: Basic eA==\r\n").body == b"{}"
    assert server.connections == 1
    assert server.questions[1].startswith(b"GET /traefik/b HTTP/1.1\r\nHost: 127.0.0.1:")
    assert b"\r\nAuthorization: Basic eA==\r\n" in server.questions[1]


def test_after_a_connection_that_was_closed_the_next_question_opens_another() -> None:
    with connected(ANSWER, None, ANSWER) as (server, connection):
        connection.get("/")
        with pytest.raises((http.client.HTTPException, OSError)):
            connection.get("/")
        assert connection.get("/").body == b"{}"
    assert server.connections == 2


def test_a_connection_that_the_server_will_close_is_not_kept() -> None:
    close = OK + b"Connection: close\r\nContent-Length: 0\r\n\r\n"
    with connected(close, ANSWER) as (server, connection):
        assert connection.get("/").body == b""
        assert connection.get("/").body == b"{}"
    assert server.connections == 2


def test_who_is_not_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    connection = KeptConnection(f"http://127.0.0.1:{port}", timeout=10, tls=None)
    with pytest.raises(ConnectionRefusedError):
        connection.get("/")


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("http://[::1]:8099", "[::1]:8099"),
        ("http://Traefik.example", "traefik.example"),
        ("https://user:pw@traefik:1", "traefik:1"),
    ],
)
def test_the_host_header(url: str, name: str) -> None:
    assert KeptConnection(url, timeout=1, tls=None).host_header == name
