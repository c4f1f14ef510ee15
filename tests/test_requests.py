"""What reaches a server of a request: as docs/requests.md says."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio.to_thread
import pytest

from conftest import MakeProxy
from support import free_port, hub_app
from traefikhub import TraefikProxy
from traefikhub.traefik import TraefikUnusable
from traefikhub.traefik.certificate import make_default_certificate
from wire import Answer, Arrived, Line, WireServers, exchange
from wire_compare import FORWARDED, PREFIX, TABLES, Case, cell

pytestmark = pytest.mark.anyio

PAGE = (Path(__file__).parent.parent / "docs" / "requests.md").read_text()
HEAD = "Host: hub.test\r\n"


@pytest.fixture(scope="module")
def servers() -> Iterator[WireServers]:
    made = WireServers()
    yield made
    made.close()


@pytest.fixture(scope="module")
def hub(servers: WireServers) -> SimpleNamespace:
    return SimpleNamespace(host=servers.add("hub"), base_url="/hub/", routespec="/")


@pytest.fixture(scope="module")
def mary(servers: WireServers) -> str:
    """The URL of her server."""
    return servers.add("mary")


@pytest.fixture(scope="module")
async def proxy(
    tmp_path_factory: pytest.TempPathFactory, hub: SimpleNamespace, mary: str
) -> AsyncIterator[TraefikProxy]:
    """A proxy as it comes, for all tests here that set no option."""
    made = TraefikProxy(
        app=hub_app(),
        hub=hub,
        public_url=f"http://127.0.0.1:{free_port()}",
        traefik_api_url=f"http://127.0.0.1:{free_port()}",
        run_dir=str(tmp_path_factory.mktemp("proxy") / "run"),
    )
    try:
        await made.start()
        await made.add_route("/", hub.host, {})
        await made.add_route(f"{PREFIX}/", mary, {})
        yield made
    finally:
        await made.stop()


async def ask(proxy: TraefikProxy, data: str) -> Answer:
    return await anyio.to_thread.run_sync(exchange, proxy.public_url, data.encode("latin-1"))


async def arrived(proxy: TraefikProxy, path: str, *fields: str) -> Arrived:
    """What a GET of a path becomes."""
    lines = "".join(f"{field}\r\n" for field in fields)
    return (await ask(proxy, f"GET {path} HTTP/1.1\r\n{HEAD}{lines}\r\n")).arrived


CASES = [pytest.param(case, id=case.first) for cases in TABLES.values() for case in cases]


@pytest.mark.parametrize("case", CASES)
async def test_the_page_says_what_is_delivered(
    proxy: TraefikProxy, servers: WireServers, case: Case
) -> None:
    delivered = await anyio.to_thread.run_sync(cell, case, proxy.public_url, servers)
    rows = [row for row in PAGE.splitlines() if row.startswith(f"| {case.first} | ")]
    assert len(rows) == 1
    assert rows[0].endswith(f" | {delivered} |"), delivered


# --- paths -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "name", "path"),
    [
        ("/user/mary//b", "mary", "/user/mary/b"),
        ("//user///mary/b", "mary", "/user/mary/b"),
        ("/user/mary/http://x.org//y", "mary", "/user/mary/http:/x.org/y"),
        ("/user/mary/../../hub/home", "hub", "/hub/home"),
        ("/user/mary/%2e%2e/b", "hub", "/user/b"),
        ("/hub/../user/mary/b", "mary", "/user/mary/b"),
        ("/user/mary/..%2Fb", "mary", "/user/mary/..%2Fb"),
        ("/user/mary/a%2Fb%23%3F%25?x=//y/../z", "mary", "/user/mary/a%2Fb%23%3F%25?x=//y/../z"),
    ],
)
async def test_sanitized_paths(sanitizing: TraefikProxy, sent: str, name: str, path: str) -> None:
    found = await arrived(sanitizing, sent)
    assert (found.name, found.path) == (name, path)


@pytest.fixture
async def sanitizing(make_proxy: MakeProxy, hub: SimpleNamespace, mary: str) -> TraefikProxy:
    made = make_proxy(hub=hub, sanitize_path=True)
    await made.start()
    await made.add_route("/", hub.host, {})
    await made.add_route(f"{PREFIX}/", mary, {})
    return made


@pytest.mark.parametrize("path", ["/hub/../user/mary/", "/hub/%2e%2e/user/mary/", "/x/../hub/home"])
async def test_dot_segments_stay_with_the_route_that_they_begin_with(
    proxy: TraefikProxy, path: str
) -> None:
    """Whoever judges by the path of a request, and whoever serves it, see the same one."""
    found = await arrived(proxy, path)
    assert found.name == "hub"
    assert found.path == path.replace("%2e", ".")


# --- sizes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [8, 64, 512, 1000])
async def test_long_urls_and_big_headers(proxy: TraefikProxy, size: int) -> None:
    much = "x" * (size * 1024)
    assert (await arrived(proxy, f"{PREFIX}/{much}")).path == f"{PREFIX}/{much}"
    assert (await arrived(proxy, f"{PREFIX}/?{much}")).path == f"{PREFIX}/?{much}"
    cookie = f"jupyterhub-session={much}"
    assert (await arrived(proxy, f"{PREFIX}/", f"Cookie: {cookie}")).all("Cookie") == [cookie]


async def test_the_limit_of_all_headers_is_a_mebibyte(proxy: TraefikProxy) -> None:
    much = "x" * (1024 * 1024 + 8192)
    for data in (
        f"GET {PREFIX}/{much} HTTP/1.1\r\n{HEAD}\r\n",
        f"GET {PREFIX}/ HTTP/1.1\r\n{HEAD}Cookie: a={much}\r\n\r\n",
    ):
        assert (await ask(proxy, data)).status == 431


async def test_many_header_fields(proxy: TraefikProxy) -> None:
    found = await arrived(proxy, f"{PREFIX}/", *(f"X-{number}: {number}" for number in range(5000)))
    assert [found.all(f"X-{number}") for number in (0, 4999)] == [["0"], ["4999"]]


# --- X-Forwarded -------------------------------------------------------------------------------


def of_one(found: Arrived) -> dict[str, list[str]]:
    """The header fields that a proxy in front may set."""
    return {name: found.all(name) for name in (field.split(":")[0] for field in FORWARDED)}


OWN = {
    "X-Forwarded-For": ["127.0.0.1"],
    "X-Forwarded-Proto": ["http"],
    "X-Forwarded-Host": ["hub.test"],
    "X-Forwarded-Port": ["80"],
    "X-Forwarded-Prefix": [],
    "X-Real-Ip": ["127.0.0.1"],
}


@pytest.mark.parametrize("trusted", [[], ["10.0.0.0/8", "192.0.2.1", "::1", "fd00::/8"]])
async def test_forwarded_headers_of_anybody_are_replaced(
    make_proxy: MakeProxy, hub: SimpleNamespace, mary: str, trusted: list[str]
) -> None:
    proxy = make_proxy(hub=hub, trusted_proxies=trusted)
    await proxy.start()
    await proxy.add_route(f"{PREFIX}/", mary, {})
    assert of_one(await arrived(proxy, f"{PREFIX}/", *FORWARDED)) == OWN
    assert of_one(await arrived(proxy, f"{PREFIX}/", *FORWARDED, *FORWARDED)) == OWN
    # Neither in other spellings, which some servers take for the same, nor by being hop-by-hop.
    odd = [field.replace("-", "_").lower() for field in FORWARDED]
    found = await arrived(proxy, f"{PREFIX}/", *odd, "Connection: X-Forwarded-For, X-Real-Ip")
    assert of_one(found) == OWN
    assert found.all("X-Forwarded-Server") == [socket.gethostname()]
    assert not [name for name, _ in found.fields if "_" in name]


@pytest.mark.parametrize("trusted", [["127.0.0.1"], ["10.0.0.0/8", "127.0.0.0/8"]])
async def test_forwarded_headers_of_a_trusted_proxy_arrive(
    make_proxy: MakeProxy, hub: SimpleNamespace, mary: str, trusted: list[str]
) -> None:
    proxy = make_proxy(hub=hub, trusted_proxies=trusted)
    await proxy.start()
    await proxy.add_route(f"{PREFIX}/", mary, {})
    assert of_one(await arrived(proxy, f"{PREFIX}/", *FORWARDED)) == {
        "X-Forwarded-For": ["1.2.3.4, 127.0.0.1"],
        "X-Forwarded-Proto": ["https"],
        "X-Forwarded-Host": ["evil.test"],
        "X-Forwarded-Port": ["443"],
        "X-Forwarded-Prefix": ["/p"],
        "X-Real-Ip": ["9.9.9.9"],
    }
    assert of_one(await arrived(proxy, f"{PREFIX}/")) == OWN
    chain = await arrived(proxy, f"{PREFIX}/", "X-Forwarded-For: 1.2.3.4, 5.6.7.8")
    assert chain.all("X-Forwarded-For") == ["1.2.3.4, 5.6.7.8, 127.0.0.1"]


@pytest.mark.parametrize(
    "wrong",
    [
        *("", "all", "10.0.0.0/33", "10.0.0", "hub.test", "10.0.0.1:80"),
        # Python takes these, Traefik doesn't.
        *("10.0.0.0/255.0.0.0", "10.0.0.0/0.255.255.255", "fe80::1%eth0"),
    ],
)
async def test_what_is_no_network_is_refused(make_proxy: MakeProxy, wrong: str) -> None:
    proxy = make_proxy(trusted_proxies=["10.0.0.0/8", wrong])
    with pytest.raises(TraefikUnusable, match="trusted_proxies"):
        await proxy.start()


async def test_https_is_told_to_the_server(
    make_proxy: MakeProxy, hub: SimpleNamespace, mary: str, tmp_path: Path
) -> None:
    files = tmp_path / "cert.pem", tmp_path / "key.pem"
    for file, text in zip(files, make_default_certificate(), strict=True):
        file.write_text(text)
    proxy = make_proxy(hub=hub, ssl_cert=str(files[0]), ssl_key=str(files[1]))
    await proxy.start()
    await proxy.add_route(f"{PREFIX}/", mary, {})
    trusting = ssl.create_default_context(cafile=files[0])
    trusting.check_hostname = False  # it is for localhost

    def over_tls(fields: str) -> Arrived:
        with Line(proxy.public_url) as line:
            line.socket = trusting.wrap_socket(line.socket)
            head = f"GET {PREFIX}/ HTTP/1.1\r\n{HEAD}{fields}\r\n"
            return line.ask(head.encode()).arrived

    plain = await anyio.to_thread.run_sync(over_tls, "X-Forwarded-Proto: http\r\n")
    assert of_one(plain) == OWN | {"X-Forwarded-Proto": ["https"], "X-Forwarded-Port": ["443"]}
    socket = "Connection: Upgrade\r\nUpgrade: websocket\r\n"
    found = await anyio.to_thread.run_sync(over_tls, socket)
    assert found.all("X-Forwarded-Proto") == ["wss"]


# --- bodies ------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [1, 1000, 100_000])
async def test_uploads_in_chunks_of_any_size(proxy: TraefikProxy, chunk: int) -> None:
    count = min(300, 3_000_000 // chunk)
    piece = f"{chunk:x}\r\n" + "x" * chunk + "\r\n"
    head = f"PUT {PREFIX}/f HTTP/1.1\r\n{HEAD}Transfer-Encoding: chunked\r\n\r\n"
    found = (await ask(proxy, head + piece * count + "0\r\n\r\n")).arrived
    assert found.all("Content-Length") == []
    sizes = [int(line, 16) for line in found.body.split("\r\n")[::2] if line]
    assert sum(sizes) == chunk * count


def expecting(proxy: TraefikProxy, path: str) -> list[bytes]:
    """What a client gets that asks before it sends a body: before it, and after it if need be."""
    with Line(proxy.public_url) as line:
        head = f"PUT {path} HTTP/1.1\r\n{HEAD}Content-Length: 3\r\nExpect: 100-continue\r\n\r\n"
        line.socket.sendall(head.encode())
        got = [line.socket.recv(4096)]
        if got[0].startswith(b"HTTP/1.1 100 Continue"):
            line.socket.sendall(b"abc")
            answer = line.answer("PUT")
            got.append(b"HTTP/1.1 %d " % answer.status + answer.body)
        return got


async def test_a_server_is_asked_whether_it_wants_the_body(proxy: TraefikProxy) -> None:
    got = await anyio.to_thread.run_sync(expecting, proxy, f"{PREFIX}/f")
    assert len(got) == 2
    assert got[1].startswith(b"HTTP/1.1 200 ")
    assert b'"body": "abc"' in got[1]


async def test_a_server_may_refuse_a_body_unseen(proxy: TraefikProxy, servers: WireServers) -> None:
    refusal = answers(b"HTTP/1.1 413 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    await proxy.add_route("/user/full/", servers.add("full", refusal), {})
    got = await anyio.to_thread.run_sync(expecting, proxy, "/user/full/f")
    # If the server takes a second to answer, Traefik asks for the body itself.
    assert got[-1].startswith(b"HTTP/1.1 413 ")


# --- answers -----------------------------------------------------------------------------------


def answers(text: bytes) -> Callable[..., Any]:
    async def handler(found: Arrived, reader: Any, writer: Any) -> None:
        writer.write(text)

    return handler


async def test_answers_pass_as_they_are(proxy: TraefikProxy, servers: WireServers) -> None:
    text = (
        b"HTTP/1.1 207 Whatever\r\nSet-Cookie: a=1; Path=/\r\nSet-Cookie: b=2\r\n"
        b'Location: /user/x/../y//z?a;b\r\nServer: mine\r\nX-Name: J\xf6rg\r\nEtag: W/"x"\r\n'
        b"Content-Type: text/x\r\nX_Under: 1\r\nContent-Length: 2\r\n\r\nhi"
    )
    await proxy.add_route("/user/odd/", servers.add("odd", answers(text)), {})
    answer = await ask(proxy, f"GET /user/odd/ HTTP/1.1\r\n{HEAD}\r\n")
    assert (answer.status, answer.body) == (207, b"hi")
    sent = {
        (name.lower(), value)
        for name, _, value in (
            line.decode("latin-1").partition(": ") for line in text.split(b"\r\n")[1:-2]
        )
    }
    assert sent - {(name.lower(), value) for name, value in answer.fields} == set()


async def test_a_big_header_of_an_answer(proxy: TraefikProxy, servers: WireServers) -> None:
    text = b"HTTP/1.1 200 OK\r\nX-Big: " + b"x" * 60_000 + b"\r\nContent-Length: 0\r\n\r\n"
    await proxy.add_route("/user/big/", servers.add("big", answers(text)), {})
    answer = await ask(proxy, f"GET /user/big/ HTTP/1.1\r\n{HEAD}\r\n")
    assert dict(answer.fields)["X-Big"] == "x" * 60_000
