"""How users come by https: certificates, the way there from http, and which TLS."""

from __future__ import annotations

import json
import logging
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
import requests
import websocket
from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import QuicEvent
from cryptography.hazmat.primitives.asymmetric import ec

from certificates import write_certificate
from conftest import MakeProxy
from support import Backend, free_port, hub_app, wait_until
from traefikhub import TraefikProxy
from traefikhub.metrics import metrics_of_hub
from traefikhub.session import _certificate_watch
from traefikhub.traefik import TraefikUnusable

pytestmark = pytest.mark.anyio

MakeBackend = Callable[[str], Backend]
in_thread = anyio.to_thread.run_sync


def port_of(proxy: TraefikProxy) -> int:
    return int(proxy.public_url.rsplit(":", 1)[1].strip("/"))


def shown(proxy: TraefikProxy) -> str:
    """The certificate that a visitor is shown."""
    return ssl.get_server_certificate(("127.0.0.1", port_of(proxy))).strip()


def line_to(proxy: TraefikProxy, **options: Any) -> ssl.SSLSocket:
    """A TLS connection of a browser that trusts everybody."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers(options.pop("ciphers", "DEFAULT:@SECLEVEL=0"))
    context.set_alpn_protocols(options.pop("alpn", ["http/1.1"]))
    for name, value in options.items():
        setattr(context, name, value)
    return context.wrap_socket(
        socket.create_connection(("127.0.0.1", port_of(proxy))), server_hostname="example.org"
    )


def over_https(url: str, **headers: str) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False
        session.verify = False
        with pytest.warns(match="Unverified HTTPS"):
            return session.get(url, headers=headers, allow_redirects=False, timeout=10)


@pytest.fixture
def make_secure(make_proxy: MakeProxy, tmp_path: Path) -> MakeProxy:
    """Makes proxies with a certificate of the admin's."""

    def make(days: int = 90, **options: Any) -> TraefikProxy:
        certificate, key = write_certificate(tmp_path, days)
        url = make_proxy().public_url.replace("http:", "https:")
        files = {"ssl_cert": str(certificate), "ssl_key": str(key)}
        return make_proxy(**{"public_url": url} | files | options)

    return make


async def started(proxy: TraefikProxy, target: str) -> TraefikProxy:
    await proxy.start()
    await proxy.add_route("/", target, {})
    return proxy


# --- the admin's own certificate ---------------------------------------------------------------


async def test_a_renewed_certificate_is_shown_without_a_restart(
    make_secure: MakeProxy, backend: MakeBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_certificate_watch, "_LOOK_SECONDS", 0.1)
    proxy = await started(make_secure(), backend("hub").url)
    assert await in_thread(shown, proxy) == (tmp_path / "cert.pem").read_text().strip()
    # A connection that is open stays open, with the certificate with which it began.
    with await in_thread(line_to, proxy) as kept:
        write_certificate(tmp_path, 90)
        renewed = (tmp_path / "cert.pem").read_text().strip()

        def is_shown() -> bool:
            return shown(proxy) == renewed

        await in_thread(wait_until, is_shown, "the renewed certificate")
        kept.sendall(b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n")
        assert (await in_thread(kept.recv, 100)).startswith(b"HTTP/1.1 200")
    await proxy.stop()
    await proxy.start()
    assert await in_thread(shown, proxy) == renewed


async def test_a_renewal_that_is_no_pair_changes_nothing(
    make_secure: MakeProxy,
    backend: MakeBackend,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(_certificate_watch, "_LOOK_SECONDS", 0.1)
    proxy = await started(make_secure(), backend("hub").url)
    before = await in_thread(shown, proxy)
    write_certificate(tmp_path, 90, what="cert")

    def is_told() -> bool:
        return any("goes on with what it has" in text for text in caplog.messages)

    await in_thread(wait_until, is_told, "a warning")
    assert await in_thread(shown, proxy) == before
    assert sum("goes on with what it has" in text for text in caplog.messages) == 1
    (tmp_path / "key.pem").unlink()
    write_certificate(tmp_path, 90)
    renewed = (tmp_path / "cert.pem").read_text().strip()
    await in_thread(wait_until, lambda: shown(proxy) == renewed, "the renewed certificate")


async def test_the_key_is_nowhere_for_others_to_read(
    make_secure: MakeProxy, backend: MakeBackend, tmp_path: Path
) -> None:
    proxy = await started(make_secure(), backend("hub").url)
    key = (tmp_path / "key.pem").read_text().strip()
    for path in Path(proxy.run_dir).rglob("*"):
        assert not path.stat().st_mode & 0o077, path
        if path.suffix != ".key" and path.is_file():
            assert key.splitlines()[1] not in path.read_text(errors="replace"), path


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda at: write_certificate(at, 90, begins=3), ("ssl_cert", "begins to be valid")),
        (lambda at: write_certificate(at, 90, curve=ec.SECP256K1()), ("ssl_cert", "P-256")),
        (lambda at: write_certificate(at, -1), ("ssl_cert", "expired", "renew")),
        (lambda at: write_certificate(at, 90, what="key"), ("ssl_cert", "ssl_key", "no certif")),
        (lambda at: (at / "cert.pem").write_text("x"), ("ssl_cert", "PEM")),
        (lambda at: (at / "key.pem").unlink(), ("ssl_key", "No such file")),
    ],
    ids=["not-yet", "odd-key", "expired", "wrong-key", "no-certificate", "missing"],
)
async def test_a_certificate_that_will_not_do(
    make_secure: MakeProxy,
    tmp_path: Path,
    break_it: Callable[[Path], object],
    words: tuple[str, ...],
) -> None:
    proxy = make_secure()
    break_it(tmp_path)
    with pytest.raises(TraefikUnusable) as caught:
        await proxy.start()
    assert all(word in str(caught.value) for word in words), caught.value


async def test_of_an_end_that_is_near_the_log_tells_and_the_metric(
    make_secure: MakeProxy,
    backend: MakeBackend,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(_certificate_watch, "_LOOK_SECONDS", 0.1)
    await started(make_secure(days=13), backend("hub").url)

    def is_told() -> bool:
        return any("expires in 13 days" in text for text in caplog.messages)

    await in_thread(wait_until, is_told, "a warning")
    await anyio.sleep(0.5)
    assert sum("expires in 13 days" in text for text in caplog.messages) == 1
    (value,) = (
        sample.value
        for metric in metrics_of_hub()._standing.collect()
        for sample in metric.samples
        if sample.name == "traefikhub_certificate_expiry_timestamp_seconds"
    )
    assert 13 * 86400 < value - time.time() < 13 * 86400 + 3700


async def test_of_an_end_that_is_far_nothing_is_told(
    make_secure: MakeProxy,
    backend: MakeBackend,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(_certificate_watch, "_LOOK_SECONDS", 0.1)
    caplog.set_level(logging.WARNING)
    await started(make_secure(days=15), backend("hub").url)
    await anyio.sleep(0.5)
    assert not [text for text in caplog.messages if "certificate" in text]


# --- from http to https ------------------------------------------------------------------------


async def test_http_leads_to_https(make_secure: MakeProxy, backend: MakeBackend) -> None:
    http = free_port()
    proxy = await started(make_secure(http_port=http), backend("hub").url)

    def ask() -> requests.Response:
        with requests.Session() as session:
            session.trust_env = False
            url = f"http://127.0.0.1:{http}/user/ada%20b/lab?x=1%2F2"
            return session.get(url, allow_redirects=False, timeout=10)

    answer = await in_thread(ask)
    assert answer.status_code in (301, 308)
    expected = f"https://127.0.0.1:{port_of(proxy)}/user/ada%20b/lab?x=1%2F2"
    assert answer.headers["Location"] == expected
    found = await in_thread(over_https, expected)
    assert found.json()["path"] == "/user/ada%20b/lab?x=1%2F2"


async def test_the_port_of_the_public_url_is_the_one_led_to(
    make_secure: MakeProxy, backend: MakeBackend
) -> None:
    http = free_port()
    app = hub_app(public_url="https://hub.example.org/")
    await started(make_secure(http_port=http, app=app), backend("hub").url)

    def ask() -> str:
        url = f"http://127.0.0.1:{http}/hub/"
        headers = {"Host": "hub.example.org:8080"}
        return requests.get(url, headers=headers, allow_redirects=False, timeout=10).headers[
            "Location"
        ]

    assert await in_thread(ask) == "https://hub.example.org/hub/"


async def test_http_port_without_https_is_refused(make_proxy: MakeProxy) -> None:
    with pytest.raises(TraefikUnusable, match=r"c\.TraefikProxy\.http_port.*ssl_cert"):
        await make_proxy(http_port=free_port()).start()


async def test_http_port_that_is_taken(make_secure: MakeProxy) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(TraefikUnusable, match=r"c\.TraefikProxy\.http_port.*taken"):
            await make_secure(http_port=other.getsockname()[1]).start()


async def test_http_port_that_is_the_one_of_https(make_secure: MakeProxy) -> None:
    port = port_of(make_secure())
    with pytest.raises(TraefikUnusable, match=r"http_port"):
        await make_secure(http_port=port).start()


# --- what is said by TLS -----------------------------------------------------------------------


async def test_hsts_is_said_where_it_was_asked_for(
    make_secure: MakeProxy, backend: MakeBackend
) -> None:
    proxy = await started(make_secure(hsts_seconds=300), backend("hub").url)
    await proxy.add_route("/user/ada/", backend("ada").url, {})
    url = proxy.public_url
    for path in ("/hub/", "/user/ada/lab"):
        answer = await in_thread(over_https, url + path)
        assert answer.status_code == 200
        assert answer.headers["Strict-Transport-Security"] == "max-age=300"
    await proxy.stop()
    proxy.hsts_include_subdomains = True
    await proxy.start()
    answer = await in_thread(over_https, f"{url}/hub/")
    assert answer.headers["Strict-Transport-Security"] == "max-age=300; includeSubDomains"
    await proxy.stop()
    proxy.hsts_seconds = 0
    await proxy.start()
    answer = await in_thread(over_https, f"{url}/hub/")
    assert answer.status_code == 200
    assert "Strict-Transport-Security" not in answer.headers


def version_of(proxy: TraefikProxy, **options: Any) -> str:
    """The version of TLS that both agree on; empty if they don't."""
    try:
        with line_to(proxy, **options) as line:
            return line.version() or ""
    except OSError:
        return ""


async def test_intermediate_and_modern(make_secure: MakeProxy, backend: MakeBackend) -> None:
    proxy = await started(make_secure(), backend("hub").url)
    old = ssl.TLSVersion.TLSv1_2

    def found() -> list[str]:
        return [
            version_of(proxy),
            version_of(proxy, maximum_version=old),
            version_of(proxy, maximum_version=old, ciphers="ECDHE-ECDSA-AES128-GCM-SHA256"),
            # Without an authenticated mode, and without forward secrecy.
            version_of(proxy, maximum_version=old, ciphers="ECDHE-ECDSA-AES128-SHA@SECLEVEL=0"),
            version_of(proxy, maximum_version=old, ciphers="AES128-GCM-SHA256@SECLEVEL=0"),
        ]

    assert await in_thread(found) == ["TLSv1.3", "TLSv1.2", "TLSv1.2", "", ""]
    await proxy.stop()
    proxy.tls_profile = "modern"
    await proxy.start()
    assert await in_thread(found) == ["TLSv1.3", "", "", "", ""]


async def test_http3_where_it_was_asked_for(make_secure: MakeProxy, backend: MakeBackend) -> None:
    proxy = await started(make_secure(http3=True), backend("hub").url)
    answer = await in_thread(over_https, f"{proxy.public_url}/hub/")
    assert f'h3=":{port_of(proxy)}"' in answer.headers["Alt-Svc"]
    status, body = await over_http3(port_of(proxy), "/user/ada/x%2Fy")
    assert status == 200
    assert json.loads(body)["path"] == "/user/ada/x%2Fy"
    await proxy.stop()
    proxy.http3 = False
    await proxy.start()
    answer = await in_thread(over_https, f"{proxy.public_url}/hub/")
    assert "Alt-Svc" not in answer.headers


async def test_http3_on_a_port_that_is_taken(make_secure: MakeProxy) -> None:
    proxy = make_secure(http3=True)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", port_of(proxy)))
        with pytest.raises(TraefikUnusable, match=r"c\.TraefikProxy\.http3.*taken"):
            await proxy.start()


async def test_http3_when_a_traefik_makes_room(
    make_secure: MakeProxy, backend: MakeBackend
) -> None:
    """One that drains keeps the port of UDP; the next one must come up all the same."""
    app = hub_app(cleanup_proxy=False)
    first = await started(make_secure(http3=True, app=app), backend("hub").url)
    with await in_thread(line_to, first) as kept:
        kept.sendall(b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n")
        await first.stop()
        second = make_secure(http3=True, traefik_log_level="INFO")
        await second.start()
        status, _ = await over_http3(port_of(second), "/")
        assert status == 200


async def over_http3(port: int, path: str) -> tuple[int, bytes]:
    """Status and body of a request over QUIC."""
    settings = QuicConfiguration(
        is_client=True, alpn_protocols=H3_ALPN, verify_mode=ssl.CERT_NONE, server_name="localhost"
    )
    with anyio.fail_after(20):
        async with connect(
            "127.0.0.1", port, configuration=settings, create_protocol=Http3Client
        ) as client:
            assert isinstance(client, Http3Client)
            return await client.ask(f"127.0.0.1:{port}", path)


class Http3Client(QuicConnectionProtocol):
    """Asks one question."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._http = H3Connection(self._quic)
        self._status, self._body = 0, b""
        self._done = anyio.Event()

    async def ask(self, host: str, path: str) -> tuple[int, bytes]:
        head = {":method": "GET", ":scheme": "https", ":authority": host, ":path": path}
        stream = self._quic.get_next_available_stream_id()
        fields = [(name.encode(), value.encode()) for name, value in head.items()]
        self._http.send_headers(stream, fields, end_stream=True)
        self.transmit()
        await self._done.wait()
        return self._status, self._body

    def quic_event_received(self, event: QuicEvent) -> None:
        for found in self._http.handle_event(event):
            if isinstance(found, HeadersReceived):
                self._status = int(dict(found.headers)[b":status"])
            elif isinstance(found, DataReceived):
                self._body += found.data
            if getattr(found, "stream_ended", False):
                self._done.set()


async def test_http2_is_offered_and_websockets_pass(
    make_secure: MakeProxy, backend: MakeBackend
) -> None:
    proxy = await started(make_secure(), backend("hub").url)

    def agreed(protocols: list[str]) -> str | None:
        with line_to(proxy, alpn=protocols) as line:
            return line.selected_alpn_protocol()

    assert await in_thread(agreed, ["h2", "http/1.1"]) == "h2"
    assert await in_thread(agreed, ["http/1.1"]) == "http/1.1"

    def upgrade() -> str:
        # The backend knows no websockets: that it is asked for one is what matters here.
        with pytest.raises(websocket.WebSocketBadStatusException) as caught:
            websocket.create_connection(
                proxy.public_url.replace("https:", "wss:") + "/x",
                sslopt={"cert_reqs": ssl.CERT_NONE},
                timeout=10,
            )
        return str(caught.value)

    assert "200" in await in_thread(upgrade)
