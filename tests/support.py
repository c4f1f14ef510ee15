"""What the process-level tests share: free ports, backends that tell what reached them, Traefiks
and Hubs run by others."""

from __future__ import annotations

import json
import os
import secrets
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psutil
import requests
import tomli_w
from traitlets.config import Config

from traefikhub.traefik import find_traefik

__all__ = [
    "Backend",
    "ask",
    "free_port",
    "hub_app",
    "routers_in_api",
    "run_traefik",
    "traefik_processes",
    "wait_until",
]


def free_port() -> int:
    """A port of 127.0.0.1 on which nothing listens now, by TCP nor UDP, nor soon will: from below
    those that the kernel gives to connections, of which other tests have hundreds; and of those,
    from the share of this worker of pytest-xdist."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    while True:
        port = 15_000 + secrets.randbelow(17_000 // workers) * workers + worker
        if port in _GIVEN:
            continue
        try:
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                with socket.socket(type=kind) as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        _GIVEN.append(port)
        return port


_GIVEN: deque[int] = deque(maxlen=1000)


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ssl.SSLError):  # strangers whom it refuses
            super().handle_error(request, client_address)


class Backend:
    """A web server that answers with its own name and the path that reached it, as JSON.

    headers: what it sends beside that.
    tls: with it, it serves https.

    A request with ``?status=404`` is answered with that status.
    """

    def __init__(
        self,
        name: str,
        headers: dict[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        backend = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # one packet an answer: two would wait for each other

            def do_GET(self) -> None:
                body = json.dumps(
                    {"name": backend.name, "path": self.path, "headers": dict(self.headers)}
                ).encode()
                wanted = parse_qs(urlsplit(self.path).query).get("status", ["200"])
                self.send_response(int(wanted[0]))
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                for header, value in (headers or {}).items():
                    self.send_header(header, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.name = name
        self._server = _Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if tls:  # each handshake in the thread of its connection
            self._server.socket = tls.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        scheme = "https" if tls else "http"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def ask(url: str, **headers: str) -> tuple[int, Any]:
    """Status and JSON (or text) of a GET that follows no redirect."""
    with requests.Session() as session:
        session.trust_env = False
        response = session.get(url, headers=headers, allow_redirects=False, timeout=10)
    try:
        return response.status_code, response.json()
    except ValueError:
        return response.status_code, response.text


def hub_app(**values: Any) -> SimpleNamespace:
    """The parts of the JupyterHub application that a proxy looks at."""
    usual = {
        "config": Config({"JupyterHub": {"bind_url": "as the proxy's"}}),
        "subdomain_host": "",
        "internal_ssl": False,
        "cleanup_proxy": True,
    }
    return SimpleNamespace(**usual | values)


def routers_in_api(proxy: Any) -> dict[str, str]:
    """The routers that the Traefik of a proxy shows, without their provider: the status of each."""
    password = (Path(proxy.run_dir) / "api-password").read_text().strip()
    url = f"{proxy.traefik_api_url}/api/http/routers?per_page=1000"
    answer = requests.get(url, auth=("traefikhub", password), timeout=10)
    return {each["name"].partition("@")[0]: each["status"] for each in answer.json()}


def wait_until(condition: Callable[[], Any], what: str, seconds: float = 30) -> Any:
    """Look until the condition holds; its value. Fails loudly, never silently goes on."""
    deadline = time.monotonic() + seconds
    while True:
        if value := condition():
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds} s in vain for {what}")
        time.sleep(0.05)


def traefik_processes(run_dir: Path) -> list[psutil.Process]:
    """The Traefiks that were started with a configuration in this directory."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        if len(command) > 1 and str(run_dir) in command[1] and "--configfile" in command[1]:
            found.append(process)
    return found


@contextmanager
def run_traefik(directory: Path, static: dict[str, Any]) -> Iterator[subprocess.Popen[bytes]]:
    """A Traefik that the Hub did not start."""
    config = directory / "external-traefik.toml"
    config.write_text(tomli_w.dumps(static))
    with (directory / "external-traefik.log").open("wb") as log:
        process = subprocess.Popen(
            [find_traefik(), f"--configfile={config}"], stdout=log, stderr=log
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
