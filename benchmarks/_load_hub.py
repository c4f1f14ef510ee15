"""A Hub's process for the load: one TraefikProxy, used as JupyterHub uses it.

Reads its options from the first argument, then commands from standard input, one JSON object a
line. Answers each with one that has the same id, as soon as it is done; many at once.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import sys
import tracemalloc
from types import SimpleNamespace
from typing import Any, Final

from prometheus_client import REGISTRY
from traitlets.config import Config

from traefikhub import TraefikProxy

__all__ = ["Hub"]

_LINES: Final = 25


class _User:
    """The parts of JupyterHub's user and spawner that a proxy looks at."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.proxy_spec = f"/user/{name}/"
        self.spawner = SimpleNamespace(
            proxy_spec=self.proxy_spec,
            ready=False,
            pending=None,
            server=SimpleNamespace(host=""),
            _log_name=name,
        )
        self.spawners = {"": self.spawner}


class Hub:
    """Carries out commands. Every public method is one; all values are JSON-able.

    Args:
        users: names.
        hub_url: the target of the Hub's own route.
        options, config: of the proxy.
    """

    def __init__(
        self, users: list[str], hub_url: str, options: dict[str, Any], config: dict[str, Any]
    ) -> None:
        # With a hub, error pages and last activity are on, as in a real one.
        hub = SimpleNamespace(routespec="/", host=hub_url, base_url="/hub/", url=f"{hub_url}/hub/")
        app = SimpleNamespace(subdomain_host="", internal_ssl=False, cleanup_proxy=True, hub=hub)
        self._users = {name: _User(name) for name in users}
        self._proxy = TraefikProxy(
            app=app, hub=hub, log=logging.getLogger("hub"), config=Config(config), **options
        )
        self._before: tracemalloc.Snapshot | None = None
        self.commands: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Start the proxy, and see to it that the Hub has its own route."""
        await self._proxy.start()
        await self._proxy.check_routes(self._users, {})

    async def stop(self) -> None:
        """Stop the proxy."""
        await self._proxy.stop()

    async def login(self, *, user: str, target: str) -> None:
        """A server has started."""
        spawner = self._users[user].spawner
        spawner.pending, spawner.server.host = "spawn", target
        try:
            await self._proxy.add_user(self._users[user])
        finally:
            spawner.pending = None
        spawner.ready = True

    async def move(self, *, user: str, target: str) -> None:
        """A server is elsewhere."""
        self._users[user].spawner.server.host = target
        await self._proxy.add_user(self._users[user])

    async def logout(self, *, user: str) -> None:
        """A server is about to stop."""
        spawner = self._users[user].spawner
        spawner.ready, spawner.pending = False, "stop"
        try:
            await self._proxy.delete_user(self._users[user])
        finally:
            spawner.pending = None

    async def check(self) -> None:
        """What JupyterHub does every five minutes."""
        await self._proxy.check_routes(self._users, {}, await self._proxy.get_all_routes())

    async def used(self, *, users: list[str]) -> dict[str, str]:
        """Ask for all routes; when those of some users were last used, where they are routed."""
        routes = await self._proxy.get_all_routes()
        specs = {user: self._users[user].proxy_spec for user in users}
        return {
            user: routes[spec]["data"]["last_activity"]
            for user, spec in specs.items()
            # One that is deleted just now is listed without.
            if spec in routes and "last_activity" in routes[spec]["data"]
        }

    async def routes(self) -> list[str]:
        """All of them."""
        return list(await self._proxy.get_all_routes())

    async def status(self) -> dict[str, float]:
        """What only this process knows of itself. Commands that are being carried out don't count
        among the tasks."""
        tasks = [task for task in asyncio.all_tasks() if task not in self.commands]
        return {
            "tasks": len(tasks),
            "objects": len(gc.get_objects()),
            "routes": _metric("routes"),
            "generation": _metric("generation_stored"),
            "live": _metric("writer_state", state="live"),
            "drifts": _metric("store_drifts_total"),
            "restarts": sum(
                _metric("traefik_restarts_total", result=result) for result in ("ok", "failed")
            ),
        }

    async def collect(self) -> None:
        """Collect garbage."""
        gc.collect()

    async def grown(self) -> list[str]:
        """The lines of code whose memory has grown most since the first time that this was asked;
        with PYTHONTRACEMALLOC only."""
        gc.collect()
        now = tracemalloc.take_snapshot()
        before, self._before = self._before or now, self._before or now
        return [str(line) for line in now.compare_to(before, "lineno")[:_LINES]]


def _metric(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"traefikhub_{name}", labels) or 0.0


async def _serve(hub: Hub, commands: int, answers: int) -> None:
    """Carry out commands until there are no more; then stop the proxy."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(commands, "rb", 0)
    )
    try:
        while line := await reader.readline():
            task = asyncio.create_task(_answer(hub, json.loads(line), answers))
            hub.commands.add(task)
            task.add_done_callback(hub.commands.discard)
    finally:
        await hub.stop()


async def _answer(hub: Hub, command: dict[str, Any], answers: int) -> None:
    number, do = command.pop("id"), command.pop("do")
    answer: dict[str, Any] = {"id": number}
    try:
        answer["ok"] = await getattr(hub, do)(**command)
    except Exception as error:
        logging.getLogger("hub").exception("%s failed", do)
        answer["error"] = f"{type(error).__name__}: {error}"
    os.write(answers, json.dumps(answer).encode() + b"\n")


def main() -> None:
    """Keep the parent's pipes from whatever prints."""
    commands, answers = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s"
    )
    asyncio.run(_serve(Hub(**json.loads(sys.argv[1])), commands, answers))


if __name__ == "__main__":
    main()
