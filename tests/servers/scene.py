"""A hub with a real Traefik and its store, in trouble: what tests of outages, rivals and drift look
at, without a call of the proxy."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import anyio
import anyio.to_thread
import requests
from prometheus_client import REGISTRY

from support import Backend, ask, wait_until
from traefikhub import TraefikProxy
from traefikhub.stores import StoreUnavailable

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["Kept", "KeyValues", "RoutesFile", "Scene", "Visitor", "metric", "spec_of", "until"]


def spec_of(user: str) -> str:
    """The routespec of a user's server."""
    return f"/user/{user}/"


def metric(name: str, **labels: str) -> float:
    """Of the Hub's page of metrics; 0 if it isn't there."""
    return REGISTRY.get_sample_value(f"traefikhub_{name}", labels) or 0.0


async def until(condition: Callable[[], Any], what: str, seconds: float = 30) -> Any:
    """As ``wait_until``, while the event loop goes on."""
    return await anyio.to_thread.run_sync(wait_until, condition, what, seconds)


class Kept(Protocol):
    """What the store holds, read without it."""

    def routes(self) -> dict[str, str]:
        """The target of each routespec, by what the Hub remembers."""

    def routers(self) -> set[str]:
        """The names that Traefik's routers have there."""

    def generation(self) -> int:
        """That of the marker; 0 if there is none."""


class KeyValues:
    """The keys of a server below a prefix."""

    def __init__(self, dump: Callable[[], Mapping[str, str]], prefix: str) -> None:
        self._dump = dump
        self.prefix = prefix

    def keys(self) -> dict[str, str]:
        """All, by what stands behind the prefix."""
        start = f"{self.prefix}/"
        found = self._dump().items()
        return {key[len(start) :]: value for key, value in found if key.startswith(start)}

    def routes(self) -> dict[str, str]:
        """The target of each routespec, by what the Hub remembers."""
        texts = [v for key, v in self.keys().items() if key.startswith("jupyterhub/routes/")]
        return _targets(texts)

    def routers(self) -> set[str]:
        """The names that Traefik's routers have there."""
        return {key.split("/")[2] for key in self.keys() if key.startswith("http/routers/")}

    def generation(self) -> int:
        """That of the marker; 0 if there is none."""
        start = "http/middlewares/traefikhub__generation/"
        return next((int(v) for key, v in self.keys().items() if key.startswith(start)), 0)


class RoutesFile:
    """A routes file, read as Traefik reads it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def tables(self) -> dict[str, Any]:
        """What it means; nothing while it is broken or gone."""
        try:
            return tomllib.loads(self.path.read_text())
        except (OSError, ValueError):
            return {}

    def routes(self) -> dict[str, str]:
        """The target of each routespec, by what the Hub remembers."""
        return _targets(self.tables().get("jupyterhub", {}).get("routes", {}).values())

    def routers(self) -> set[str]:
        """The names that Traefik's routers have there."""
        return set(self.tables().get("http", {}).get("routers", {}))

    def generation(self) -> int:
        """That of the marker; 0 if there is none."""
        marker = self.tables().get("http", {}).get("middlewares", {}).get("traefikhub__generation")
        if marker is None:
            return 0
        return int(next(iter(marker["headers"]["customResponseHeaders"].values())))


def _targets(texts: Any) -> dict[str, str]:
    found = {}
    for text in texts:
        with suppress(ValueError, KeyError, TypeError):
            document = json.loads(text)
            found[document["routespec"]] = document["target"]
    return found


class Scene:
    """A proxy, the servers of its users, and what its store holds.

    Args:
        proxy: which runs.
        kept: its store, read another way.
        backend: makes the users' servers.
    """

    def __init__(self, proxy: TraefikProxy, kept: Kept, backend: Callable[[str], Backend]) -> None:
        self.proxy = proxy
        self.kept = kept
        self._backend = backend
        self._backends: dict[str, str] = {}
        self._own = kept.routers()  # those of no route: of the API

    def target(self, name: str) -> str:
        """Where the server of that name is; it answers with its name."""
        if name not in self._backends:
            self._backends[name] = self._backend(name).url
        return self._backends[name]

    async def add(self, user: str, server: str = "") -> None:
        """Have the user's route lead to a server, by default one of the same name."""
        await self.proxy.add_route(
            spec_of(user), self.target(server or user), {"user": user, "server": server}
        )

    async def delete(self, user: str) -> None:
        """Delete the user's route."""
        await self.proxy.delete_route(spec_of(user))

    def url(self, user: str) -> str:
        """The user's page, through Traefik."""
        return f"{self.proxy.public_url}{spec_of(user)}"

    def serves(self, user: str, server: str | None = "") -> bool:
        """Whether Traefik leads the user there now; None for nowhere."""
        try:
            status, answer = ask(self.url(user))
        except requests.RequestException:
            return False
        if server is None:
            return status == 404
        return bool(status == 200 and answer["name"] == (server or user))

    def is_in_order(self, expected: Mapping[str, str], *gone: str) -> bool:
        """Whether store and Traefik have these routes and no others.

        Args:
            expected: the server of each user.
            gone: users who have no route.
        """
        routes = {spec_of(user): self.target(name) for user, name in expected.items()}
        return (
            self.kept.routes() == routes
            and len(self._routers_of_routes()) == len(routes)
            and self.kept.generation() > 0
            and all(self.serves(user, name) for user, name in expected.items())
            and all(self.serves(user, None) for user in gone)
        )

    def _routers_of_routes(self) -> set[str]:
        """Without those above others, which are there for many routes."""
        found = self.kept.routers() - self._own
        return {name for name in found if not name.startswith("traefikhub__")}

    async def comes_to_order(
        self, expected: Mapping[str, str], *gone: str, seconds: float = 60
    ) -> None:
        """As ``is_in_order``, soon, and the proxy tells the same. Until then it isn't asked."""
        try:
            await until(lambda: self.is_in_order(expected, *gone), "order", seconds)
        except AssertionError as error:
            found = await anyio.to_thread.run_sync(self.describe, [*expected, *gone])
            raise AssertionError(f"{error}: {dict(expected)}, but\n{found}") from None
        routes = await self._told(seconds)
        assert {spec: route["target"] for spec, route in routes.items()} == {
            spec_of(user): self.target(name) for user, name in expected.items()
        }
        # Traefik may still be about to reach its server again.
        await until(lambda: metric("writer_state", state="live"), "the state live", seconds)

    async def _told(self, seconds: float) -> dict[str, dict[str, Any]]:
        """What the proxy tells. A server that has just come back may need longer for its first
        answer than the second that it is given here."""
        with anyio.fail_after(seconds):
            while True:
                try:
                    found: dict[str, dict[str, Any]] = await self.proxy.get_all_routes()
                except StoreUnavailable:
                    await anyio.sleep(0.1)
                else:
                    return found

    def describe(self, users: list[str]) -> str:
        """How things stand, for an error."""
        served = {}
        for user in users:
            try:
                status, answer = ask(self.url(user))
            except requests.RequestException as error:
                served[user] = str(error)
            else:
                served[user] = answer["name"] if status == 200 else str(status)
        names = {url: name for name, url in self._backends.items()}
        kept = {spec: names.get(url, url) for spec, url in self.kept.routes().items()}
        return (
            f"kept: {kept}\nrouters: {self._routers_of_routes()}\nserved: {served}\n"
            f"generation: {self.kept.generation()}"
        )

    def traefik_log(self) -> str:
        """Traefik's own log."""
        return (Path(self.proxy.run_dir) / "traefik.log").read_text()


class Visitor:
    """Opens a page again and again, in a thread of its own. Use it as a context manager.

    At the end all answers must have been the user's.
    """

    def __init__(self, url: str, name: str) -> None:
        self._url = url
        self._name = name
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._visit, daemon=True)
        self.visits = 0
        self.troubles: list[str] = []

    def __enter__(self) -> Visitor:
        self._thread.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end.set()
        self._thread.join()
        if exc is None:
            assert self.visits, "nobody came"
            assert not self.troubles, self.troubles[:5]

    def _visit(self) -> None:
        while not self._end.wait(0.05):
            began = time.monotonic()
            try:
                status, answer = ask(self._url)
                if status != 200 or answer["name"] != self._name:
                    self.troubles.append(f"{began:.2f}: {status} {str(answer)[:200]}")
            except requests.RequestException as error:
                self.troubles.append(f"{began:.2f}: {error}")
            self.visits += 1
