"""What was seen during each event, and whether that is as it should be. Pure, but for the clock."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

__all__ = ["QUIET", "Book", "Chapter", "Failure"]

QUIET: Final = "nothing"
"""The event in which nothing happens."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Something went wrong.

    at: seconds since the beginning.
    kind: of what was tried.
    text: what was seen.
    """

    at: float
    kind: str
    text: str


@dataclass(slots=True)
class Chapter:
    """What was seen during one event.

    gone: the replica that is killed in it, or hangs; empty if none is.
    seconds: it lasted.
    well, failed: requests, by kind. uncovered: those of ``failed`` whose retry failed, too.
    slowest: request, by kind, in seconds, with its retry.
    sockets: open at its beginning. dropped: by replica. draining: Traefiks that at its end held
    websockets and took no requests any more.
    changes: that were made, by kind. refused: asked for in vain at first. late: seconds for which
    a replica did not serve one that the Hub had called done. slowest_change: in seconds.
    lost: changes that were never made.
    """

    name: str
    gone: str = ""
    seconds: float = 0.0
    well: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    uncovered: Counter[str] = field(default_factory=Counter)
    slowest: dict[str, float] = field(default_factory=dict)
    sockets: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    draining: int = 0
    changes: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    late: list[float] = field(default_factory=list)
    lost: int = 0
    slowest_change: float = 0.0
    failures: list[Failure] = field(default_factory=list)

    def problems(self) -> Iterator[str]:
        """What should not have been, for people."""
        if self.gone == "" and self.dropped:
            yield f"{self.dropped.total()} websockets dropped, though no replica was killed"
        elif others := self.dropped.total() - self.dropped[self.gone]:
            yield f"{others} websockets dropped on a replica that was not killed"
        if self.uncovered:
            yield f"{self.uncovered.total()} requests failed again when they were asked again"
        if self.lost:
            yield f"{self.lost} changes of routes were never made"
        if self.late:
            yield (
                f"{len(self.late)} changes of routes were not yet served by a replica when the Hub "
                f"called them done, for up to {max(self.late):.1f} s"
            )


class Book:
    """All events in their order."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.chapters: list[Chapter] = []
        self._now = Chapter("before")  # until all is open
        self._quiet = Chapter(QUIET)
        self.chapters.append(self._quiet)

    @property
    def now(self) -> Chapter:
        """What goes on."""
        return self._now

    @contextmanager
    def chapter(self, name: str, sockets: int, gone: str = "") -> Iterator[None]:
        """For as long as an event and what follows from it last."""
        began = time.monotonic()
        chapter = self._quiet
        if name != QUIET:
            chapter = Chapter(name, gone)
            self.chapters.append(chapter)
        chapter.sockets = sockets
        self._now = chapter
        yield
        chapter.seconds += time.monotonic() - began

    def well(self, kind: str, seconds: float) -> None:
        """A request was answered as it should be."""
        self._now.well[kind] += 1
        self._slow(kind, seconds)

    def failed(self, kind: str, text: str, seconds: float, again: str) -> None:
        """A request was not.

        Args:
            again: what the same request was answered when it was asked again; empty if that was
                well.
        """
        self._now.failed[kind] += 1
        self._slow(kind, seconds)
        if again:
            self._now.uncovered[kind] += 1
        self.note(kind, f"{text}; again: {again or 'well'}")

    def _slow(self, kind: str, seconds: float) -> None:
        self._now.slowest[kind] = max(seconds, self._now.slowest.get(kind, 0))

    def note(self, kind: str, text: str) -> None:
        """Keep what was seen."""
        self._now.failures.append(Failure(time.monotonic() - self.began, kind, text))

    def dropped(self, replica: str, text: str) -> None:
        """A websocket ended that nobody had closed."""
        self._now.dropped[replica] += 1
        self.note("websocket", f"on {replica}: {text}")

    def changed(self, kind: str, seconds: float) -> None:
        """A route was added or deleted."""
        self._now.changes[kind] += 1
        self._now.slowest_change = max(self._now.slowest_change, seconds)

    def problems(self) -> list[str]:
        """Of all."""
        found = [f"{each.name}: {text}" for each in self.chapters for text in each.problems()]
        for each in self.chapters:
            if not each.well.total():
                found.append(f"{each.name}: nothing was asked")
            if not each.sockets:
                found.append(f"{each.name}: no websocket was open")
        return found
