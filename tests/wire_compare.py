"""The requests of docs/requests.md, byte by byte, and how to say in a few words what arrived.

``python tests/wire_compare.py`` asks configurable-http-proxy and traefikhub, and prints the tables
anew; ``python -m benchmarks._fetch`` brings the former.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import RemoteDisconnected
from pathlib import Path
from types import SimpleNamespace
from typing import Final

import requests

from support import ask as ask_json
from support import free_port, hub_app, wait_until
from traefikhub import TraefikProxy
from wire import WireServers, exchange

__all__ = ["TABLES", "Case", "cell"]

PREFIX: Final = "/user/mary"
HOST: Final = ("Host: hub.test:8000",)


@dataclass(frozen=True)
class Case:
    """One row.

    title: the first column; the path itself if empty.
    line: the request line, without the version.
    fields: header fields, besides Host.
    body: as sent, with its framing.
    look: the header fields that the row is about; empty if it is about the request line, or
        ``("body",)``.
    head: instead of all these, the bytes of the head.
    """

    title: str
    line: str
    fields: tuple[str, ...] = ()
    body: str = ""
    look: tuple[str, ...] = ()
    head: str = ""

    @property
    def data(self) -> bytes:
        """What goes over the wire."""
        head = self.head or "\r\n".join([f"{self.line} HTTP/1.1", *HOST, *self.fields]) + "\r\n\r\n"
        return (head + self.body).encode("latin-1")

    @property
    def first(self) -> str:
        """The first cell."""
        path = self.line.partition(" ")[2]
        return self.title or code(path.removeprefix(PREFIX) or path)


def code(text: str) -> str:
    """Text as it is, in a table of Markdown."""
    fence = "``" if "`" in text else "`"
    text = text.replace("|", "\\|")
    return f"{fence} {text} {fence}" if "`" in text else f"{fence}{text}{fence}"


def get(*below: str) -> list[Case]:
    return [Case("", f"GET {PREFIX}{path}") for path in below]


def with_fields(title: str, *fields: str, look: str = "", method: str = "GET") -> Case:
    names = tuple(look.split()) or tuple(dict.fromkeys(field.split(":")[0] for field in fields))
    return Case(title, f"{method} {PREFIX}/x", fields, look=names)


def sent(title: str, body: str, *fields: str, look: str = "body", method: str = "POST") -> Case:
    return Case(title, f"{method} {PREFIX}/x", fields, body, tuple(look.split()))


FORWARDED: Final = (
    "X-Forwarded-For: 1.2.3.4",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Host: evil.test",
    "X-Forwarded-Port: 443",
    "X-Forwarded-Prefix: /p",
    "X-Real-Ip: 9.9.9.9",
)
SOCKET: Final = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Key: dGhl",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Protocol: v1.kernel",
    "Sec-WebSocket-Extensions: permessage-deflate",
    "Origin: http://hub.test:8000",
)

TABLES: Final[dict[str, list[Case]]] = {
    "Paths": [
        *get("/a%2Fb", "/a%23b", "/a%3Fb", "/a%3Bb", "/a;b", "/a%25b", "/a%252Fb", "/a%5Cb"),
        *get("/a%00b", "/a%20b", "/a%C3%A9", "/a!$&'()*+,=:@-._~[]", ""),
        *get("//b", "/proxy/http://x.org//y", "/./b", "/../b", "/%2e%2e/b", "/..%2Fb"),
        *get("/a%2fb", "/a%41%7Eb", "/a|b^c", "/a\"b<c>{d}`", "/a\\b", "/%FF"),
        Case("`/a` and a raw `é` (UTF-8)", f"GET {PREFIX}/a\xc3\xa9"),
        *get("/a#b", "/%zz"),
        Case("`//user/mary/x`", "GET //user/mary/x"),
        Case("`http://a.test/user/mary/x`", "GET http://a.test/user/mary/x", look=("Host",)),
    ],
    "Queries": [
        *get("/a?", "/a?x=1+2&y=%20%2B", "/a?x=a?b/c:d@e", "/a?x=1;y=2", "/a?x=1%3By=2"),
        *get("/a?x=%zz", "/a?x=|^`", "/a?x=\"<>"),
        Case("`/a?x=` and a raw `é`", f"GET {PREFIX}/a?x=\xc3\xa9"),
    ],
    "Methods and bodies": [
        Case("`PROPFIND`", f"PROPFIND {PREFIX}/x"),
        Case("`FOO`", f"FOO {PREFIX}/x"),
        Case("`OPTIONS *`", "OPTIONS *"),
        sent("`DELETE` with a body", "abc", "Content-Length: 3", method="DELETE"),
        sent("`GET` with a body", "abc", "Content-Length: 3", method="GET"),
        sent("chunks", "3\r\nabc\r\n0\r\n\r\n", "Transfer-Encoding: chunked"),
        sent("`Expect: 100-continue`", "abc", "Content-Length: 3", "Expect: 100-continue",
             look="Expect body"),
        sent("`Content-Length` beside chunks", "3\r\nabc\r\n0\r\n\r\n", "Content-Length: 3",
             "Transfer-Encoding: chunked", look="Content-Length"),
        sent("`Transfer-Encoding: gzip, chunked`", "3\r\nabc\r\n0\r\n\r\n",
             "Transfer-Encoding: gzip, chunked", look="Transfer-Encoding"),
        Case("HTTP/1.0", "", head=f"GET {PREFIX}/x HTTP/1.0\r\nHost: hub.test\r\n\r\n"),
        Case("HTTP/1.0 without `Host`", "", head=f"GET {PREFIX}/x HTTP/1.0\r\n\r\n"),
        Case("HTTP/1.1 without `Host`", "", head=f"GET {PREFIX}/x HTTP/1.1\r\n\r\n"),
    ],
    "Headers": [
        Case("`Host: HUB.Test:8000`", "", look=("Host",),
             head=f"GET {PREFIX}/x HTTP/1.1\r\nHost: HUB.Test:8000\r\n\r\n"),
        Case("two `Host`", "", look=("Host",),
             head=f"GET {PREFIX}/x HTTP/1.1\r\nHost: a.test\r\nHost: b.test\r\n\r\n"),
        with_fields("`Origin`, `Referer`, `Cookie`, `Authorization`, `Range`",
                    "Origin: https://hub.test", "Referer: https://hub.test/a?b", "Cookie: a=b; c=d",
                    "Authorization: token abc", "Range: bytes=0-1"),
        with_fields("no `X-Forwarded-…`", look=" ".join(each.split(":")[0] for each in FORWARDED)),
        *(with_fields(code(each), each) for each in FORWARDED),
        with_fields("`Forwarded: for=1.2.3.4`", "Forwarded: for=1.2.3.4"),
        with_fields("`X-Forwarded-User: ada`", "X-Forwarded-User: ada"),
        with_fields("`X_Forwarded_For: 1.2.3.4`", "X_Forwarded_For: 1.2.3.4"),
        with_fields("`api_key: x`", "api_key: x"),
        with_fields("`X-Multi: a`, `X-Multi: b`", "X-Multi: a", "X-Multi: b"),
        with_fields("two `Cookie`", "Cookie: a=1", "Cookie: b=2"),
        with_fields("`X-Name:` and Latin-1 or UTF-8 bytes", "X-Name: J\xf6rg \xc3\xa9"),
        with_fields("`X-Empty:`", "X-Empty: "),
        with_fields("no `Accept-Encoding`", look="Accept-Encoding"),
        with_fields("no `User-Agent`", look="User-Agent"),
        with_fields("`Connection: X-Drop` and `X-Drop: 1`", "Connection: X-Drop", "X-Drop: 1",
                    look="X-Drop"),
        with_fields("`Proxy-Authorization: Basic x`", "Proxy-Authorization: Basic x"),
        with_fields("a websocket's", *SOCKET),
        with_fields("the same, `X-Forwarded-Proto`", *SOCKET, look="X-Forwarded-Proto"),
        with_fields("`Upgrade: foo/2`", "Connection: Upgrade", "Upgrade: foo/2"),
        with_fields("a folded line", "X-C: a\r\n b"),
    ],
}  # fmt: skip


def cell(case: Case, url: str, servers: WireServers) -> str:
    """What arrives of a request, in a few words of Markdown."""
    del servers.seen[:]
    try:
        answer = exchange(url, case.data)
    except (RemoteDisconnected, ConnectionError):
        return "connection closed"
    if answer.status != 200:
        return str(answer.status)
    if not servers.seen:
        return "200 from the proxy itself"
    arrived = answer.arrived
    where = "" if arrived.name == "mary" else "to the Hub: "
    found = dict.fromkeys(case.look, "")
    given: dict[str, list[str]] = {name: [] for name in case.look}
    for field in case.data.decode("latin-1").partition("\r\n\r\n")[0].split("\r\n")[1:]:
        name, _, value = field.partition(":")
        for each in given:
            if each.lower() == name.lower():
                given[each].append(value.strip())
    cells = []
    if not case.look:
        line = case.data.decode("latin-1").partition("\r\n")[0].rpartition(" ")[0]
        got = arrived.line.rpartition(" ")[0]
        shown = code(got.split(" ", 1)[1].removeprefix(PREFIX if not where else ""))
        return where + ("as sent" if got == line else shown)
    for name in found:
        if name == "body":
            cells.append("as sent" if arrived.body == case.body else code(repr(arrived.body)))
        elif (values := arrived.all(name)) == given[name] and values:
            cells.append("as sent")
        elif values:
            cells += [code(f"{name}: {value}") for value in values]
        else:
            cells.append("dropped" if given[name] else f"no `{name}`")
    return where + ", ".join(dict.fromkeys(cells))


@contextmanager
def node_proxy(hub: str, mary: str) -> Iterator[str]:
    """configurable-http-proxy, started as JupyterHub starts it."""
    from benchmarks._fetch import NODE_PROXY

    port, api = free_port(), free_port()
    address = f"http://127.0.0.1:{api}/api/routes"
    authorization = {"Authorization": "token x"}
    process = subprocess.Popen(
        [
            *(str(NODE_PROXY), "--ip=127.0.0.1", f"--port={port}"),
            *("--api-ip=127.0.0.1", f"--api-port={api}"),
            *(f"--error-target={hub}/hub/error/", "--log-level=error"),
        ],
        env=os.environ | {"CONFIGPROXY_AUTH_TOKEN": "x"},
        stdout=subprocess.DEVNULL,
    )

    def is_up() -> bool:
        try:
            return ask_json(address, **authorization)[0] == 200
        except requests.ConnectionError:
            return False

    try:
        wait_until(is_up, "configurable-http-proxy")
        for spec, target in (("/", hub), (PREFIX, mary)):
            requests.post(
                address + spec, json={"target": target}, headers=authorization, timeout=10
            ).raise_for_status()
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


async def compare() -> str:
    """The tables."""
    servers = WireServers()
    hub, mary = servers.add("hub"), servers.add("mary")
    with tempfile.TemporaryDirectory() as directory:
        proxy = TraefikProxy(
            app=hub_app(),
            hub=SimpleNamespace(host=hub, base_url="/hub/", routespec="/"),
            public_url=f"http://127.0.0.1:{free_port()}",
            traefik_api_url=f"http://127.0.0.1:{free_port()}",
            run_dir=f"{directory}/run",
        )
        try:
            await proxy.start()
            await proxy.add_route("/", hub, {})
            await proxy.add_route(f"{PREFIX}/", mary, {})
            with node_proxy(hub, mary) as theirs:
                text = ""
                for title, cases in TABLES.items():
                    text += f"## {title}\n\n| request | configurable-http-proxy | traefikhub |\n"
                    text += "| --- | --- | --- |\n"
                    for case in cases:
                        both = [
                            await asyncio.to_thread(cell, case, url, servers)
                            for url in (theirs, proxy.public_url)
                        ]
                        text += f"| {case.first} | {' | '.join(both)} |\n"
                    text += "\n"
                return text
        finally:
            await proxy.stop()
            servers.close()


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))
    sys.stdout.write(asyncio.run(compare()))
