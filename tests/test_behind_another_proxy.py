"""A Hub behind nginx and HAProxy, configured by the very blocks of docs/behind-another-proxy.md."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
import socket as socketlib
import ssl
import subprocess
import sys
from asyncio import StreamReader, StreamWriter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import psutil
import pytest
import requests
import websocket
from traitlets.config import Config

from hubs import Hub
from servers import require
from support import free_port, wait_until
from traefikhub.testing import Certificates
from wire import Arrived, WireServers

ROOT: Final = Path(__file__).parents[1]
PAGE: Final = (ROOT / "docs" / "behind-another-proxy.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """The page's blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def replaced(text: str, changes: dict[str, str]) -> str:
    """A text with all of these parts exchanged; each must be there."""
    for old, new in changes.items():
        assert old in text, f"{old!r} is not in:\n{text}"
        text = text.replace(old, new)
    return text


def hub_options(at: str, traefik: str) -> dict[str, Any]:
    """What the page's Python says of a Hub, with the prefix if there is one; ``at`` and ``traefik``
    are the real addresses."""
    whole, under_a_path = (next(b for b in blocks("python") if part in b) for part in PLACES)
    config = Config()
    for block in (whole, under_a_path) if PREFIX in at else (whole,):
        exec(block, {"c": config})
    options = {
        f"{section}.{name}": value
        for section, values in config.items()
        for name, value in values.items()
    }
    assert set(options) == {
        *("JupyterHub.bind_url", "JupyterHub.public_url"),
        *("TraefikProxy.trusted_proxies", "JupyterHub.trusted_downstream_ips"),
    }
    prefix = PREFIX if PREFIX in at else ""
    assert options["JupyterHub.bind_url"].removesuffix("/") == f"http://127.0.0.1:8000{prefix}"
    return options | {"JupyterHub.bind_url": traefik, "JupyterHub.public_url": at}


PREFIX: Final = "/jupyter"
PLACES: Final = ("trusted_proxies = ", "8000/jupyter/")


# --- the other proxies -------------------------------------------------------------------------


def nginx(
    directory: Path, certificates: Certificates, port: int, traefik: int, prefix: str
) -> list[str]:
    """Write the page's configuration; the command that runs it."""
    program = require("nginx", found("nginx"), "python tools/fetch_nginx.py")
    (block,) = blocks("nginx")
    changes = {
        "listen 443 ssl http2;": f"listen 127.0.0.1:{port} ssl http2;",
        "/etc/ssl/hub/fullchain.pem": certificates.server_cert,
        "/etc/ssl/hub/privkey.pem": certificates.server_key,
        "127.0.0.1:8000": f"127.0.0.1:{traefik}",
    }
    if prefix:
        assert f"`location {prefix}/` takes the place of `location /`" in " ".join(PAGE.split())
        changes["location / {"] = f"location {prefix}/ {{"
    kinds = ("client_body", "proxy", "fastcgi", "scgi", "uwsgi")
    temporary = "".join(f"{kind}_temp_path {directory}/{kind};\n" for kind in kinds)
    user = "user root;\n" if os.geteuid() == 0 else ""
    (directory / "nginx.conf").write_text(
        f"{user}daemon off;\nworker_processes 1;\npid {directory}/pid;\n"
        "events { worker_connections 100; }\n"
        f"http {{\naccess_log off;\n{temporary}{replaced(block, changes)}}}\n"
    )
    return [program, "-p", str(directory), "-e", "stderr", "-c", str(directory / "nginx.conf")]


def haproxy(
    directory: Path, certificates: Certificates, port: int, traefik: int, prefix: str
) -> list[str]:
    """Write the page's configuration; the command that runs it."""
    program = require("haproxy", found("haproxy"), "python tools/fetch_haproxy.py")
    pem = directory / "hub.pem"
    parts = (certificates.server_cert, certificates.server_key)
    pem.write_text("".join(Path(part).read_text() for part in parts))
    whole, of_a_path = blocks("cfg")
    changes = {
        "bind :443 ": f"bind 127.0.0.1:{port} ",
        "/etc/ssl/hub/hub.pem": str(pem),
        "127.0.0.1:8000": f"127.0.0.1:{traefik}",
    }
    if prefix:
        assert PREFIX in of_a_path
        changes["    default_backend traefik\n"] = of_a_path
    (directory / "haproxy.cfg").write_text(replaced(whole, changes))
    return [program, "-db", "-f", str(directory / "haproxy.cfg")]


def found(name: str) -> str | None:
    """A program: on PATH, with the system's, or where the tools put it."""
    fetched = ROOT / ".cache" / name / name
    path = f"{os.environ.get('PATH', '')}{os.pathsep}/usr/sbin"
    return shutil.which(name, path=path) or (str(fetched) if fetched.exists() else None)


OTHERS: Final = {"nginx": nginx, "haproxy": haproxy}


@contextmanager
def running(command: list[str], directory: Path, port: int) -> Iterator[None]:
    """Another proxy, until it is ended."""
    log = directory / "other.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(command, cwd=directory, stdout=stream, stderr=stream)

    def listens() -> bool:
        assert process.poll() is None, log.read_text()
        return any(
            c.laddr.port == port and c.status == psutil.CONN_LISTEN
            for p in (psutil.Process(process.pid), *psutil.Process(process.pid).children())
            for c in p.net_connections("tcp")
        )

    try:
        wait_until(listens, "the other proxy")
        yield
    finally:
        process.terminate()
        process.wait(20)


# --- a user ------------------------------------------------------------------------------------


async def digest(arrived: Arrived, reader: StreamReader, writer: StreamWriter) -> None:
    """A server that tells what of a request has arrived, and answers each message of a
    websocket."""
    if key := arrived.all("Sec-WebSocket-Key"):
        accept = hashlib.sha1(key[0].encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Accept: %s\r\n\r\n" % base64.b64encode(accept)
        )
        while head := await reader.read(2):
            mask, body = await reader.readexactly(4), await reader.readexactly(head[1] & 127)
            text = bytes(byte ^ mask[at % 4] for at, byte in enumerate(body))
            writer.write(bytes([head[0], len(text)]) + text)
            await writer.drain()
        return
    length = int((arrived.all("Content-Length") or ["0"])[0])
    seen = hashlib.sha256()
    while length:
        if not (piece := await reader.read(min(length, 65536))):
            return  # the client has gone
        seen.update(piece)
        length -= len(piece)
    fields = "".join(f"{name}: {value}\n" for name, value in arrived.fields)
    told = f"{arrived.line}\n{fields}\n{seen.hexdigest()}".encode()
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(told) + told)


UPLOAD: Final = bytes(range(256)) * 2**16  # 16 MiB

LIES: Final = {
    "X-Forwarded-For": "1.2.3.4",
    "X-Forwarded-Proto": "http",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Port": "1",
    "X-Forwarded-Prefix": "/evil",
    "X-Real-Ip": "1.2.3.4",
}


def visit(url: str, authority: str, servers: WireServers, user: str) -> None:
    """Log in, start a server, use it, and send a large file. ``url`` is that of the hub."""
    with requests.Session() as session:
        session.trust_env = False
        session.verify = authority
        page = session.get(f"{url}/hub/login", headers=LIES, timeout=30)
        assert page.status_code == 200, page.text
        xsrf = next(cookie for cookie in session.cookies if cookie.name == "_xsrf")
        form = {"username": user, "password": "a test's password", "_xsrf": xsrf.value or ""}
        home = session.post(f"{url}/hub/login?next=", data=form, timeout=60)
        assert home.status_code == 200, home.text
        (entrance,) = {c.secure for c in session.cookies if c.name == "jupyterhub-hub-login"}
        assert entrance, "the cookie is not secure: the Hub takes this for plain http"
        session.get(f"{url}/hub/spawn/{user}", timeout=60)
        wait_until(lambda: session.get(f"{url}/user/{user}/", timeout=30).text == "ok", user)

        path = "a%2Fb//c%20d?x=1&y=%2F"
        sent = session.put(f"{url}/files/{path}", data=UPLOAD, headers=LIES, timeout=60)
        assert sent.status_code == 200, sent.text
        line, *fields, _, seen = sent.text.split("\n")
        assert seen == hashlib.sha256(UPLOAD).hexdigest()
        assert (
            line.split()[1]
            == urlsplit(f"{url}/files/{path}")._replace(scheme="", netloc="").geturl()
        )
        arrived = dict(field.split(": ", 1) for field in fields)
        host = urlsplit(url).netloc
        told = {name: arrived.get(name, "") for name in LIES}
        assert told == {
            "X-Forwarded-For": "127.0.0.1, 127.0.0.1",
            "X-Forwarded-Proto": "https",
            "X-Forwarded-Host": host,
            "X-Forwarded-Port": host.partition(":")[2],
            "X-Forwarded-Prefix": "",
            "X-Real-Ip": "127.0.0.1",
        }
        assert arrived["Host"] == host

    begin_to_send(url, authority, servers)
    with closing(
        websocket.create_connection(
            f"{url.replace('https:', 'wss:')}/files/socket",
            sslopt={"ca_certs": authority},
            timeout=30,
        )
    ) as socket:
        for text in ("one", "other"):
            socket.send(text)
            assert socket.recv() == text


def begin_to_send(url: str, authority: str, servers: WireServers) -> None:
    """See that the server hears of an upload before it ends."""
    context = ssl.create_default_context(cafile=authority)
    parts = urlsplit(url)
    assert parts.port
    path = f"{parts.path}/files/early"
    with (
        socketlib.create_connection(("127.0.0.1", parts.port), timeout=30) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
    ):
        connection.sendall(
            f"POST {path} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
            "Content-Length: 1000000\r\n\r\n".encode()
        )
        connection.sendall(bytes(100_000))
        wait_until(lambda: any(each.path == path for each in servers.seen), "the first piece")
    servers.seen.clear()


@pytest.mark.parametrize("prefix", ["", PREFIX], ids=["at the top", "under a path"])
def test_the_pages_blocks(hub_directory: Path, servers: WireServers, prefix: str) -> None:
    """One Hub; a user comes through each of the others."""
    certificates = Certificates.make(hub_directory / "certificates")
    traefik = free_port()
    inner = f"http://127.0.0.1:{traefik}{prefix}"
    hub = Hub(
        hub_directory,
        {
            **hub_options(f"https://hub.example.org{prefix}/", f"{inner}/"),
            "Spawner.cmd": [sys.executable, str(Path(__file__).with_name("silent_server.py"))],
            "Spawner.args": [],
            "TraefikProxy.extra_routes": {f"{prefix}/files/": servers.add("files", digest)},
        },
    )
    hub.url = inner
    with hub.running():
        for name, write in OTHERS.items():
            port = free_port()
            command = write(hub_directory, certificates, port, traefik, prefix)
            with running(command, hub_directory, port):
                visit(f"https://127.0.0.1:{port}{prefix}", certificates.ca, servers, f"of-{name}")
    assert "Traceback" not in hub.log()
    # The Hub's log says from where they came, not what they claimed.
    assert "1.2.3.4" not in hub.log()


def test_a_hub_that_trusts_nobody_takes_https_for_http(
    hub_directory: Path, servers: WireServers
) -> None:
    """As the page says of one without ``trusted_proxies``."""
    certificates = Certificates.make(hub_directory / "certificates")
    traefik, port = free_port(), free_port()
    hub = Hub(hub_directory, {"JupyterHub.bind_url": f"http://127.0.0.1:{traefik}/"})
    hub.url = f"http://127.0.0.1:{traefik}"
    command = nginx(hub_directory, certificates, port, traefik, "")
    with (
        hub.running(),
        running(command, hub_directory, port),
        pytest.raises(AssertionError, match="the cookie is not secure"),
    ):
        visit(f"https://127.0.0.1:{port}", certificates.ca, servers, "mary")
