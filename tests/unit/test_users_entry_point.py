"""What the users' entry point says to the question for the generation, and whether it counts."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import cast

import pytest

from traefikhub.traefik.users_entry_point import UsersEntryPoint, question_for, reach

QUESTION = question_for("secret", "X-Generation")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class EntryPoint(ThreadingHTTPServer):
    """Serves this generation to who has the key; None for an answer without one."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.served: str | None = "1"
        self.asked = 0
        self.url = f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        server = cast("EntryPoint", self.server)
        server.asked += 1
        assert self.path == QUESTION.path
        assert self.headers[QUESTION.header] == QUESTION.key
        self.send_response(418 if server.served else 404)
        if server.served:
            self.send_header(QUESTION.answer, server.served)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def entry_point() -> Iterator[EntryPoint]:
    with EntryPoint() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join(10)


@contextmanager
def asking(url: str, clock: Callable[[], float]) -> Iterator[UsersEntryPoint]:
    users = UsersEntryPoint(url, QUESTION, clock=clock)
    yield users
    users.close()


def test_it_agrees_when_it_serves_one_of_those(entry_point: EntryPoint) -> None:
    with asking(entry_point.url, Clock()) as users:
        assert not users.agrees(2, 3)
        for served in "23":
            entry_point.served = served
            assert users.agrees(2, 3)
        # What is above is of a store that was set back since.
        entry_point.served = "4"
        assert not users.agrees(2, 3)


@pytest.mark.parametrize("served", ["1", None, "many"])
def test_it_is_believed_for_a_second_and_then_left_alone(
    entry_point: EntryPoint, served: str | None
) -> None:
    clock = Clock()
    with asking(entry_point.url, clock) as users:
        entry_point.served = served
        assert not users.agrees(2, 2)
        clock.now += 0.9
        assert not users.agrees(2, 2)
        clock.now += 0.2
        assert users.agrees(2, 2)
        asked = entry_point.asked
        clock.now += 500
        assert users.agrees(2, 2)
        assert entry_point.asked == asked == 3
        clock.now += 200
        assert not users.agrees(2, 2)
        entry_point.served = "2"
        assert users.agrees(2, 2)
        # The second begins anew with each change.
        clock.now += 100
        assert not users.agrees(3, 3)


def test_nobody_is_there() -> None:
    clock = Clock()
    with asking("http://127.0.0.1:1", clock) as users:
        assert not users.agrees(1, 1)
        clock.now += 2
        assert users.agrees(1, 1)


@pytest.mark.parametrize(
    ("address", "https", "url"),
    [
        (":8000", False, "http://127.0.0.1:8000"),
        ("0.0.0.0:443", True, "https://127.0.0.1:443"),
        ("[::]:80", False, "http://[::1]:80"),
        ("localhost:80", False, "http://localhost:80"),
        ("10.1.2.3:80", False, "http://10.1.2.3:80"),
        ("[fe80::1]:80", True, "https://[fe80::1]:80"),
    ],
)
def test_where_it_is_reached(address: str, https: bool, url: str) -> None:
    assert reach(address, https=https) == url


def test_the_key_is_the_same_after_a_restart_and_shown_to_nobody() -> None:
    assert question_for("secret", "X") == question_for("secret", "X")
    assert question_for("other", "X").key != question_for("secret", "X").key
    assert QUESTION.key not in repr(QUESTION)
    assert "secret" not in QUESTION.key
