"""One run: the scratch place, the store alone, the hub there, tables of each size."""

from __future__ import annotations

import asyncio
import platform
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from shlex import quote
from typing import TypeVar

import anyio
import psutil

from traefikhub import __version__
from traefikhub.cli._bench_hub import running_hub, throttle_of, what_differs
from traefikhub.cli._bench_measure import Amount, Phase, fill, of_disk, of_store, of_table
from traefikhub.cli._bench_values import Machine, Result, seconds_of
from traefikhub.cli._scratch import NotRemoved, Place, scratch_place
from traefikhub.session import SessionSettings
from traefikhub.stores import InstalledStore, RouteStore, in_thread, installed_stores
from traefikhub.traefik import find_traefik, require_supported, version_of
from traefikhub.traefik.checks import check_duration

__all__ = ["Stopped", "measure", "removal", "until_told_to_stop"]

_T = TypeVar("_T")


class Stopped(Exception):
    """A signal ended it; everything is removed."""


async def measure(
    settings: SessionSettings,
    store_name: str,
    sizes: Sequence[int],
    amount: Amount,
    phase: Phase,
    *,
    host_routing: bool,
) -> Result:
    """Measure, and leave nothing behind.

    Args:
        settings: the admin's. Their store is moved to a scratch place.
        store_name: as in the configuration.
        sizes: numbers of routes, growing.

    Raises:
        NoPlace, NotRemoved: see ``scratch_place``.
        StoreError, TraefikError, ValueError, OSError: it can't be measured.
    """
    began = time.monotonic()
    throttle = throttle_of(settings)
    check_duration(throttle)
    machine = await in_thread(_machine)
    versions = await in_thread(_versions, settings, store_name)
    async with _scratch(settings.store) as place:
        result = Result(
            versions=versions,
            machine=machine,
            store=store_name,
            on_server=place.directory is None,
            place=place.name,
            throttle=seconds_of(throttle),
            notes=what_differs(settings),
        )
        result.write, result.round_trip = await of_store(place.store, amount, phase)
        if place.directory:
            result.fsync = await of_disk(place.directory, amount, phase)
        async with (
            _directory() as directory,
            running_hub(
                settings, place, directory, largest=sizes[-1], host_routing=host_routing
            ) as hub,
        ):
            there = 0
            for size in sizes:
                if result.tables and time.monotonic() - began > amount.all_seconds:
                    result.notes.append(f"{size} routes are left out: there was no time for them.")
                    continue
                await fill(hub, there, size - there, phase)
                there = size
                result.tables.append(await of_table(hub, size, amount, phase))
    result.seconds = time.monotonic() - began
    return result


@asynccontextmanager
async def _scratch(store: RouteStore) -> AsyncIterator[Place]:
    """As ``scratch_place``; an error at its end says what deletes what is left."""
    place: Place | None = None
    try:
        async with scratch_place(store) as place:
            yield place
    except NotRemoved as error:
        if place is None or place.directory:
            raise
        raise NotRemoved(f"{error}\n{removal(store.provider_name, place.name)}") from error


def removal(provider: str, below: str) -> str:
    """What to do about keys that are left.

    Args:
        provider: Traefik's name for the kind of server.
        below: what they begin with, and nobody else's.
    """
    commands = {"etcd": "etcdctl del --prefix", "consul": "consul kv delete -recurse"}
    if provider not in commands:
        return f"Once the server is back, delete all keys that begin with {below}"
    return (
        "Once the server is back, with its address and a user who may write there:\n"
        f"    {commands[provider]} {quote(below)}"
    )


@asynccontextmanager
async def _directory() -> AsyncIterator[Path]:
    with tempfile.TemporaryDirectory(
        prefix="traefikhub-scratch-", ignore_cleanup_errors=True
    ) as directory:
        yield Path(directory)


def _machine() -> Machine:
    memory = psutil.virtual_memory()
    return Machine(
        cores=psutil.cpu_count() or 1,
        load=psutil.getloadavg()[0],
        memory=memory.total,
        memory_free=memory.available,
    )


def _versions(settings: SessionSettings, store_name: str) -> dict[str, str]:
    """Of what takes part. Raises TraefikUnusable before anything is written anywhere."""
    program = find_traefik(settings.traefik_command)
    traefik = version_of(program)
    require_supported(traefik, program)
    return {
        "traefikhub": __version__,
        "traefik": str(traefik),
        "store": _store_version(settings.store, store_name),
        "python": platform.python_version(),
    }


def _store_version(store: RouteStore, name: str) -> str:
    found: Iterator[InstalledStore] = (each for each in installed_stores() if each.name == name)
    each = next(found, None)
    return f"{each.distribution} {each.version}" if each else type(store).__module__


async def until_told_to_stop(work: Callable[[], Awaitable[_T]]) -> _T:
    """What that returns; a signal that ends programs cancels it, so that it cleans up behind
    itself. A second one changes nothing, nor does one while it cleans up.

    Raises:
        Stopped: there was a signal.
    """
    # A scope, not Task.cancel, which a shielded cleanup would feel.
    with anyio.CancelScope() as scope, _signals(scope.cancel):
        return await work()
    raise Stopped


@contextmanager
def _signals(stop: Callable[[], None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    taken = [
        each
        for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(each) != signal.SIG_IGN  # as under nohup
    ]
    for each in taken:
        loop.add_signal_handler(each, stop)
    try:
        yield
    finally:
        for each in taken:
            loop.remove_signal_handler(each)
