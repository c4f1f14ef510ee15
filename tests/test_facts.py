"""What docs/traefik-facts.md says of Traefik, where no other test would tell that it changed."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
import tomli_w

from support import Backend, ask, free_port, run_traefik, wait_until

NOBODY = "http://127.0.0.1:1"

MakeBackend = Callable[[str], Backend]


class Traefik:
    """One that reads its configuration from a file."""

    def __init__(self, url: str, api: str) -> None:
        self.url = url
        self.api = api

    def get(self, path: str, **headers: str) -> tuple[int, Any]:
        return ask(f"{self.url}{path}", **headers)

    def status(self, router: str) -> str:
        """What the API says of a router; empty if it knows none of that name."""
        code, answer = ask(f"{self.api}/api/http/routers/{router}@file")
        return str(answer["status"]) if code == 200 else ""

    def counted(self, service: str) -> int:
        """Requests that have been counted for a service."""
        text = requests.get(f"{self.api}/metrics", timeout=10).text
        pattern = rf'traefik_service_requests_total\{{.*service="{service}@file".*\}} (\d+)'
        return sum(map(int, re.findall(pattern, text)))


@contextmanager
def traefik(directory: Path, **http: Any) -> Iterator[Traefik]:
    """Started with this dynamic configuration; returns when that is there."""
    port, api_port = free_port(), free_port()
    http.setdefault("middlewares", {})["there"] = {"addPrefix": {"prefix": "/x"}}
    (directory / "dynamic.toml").write_text(tomli_w.dumps({"http": http}))
    static = {
        "api": {"insecure": True},
        "metrics": {"prometheus": {"addServicesLabels": True}},
        "providers": {"file": {"filename": str(directory / "dynamic.toml")}},
        "entryPoints": {
            "http": {"address": f"127.0.0.1:{port}"},
            "traefik": {"address": f"127.0.0.1:{api_port}"},
        },
    }
    found = Traefik(f"http://127.0.0.1:{port}", f"http://127.0.0.1:{api_port}")

    def is_up() -> bool:
        try:
            return ask(f"{found.api}/api/http/middlewares/there@file")[0] == 200
        except requests.ConnectionError:
            return False

    with run_traefik(directory, static):
        wait_until(is_up, "Traefik")
        yield found


def router(rule: str, service: str = "", **more: Any) -> dict[str, Any]:
    return {"rule": rule, **({"service": service} if service else {}), **more}


def service(*urls: str, **more: Any) -> dict[str, Any]:
    balancer = {"servers": [{"url": url} for url in urls]} if urls else {"passHostHeader": True}
    return {"loadBalancer": balancer, **more}


def test_negative_priorities(tmp_path: Path, backend: MakeBackend) -> None:
    names = ["first", "second", "positive", "zero"]
    routers = {
        "second": router('PathPrefix("/")', "second", priority=-2),
        "first": router('PathPrefix("/")', "first", priority=-1),
        "positive": router('PathPrefix("/p")', "positive", priority=1),
        "zero": router('PathPrefix("/z")', "zero", priority=0),
    }
    services = {name: service(backend(name).url) for name in names}
    with traefik(tmp_path, routers=routers, services=services) as running:
        for path, name in (("/", "first"), ("/p", "positive"), ("/z", "zero")):
            assert running.get(path)[1]["name"] == name


@pytest.mark.parametrize(
    ("named", "served"),
    [
        ({}, True),
        ({"middlewares": ["there"]}, True),
        ({"entryPoints": ["http"]}, False),
        ({"tls": {}}, False),
        ({"observability": {"metrics": False}}, False),
    ],
    ids=lambda value: next(iter(value), "nothing") if isinstance(value, dict) else "",
)
def test_what_a_router_below_another_may_name(
    tmp_path: Path, backend: MakeBackend, named: dict[str, Any], served: bool
) -> None:
    routers = {
        "parent": router('PathPrefix("/")', entryPoints=["http"]),
        "sane": router('PathPrefix("/sane")', "one", parentRefs=["parent"]),
        "child": router('PathPrefix("/child")', "one", parentRefs=["parent"], **named),
    }
    services = {"one": service(backend("one").url)}
    with traefik(tmp_path, routers=routers, services=services) as running:
        assert running.get("/child")[0] == (200 if served else 404)
        assert (running.status("child") == "enabled") == served
        assert running.get("/sane")[0] == 200
        assert running.status("parent") == "enabled"


def test_a_service_without_servers(tmp_path: Path) -> None:
    errors = {"status": ["502"], "service": "none", "query": "/"}
    routers = {
        "none": router('PathPrefix("/none")', "none"),
        "gone": router('PathPrefix("/gone")', "gone", middlewares=["plain"]),
        "other": router('PathPrefix("/other")', "gone", middlewares=["rewritten"]),
    }
    middlewares = {
        "plain": {"errors": errors},
        "rewritten": {"errors": {**errors, "statusRewrites": {"502": 503}}},
    }
    services = {"none": service(), "gone": service(NOBODY)}
    with traefik(tmp_path, routers=routers, services=services, middlewares=middlewares) as running:
        text = "no available server"
        assert running.status("none") == "enabled"
        assert running.get("/none") == (503, f"{text}\n")
        assert running.get("/gone") == (502, f"{text}\n")
        assert running.get("/other") == (503, f"{text}\n")


def test_the_errors_middleware(tmp_path: Path, backend: MakeBackend) -> None:
    errors = {"status": ["502"], "service": "page", "query": "/error/{status}"}
    rewritten = {**errors, "statusRewrites": {"502": 503}, "errorRequestHeaders": ["Accept"]}
    routers = {
        "all": router('PathPrefix("/all")', "gone", middlewares=["all"]),
        "some": router('PathPrefix("/some")', "gone", middlewares=["some"]),
    }
    middlewares = {
        "all": {"errors": errors},
        "some": {"errors": rewritten},
        "note": {"headers": {"customRequestHeaders": {"X-Note": "of the service"}}},
    }
    services = {
        "gone": service(NOBODY),
        "page": service(backend("page").url, middlewares=["note"]),
    }
    sent = {"Accept": "text/html", "Cookie": "a=1", "Authorization": "token x", "Range": "bytes=0-"}
    with traefik(tmp_path, routers=routers, services=services, middlewares=middlewares) as running:
        status, page = running.get("/all", **sent)
        assert (status, page["path"]) == (502, "/error/502")
        assert sent.items() <= page["headers"].items()
        status, page = running.get("/some", **sent)
        assert (status, page["path"]) == (503, "/error/503")
        assert set(page["headers"]) == {"Accept", "Accept-Encoding", "Host", "X-Note"}


UPGRADE = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)
UPGRADED = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: ICX+Yqv66kxgM0FcWaLWlFLwTAI=\r\n\r\n"
)
BEGUN = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nhi"


@pytest.fixture
def by_hand() -> Iterator[Callable[[bytes, threading.Event], str]]:
    """Makes servers that answer one request with these bytes, and end with the event."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        threads = []

        def make(answer: bytes, end: threading.Event) -> str:
            def serve() -> None:
                with listener.accept()[0] as connection:
                    connection.recv(10_000)
                    connection.sendall(answer)
                    end.wait(20)

            threads.append(threading.Thread(target=serve))
            threads[-1].start()
            return f"http://127.0.0.1:{listener.getsockname()[1]}"

        yield make
        for thread in threads:
            thread.join(20)


@pytest.mark.parametrize(
    ("headers", "answer", "counted"),
    [(UPGRADE, UPGRADED, 1), (b"", BEGUN, 0)],
    ids=["websocket", "broken-off"],
)
def test_when_a_long_request_is_counted(
    tmp_path: Path,
    backend: MakeBackend,
    by_hand: Callable[[bytes, threading.Event], str],
    headers: bytes,
    answer: bytes,
    counted: int,
) -> None:
    """A websocket when it closes; never, if the client breaks an answer off."""
    end = threading.Event()
    routers = {
        "long": router('PathPrefix("/long")', "long"),
        "short": router('PathPrefix("/short")', "short"),
    }
    services = {"long": service(by_hand(answer, end)), "short": service(backend("short").url)}
    with traefik(tmp_path, routers=routers, services=services) as running:

        def ask_another(number: int) -> None:
            running.get("/short")
            wait_until(lambda: running.counted("short") == number, "the count", 10)

        try:
            address = ("127.0.0.1", int(running.url.rpartition(":")[2]))
            with socket.create_connection(address, timeout=10) as client:
                client.sendall(b"GET /long HTTP/1.1\r\nHost: x\r\n" + headers + b"\r\n")
                assert client.recv(10_000)
                ask_another(1)
                assert running.counted("long") == 0
        finally:
            end.set()
        if counted:
            wait_until(lambda: running.counted("long") == counted, "the count", 10)
        ask_another(2)
        assert running.counted("long") == counted


def test_which_requests_are_counted(tmp_path: Path, backend: MakeBackend) -> None:
    """Whatever the server says, and that it can't be reached."""
    routers = {name: router(f'PathPrefix("/{name}")', name) for name in ("there", "gone", "none")}
    services = {"there": service(backend("x").url), "gone": service(NOBODY), "none": service()}
    with traefik(tmp_path, routers=routers, services=services) as running:
        for path in ("/there?status=404", "/there?status=500", "/gone", "/none", "/nowhere"):
            running.get(path)

        def counts() -> list[int]:
            return [running.counted(name) for name in routers]

        wait_until(lambda: counts() == [2, 1, 0], "the counts", 10)
