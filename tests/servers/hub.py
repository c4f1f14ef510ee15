"""A Hub's proxy in a process of its own, to be frozen while another takes its store over.

``python -m servers.hub`` is the process; ``HubProcess`` is the other end of its pipes.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import anyio.to_thread
import psutil
from prometheus_client import REGISTRY

from support import hub_app

__all__ = ["HubProcess"]


class HubProcess:
    """A proxy that runs in another process. Use it as a context manager.

    Args:
        directory: for its log; made if absent.
        options: of the proxy; ``config`` is a dict of dicts.
    """

    def __init__(self, directory: Path, options: dict[str, Any]) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.log = directory / "hub.log"
        self._options = options
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> HubProcess:
        with self.log.open("w") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "servers.hub", json.dumps(self._options)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
        try:
            assert self._answer() == "up", self.log.read_text()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end()

    def _end(self) -> None:
        process = self._process
        assert process
        children = psutil.Process(process.pid).children() if process.poll() is None else []
        try:
            self.resume()
            process.communicate("", timeout=20)  # its input ends, and so does it
        finally:
            process.kill()
            process.wait()
            for child in children:
                if child.is_running():
                    child.kill()

    def kill(self) -> None:
        """Let it end at once; its Traefik goes on."""
        assert self._process
        self._process.kill()
        self._process.wait()

    def pause(self) -> None:
        """Freeze it; its Traefik goes on."""
        assert self._process
        os.kill(self._process.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED)

    def resume(self) -> None:
        """Let it go on."""
        assert self._process
        if self._process.poll() is None:
            os.kill(self._process.pid, signal.SIGCONT)

    async def call(self, do: str, *arguments: Any) -> Any:
        """Have it do something, and return what that returns. An error comes as its class and
        text, in a list."""
        self.begin(do, *arguments)
        return await anyio.to_thread.run_sync(self.end)

    def begin(self, do: str, *arguments: Any) -> None:
        """Have it do something. The answer must be fetched by ``end``."""
        assert self._process
        assert self._process.stdin
        self._process.stdin.write(json.dumps([do, *arguments]) + "\n")
        self._process.stdin.flush()

    def end(self) -> Any:
        """What came of it."""
        return self._answer()

    def _answer(self) -> Any:
        assert self._process
        assert self._process.stdout
        line = self._process.stdout.readline()
        assert line, f"the Hub has ended:\n{self.log.read_text()}"
        return json.loads(line)


# --- the process -------------------------------------------------------------------------------


class _Commands:
    """What it can do, one after another."""

    def __init__(self, proxy: Any) -> None:
        self._proxy = proxy

    async def add(self, spec: str, target: str) -> None:
        await self._proxy.add_route(spec, target, {})

    async def delete(self, spec: str) -> None:
        await self._proxy.delete_route(spec)

    async def routes(self) -> dict[str, str]:
        routes = await self._proxy.get_all_routes()
        return {spec: route["target"] for spec, route in routes.items()}

    async def state(self) -> str:
        """That which the page of metrics shows."""
        states = next(m for m in REGISTRY.collect() if m.name == "traefikhub_writer_state").samples
        return next(sample.labels["state"] for sample in states if sample.value)

    async def burst(self, target: str) -> dict[str, Any]:
        """Add routes, some at once, until one fails; tell which were acknowledged, and the
        errors."""
        acknowledged: list[str] = []
        errors: list[list[str]] = []

        async def work(first: int) -> None:
            number = first
            while not errors:
                spec = f"/user/burst{number}/"
                try:
                    await self._proxy.add_route(spec, target, {})
                except Exception as error:
                    errors.append([type(error).__name__, str(error)])
                else:
                    acknowledged.append(spec)
                number += 20

        await asyncio.gather(*(work(first) for first in range(20)))
        return {"acknowledged": acknowledged, "errors": errors}


async def _main(options: dict[str, Any], answers: IO[str]) -> None:
    from traitlets.config import Config

    from traefikhub import TraefikProxy

    log = logging.getLogger("hub")
    config = Config(options.pop("config"))
    proxy = TraefikProxy(app=hub_app(), log=log, config=config, **options)

    def say(answer: Any) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    requests: asyncio.Queue[list[Any]] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def read() -> None:
        for line in sys.stdin:
            loop.call_soon_threadsafe(requests.put_nowait, json.loads(line))
        loop.call_soon_threadsafe(requests.put_nowait, [])

    try:
        await proxy.start()
        say("up")
        threading.Thread(target=read, daemon=True).start()
        commands = _Commands(proxy)
        while request := await requests.get():
            do, *arguments = request
            try:
                say(await getattr(commands, do)(*arguments))
            except Exception as error:
                say([type(error).__name__, str(error)])
    finally:
        await proxy.stop()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    asyncio.run(_main(json.loads(sys.argv[1]), sys.stdout))
