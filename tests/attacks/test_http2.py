"""HTTP/2, which browsers speak over TLS, and anybody without: the same routes, nothing smuggled."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import anyio.to_thread
import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    ResponseReceived,
    StreamEnded,
    StreamReset,
)
from hpack import Encoder
from hyperframe.frame import ContinuationFrame, HeadersFrame

from attacks.conftest import Site
from attacks.recorder import Recorder
from conftest import MakeProxy
from traefikhub.traefik.certificate import make_default_certificate

pytestmark = pytest.mark.anyio

Headers = list[tuple[str, str]]
BASE: Headers = [
    (":method", "GET"),
    (":path", "/user/mary/x"),
    (":scheme", "http"),
    (":authority", "h"),
]
EVIL = b"GET /user/ada/evil HTTP/1.1\r\nHost: h\r\n\r\n"


class Browser:
    """One that sends whatever it is told, well-formed or not."""

    def __init__(self, url: str, trusting: ssl.SSLContext | None = None) -> None:
        parts = urlsplit(url)
        assert parts.hostname
        assert parts.port
        self.socket = socket.create_connection((parts.hostname, parts.port), 20)
        if trusting:
            tls = trusting.wrap_socket(self.socket)
            assert tls.selected_alpn_protocol() == "h2"
            self.socket = tls
        self.h2 = H2Connection(
            H2Configuration(
                header_encoding="utf-8",
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
                validate_inbound_headers=False,
            )
        )
        self.h2.initiate_connection()
        self.flush()

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def flush(self) -> None:
        """Send what is waiting."""
        self.socket.sendall(self.h2.data_to_send())

    def events(self) -> list[Event]:
        """The next ones.

        Raises:
            ConnectionError: the connection was closed.
        """
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionError("closed")
        found: list[Event] = list(self.h2.receive_data(data))
        self.flush()
        return found

    def ask(self, headers: Headers, body: bytes | None = None) -> str:
        """What a request comes to: what a ``Recorder`` told, a status, or the name of an error."""
        stream = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream, headers, end_stream=body is None)
        if body is not None:
            self.h2.send_data(stream, body, end_stream=True)
        self.flush()
        status, got = "", b""
        while True:
            for event in self.events():
                if isinstance(event, ResponseReceived):
                    status = next(str(v) for k, v in event.headers or [] if str(k) == ":status")
                elif isinstance(event, DataReceived):
                    got += event.data or b""
                elif isinstance(event, StreamEnded):
                    text = got.decode("latin-1")
                    return text[1:-1] if status == "200" else status
                elif isinstance(event, StreamReset | ConnectionTerminated):
                    return ErrorCodes(event.error_code or 0).name


def with_(**pseudo: str) -> Headers:
    """The plain request with other pseudo-headers."""
    return [(name, pseudo.get(name[1:], value)) for name, value in BASE]


ERROR = "PROTOCOL_ERROR"
MARY = "mary GET /user/mary/x"
CASES: dict[str, tuple[Headers, str]] = {
    "plain": (BASE, MARY),
    # --- pseudo-headers
    ":path without a slash": (with_(path="user/ada/x"), ERROR),
    ":path empty": (with_(path=""), ERROR),
    ":path *": (with_(path="*"), "404"),
    ":path, a whole URL": (with_(path="http://o.test/user/ada/x"), "ada GET /user/ada/x"),
    ":path, dot segments": (with_(path="/user/mary/../ada/"), "mary GET /user/mary/../ada/"),
    ":path, the API": (with_(path="/api/rawdata"), "hub GET /api/rawdata"),
    ":path with a request line": (with_(path="/user/mary/ HTTP/1.1\r\nX: y"), ERROR),
    ":path with CRLF": (with_(path="/user/mary/\r\nX: y"), ERROR),
    "two :path": ([*BASE, (":path", "/user/ada/")], ERROR),
    "no :path": ([each for each in BASE if each[0] != ":path"], ERROR),
    "a pseudo-header after others": ([*BASE[:3], ("x", "y"), BASE[3]], ERROR),
    "unknown pseudo-header": ([(":foo", "1"), *BASE], ERROR),
    ":method with a request line": (with_(method="GET /user/ada/ HTTP/1.1\r\nX: y"), ERROR),
    ":method CONNECT": ([(":method", "CONNECT"), (":authority", "127.0.0.1:80")], "501"),
    "extended CONNECT": ([(":method", "CONNECT"), (":protocol", "websocket"), *BASE[1:]], ERROR),
    ":scheme with a host": (with_(scheme="http://o.test/ "), ERROR),
    ":authority with a user": (with_(authority="u:p@h"), ERROR),
    # --- names and values
    "capitals": ([*BASE, ("X-Up", "1")], ERROR),
    "CRLF in a value": ([*BASE, ("x", "a\r\nX-Forwarded-For: 1.2.3.4")], ERROR),
    "LF in a value": ([*BASE, ("x", "a\nb")], ERROR),
    "null in a value": ([*BASE, ("x", "a\0b")], ERROR),
    "colon in a name": ([*BASE, ("x: a", "b")], ERROR),
    "CRLF in a name": ([*BASE, ("x: a\r\ny", "b")], ERROR),
    "blank in a name": ([*BASE, ("content-length ", "9")], ERROR),
    # --- what means something in HTTP/1.1 only
    "transfer-encoding": ([*BASE, ("transfer-encoding", "chunked")], "400"),
    "connection": ([*BASE, ("connection", "x-forwarded-for")], "400"),
    "upgrade": ([*BASE, ("upgrade", "h2c")], "400"),
    "te": ([*BASE, ("te", "gzip")], "400"),
}


@pytest.mark.parametrize("case", CASES)
async def test_nobody_gets_a_request_that_was_not_sent_to_them(site: Site, case: str) -> None:
    headers, expected = CASES[case]
    site.forget()

    def ask() -> str:
        with Browser(site.url) as browser:
            return browser.ask(headers)

    assert await anyio.to_thread.run_sync(ask) == expected
    assert site.arrived() == ([expected] if " " in expected else [])
    assert site.faults() == []
    await site.require_all_served()


@pytest.mark.parametrize(
    ("lengths", "body"), [(["10"], b"abc"), (["1"], b"abc"), (["0"], EVIL), (["3", "4"], b"abc")]
)
async def test_a_length_that_is_a_lie(site: Site, lengths: list[str], body: bytes) -> None:
    """The rest of it never becomes a request."""
    headers = [*with_(method="POST"), *(("content-length", each) for each in lengths)]
    site.forget()

    def ask() -> str:
        with Browser(site.url) as browser:
            return browser.ask(headers, body)

    outcome = await anyio.to_thread.run_sync(ask)
    assert outcome in ("mary POST /user/mary/x 'abc'", "400", "500", "502", ERROR)
    # Of what was cut off, no more than the beginning.
    assert set(site.arrived()) <= {outcome, "mary POST /user/mary/x"}
    assert site.faults() == []
    await site.require_all_served()


async def test_host_and_authority_that_differ(site: Site) -> None:
    """The authority is what counts, for the route and for the server."""
    site.forget()

    def ask() -> None:
        with Browser(site.url) as browser:
            assert browser.ask([*BASE, ("host", "other.test")]) == MARY

    await anyio.to_thread.run_sync(ask)
    assert site.servers["mary"].requests[0].all("Host") == ["h"]
    assert site.servers["mary"].requests[0].all("X-Forwarded-Host") == ["h"]


async def test_forged_claims(site: Site) -> None:
    site.forget()
    forged = [("x-forwarded-for", "evil"), ("x_forwarded_for", "evil"), ("x-real-ip", "evil")]

    def ask() -> None:
        with Browser(site.url) as browser:
            assert browser.ask([*BASE, *forged]) == MARY

    await anyio.to_thread.run_sync(ask)
    assert "evil" not in str(site.servers["mary"].requests[0].fields)


# --- floods ------------------------------------------------------------------------------------


async def test_a_thousand_streams_reset_at_once(site: Site) -> None:
    site.forget()

    def flood() -> str:
        with Browser(site.url) as browser:
            for _ in range(1000):
                stream = browser.h2.get_next_available_stream_id()
                browser.h2.send_headers(stream, BASE, end_stream=True)
                browser.h2.reset_stream(stream, ErrorCodes.CANCEL)
                browser.flush()
            return browser.ask(BASE)  # it comes after all of them

    assert await anyio.to_thread.run_sync(flood) in (MARY, "ENHANCE_YOUR_CALM")
    await site.require_all_served()


async def test_headers_that_go_on_and_on(site: Site) -> None:
    """CONTINUATION frames without an end: closed after the limit of all headers, a mebibyte."""
    pieces = 0
    literal = b"\x00\x01x\x7f\x81\x7c" + b"a" * 16_000  # a field that is in no table: x: aaa…
    site.forget()

    def flood() -> None:
        nonlocal pieces
        with Browser(site.url) as browser:
            start = HeadersFrame(1)
            start.flags.add("END_STREAM")
            start.data = Encoder().encode(
                [(name, "/user/mary/endless" if name == ":path" else value) for name, value in BASE]
            )
            browser.socket.sendall(start.serialize())
            more = ContinuationFrame(1)
            more.data = literal
            try:
                for _ in range(4000):
                    browser.socket.sendall(more.serialize())
                    pieces += 1
            except ConnectionError:
                pass

    await anyio.to_thread.run_sync(flood)
    assert 0 < pieces < 4000
    # Others may arrive: those that the last test took back are still on their way.
    assert not [request for request in site.arrived() if "endless" in request]
    await site.require_all_served()


# --- over TLS ----------------------------------------------------------------------------------


@dataclass
class Secure:
    """A site with a certificate."""

    url: str
    mary: Recorder
    trusting: ssl.SSLContext


@pytest.fixture
async def secure(make_proxy: MakeProxy, recorders: dict[str, Recorder], tmp_path: Path) -> Secure:
    files = tmp_path / "cert.pem", tmp_path / "key.pem"
    for file, text in zip(files, make_default_certificate(), strict=True):
        file.write_text(text)
    proxy = make_proxy(ssl_cert=str(files[0]), ssl_key=str(files[1]))
    await proxy.start()
    for name in ("mary", "ada"):
        await proxy.add_route(f"/user/{name}/", recorders[name].url, {})
    trusting = ssl.create_default_context(cafile=files[0])
    trusting.check_hostname = False  # it is for localhost
    trusting.set_alpn_protocols(["h2"])
    recorders["mary"].forget()
    return Secure(proxy.public_url, recorders["mary"], trusting)


async def test_the_same_over_tls(secure: Secure) -> None:
    def ask() -> list[str]:
        found = []
        for headers, expected in CASES.values():
            secure_headers = [
                (name, "https") if (name, value) == (":scheme", "http") else (name, value)
                for name, value in headers
            ]
            if expected.startswith("hub "):
                expected = "404"  # there is no route for it here
            with Browser(secure.url, secure.trusting) as browser:
                if (outcome := browser.ask(secure_headers)) != expected:
                    found.append(f"{headers}: {outcome}, not {expected}")
        return found

    assert await anyio.to_thread.run_sync(ask) == []
    assert {field for each in secure.mary.requests for field in each.all("X-Forwarded-Proto")} == {
        "https"
    }
    assert secure.mary.faults == []
