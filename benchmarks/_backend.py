"""What all proxies lead to: one nginx with three ports, and an echo of websocket messages."""

from __future__ import annotations

import http.client
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["Backend", "Missing", "free_ports", "opened_backend", "page"]

_ROOT: Final = Path(__file__).parents[1]

# One worker: it is faster than any of the proxies, and leaves them the other processor.
_NGINX_CONF: Final = """
daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log {directory}/error.log;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_requests 100000000;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    default_type text/plain;
    server {{
        {listen}
        location / {{ return 200 "$server_port $request_uri\\n"; }}
    }}
}}
"""


class Missing(Exception):
    """A program that isn't installed; the message says which, and how to get it."""


@dataclass(frozen=True, slots=True)
class Backend:
    """Ports of 127.0.0.1. nginx answers with the port it was asked on.

    user, moved: targets of users' routes, before and after an update.
    hub: the target of the Hub's route.
    echo: where websocket messages come back.
    """

    user: int
    moved: int
    hub: int
    echo: int

    def url(self, port: int) -> str:
        """The port as the target of a route."""
        return f"http://127.0.0.1:{port}"


def free_ports(count: int) -> list[int]:
    """Ports on which nothing listens, all different."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


@contextmanager
def opened_backend(directory: Path) -> Iterator[Backend]:
    """The backend, running.

    Raises:
        Missing: there is no nginx.
    """
    nginx = shutil.which("nginx", path="/usr/local/sbin:/usr/sbin:/sbin") or shutil.which("nginx")
    if not nginx:
        raise Missing("nginx, behind every proxy; on Debian: apt-get install nginx-light")
    backend = Backend(*free_ports(4))
    listen = "\n".join(
        f"listen 127.0.0.1:{port} backlog=4096;"
        for port in (backend.user, backend.moved, backend.hub)
    )
    config = directory / "nginx.conf"
    config.write_text(_NGINX_CONF.format(directory=directory, listen=listen))
    commands = [
        [nginx, "-c", str(config), "-e", str(directory / "error.log")],
        [sys.executable, "-m", "benchmarks._echo", str(backend.echo)],
    ]
    processes: list[subprocess.Popen[bytes]] = []
    try:
        processes += [
            subprocess.Popen(command, cwd=_ROOT, start_new_session=True) for command in commands
        ]
        for port in (backend.user, backend.echo):
            _wait_for(port)
        yield backend
    finally:
        for process in processes:
            process.terminate()  # nginx ends its worker itself
        for process in processes:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def page(connection: http.client.HTTPConnection, path: str) -> int:
    """The port of the backend that answers; 0 if none does."""
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
    except (OSError, http.client.HTTPException):
        connection.close()
        return 0
    return int(body.split()[0]) if response.status == 200 else 0
