"""A Hub of another process, with the same proxy, that ends without stopping it.

As a program: reads its options from the first argument, serves until its input ends.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

__all__ = ["EarlierHub"]


class EarlierHub:
    """A Hub that runs until the test kills it.

    Args:
        options: of its TraefikProxy; with ``config``, also of its store.
        routes: the target of each routespec.
        app: what its JupyterHub has otherwise than usual.
    """

    def __init__(
        self, options: dict[str, Any], routes: dict[str, str], app: dict[str, Any] | None = None
    ) -> None:
        given = json.dumps({"options": options, "routes": routes, "app": app or {}})
        self.process = subprocess.Popen(
            [sys.executable, __file__, given],
            cwd=Path(__file__).parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        if self.process.stdout.readline() != b"ready\n":
            self.kill()
            raise AssertionError("the earlier Hub didn't start; its error is above")

    def kill(self) -> None:
        """SIGKILL. Idempotent."""
        self.process.kill()
        self._reap()

    def leave(self) -> None:
        """Let it end by itself, as JupyterHub does with ``cleanup_proxy = False``."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self._reap()

    def _reap(self) -> None:
        self.process.wait(timeout=30)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


async def _main(given: str) -> None:
    from traitlets.config import Config

    from support import hub_app
    from traefikhub import TraefikProxy

    what = json.loads(given)
    config = Config(what["options"].pop("config", {}))
    proxy = TraefikProxy(app=hub_app(**what["app"]), config=config, **what["options"])
    await proxy.start()
    for routespec, target in what["routes"].items():
        await proxy.add_route(routespec, target, {})
    print("ready", flush=True)  # noqa: T201
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1]))
