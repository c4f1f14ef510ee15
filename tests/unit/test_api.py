"""The API client, asked for generations by a server that the test scripts."""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

import anyio
import pytest

from traefikhub.traefik import ApiRejected, Credentials, Endpoint, Marker, NotLive, TraefikApi
from traefikhub.traefik.users_entry_point import UsersEntryPoint

pytestmark = pytest.mark.anyio

MARKER = Marker("marker@file", "X")


class FakeTraefik(ThreadingHTTPServer):
    """Serves the generation that ``answer`` returns, or the status if that is an error."""

    daemon_threads = True

    def __init__(self, answer: Callable[[], int]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer = answer
        self.users: list[str | None] = []
        self.accepted: str | None = None
        self.url = f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        server = cast("FakeTraefik", self.server)
        user = self.headers["Authorization"]
        server.users.append(user)
        assert self.path == "/api/http/middlewares/marker@file"
        status = 200 if server.accepted in (None, user) else 401
        body = json.dumps({"headers": {"customResponseHeaders": {"X": str(server.answer())}}})
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


@asynccontextmanager
async def serving(answer: Callable[[], int]) -> AsyncIterator[FakeTraefik]:
    with FakeTraefik(answer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            await anyio.to_thread.run_sync(server.shutdown)
            thread.join(10)


async def wait_for(api: TraefikApi, generation: int, **options: Any) -> None:
    options = {"timeout": 30, **options}
    await api.wait_for_generation(generation, **options)


async def test_a_generation_that_is_served() -> None:
    generations = iter([1, 1, 2])
    async with serving(lambda: next(generations)) as server:
        api = TraefikApi(Endpoint(server.url), [], MARKER)
        await wait_for(api, 2)
        assert list(generations) == []
        api.close()


async def test_one_that_is_not_says_what_is() -> None:
    async with serving(lambda: 1) as server:
        api = TraefikApi(Endpoint(server.url), [], MARKER)
        with pytest.raises(NotLive, match=r"generation 2 \(marker@file: it serves 1\) within 0 s"):
            await wait_for(api, 2, timeout=0)
        api.close()


async def test_a_later_generation_counts_only_when_it_is_ours() -> None:
    """One that isn't is of a store that was set back since: ours is yet to come."""
    asked = threading.Event()
    newest = 2

    def answer() -> int:
        asked.set()
        return 90

    async with serving(answer) as server:
        api = TraefikApi(Endpoint(server.url), [], MARKER)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: wait_for(api, 2, newest=lambda: newest))
            assert await anyio.to_thread.run_sync(asked.wait, 30)
            asked.clear()
            # Asked again: the first answer was not taken for one.
            assert await anyio.to_thread.run_sync(asked.wait, 30)
            newest = 90
        assert await api.served_generation() == 90
        api.close()


async def test_what_is_served_is_unknown_where_nothing_answers() -> None:
    api = TraefikApi(Endpoint("http://127.0.0.1:1"), [], MARKER)
    with pytest.raises(NotLive, match=r"http://127\.0\.0\.1:1 can't be asked: .*refused"):
        await api.served_generation()
    api.close()


async def test_the_credentials_that_are_accepted_are_kept() -> None:
    old, new = Credentials("ada", "old"), Credentials("ada", "new")
    async with serving(lambda: 1) as server:
        server.accepted = new.header()
        api = TraefikApi(Endpoint(server.url), [old, new], MARKER)
        await wait_for(api, 1)
        await wait_for(api, 1)
        assert server.users == [old.header(), new.header(), new.header()]
        api.close()


async def test_credentials_that_nobody_accepts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("traefikhub.traefik._poll._REJECTED_SECONDS", 0.0)
    async with serving(lambda: 1) as server:
        server.accepted = "nobody"
        api = TraefikApi(Endpoint(server.url), [Credentials("ada", "secret")], MARKER)
        with pytest.raises(ApiRejected, match=r"'ada'.*c\.TraefikProxy") as caught:
            await wait_for(api, 1)
        assert "secret" not in str(caught.value)
        api.close()


async def test_a_cancelled_call_returns_at_once_and_the_next_one_works() -> None:
    asked, served = threading.Event(), [1]

    def answer() -> int:
        asked.set()
        return served[0]

    async with serving(answer) as server:
        api = TraefikApi(Endpoint(server.url), [], MARKER)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: wait_for(api, 2, stored=threading.Event()))
            assert await anyio.to_thread.run_sync(asked.wait, 30)
            tasks.cancel_scope.cancel()
        served[0] = 2
        await wait_for(api, 2)
        api.close()


async def test_closing_does_not_wait_for_a_question_that_hangs() -> None:
    asked, let_go = threading.Event(), threading.Event()

    def answer() -> int:
        asked.set()
        let_go.wait(30)
        return 1

    async with serving(answer) as server:
        api = TraefikApi(Endpoint(server.url), [], MARKER)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: wait_for(api, 2))
            assert await anyio.to_thread.run_sync(asked.wait, 30)
            tasks.cancel_scope.cancel()
        api.close()
        let_go.set()


class Users(UsersEntryPoint):
    """Behind the API by so many looks."""

    def __init__(self, behind: int) -> None:
        self.behind = behind
        self.closed = False

    def agrees(self, first: int, last: int) -> bool:
        assert (first, last) == (2, 3)
        self.behind -= 1
        return self.behind < 0

    def close(self) -> None:
        self.closed = True


async def test_a_generation_is_live_when_the_users_have_it_too() -> None:
    users = Users(2)
    async with serving(lambda: 2) as server:
        api = TraefikApi(Endpoint(server.url), [], MARKER, users=users)
        await wait_for(api, 2, newest=lambda: 3)
        assert len(server.users) == 3
        assert users.behind == -1
        users.behind = 100_000
        with pytest.raises(NotLive, match=r"it serves 2, but not yet to users\) within 0\.1 s"):
            await wait_for(api, 2, newest=lambda: 3, timeout=0.1)
        api.close()
        assert users.closed
