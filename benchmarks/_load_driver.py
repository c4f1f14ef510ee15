"""One run: bring everything up, let the users come and go, look, and see that all is as before."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import sys
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any, Final

from benchmarks._backend import free_ports
from benchmarks._load_book import Book
from benchmarks._load_client import Broken, Door
from benchmarks._load_control import HubControl
from benchmarks._load_logs import warnings_in
from benchmarks._load_plan import Plan
from benchmarks._load_report import Run
from benchmarks._load_samples import DEBUG, Sample, Sampler
from benchmarks._load_servers import NO_ROUTE, Servers
from benchmarks._load_traffic import Traffic, who
from benchmarks._load_users import Users
from benchmarks._load_verdict import grown, problems_of
from benchmarks._routes import user_name

__all__ = ["Driver"]

_IDLE_SECONDS: Final = 120.0
"""Traefik lets go of idle connections after 90 s."""

_ASKED_AT_END: Final = 40
_STORE_OPTIONS: Final = {"etcd": ("EtcdStore", "endpoints"), "consul": ("ConsulStore", "url")}


class Driver:
    """One run.

    Args:
        server: the address of the store's; empty if it has none.
        directory: for what the Hub keeps.
    """

    def __init__(self, plan: Plan, server: str, directory: Path) -> None:
        self._plan = plan
        self._directory = directory
        port, self._api, target = free_ports(3)
        self._config: dict[str, dict[str, Any]] = {}
        if plan.store in _STORE_OPTIONS:
            owner, option = _STORE_OPTIONS[plan.store]
            self._config[owner] = {option: [server] if option == "endpoints" else server}
        self._servers = Servers(target)
        self._door = Door(port)
        self._book = Book()
        self._names = [user_name(number) for number in range(plan.users)]

    async def run(self, about: dict[str, str]) -> Run:
        """All of it.

        Args:
            about: versions and machine.
        """
        plan, book = self._plan, self._book
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._servers)
            hub = await stack.enter_async_context(HubControl(self._given(), self._directory))
            await hub.start()
            sampler = Sampler(hub, self._door, self._servers, book, self._api)
            await sampler.collect_garbage()
            first = await sampler.look()
            await self._load(hub, sampler)
            await hub.ask("check")  # Traefik lets go of some of the past when its counters are read
            await sampler.collect_garbage()
            last = await sampler.look()
            others = await self._still_there(hub) + await hub.end()
        warnings = warnings_in(hub.log, self._directory / "run" / "traefik.log")
        half = 30 * plan.minutes
        judged = [each for each in sampler.samples if half <= each["at"] <= 2 * half]
        growths = grown(first, judged, last)
        unexplained, strangers = len(book.unexplained), len(book.strangers)
        problems = problems_of(growths, last, unexplained, others, strangers)
        return Run(plan, about, book, sampler.samples, growths, warnings, problems)

    def keep_logs(self, directory: Path) -> None:
        """Copy the logs of Hub and Traefik there."""
        for log in (self._directory / "hub.log", self._directory / "run" / "traefik.log"):
            with suppress(FileNotFoundError):
                shutil.copy(log, directory / f"{self._plan.store}-{log.name}")

    def _given(self) -> dict[str, Any]:
        options = {
            "store": self._plan.store,
            "public_url": f"http://127.0.0.1:{self._door.port}",
            "traefik_api_url": f"http://127.0.0.1:{self._api}",
            "run_dir": str(self._directory / "run"),
            "grace_seconds": 1,
            **DEBUG,
        }
        return {
            "users": self._names,
            "hub_url": self._servers.hub.url,
            "options": options,
            "config": self._config,
        }

    async def _load(self, hub: HubControl, sampler: Sampler) -> None:
        """The users' time; then until nothing goes on any more."""
        users = Users(self._plan, self._names, hub, self._servers, self._book)
        traffic = Traffic(self._plan, users, self._door, hub, self._book)
        living = asyncio.create_task(users.live())
        flowing = asyncio.create_task(traffic.flow())
        looking = asyncio.create_task(sampler.keep_looking(self._plan.sample_every))
        telling = asyncio.create_task(self._tell(hub, sampler))
        tasks = [living, flowing, looking, telling]
        try:
            await asyncio.wait(
                tasks, timeout=60 * self._plan.minutes, return_when=asyncio.FIRST_COMPLETED
            )
            self._require_running(tasks)
            users.leave()
            await asyncio.wait([living, flowing, looking], return_when=asyncio.FIRST_COMPLETED)
            self._require_running([flowing, looking])
            flowing.cancel()
            await asyncio.wait([flowing])
            await self._idle()
            self._require_running([looking])
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    @staticmethod
    def _require_running(tasks: list[asyncio.Task[None]]) -> None:
        for task in tasks:
            if task.done():
                task.result()  # which raises
                raise AssertionError("a part of the load has ended before its time")

    async def _idle(self) -> None:
        """Return when Traefik has let go of its idle connections."""
        for _ in range(int(_IDLE_SECONDS)):
            if not self._servers.connections():
                return
            await asyncio.sleep(1)

    async def _tell(self, hub: HubControl, sampler: Sampler) -> None:
        """How it goes, once a minute."""
        while True:
            await asyncio.sleep(60)
            if "PYTHONTRACEMALLOC" in os.environ:
                print("\n".join(await hub.ask("grown")), file=sys.stderr)
            seen: Sample = sampler.samples[-1]
            print(
                f"{self._plan.store}, {seen['at'] / 60:.0f} min: {seen['routes']:.0f} routes, "
                f"Hub {seen['hub_mib']:.1f} MiB, Traefik {seen['traefik_mib']:.0f} MiB, "
                f"errors {len(self._book.unexplained)} and {len(self._book.incidents)} in all",
                file=sys.stderr,
                flush=True,
            )

    async def _still_there(self, hub: HubControl) -> list[str]:
        """What is left of users when all have logged out."""
        found = [f"a route is left: {spec}" for spec in await hub.ask("routes") if spec != "/"]
        rng = random.Random(f"{self._plan.seed} end")
        try:
            async with self._door.connection() as connection:
                for user in rng.sample(self._names, min(_ASKED_AT_END, len(self._names))):
                    path = f"/user/{user}/lab"
                    if (seen := who(await connection.get(path, "Accept: text/html"), path)) != (
                        NO_ROUTE
                    ):
                        found.append(f"{user} has left, but {seen} answers")
        except Broken as error:
            found.append(f"at the end: {error}")
        return found
