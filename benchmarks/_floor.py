"""The least that a change can cost: write the file, and ask Traefik in a tight loop until it
serves it. No thread, no event loop, no grouping, no checks, no fsync."""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from traefikhub.stores import GENERATION_HEADER, GENERATION_MARKER
from traefikhub.traefik import find_traefik

__all__ = ["Floor", "floor_beside"]

_MARKER = f"/api/http/middlewares/{GENERATION_MARKER.name}@file"


class Floor:
    """A second Traefik with the same configuration, driven by hand."""

    def __init__(self, directory: Path, api: str, password: str) -> None:
        self._file = directory / "routes.toml"
        self._text = self._file.read_text()
        self._connection = http.client.HTTPConnection(urlsplit(api).netloc, timeout=10)
        token = base64.b64encode(f"traefikhub:{password}".encode()).decode()
        self._headers = {"Authorization": f"Basic {token}"}
        self._generation = 1_000_000

    def change(self, number: int) -> float:
        """Add one route; the seconds until it is served."""
        self._generation += 1
        router = (
            f"[http.routers.floor{number}]\n"
            f'rule = "PathRegexp(\\"^/user/floor{number}(?:/|$)\\")"\n'
            f'priority = 13\nentryPoints = ["http"]\nservice = "floor{number}"\n'
            f"[http.services.floor{number}.loadBalancer]\n"
            'servers = [{ url = "http://127.0.0.1:1" }]\n'
        )
        text = re.sub(
            rf'({GENERATION_HEADER} = )"\d+"', rf'\1"{self._generation}"', self._text
        ).replace("\n[http.middlewares", f"\n{router}\n[http.middlewares", 1)
        started = time.perf_counter()
        temporary = self._file.with_suffix(".new")
        temporary.write_text(text)
        os.replace(temporary, self._file)
        self.wait()
        return time.perf_counter() - started

    def wait(self) -> None:
        """Return when the generation is served."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                self._connection.request("GET", _MARKER, headers=self._headers)
                response = self._connection.getresponse()
                body = response.read()
            except (OSError, http.client.HTTPException):
                self._connection.close()
                time.sleep(0.02)
                continue
            if response.status == 200:
                headers = json.loads(body)["headers"]["customResponseHeaders"]
                if int(headers[GENERATION_HEADER]) >= self._generation:
                    return
        raise TimeoutError("Traefik never served the floor's change")


@contextmanager
def floor_beside(run_dir: Path, ports: tuple[int, int]) -> Iterator[Floor]:
    """A Traefik with a copy of a proxy's configuration and routes, on other ports."""
    directory = run_dir.parent / "floor"
    shutil.copytree(run_dir, directory, ignore=shutil.ignore_patterns("*.lock", "lock"))
    config = directory / "traefik.toml"
    text = config.read_text().replace(str(run_dir), str(directory))
    port, api_port = ports
    addresses = iter((port, api_port))
    text = re.sub(r'(?<=address = ")[^"]*', lambda _: f"127.0.0.1:{next(addresses)}", text)
    config.write_text(text)
    with (directory / "traefik.log").open("ab") as log:
        process = subprocess.Popen(
            [find_traefik(), f"--configfile={config}"], stdout=log, stderr=log
        )
    try:
        password = (directory / "api-password").read_text().strip()
        floor = Floor(directory, f"http://127.0.0.1:{api_port}", password)
        floor.change(0)
        yield floor
    finally:
        process.kill()
        process.wait()
