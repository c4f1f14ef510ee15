"""Uploads, downloads, events and websockets go on for as long as both ends want, whatever happens
to routes meanwhile.

Nothing is held back on the way: each side sends its next piece only when the other has the last
one, so that a proxy which waits for more would wait for ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from conftest import MakeProxy
from traefikhub import TraefikProxy
from wire import Arrived, WireServers, exchange

pytestmark = pytest.mark.anyio

LIMIT = 30.0
SIZE = 10_000_000  # what downloads announce

KINDS = {
    # One for each of the routers that the error pages put above all routes.
    "page": ("lab/", "Accept: text/html"),
    "api": ("api/kernels/", "Accept: application/json"),
    "other": ("files/", "Accept: */*"),
}


class Stage:
    """A server whose answers go on for as long as the test wants."""

    def __init__(self, servers: WireServers, name: str) -> None:
        self.name = name
        self.received: dict[str, bytes] = {}
        self.ended: list[str] = []
        self._servers = servers
        self._queues: dict[str, asyncio.Queue[bytes]] = {}
        self.url = servers.add(name, self._handle)

    def send(self, path: str, data: bytes) -> None:
        """Let an answer go on; with nothing, end it."""
        self._servers.call(lambda: self._queues[path].put_nowait(data))

    async def _handle(
        self, arrived: Arrived, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        path = arrived.path
        queue = self._queues[path] = asyncio.Queue()
        self.received[path] = b""
        try:
            match path.rpartition("/")[2]:
                case "socket":
                    writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n")
                    writer.write(b"Upgrade: websocket\r\n\r\n")
                    while data := await reader.read(65536):
                        writer.write(f"{self.name}:".encode() + data)
                        await writer.drain()
                case "events":
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n")
                    writer.write(b"Transfer-Encoding: chunked\r\n\r\n")
                    await self._until_told(reader, queue, writer, True)
                case "download":
                    head = f"HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n"
                    writer.write(head.encode())
                    await self._until_told(reader, queue, writer, False)
                case "upload":
                    while size := int(await reader.readuntil(b"\r\n"), 16):
                        self.received[path] += (await reader.readexactly(size + 2))[:-2]
                    await reader.readuntil(b"\r\n")
                    self._answer(writer, b"%d" % len(self.received[path]))
                case "slow":
                    self._answer(writer, await queue.get())
                case _:
                    self._answer(writer, self.name.encode())
        finally:
            self.ended.append(path)

    @staticmethod
    def _answer(writer: asyncio.StreamWriter, text: bytes) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(text) + text)

    @staticmethod
    async def _until_told(
        reader: asyncio.StreamReader,
        queue: asyncio.Queue[bytes],
        writer: asyncio.StreamWriter,
        framed: bool,
    ) -> None:
        gone = asyncio.ensure_future(reader.read(1))
        told = asyncio.ensure_future(queue.get())
        try:
            while True:
                await asyncio.wait([gone, told], return_when=asyncio.FIRST_COMPLETED)
                data = told.result() if told.done() else b""
                writer.write(b"%x\r\n%s\r\n" % (len(data), data) if framed else data)
                if not data:
                    break
                told = asyncio.ensure_future(queue.get())
                await writer.drain()
        finally:
            gone.cancel()
            told.cancel()
        if gone.done() or not framed:
            raise ConnectionResetError


class Peer:
    """A client's end of something that goes on."""

    def __init__(self, stage: Stage, path: str, kind: str) -> None:
        self.stage = stage
        self.path = path
        self.kind = kind
        self.sent = 0
        self.reader: asyncio.StreamReader
        self.writer: asyncio.StreamWriter

    async def open(self, proxy: TraefikProxy, field: str) -> None:
        address = proxy.public_url.removeprefix("http://").split(":")
        self.reader, self.writer = await asyncio.open_connection(address[0], int(address[1]))
        method = "POST" if self.kind == "upload" else "GET"
        head = f"{method} {self.path} HTTP/1.1\r\nHost: hub.test\r\n{field}\r\n"
        if self.kind == "socket":
            head += "Connection: Upgrade\r\nUpgrade: websocket\r\n"
        elif self.kind == "upload":
            head += "Transfer-Encoding: chunked\r\n"
        self.writer.write(head.encode() + b"\r\n")
        if self.kind in ("socket", "events", "download"):
            status = await self._until(b"\r\n\r\n")
            assert b" 101 " in status or b" 200 " in status, status

    async def go_on(self) -> None:
        """One piece more, all the way."""
        self.sent += 1
        data = b"data: %d\n\n" % self.sent
        match self.kind:
            case "socket":
                self.writer.write(data)
                wanted = f"{self.stage.name}:".encode() + data
                assert await self._until(b"\n\n") == wanted
            case "events":
                self.stage.send(self.path, data)
                assert (await self._until(b"\n\n\r\n")).endswith(data + b"\r\n")
            case "download":
                data = b"%09d\n" % self.sent
                self.stage.send(self.path, data)
                assert await self._until(b"\n") == data
            case "upload":
                self.writer.write(b"%x\r\n%s\r\n" % (len(data), data))
                while not self.stage.received.get(self.path, b"").endswith(data):
                    await anyio.sleep(0.005)

    async def end(self) -> None:
        """To its proper end."""
        match self.kind:
            case "socket":
                self.writer.write_eof()
                assert await self.reader.read() == b""
            case "events":
                self.stage.send(self.path, b"")
                assert await self._until(b"0\r\n\r\n") == b"0\r\n\r\n"
            case "download":
                rest = SIZE - 10 * self.sent
                self.stage.send(self.path, b"x" * rest)
                assert len(await self.reader.readexactly(rest)) == rest
            case "upload":
                self.writer.write(b"0\r\n\r\n")
                answer = await self._until(b"\r\n\r\n")
                size = b"%d" % len(self.stage.received[self.path])
                assert b" 200 " in answer
                assert await self.reader.readexactly(len(size)) == size
            case "slow":
                self.stage.send(self.path, b"at last")
                assert b" 200 " in await self._until(b"\r\n\r\n")
                assert await self.reader.readexactly(7) == b"at last"

    async def _until(self, end: bytes) -> bytes:
        with anyio.fail_after(LIMIT):
            return await self.reader.readuntil(end)


@asynccontextmanager
async def peers(
    proxy: TraefikProxy, stage: Stage, base: str, kinds: Iterable[str]
) -> AsyncIterator[list[Peer]]:
    """All kinds of what goes on, through each of the routers above."""
    made = []
    async with AsyncExitStack() as stack:
        for below, field in KINDS.values():
            for kind in kinds:
                made.append(Peer(stage, f"{base}{below}{kind}", kind))
                await made[-1].open(proxy, field)
                stack.callback(made[-1].writer.close)
        yield made


async def all_go_on(going: Iterable[Peer]) -> None:
    async with anyio.create_task_group() as group:
        for peer in going:
            group.start_soon(within_limit, peer)


async def within_limit(peer: Peer) -> None:
    with anyio.move_on_after(LIMIT) as scope:
        await peer.go_on()
    assert not scope.cancelled_caught, f"{peer.kind} at {peer.path}, piece {peer.sent}"


@pytest.fixture
def servers() -> Iterator[WireServers]:
    made = WireServers()
    yield made
    made.close()


MakeHubProxy = Callable[..., Any]


@pytest.fixture
def start(make_proxy: MakeProxy, servers: WireServers) -> MakeHubProxy:
    """Starts a proxy with a Hub, so that there are error pages."""

    async def started(**options: Any) -> TraefikProxy:
        hub = SimpleNamespace(host=servers.add("hub"), base_url="/hub/", routespec="/")
        proxy = make_proxy(hub=hub, **options)
        await proxy.start()
        await proxy.add_hub_route(hub)
        return proxy

    return started


async def change(proxy: TraefikProxy, users: Iterable[int], target: str) -> None:
    """Route users to a target, or to none if it is empty. Their names begin as mary's does."""
    async with anyio.create_task_group() as group:
        for number in users:
            if target:
                group.start_soon(proxy.add_route, f"/user/mar{number}/", target, {})
            else:
                group.start_soon(proxy.delete_route, f"/user/mar{number}/")


def parents(proxy: TraefikProxy) -> int:
    """How many routers lead to others only."""
    text = (Path(proxy.run_dir) / "routes.toml").read_text()
    return text.count("[http.routers.traefikhub__tree") - text.count("_rest]")


GOING = ("socket", "events", "download", "upload")


@pytest.mark.parametrize("routing", ["tree", "flat"])
async def test_what_is_open_survives_changes_of_routes(
    start: MakeHubProxy, servers: WireServers, routing: str
) -> None:
    proxy = await start(routing=routing)
    mary = Stage(servers, "mary")
    await proxy.add_route("/user/mary/", mary.url, {})
    others = [servers.add("one"), servers.add("other")]

    async with peers(proxy, mary, "/user/mary/", GOING) as going:
        await all_go_on(going)
        seen = []
        for users, target in (
            (range(10), others[0]),
            (range(10, 40), others[0]),
            (range(40, 100), others[0]),
            (range(100), others[1]),
            (range(40, 100), ""),
            (range(10, 40), ""),
            (range(10), ""),
        ):
            await change(proxy, users, target)
            seen.append(parents(proxy))
            await all_go_on(going)
        assert seen[0] == seen[-2] == seen[-1] == 0
        assert bool(seen[2]) == bool(seen[3]) == (routing == "tree")

        # Even of their own route: a deleted one takes no new requests, that is all.
        def new_requests_go_to() -> str:
            data = b"GET /user/mary/x HTTP/1.1\r\nHost: hub.test\r\n\r\n"
            body = exchange(proxy.public_url, data).body
            return "hub" if b'"hub"' in body else body.decode()

        moved = Stage(servers, "mary's next")
        await proxy.add_route("/user/mary/", moved.url, {})
        await all_go_on(going)
        assert await anyio.to_thread.run_sync(new_requests_go_to) == "mary's next"
        await proxy.delete_route("/user/mary/")
        await all_go_on(going)
        assert await anyio.to_thread.run_sync(new_requests_go_to) == "hub"
        for peer in going:
            await peer.end()


async def test_more_than_a_minute(start: MakeHubProxy, servers: WireServers) -> None:
    """Traefik's own defaults end an upload after 60 s."""
    proxy = await start()
    mary, idle = Stage(servers, "mary"), Stage(servers, "idle")
    await proxy.add_route("/user/mary/", mary.url, {})
    await proxy.add_route("/user/mary/idle/", idle.url, {})
    target = servers.add("others")

    kinds = (*GOING, "slow")
    async with (
        peers(proxy, mary, "/user/mary/", GOING) as going,
        peers(proxy, idle, "/user/mary/idle/", kinds) as resting,
    ):
        started = anyio.current_time()
        more = False
        while anyio.current_time() < started + 65:
            # While others come and go, a piece now and then; nothing at all for those that rest.
            more = not more
            await change(proxy, range(50), target if more else "")
            await all_go_on(going)
            await anyio.sleep(5)
        await all_go_on(peer for peer in resting if peer.kind != "slow")
        for peer in [*going, *resting]:
            await peer.end()


async def test_the_time_out_that_traefikhub_turns_off(
    start: MakeHubProxy, servers: WireServers
) -> None:
    """It is 60 s by default. It ends uploads, also those that go on, and nothing else."""
    timeouts = {"transport": {"respondingTimeouts": {"readTimeout": "1s"}}}
    proxy = await start(extra_static_config={"entryPoints": {"http": timeouts}})
    mary = Stage(servers, "mary")
    await proxy.add_route("/user/mary/", mary.url, {})
    async with peers(proxy, mary, "/user/mary/", GOING) as going:
        uploads = [peer for peer in going if peer.kind == "upload"]
        others = [peer for peer in going if peer.kind != "upload"]
        with anyio.fail_after(LIMIT):
            for peer in uploads:
                assert b" 200 " not in await peer.reader.read()
        await all_go_on(others)
        for peer in others:
            await peer.end()


async def test_a_server_hears_that_its_client_has_gone(
    start: MakeHubProxy, servers: WireServers
) -> None:
    """Else it would compute and send for nobody."""
    proxy = await start()
    mary = Stage(servers, "mary")
    await proxy.add_route("/user/mary/", mary.url, {})
    async with peers(proxy, mary, "/user/mary/", GOING) as going:
        await all_go_on(going)
    with anyio.fail_after(LIMIT):
        while set(mary.ended) != {peer.path for peer in going}:
            await anyio.sleep(0.01)


async def test_a_download_that_breaks_off_does_not_look_complete(
    start: MakeHubProxy, servers: WireServers
) -> None:
    proxy = await start()
    mary = Stage(servers, "mary")
    await proxy.add_route("/user/mary/", mary.url, {})
    async with peers(proxy, mary, "/user/mary/", ["download"]) as going:
        await all_go_on(going)
        for peer in going:
            mary.send(peer.path, b"")
            with anyio.fail_after(LIMIT):
                assert await peer.reader.read() == b""
