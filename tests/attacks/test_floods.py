"""Floods: slow and idle connections by the thousand, requests without an end. Others are served."""

from __future__ import annotations

import resource
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import anyio.to_thread
import psutil
import pytest

from attacks.conftest import Site
from attacks.recorder import outcomes
from support import traefik_processes, wait_until

pytestmark = pytest.mark.anyio

SLOW = 300
IDLE = 10_000
SPARE = 500  # descriptors for all else
PER_CONNECTION = 64 * 1024  # bytes of memory; a tenth of it was seen
READ_TIMEOUT = {
    "entryPoints": {"http": {"transport": {"respondingTimeouts": {"readTimeout": "1s"}}}}
}


@contextmanager
def many_files() -> Iterator[int]:
    """As many descriptors as this machine allows; how many connections that is good for."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = IDLE + SPARE
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, limit), hard))
    try:
        yield min(IDLE, max(soft, limit) - SPARE)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def traefik_of(site: Site) -> psutil.Process:
    [process] = traefik_processes(Path(site.proxy.run_dir))
    return process


def visitors(site: Site) -> int:
    """The connections that Traefik has on the users' port."""
    port = urlsplit(site.url).port
    return sum(
        each.laddr.port == port and each.status == psutil.CONN_ESTABLISHED
        for each in traefik_of(site).net_connections("tcp")
    )


def connect(url: str, stack: ExitStack) -> socket.socket:
    parts = urlsplit(url)
    assert parts.hostname
    assert parts.port
    made = stack.enter_context(socket.create_connection((parts.hostname, parts.port), 20))
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


def everything(sock: socket.socket) -> bytes:
    """What comes until the other side closes."""
    got = b""
    try:
        while piece := sock.recv(65536):
            got += piece
    except ConnectionError:
        pass
    return got


async def in_thread(function: Callable[[], object]) -> None:
    await anyio.to_thread.run_sync(function)


HEAD = b"GET /user/mary/slow HTTP/1.1\r\nHost: h\r\nConnection: close\r\nX-Drip: "


async def test_slow_headers_keep_nobody_waiting(site: Site) -> None:
    """Each sends a byte, in turn with all others. None is ended: readTimeout is off, since it would
    cut uploads short."""
    with ExitStack() as stack:
        slow = [connect(site.url, stack) for _ in range(SLOW)]

        def drip(data: bytes) -> None:
            for each in slow:
                each.sendall(data)

        await in_thread(lambda: drip(HEAD))
        for _ in range(6):
            await in_thread(lambda: drip(b"a"))
            await site.require_all_served()
        assert visitors(site) >= SLOW
        # They are requests like any other, once they are whole.
        await in_thread(lambda: drip(b"\r\n\r\n"))

        def read() -> None:
            answers = [outcomes(everything(each)) for each in slow]
            assert answers == [["mary GET /user/mary/slow"]] * SLOW

        await in_thread(read)
    wait_until(lambda: visitors(site) < 5, "Traefik to let go of them")
    await site.require_all_served()


async def test_slow_bodies_keep_nobody_waiting(site: Site) -> None:
    with ExitStack() as stack:
        slow = [connect(site.url, stack) for _ in range(SLOW)]

        def drip() -> None:
            for each in slow:
                each.sendall(
                    b"POST /user/mary/ HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabc"
                )

        await in_thread(drip)
        wait_until(lambda: visitors(site) >= SLOW, "Traefik to take them all")
        await site.require_all_served()
        site.forget()
    wait_until(lambda: visitors(site) < 5, "Traefik to let go of them")
    # Their server hears of it, too.
    wait_until(lambda: len(site.servers["mary"].torn) >= SLOW, "the server to hear of it")
    await site.require_all_served()


@pytest.mark.parametrize("site", [{"extra_static_config": READ_TIMEOUT}], indirect=True)
async def test_what_ends_slow_clients(site: Site) -> None:
    """The admin's own limit ends heads and silent connections; uploads, too. Websockets go on."""
    switched = b"HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    site.servers["ada"].answers = {"/user/ada/ws": switched}
    with ExitStack() as stack:
        web, *others = [connect(site.url, stack) for _ in range(5)]
        web.sendall(
            b"GET /user/ada/ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\n"
            b"Upgrade: websocket\r\n\r\n"
        )
        assert (await anyio.to_thread.run_sync(web.recv, 12)) == b"HTTP/1.1 101"
        silent, head, body, kept = others
        head.sendall(HEAD)
        body.sendall(b"POST /user/mary/ HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabc")
        kept.sendall(b"GET /user/mary/ HTTP/1.1\r\nHost: h\r\n\r\n")

        def ended() -> None:
            assert everything(silent) == b""
            assert outcomes(everything(head)) in (["400"], [])
            [status] = outcomes(everything(body))
            assert int(status) >= 400

        await in_thread(ended)

        def go_on() -> None:
            kept.sendall(b"GET /user/mary/2 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
            assert outcomes(everything(kept)) == ["mary GET /user/mary/", "mary GET /user/mary/2"]
            site.servers["ada"].forget()
            # What the "websocket" says is a request, so that its server answers.
            web.sendall(b"GET /said HTTP/1.1\r\nHost: h\r\n\r\n")
            got = b""
            while b"/said]" not in got:
                piece = web.recv(65536)
                assert piece, "the websocket was closed"
                got += piece

        await in_thread(go_on)
    await site.require_all_served()


async def test_ten_thousand_idle_connections(site: Site, request: pytest.FixtureRequest) -> None:
    process = traefik_of(site)
    before, memory = process.num_fds(), process.memory_info().rss
    with many_files() as count, ExitStack() as stack:
        assert count >= 1000, "raise the limit of open files (ulimit -n)"

        def open_all() -> None:
            for _ in range(count):
                connect(site.url, stack)

        await in_thread(open_all)
        wait_until(lambda: process.num_fds() >= before + count, "Traefik to take them all")
        await site.require_all_served()
        # Logins go on, too.
        await site.proxy.add_route("/user/new/", site.servers["ada"].url, {})
        data = b"GET /user/new/ HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
        assert await site.send(data) == ["ada GET /user/new/"]
        grown = process.memory_info().rss - memory
        assert grown < count * PER_CONNECTION
        found = {"connections": count, "bytes of memory for each": grown // count}
        request.node.user_properties.extend(found.items())
        await in_thread(stack.close)
    wait_until(lambda: process.num_fds() < before + 100, "Traefik to let go of them")
    await site.proxy.delete_route("/user/new/")
    await site.require_all_served()


# --- requests without an end ---------------------------------------------------------------------

MUCH = 16 * 1024 * 1024


@pytest.mark.parametrize(
    ("start", "piece", "outcome"),
    [
        (b"GET /user/mary/", b"a" * 4096, ["431"]),
        (b"GET /user/mary/?", b"a" * 4096, ["431"]),
        (b"A", b"A" * 4096, ["431"]),
        (b"GET /user/mary/ HTTP/1.1\r\nHost: h\r\nX: ", b"a" * 4096, ["431"]),
        (b"GET /user/mary/ HTTP/1.1\r\nHost: h\r\nX", b"a" * 4096, ["431"]),
        (b"GET /user/mary/ HTTP/1.1\r\nHost: h\r\n", b"X: y\r\n" * 700, ["431"]),
        (b"GET /user/mary/ HTTP/1.1\r\nHost: h\r\nX: y\r\n", b" folded\r\n" * 500, ["431"]),
        (b"GET /user/mary/ HTTP/1.1\r\nHost: ", b"h." * 2000, ["431"]),
    ],
    ids=["path", "query", "method", "value", "name", "fields", "folded", "host"],
)
async def test_a_head_without_an_end_is_ended(
    site: Site, start: bytes, piece: bytes, outcome: list[str]
) -> None:
    """At a mebibyte; Traefik's memory stays what it was."""
    process = traefik_of(site)
    site.forget()
    got = b""

    def send() -> None:
        nonlocal got
        sent = 0
        with ExitStack() as stack:
            sock = connect(site.url, stack)
            try:
                sock.sendall(start)
                while sent < MUCH:
                    sock.sendall(piece)
                    sent += len(piece)
            except ConnectionError:
                pass
            got = everything(sock)
        assert sent < MUCH

    await in_thread(send)
    # What was sent after its end may have taken the answer with it.
    assert outcomes(got) in (outcome, [])
    assert site.arrived() == []
    assert process.memory_info().rss < 500_000_000
    await site.require_all_served()


async def test_trailers_without_an_end_are_ended(site: Site) -> None:
    head = b"POST /user/mary/ HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    got = await site.send(head + b"1\r\na\r\n0\r\n" + b"X: y\r\n" * 500_000 + b"\r\n")
    assert got in (["500"], ["400"], ["502"], [])
    assert site.arrived() == []
    await site.require_all_served()


async def test_chunks_of_nothing_but_extensions_are_ended(site: Site) -> None:
    head = b"POST /user/mary/ HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    got = await site.send(head + (b"1;" + b"x" * 4000 + b"\r\na\r\n") * 500 + b"0\r\n\r\n")
    assert got in (["500"], ["400"], ["502"], [])
    assert site.arrived() == []
    await site.require_all_served()


async def test_many_requests_on_one_connection(site: Site) -> None:
    count = 2000
    data = b"GET /user/mary/ HTTP/1.1\r\nHost: h\r\n\r\n" * (count - 1)
    last = b"GET /user/ada/ HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
    got = await site.send(data + last)
    assert got == ["mary GET /user/mary/"] * (count - 1) + ["ada GET /user/ada/"]
    await site.require_all_served()
