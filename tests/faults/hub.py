"""The Hub: a process with one proxy, that does what its input says. ``HubControl`` is the other
end.

Reads its options from the first argument, then one JSON object a line. Answers each with one that
has the same id, as soon as it is done; many at once.
"""

from __future__ import annotations

import asyncio
import faulthandler
import itertools
import json
import logging
import signal
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from traitlets.config import Config

from support import hub_app
from traefikhub import TraefikProxy
from traefikhub.stores import RecordRefused
from traefikhub.traefik import process

_REAL_TIME = time.time
_LATE_SECONDS = 1.0

_REFUSED = (ValueError, TypeError, RecordRefused)
"""What says that nothing was done."""

EARLY, NO_CHANGE, NOTHING = "acknowledges too early", "ends no change", "answers nothing"
"""How a Hub may lie, to see that it is found out; the latter two after some honest changes."""

_ANSWERED = 20


class HubProcess:
    """One Hub's life."""

    def __init__(self, given: dict[str, Any]) -> None:
        # With a hub, JupyterHub's check, the error pages and last activity work as in a real one.
        hub = SimpleNamespace(routespec="/", host=given["hub_url"], base_url="/hub/")
        app = hub_app(hub=hub, cleanup_proxy=given["cleanup_proxy"])
        self._proxy = TraefikProxy(
            app=app,
            hub=hub,
            log=logging.getLogger("hub"),
            config=Config(given["config"]),
            **given["options"],
        )
        self._given = given
        self._end = asyncio.Event()
        self._blinding = patch.object(process, "is_suspended", lambda _pid: False)
        self._tasks: set[asyncio.Task[None]] = set()
        self._changes = itertools.count(1)
        self._silent: tuple[str, ...] = ()
        self._commands: dict[str, Callable[[dict[str, Any]], Coroutine[Any, Any, Any]]] = {
            "add": self._add,
            "delete": self._delete,
            "check": self._check,
            "routes": self._routes,
            "ping": self._ping,
            "clock": self._clock,
            "blind": self._blind,
            "leave": self._leave,
            "stop": self._stop,
        }

    async def run(self) -> None:
        """Until it is told to stop, or its input ends."""
        try:
            await self._proxy.start()
        except Exception as error:
            _say({"id": 0, "error": type(error).__name__, "text": str(error)})
            raise SystemExit(1) from error
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._read, args=(loop,), daemon=True).start()
        _say({"id": 0, "ok": True})
        await self._end.wait()

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        for line in sys.stdin:
            loop.call_soon_threadsafe(self._begin, json.loads(line))
        loop.call_soon_threadsafe(self._begin, {"id": -1, "do": "stop"})

    def _begin(self, command: dict[str, Any]) -> None:
        task = asyncio.get_running_loop().create_task(self._answer(command))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, command: dict[str, Any]) -> None:
        answer: dict[str, Any] = {"id": command["id"]}
        if await self._lies(command["do"], answer):
            return
        try:
            answer["ok"] = await self._commands[command["do"]](command)
        except Exception as error:
            answer |= {"error": type(error).__name__, "text": str(error)}
            answer["refused"] = isinstance(error, _REFUSED)
        _say(answer)

    async def _lies(self, do: str, answer: dict[str, Any]) -> bool:
        """Break the promises, if that is wanted; whether no answer may follow."""
        if do in ("add", "delete"):
            if self._given["lie"] == EARLY:
                _say(answer | {"ok": None})
                await asyncio.sleep(_LATE_SECONDS)
            elif self._given["lie"] and next(self._changes) > _ANSWERED:
                self._silent = {NO_CHANGE: ("add", "delete"), NOTHING: (*self._commands,)}[
                    self._given["lie"]
                ]
        return do in self._silent

    async def _add(self, command: dict[str, Any]) -> None:
        await self._proxy.add_route(command["spec"], command["target"], command["data"])

    async def _delete(self, command: dict[str, Any]) -> None:
        await self._proxy.delete_route(command["spec"])

    async def _check(self, command: dict[str, Any]) -> None:
        """JupyterHub's own check. Of the users that have a server, some are about to start or to
        stop it, and their routes are left alone."""
        users = {}
        for spec, target in (command["ready"] | dict.fromkeys(command["pending"])).items():
            spawner = SimpleNamespace(
                ready=target is not None,
                pending=None if target else "spawn",
                proxy_spec=spec,
                server=SimpleNamespace(host=target),
            )
            users[spec] = SimpleNamespace(name=spec, spawners={"": spawner})
        await self._proxy.check_routes(users, {})

    async def _routes(self, command: dict[str, Any]) -> dict[str, Any]:
        return await self._proxy.get_all_routes()

    async def _ping(self, command: dict[str, Any]) -> None:
        pass

    async def _clock(self, command: dict[str, Any]) -> None:
        """Set the time of day. Clocks that measure durations don't jump in a real machine either,
        when somebody sets the time."""
        # gRPC hands the time of day from its Python half to its other half, which would have
        # another one. Where the clock is really set, both have the same.
        for name, module in list(sys.modules.items()):
            if name.partition(".")[0] == "grpc" and vars(module).get("time") is time:
                vars(module)["time"] = SimpleNamespace(**vars(time))
        real, offset = _REAL_TIME, float(command["seconds"])
        time.time = lambda: real() + offset

    async def _blind(self, command: dict[str, Any]) -> None:
        """From now on, don't see that Traefik was suspended by a signal, so that it stands for one
        that hangs for another reason."""
        if command["on"]:
            self._blinding.start()
        else:
            self._blinding.stop()

    async def _leave(self, command: dict[str, Any]) -> None:
        """End as JupyterHub does with ``cleanup_proxy = False``."""
        self._end.set()

    async def _stop(self, command: dict[str, Any]) -> None:
        await self._proxy.stop()
        self._end.set()


def _say(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    faulthandler.register(signal.SIGUSR1)  # tells the log where it hangs
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr
    )
    asyncio.run(HubProcess(json.loads(sys.argv[1])).run())
