"""Many requests at once over several connections."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from support import free_port
from traefikhub_backends._consul_lines import MOST, Lines


class Server(ThreadingHTTPServer):
    """Does with each request what its body says. ``together``: how many of them wait for each
    other before the first is answered."""

    request_queue_size = 128
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.bodies: list[bytes] = []
        self.paths: set[str] = set()
        self.together = threading.Barrier(1)
        self.never = threading.Event()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.bodies.append(body)
        self.server.paths.add(self.path)
        assert self.headers["X-Consul-Token"] == "secret"
        what = body.partition(b" ")[0]
        if what == b"together":
            self.server.together.wait(60)
        elif what == b"never":
            self.server.never.wait(60)
        if what in (b"hang-up", b"never"):
            self.close_connection = True
            return
        self.send_response(409 if what == b"refuse" else 200)
        self.send_header("Content-Length", "200000")
        self.end_headers()
        self.wfile.write(b"x" * 200_000)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as httpd:
        thread = threading.Thread(target=httpd.serve_forever, args=(0.05,))
        thread.start()
        yield httpd
        httpd.never.set()
        httpd.shutdown()
        thread.join()


@pytest.fixture
def lines(server: Server) -> Iterator[Lines]:
    url = f"http://127.0.0.1:{server.server_address[1]}/v1/txn?dc=x"
    ways = Lines(url, {"X-Consul-Token": "secret"}, None)
    yield ways
    ways.close()


def soon(seconds: float = 60) -> float:
    return time.monotonic() + seconds


def test_they_are_under_way_at_the_same_time(server: Server, lines: Lines) -> None:
    server.together = threading.Barrier(20)
    assert lines.put([b"together"] * 20, soon()) == []
    assert server.paths == {"/v1/txn?dc=x"}


def test_more_than_there_are_connections(server: Server, lines: Lines) -> None:
    bodies = [b"number %d" % number for number in range(2 * MOST + 3)]
    lines.open(len(bodies), soon())
    assert lines.put(bodies, soon()) == []
    assert sorted(server.bodies) == sorted(bodies)
    assert lines.put(bodies[:5], soon()) == []


def test_those_without_a_good_answer_are_told(lines: Lines) -> None:
    bodies = [b"fine", b"refuse", b"fine", b"hang-up", b"fine"]
    for _ in range(3):  # a connection that was closed is opened anew
        assert lines.put(bodies, soon()) == [1, 3]


def test_each_is_sent_once(server: Server, lines: Lines) -> None:
    assert lines.put([b"hang-up"] * 3, soon()) == [0, 1, 2]
    assert len(server.bodies) == 3


def test_one_that_is_never_answered_does_not_spoil_the_others(lines: Lines) -> None:
    assert lines.put([b"fine", b"fine", b"never"], soon(0.5)) == [2]


def test_after_the_deadline_nothing_is_sent(server: Server, lines: Lines) -> None:
    assert lines.put([b"fine"] * 3, soon(-1)) == [0, 1, 2]
    assert server.bodies == []


def test_nobody_listens() -> None:
    assert Lines(f"http://127.0.0.1:{free_port()}/", {}, None).put([b"a", b"b"], soon()) == [0, 1]
