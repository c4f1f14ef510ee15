"""A real Traefik on a store's provider, and something behind it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import tomli_w

from traefikhub.stores import GENERATION_HEADER, GENERATION_MARKER, RouteStore
from traefikhub.traefik import find_traefik

__all__ = ["Traefik", "run_backend", "run_traefik"]

_WAIT_SECONDS = 30


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def run_backend() -> Iterator[str]:
    """A web server that answers 200 to everything; its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Traefik:
    """A Traefik that reads a store. ``run_traefik`` starts and ends it. Its methods block.

    port: of its entry point ``http``, on 127.0.0.1.
    """

    def __init__(self, store: RouteStore, directory: Path, log_level: str) -> None:
        self.port, self._api_port = _free_port(), _free_port()
        self._provider = store.provider_name
        self._log = directory / "traefik.log"
        config = directory / "traefik.toml"
        static = {
            "log": {"level": log_level, "noColor": True},
            "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
            "api": {"insecure": True},
            "providers": {"providersThrottleDuration": "0s", **store.provider_config()},
            "entryPoints": {
                "http": {"address": f"127.0.0.1:{self.port}"},
                "traefik": {"address": f"127.0.0.1:{self._api_port}"},
            },
        }
        config.touch(0o600)
        config.write_text(tomli_w.dumps(static))
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # nosec B603 # the admin's Traefik
                [find_traefik(), f"--configfile={config}"], stdout=log, stderr=log
            )

    def ask(self, path: str) -> tuple[int, bytes]:
        """Status and body of the answer to a GET; 0 if there is none."""
        return _get(self.port, path)

    def api(self, path: str) -> Any:
        """What its API says: JSON, by a path such as ``/api/http/routers``; None if nothing."""
        status, body = _get(self._api_port, path)
        return json.loads(body) if status == 200 else None

    def generation(self) -> int:
        """The generation that it shows; 0 if there is none."""
        found = self.api(f"/api/http/middlewares/{GENERATION_MARKER.name}@{self._provider}")
        return int(found["headers"]["customResponseHeaders"][GENERATION_HEADER]) if found else 0

    def wait_for(self, generation: int) -> None:
        """Return when it shows this generation.

        Raises:
            AssertionError: it doesn't in time, or it ended.
        """
        self.wait(lambda: self.generation() == generation, f"show generation {generation}")

    def names(self, kind: str) -> set[str]:
        """The ``routers`` or ``services`` that it has from the store."""
        return {
            each["name"].removesuffix(f"@{self._provider}")
            for each in self.api(f"/api/http/{kind}?per_page=1000") or ()
            if each["provider"] == self._provider
        }

    def router(self, name: str) -> Any:
        """What it makes of a router; empty if there is none."""
        return self.api(f"/api/http/routers/{name}@{self._provider}") or {}

    @property
    def log(self) -> str:
        """All that it has logged."""
        return self._log.read_text(errors="replace")

    def complaints(self) -> list[str]:
        """Its log lines at ERROR and above."""
        return [line for line in self.log.splitlines() if re.search(r" (ERR|FTL) ", line)]

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        """Return when the condition holds.

        Raises:
            AssertionError: it doesn't in time, or Traefik ended.
        """
        deadline = time.monotonic() + _WAIT_SECONDS
        while not condition():
            assert self._process.poll() is None, f"Traefik ended: {self.complaints()}"
            assert time.monotonic() < deadline, (
                f"Traefik did not {what} within {_WAIT_SECONDS} s; its complaints: "
                f"{self.complaints()[-3:]}"
            )
            time.sleep(0.002)

    def end(self) -> None:
        """Kill it."""
        self._process.kill()
        self._process.wait()


def _get(port: int, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except OSError:
        return 0, b""
    finally:
        connection.close()


@contextlib.contextmanager
def run_traefik(store: RouteStore, *, log_level: str = "INFO") -> Iterator[Traefik]:
    """A real Traefik on the store's provider, until the block ends.

    The store need not be open: all that is asked of it is ``provider_config``. What is applied to
    it is served at once, on the entry point ``http``.
    """
    with tempfile.TemporaryDirectory(prefix="traefikhub-testing-") as directory:
        os.chmod(directory, 0o700)  # the configuration may hold passwords
        traefik = Traefik(store, Path(directory), log_level)
        try:
            yield traefik
        finally:
            traefik.end()
