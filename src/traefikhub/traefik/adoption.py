"""What becomes of the Traefik that an earlier Hub left running: it goes on, or makes room."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import anyio

from traefikhub.threads import in_thread
from traefikhub.traefik._errors import TraefikUnusable
from traefikhub.traefik.api import Sign
from traefikhub.traefik.connections import listens
from traefikhub.traefik.process import TraefikProcess
from traefikhub.traefik.running import known, remember, strays

__all__ = ["Leftovers", "find_leftovers", "is_well", "make_room"]

_CLOSE_SECONDS: Final = 30.0
"""A Traefik that was told to stop closes its ports within milliseconds, unless the admin gave it a
``requestAcceptGraceTimeout``. Until then it serves."""
_KILLED_SECONDS: Final = 5.0
_LOOK_SECONDS: Final = 0.02
_QUESTIONS: Final = 3


@dataclass(frozen=True, slots=True)
class Leftovers:
    """The processes of earlier Hubs that still run. The last one that was started stands first."""

    processes: tuple[TraefikProcess, ...]

    @property
    def ports(self) -> frozenset[int]:
        """Where they listen, as far as is known."""
        return frozenset(port for process in self.processes for port in process.known.ports)

    def like(self, fingerprint: str) -> TraefikProcess | None:
        """The one that serves, if it was started with all that this is a fingerprint of."""
        for process in self.processes[:1]:
            if process.known.fingerprint == fingerprint:
                return process
        return None

    def but(self, adopted: TraefikProcess | None) -> list[TraefikProcess]:
        """All others."""
        return [process for process in self.processes if process is not adopted]


def find_leftovers(run_dir: Path, config_file: Path, *, grace: float) -> Leftovers:
    """What earlier Hubs started for this directory, and what still runs of it. Blocks for some
    milliseconds.

    Raises:
        TraefikUnusable: one belongs to another user.
    """
    for entries in (known, lambda _: strays(config_file)):
        found = []
        for entry in entries(run_dir):
            with suppress(ProcessLookupError):
                found.append(TraefikProcess.adopt(entry, run_dir=run_dir, grace=grace))
        if found:
            return Leftovers(tuple(found))
    return Leftovers(())


async def is_well(process: TraefikProcess, sign: Callable[[], Awaitable[Sign]], port: int) -> bool:
    """Whether a process that is to be adopted answers; one that was suspended goes on.

    Args:
        port: that of the API, lest another program that listens there answers for it.
    """
    process.wake()
    for _ in range(_QUESTIONS):
        if await sign() is Sign.ANSWERS:
            return await in_thread(listens, process.pid, port) is not False
    return False


async def make_room(
    processes: list[TraefikProcess], run_dir: Path, require_free: Callable[[], None]
) -> list[TraefikProcess]:
    """Let these finish what is open, and return when the ports are free.

    Args:
        run_dir: where it is noted that they were told to stop.
        require_free: raises ``TraefikUnusable`` if they aren't; called in a thread.

    Returns:
        Those that still have something open.

    Raises:
        TraefikUnusable: something else listens there.
    """
    stopping = [replace(process.known, fingerprint="") for process in processes]
    await in_thread(remember, run_dir, stopping)
    for process in processes:
        process.drain()
    if await _become_free(require_free, _CLOSE_SECONDS if processes else 0):
        return [process for process in processes if process.runs]
    for process in processes:
        await process.kill()
    if not await _become_free(require_free, _KILLED_SECONDS if processes else 0):
        await in_thread(require_free)
    return []


async def _become_free(require_free: Callable[[], None], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while True:
        try:
            await in_thread(require_free)
        except TraefikUnusable:
            if time.monotonic() > deadline:
                return False
            await anyio.sleep(_LOOK_SECONDS)
        else:
            return True
