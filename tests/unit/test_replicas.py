"""Which Traefiks count, by what their APIs say: versions, passwords, generations."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

import anyio
import pytest

from traefikhub.traefik import (
    ApiRejected,
    Credentials,
    Endpoint,
    Marker,
    NotLive,
    TraefikApi,
    TraefikUnusable,
    Version,
    require_supported,
)
from traefikhub.traefik.replica_watch import ReplicaWatch
from traefikhub.traefik.replicas import Replicas

pytestmark = pytest.mark.anyio


class FakeTraefik(ThreadingHTTPServer):
    """Tells the version and the generation that it is set to."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.version, self.generation, self.rejects = "3.7.15", 1, False


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        server = cast("FakeTraefik", self.server)
        answer: dict[str, Any] = {"Version": server.version}
        if self.path != "/api/version":
            answer = {"headers": {"customResponseHeaders": {"X": str(server.generation)}}}
        body = json.dumps(answer).encode()
        self.send_response(401 if server.rejects else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


@contextmanager
def serving(number: int) -> Iterator[list[FakeTraefik]]:
    with ExitStack() as stack:
        servers = [stack.enter_context(FakeTraefik()) for _ in range(number)]
        for server in servers:
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
            stack.callback(server.shutdown)
        yield servers


def replicas_of(servers: list[FakeTraefik], **options: Any) -> Replicas:
    def make(endpoint: Endpoint) -> TraefikApi:
        return TraefikApi(endpoint, [Credentials("ada", "x")], Marker("marker@file", "X"))

    log = logging.getLogger("traefikhub-test")
    defaults: dict[str, Any] = {"patience": 0.5, "log": log}
    return Replicas([each.url for each in servers], make, **defaults | options)


@asynccontextmanager
async def watched(replicas: Replicas, newest: int) -> AsyncIterator[None]:
    watch = ReplicaWatch(
        replicas, lambda: newest, require_supported, logging.getLogger("traefikhub-test")
    )
    watch.run()
    try:
        yield
    finally:
        await watch.aclose()


async def counting(replicas: Replicas, *servers: FakeTraefik) -> None:
    with anyio.fail_after(30):
        while [each.name for each in replicas.counting] != [each.url for each in servers]:
            await anyio.sleep(0.05)


async def told(caplog: pytest.LogCaptureFixture, *words: str) -> None:
    with anyio.fail_after(30):
        while not any(all(x in each.getMessage() for x in words) for each in caplog.records):
            await anyio.sleep(0.05)


async def test_versions_of_all_are_told() -> None:
    with serving(2) as servers:
        servers[1].version = "3.6.7"
        replicas = replicas_of(servers)
        versions = await replicas.open(10)
        assert versions == {servers[0].url: Version(3, 7, 15), servers[1].url: Version(3, 6, 7)}
        replicas.close()


async def test_one_that_is_too_old_when_it_comes_back_never_counts(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with serving(2) as servers:
        replicas = replicas_of(servers)
        await replicas.open(10)
        servers[1].generation = 0
        await replicas.wait_for_generation(1, timeout=10)
        await counting(replicas, servers[0])
        servers[1].generation, servers[1].version = 1, "3.5.0"
        async with watched(replicas, newest=1):
            await told(caplog, servers[1].url, "does not count", "is Traefik 3.5.0")
            assert [each.name for each in replicas.counting] == [servers[0].url]
            servers[1].version = "3.7.0"
            await counting(replicas, *servers)
        replicas.close()


async def test_one_that_falls_behind_ceases_to_count_and_catches_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with serving(2) as servers:
        replicas = replicas_of(servers)
        for server in servers:
            server.generation = 7
        await replicas.open(10)
        await replicas.wait_for_generation(7, timeout=10)
        async with watched(replicas, newest=7):
            servers[1].generation = 6
            await counting(replicas, servers[0])
            await told(caplog, "serves generation 6, not 7")
            servers[1].generation = 7
            await counting(replicas, *servers)
        assert [each.served for each in replicas.standing()] == [7, 7]
        replicas.close()


async def test_one_that_was_started_again_ceases_to_count_at_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It may not have read the store yet: nobody shall be told of routes that it lacks."""
    with serving(2) as servers:
        replicas = replicas_of(servers, patience=60)
        for server in servers:
            server.generation = 7
        await replicas.open(10)
        await replicas.wait_for_generation(7, timeout=10)
        async with watched(replicas, newest=7):
            servers[1].generation = 0
            await counting(replicas, servers[0])
            await told(caplog, servers[1].url, "was started again, and serves generation 0, not 7")
        replicas.close()


async def test_one_that_is_well_for_moments_only_has_to_prove_itself() -> None:
    with serving(2) as servers:
        replicas = replicas_of(servers)
        await replicas.open(10)
        flapping = replicas.members[1]
        for expected in (1, 2, 3):
            replicas.leave_out(flapping, "it flaps")
            assert flapping.relapses == expected
            flapping.well_since = time.monotonic()
            assert not flapping.is_steady
            flapping.well_since -= 2.0**expected
            assert flapping.is_steady
            replicas.include(flapping)
        flapping.since -= 61  # a steady minute
        replicas.leave_out(flapping, "it was well for long")
        assert flapping.relapses == 0
        replicas.close()


async def test_one_that_answers_but_serves_nothing_is_explained(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """So looks a Traefik before 3.7, to which the error pages are a mistake in all there is."""
    with serving(2) as servers:
        replicas = replicas_of(servers)
        await replicas.open(10)
        replicas.members[1].reached = False
        replicas.leave_out(replicas.members[1], "it was down")
        servers[1].generation = 0
        async with watched(replicas, newest=1):
            await told(caplog, servers[1].url, "older than 3.7", "c.TraefikProxy.error_pages")
        replicas.close()


async def test_one_counts_only_when_it_serves_what_became_live_meanwhile() -> None:
    """The store is asked for its newest before the writer knows that a batch is in it."""
    with serving(2) as servers:
        replicas = replicas_of(servers)
        servers[0].generation = 9
        await replicas.open(10)
        replicas.leave_out(replicas.members[1], "it is late")
        await replicas.wait_for_generation(9, timeout=10)
        async with watched(replicas, newest=1):
            await anyio.sleep(2)
            assert [each.name for each in replicas.counting] == [servers[0].url]
            servers[1].generation = 9
            with anyio.fail_after(30):
                while len(replicas.counting) < 2:
                    await anyio.sleep(0.05)
        replicas.close()


async def test_an_error_tells_of_each() -> None:
    with serving(2) as servers:
        replicas = replicas_of(servers)
        await replicas.open(10)
        with pytest.raises(NotLive) as caught:
            await replicas.wait_for_generation(5, timeout=0.3)
        assert all(each.url in str(caught.value) for each in servers)
        for server in servers:
            server.rejects = True
        rejected = replicas_of(servers)
        with pytest.raises(ApiRejected):
            await rejected.open(10)
        replicas.close()
        rejected.close()


async def test_a_cancelled_wait_leaves_all_as_they_were() -> None:
    with serving(2) as servers:
        replicas = replicas_of(servers, patience=60)
        await replicas.open(10)
        servers[0].generation = 5
        with anyio.move_on_after(0.5) as scope:
            await replicas.wait_for_generation(5, timeout=60)
        assert scope.cancelled_caught
        assert len(replicas.counting) == 2
        servers[1].generation = 5
        await replicas.wait_for_generation(5, timeout=60)
        replicas.close()


async def test_one_that_is_no_release_is_refused() -> None:
    with serving(1) as servers:
        servers[0].version = "dev"
        replicas = replicas_of(servers)
        with pytest.raises(TraefikUnusable, match="'dev'"):
            await replicas.open(10)
        replicas.close()
