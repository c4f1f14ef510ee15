"""One run: all events, one after another, under traffic."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import anyio

from replicas.book import QUIET, Book
from replicas.changes import Changes
from replicas.stage import MEMBERS, REPLICAS, Stage
from replicas.traffic import Traffic

__all__ = ["STEPS", "Plan", "run"]

STEPS: Final = len(REPLICAS) + len(MEMBERS) + 6
"""Of all events."""

_LOST: Final = "two"


@dataclass(frozen=True, slots=True)
class Plan:
    """settle: seconds of traffic before the first event, and after each step of one.

    users: whose servers run all the time. comers: who log in and out all the time.
    rate: requests per second.
    hang: let a replica hang, too.
    """

    settle: float = 8.0
    users: int = 6
    comers: int = 2
    sockets: int = 20
    rate: float = 40.0
    hang: bool = True


@dataclass(frozen=True, slots=True)
class Event:
    """steps: each is followed by some seconds of traffic; they block. gone: as in ``Chapter``."""

    name: str
    steps: list[Callable[[], None]]
    gone: str = ""


def events(stage: Stage, plan: Plan) -> Iterator[Event]:
    """All that there are to be."""
    yield Event(
        "Traefik, one replica after the other",
        [lambda name=name: stage.restart_replica(name) for name in REPLICAS],  # type: ignore[misc]
    )
    yield Event(
        "etcd, one member after the other",
        [lambda name=name: stage.restart_member(name) for name in MEMBERS],  # type: ignore[misc]
    )
    yield Event("Hub", [stage.restart_hub])
    yield Event("HAProxy reads its file again", [stage.reload_haproxy])
    if plan.hang:
        yield Event(
            "a replica hangs, and goes on",
            [lambda: stage.pause_replica(_LOST), lambda: stage.resume_replica(_LOST)],
            gone=_LOST,
        )
    yield Event(
        "a replica killed, and started again",
        [lambda: stage.kill_replica(_LOST), lambda: stage.start_replica(_LOST)],
        gone=_LOST,
    )


async def run(plan: Plan, directory: Path, say: Callable[[str], None]) -> Book:
    """All of it; what was seen.

    Args:
        directory: empty; for what all processes write.
        say: hears what goes on.
    """
    with Stage(directory) as stage:
        say(f"all runs, at {stage.url}")
        return await _play(plan, stage, say)


async def _play(plan: Plan, stage: Stage, say: Callable[[str], None]) -> Book:
    book = Book()
    changes = Changes(stage, book)
    users = [f"user{number}" for number in range(plan.users)]
    comers = [f"comer{number}" for number in range(plan.comers)]
    await changes.add_users([*users, *comers])
    async with anyio.create_task_group() as group:
        for user in users:
            group.start_soon(changes.log_in, user)
    traffic = Traffic(stage.port, users, plan.sockets, plan.rate, book)
    async with anyio.create_task_group() as group:
        group.start_soon(traffic.flow)
        for comer in comers:
            group.start_soon(changes.come_and_go, comer)
        while traffic.open.total() < plan.sockets - 1:
            await asyncio.sleep(0.1)
        say(QUIET)
        with book.chapter(QUIET, traffic.open.total()):
            await asyncio.sleep(plan.settle)
        for event in events(stage, plan):
            say(event.name)
            with book.chapter(event.name, traffic.open.total(), event.gone):
                for step in event.steps:
                    await anyio.to_thread.run_sync(step)
                    await asyncio.sleep(plan.settle)
                    stage.require_running()
                book.now.draining = stage.still_draining()
        group.cancel_scope.cancel()
    return book
