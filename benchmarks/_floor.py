"""The least that a change can cost: write the file, and ask Traefik in a tight loop until it
serves it. No thread, no event loop, no grouping, no checks, no fsync. Beside it what traefikhub
needs for the same change."""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import shutil
import statistics
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from benchmarks._backend import free_ports
from benchmarks._child import HubProcess
from benchmarks._contestants import OURS, Contestant, Place
from benchmarks._measure import opened_place
from benchmarks._results import percentile
from benchmarks._subject import NEW_USERS
from traefikhub.stores import GENERATION_HEADER, GENERATION_MARKER
from traefikhub.traefik import find_traefik

__all__ = ["burst", "one_route"]

_MARKER: Final = f"/api/http/middlewares/{GENERATION_MARKER.name}@file"


_TARGET: Final = "http://127.0.0.1:1"
_WARM_UP: Final = 5


def one_route(routes: int, rounds: int) -> dict[str, Any]:
    """Milliseconds from call to live with the toml-file store, and of the floor, in turns."""
    ours, floors = [], []
    change: dict[str, Any] = {"first": NEW_USERS, "count": 1, "at_once": 1, "target": _TARGET}
    with _hub_with(OURS[0], routes) as (hub, place):
        ports = free_ports(2)
        with _floor_beside(place.directory / "run", (ports[0], ports[1])) as floor:
            for number in range(rounds + _WARM_UP):
                floors.append(floor.change(number))
                ours += hub.ask("change", what="add", **change)["each"]
                hub.ask("change", what="delete", **change)
    mine, least = ours[_WARM_UP:], floors[_WARM_UP:]
    return {
        "routes": routes,
        "rounds": rounds,
        "add_route p50 ms": 1e3 * statistics.median(mine),
        "p95 ms": 1e3 * percentile(mine, 0.95),
        "floor p50 ms": 1e3 * statistics.median(least),
        "floor p95 ms": 1e3 * percentile(least, 0.95),
        "ratio p50": statistics.median(mine) / statistics.median(least),
    }


def burst(contestant: Contestant, count: int) -> dict[str, Any]:
    """Seconds and reloads of many routes at once."""
    metrics = {"metrics": {"prometheus": {"entryPoint": "auth_api"}}}
    with _hub_with(contestant, 10, extra_static_config=metrics) as (hub, place):
        before = _reloads(place)
        answer = hub.ask(
            "change", what="add", first=NEW_USERS, count=count, at_once=count, target=_TARGET
        )
        hub.settle()
        return {
            "contestant": contestant.name,
            "routes added at once": count,
            "seconds": answer["seconds"],
            "reloads of Traefik": _reloads(place) - before,
        }


@contextmanager
def _hub_with(
    contestant: Contestant, routes: int, **options: Any
) -> Iterator[tuple[HubProcess, Place]]:
    """A Hub with so many routes."""
    with (
        opened_place(contestant) as place,
        HubProcess(contestant.python, place.directory, contestant.programs) as hub,
    ):
        config = contestant.config(place)
        config["TraefikProxy"] |= options
        hub.ask(
            "start",
            path=contestant.path,
            public_url=place.public_url,
            hub_url=_TARGET,
            config=config,
        )
        hub.ask("fill", first=0, count=routes, target=_TARGET)
        hub.settle()
        yield hub, place


def _reloads(place: Place) -> int:
    """How often Traefik has reloaded, by its own count."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{place.api_url}/metrics", timeout=10) as answer:
        found = re.search(r"^traefik_config_reloads_total (\d+)", answer.read().decode(), re.M)
    assert found, "Traefik has no metric for reloads"
    return int(found.group(1))


class _Floor:
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
        text = re.sub(rf'({GENERATION_HEADER} = )"\d+"', rf'\1"{self._generation}"', self._text)
        text = f"{text}\n{router}"
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
def _floor_beside(run_dir: Path, ports: tuple[int, int]) -> Iterator[_Floor]:
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
        floor = _Floor(directory, f"http://127.0.0.1:{api_port}", password)
        floor.change(0)
        yield floor
    finally:
        process.kill()
        process.wait()
