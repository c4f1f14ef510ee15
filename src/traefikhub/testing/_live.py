"""Promise 7: a real Traefik on the store's provider."""

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

from traefikhub.stores import (
    GENERATION_HEADER,
    GENERATION_MARKER,
    Batch,
    Document,
    Key,
    RecordRefused,
    RouteStore,
)
from traefikhub.testing._hooks import Hooks
from traefikhub.testing._promises import Promise, proves
from traefikhub.testing._run import run
from traefikhub.traefik import find_traefik

__all__ = ["LiveTests"]

_WAIT_SECONDS = 30


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def _backend() -> Iterator[str]:
    """A web server that answers 200 to everything."""

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


class _Traefik:
    """A Traefik that reads the store under test."""

    def __init__(self, store: RouteStore, directory: Path) -> None:
        self.port, self._api = _free_port(), _free_port()
        self._provider = store.provider_name
        self.log = directory / "traefik.log"
        config = directory / "traefik.toml"
        static = {
            "log": {"level": "INFO", "noColor": True},
            "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
            "api": {"insecure": True},
            "providers": {"providersThrottleDuration": "0s", **store.provider_config()},
            "entryPoints": {
                "http": {"address": f"127.0.0.1:{self.port}"},
                "traefik": {"address": f"127.0.0.1:{self._api}"},
            },
        }
        config.touch(0o600)
        config.write_text(tomli_w.dumps(static))
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [find_traefik(), f"--configfile={config}"], stdout=log, stderr=log
            )

    def ask(self, path: str, port: int = 0) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=10)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except OSError:
            return 0, b""
        finally:
            connection.close()

    def generation(self) -> int:
        """What the marker shows; 0 if there is none."""
        path = f"/api/http/middlewares/{GENERATION_MARKER.name}@{self._provider}"
        status, body = self.ask(path, self._api)
        if status != 200:
            return 0
        return int(json.loads(body)["headers"]["customResponseHeaders"][GENERATION_HEADER])

    def names(self, kind: str) -> set[str]:
        """The routers or services that it has from the store."""
        _, body = self.ask(f"/api/http/{kind}?per_page=1000", self._api)
        return {
            each["name"].removesuffix(f"@{self._provider}")
            for each in json.loads(body)
            if each["provider"] == self._provider
        }

    def router(self, name: str) -> Any:
        """What Traefik makes of a router."""
        status, body = self.ask(f"/api/http/routers/{name}@{self._provider}", self._api)
        return json.loads(body) if status == 200 else {}

    def complaints(self) -> list[str]:
        """Its log lines at ERROR and above."""
        return [
            line
            for line in self.log.read_text(errors="replace").splitlines()
            if re.search(r" (ERR|FTL) ", line)
        ]

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + _WAIT_SECONDS
        while not condition():
            assert self._process.poll() is None, f"Traefik ended: {self.complaints()}"
            assert time.monotonic() < deadline, (
                f"Traefik did not {what} within {_WAIT_SECONDS} s; its complaints: "
                f"{self.complaints()[-3:]}"
            )
            time.sleep(0.02)

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


@contextlib.contextmanager
def _traefik(store: RouteStore) -> Iterator[_Traefik]:
    with tempfile.TemporaryDirectory(prefix="traefikhub-conformance-") as directory:
        os.chmod(directory, 0o700)
        traefik = _Traefik(store, Path(directory))
        try:
            yield traefik
        finally:
            traefik.end()


def _route(name: str, path: str, target: str) -> dict[Key, Document]:
    rule = f'PathPrefix("{path}")'
    return {
        Key("http/services", name): {"loadBalancer": {"servers": [{"url": target}]}},
        Key("http/routers", name): {
            "rule": rule,
            "priority": len(rule),
            "entryPoints": ["http"],
            "service": name,
        },
        Key("jupyterhub/routes", name): {"routespec": path, "data": {"none": None, "{{": []}},
    }


class LiveTests(Hooks):
    """What is in the store is what Traefik does."""

    @proves(Promise.REAL)
    def test_traefik_serves_what_was_applied(self, server: Any, prefix: str) -> None:
        """Routes come, change and go; Traefik's log stays free of errors."""

        async def work() -> None:
            async with self.make_store(prefix, server) as store:
                with _backend() as target:
                    await store.apply(Batch(1, _route("first", "/first/", target)))
                    with _traefik(store) as traefik:
                        traefik.wait(lambda: traefik.generation() == 1, "show generation 1")
                        assert traefik.ask("/first/x")[0] == 200, "an applied route is not served"
                        many: dict[Key, Document] = {}
                        for number in range(100):
                            many |= _route(f"user_u{number}", f"/user/u{number}/", target)
                        await store.apply(Batch(2, many, frozenset(_route("first", "", ""))))
                        traefik.wait(lambda: traefik.generation() == 2, "show generation 2")
                        for number in (0, 50, 99):
                            path = f"/user/u{number}/lab"
                            assert traefik.ask(path)[0] == 200, f"{path} is not served"
                        assert traefik.ask("/first/x")[0] == 404, "a deleted route is served"
                        await store.apply(Batch(3, {}, frozenset(many)))
                        traefik.wait(lambda: traefik.generation() == 3, "show generation 3")
                        assert traefik.ask("/user/u50/lab")[0] == 404, "a deleted route is served"
                        assert not traefik.complaints(), (
                            f"Traefik complains of what was applied: {traefik.complaints()}"
                        )

        run(work)

    @proves(Promise.REAL)
    def test_traefik_keeps_the_order_of_long_lists(self, server: Any, prefix: str) -> None:
        """Twelve middlewares run in the order in which they were given, or are refused."""
        names: list[Document] = [f"m{number}" for number in range(12)]
        records: dict[Key, Document] = {
            Key("http/middlewares", str(name)): {"addPrefix": {"prefix": f"/{name}"}}
            for name in names
        }
        records |= _route("long", "/long/", "http://127.0.0.1:1")
        records[Key("http/routers", "long")] = {
            "rule": 'PathPrefix("/long/")',
            "entryPoints": ["http"],
            "service": "long",
            "middlewares": names,
        }

        async def work() -> None:
            async with self.make_store(prefix, server) as store:
                try:
                    await store.apply(Batch(1, records))
                except RecordRefused:
                    return
                with _traefik(store) as traefik:
                    traefik.wait(lambda: traefik.generation() == 1, "show generation 1")
                    found = traefik.router("long").get("middlewares", [])
                    seen = [each.partition("@")[0] for each in found]
                    assert seen == names, f"a list of {names} is {seen} to Traefik"

        run(work)

    @proves(Promise.REAL)
    def test_traefik_knows_records_by_the_names_they_were_given(
        self, server: Any, prefix: str
    ) -> None:
        """Whatever name a store accepts, Traefik sees; two names are never taken for one."""
        names = [
            *("case", "Case", "with space", "dot.ted", "ünïcødé", 'quo"te', "back\\slash", "tick`"),
            *(
                "42",
                "a@b",
                "a=b",
                "per%cent",
                "[table]",
                "{{x}}",
                "#x",
                "semi;colon",
                "plus+",
                "'single'",
            ),
        ]

        async def work() -> None:
            accepted = set()
            async with self.make_store(prefix, server) as store:
                await store.apply(Batch(1, _route("plain", "/plain/", "http://127.0.0.1:1")))
                generation = 1
                for number, name in enumerate(names):
                    records = _route(name, f"/n{number}/", "http://127.0.0.1:1")
                    try:
                        await store.apply(Batch(generation + 1, records))
                    except RecordRefused:
                        continue
                    generation += 1
                    accepted.add(name)
                with _traefik(store) as traefik:
                    traefik.wait(
                        lambda: traefik.generation() == generation, f"show generation {generation}"
                    )
                    for kind in ("routers", "services"):
                        wanted = accepted | {"plain"}
                        assert traefik.names(kind) == wanted, (
                            f"the store accepted the {kind} {sorted(wanted)}, Traefik has "
                            f"{sorted(traefik.names(kind))}"
                        )
                    assert not traefik.complaints(), f"Traefik complains: {traefik.complaints()}"

        run(work)
