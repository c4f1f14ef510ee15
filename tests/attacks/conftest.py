"""A site under attack: a Traefik with many users, whose servers keep every byte."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from types import SimpleNamespace

import anyio.to_thread
import pytest

from attacks.recorder import Recorder, converse, outcomes
from support import free_port, hub_app
from traefikhub import TraefikProxy

CROWD = 130  # more than the routers that stand side by side before the tree has parents


@dataclass
class Site:
    """A hub with mary, ada and a crowd, which share one server."""

    proxy: TraefikProxy
    servers: dict[str, Recorder]

    @property
    def url(self) -> str:
        """Where visitors come in."""
        return str(self.proxy.public_url)

    async def send(self, data: bytes) -> list[str]:
        """What becomes of bytes on a connection of their own: an outcome for each answer."""
        self.forget()
        return outcomes(await anyio.to_thread.run_sync(converse, self.url, data))

    def forget(self) -> None:
        """What has arrived until now."""
        for server in self.servers.values():
            server.forget()

    def arrived(self) -> list[str]:
        """All requests that reached any server since then, by server."""
        return [
            server.told(request) for server in self.servers.values() for request in server.requests
        ]

    def faults(self) -> list[str]:
        """What reached a server and might be read in two ways."""
        return [fault for server in self.servers.values() for fault in server.faults]

    async def require_all_served(self) -> None:
        """Each visitor gets the answer to the own request, not one left over."""
        for name, path in (("mary", "/user/mary/"), ("ada", "/user/ada/"), ("hub", "/hub/")):
            data = f"GET {path}well HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
            assert await self.send(data.encode()) == [f"{name} GET {path}well"]


@pytest.fixture(scope="module")
def recorders() -> Iterator[dict[str, Recorder]]:
    """A server for each name."""
    made = {name: Recorder(name) for name in ("hub", "mary", "ada", "crowd")}
    yield made
    for server in made.values():
        server.close()


@pytest.fixture(scope="module")
async def site(
    tmp_path_factory: pytest.TempPathFactory,
    recorders: dict[str, Recorder],
    request: pytest.FixtureRequest,
) -> AsyncIterator[Site]:
    """A proxy as it comes; its parameter, if there is one, are options that differ."""
    proxy = TraefikProxy(
        app=hub_app(),
        hub=SimpleNamespace(host=recorders["hub"].url, base_url="/hub/", routespec="/"),
        public_url=f"http://127.0.0.1:{free_port()}",
        traefik_api_url=f"http://127.0.0.1:{free_port()}",
        run_dir=str(tmp_path_factory.mktemp("site") / "run"),
        grace_seconds=0,
        **getattr(request, "param", {}),
    )
    specs = {"/": "hub", "/user/mary/": "mary", "/user/ada/": "ada"}
    specs |= {f"/user/user{number}/": "crowd" for number in range(CROWD)}
    try:
        await proxy.start()
        async with anyio.create_task_group() as group:
            for spec, name in specs.items():
                group.start_soon(proxy.add_route, spec, recorders[name].url, {})
        yield Site(proxy, recorders)
    finally:
        await proxy.stop()
