"""What the writer has to tell, as log lines and metrics.

The callers of a change log its failure themselves, each with a traceback. So a store that is down
for an hour is told here twice: when it begins, and when it is over.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, islice
from typing import Final

from traefikhub._group import Group
from traefikhub.metrics import Metrics
from traefikhub.stores import Batch, FencedError, RecordRefused, Snapshot, StoreError
from traefikhub.traefik import TraefikError

__all__ = ["Reports"]

_BURST: Final = 10
"""More changes than these in one batch are worth a line at INFO."""

_NAMED: Final = 5


class Reports:
    """Tells what happens to a writer's routes, and when trouble with them begins and ends.

    Args:
        log: of the Hub.
        metrics: shared by all writers of a process.

    fenced: whether another Hub was seen to have taken over.
    """

    def __init__(self, log: logging.Logger, metrics: Metrics) -> None:
        self._log = log
        self._metrics = metrics
        self.fenced = False
        self._failing = False

    def restored(self, routes: int, generation: int) -> None:
        """The routes were taken out of the store."""
        self._log.info("Routes restored from the store: %d (generation %d)", routes, generation)

    @contextmanager
    def group(self, group: Group) -> Iterator[None]:
        """Around the way of one group."""
        if group.changes:
            self._metrics.batch(len(group.changes))
        started = time.perf_counter()
        try:
            yield
        except Exception as error:
            self._failed(len(group.changes), error)
            raise
        if rest := [x for x in group.refused.values() if not isinstance(x, RecordRefused)]:
            self._failed(len(rest), rest[0])
        elif self._failing:
            self._failing = False
            self._log.info("Changes of routes succeed again")
        if changes := len(group.changes) - len(group.refused):
            self._log.log(
                logging.INFO if changes > _BURST else logging.DEBUG,
                "Routes changed: %d, live after %.3f s",
                changes,
                time.perf_counter() - started,
            )

    def fence(self, error: FencedError) -> None:
        """Another Hub has taken over."""
        if not self.fenced:
            self._log.error("Routes are no longer written: %s", error)
        self.fenced = True

    def _failed(self, changes: int, error: Exception) -> None:
        if isinstance(error, FencedError | RecordRefused):
            pass  # told already; or about one route, whose caller tells
        elif self._failing:
            self._log.debug("Changes of routes failed again: %d. %s", changes, error)
        elif not isinstance(error, StoreError | TraefikError | TimeoutError):
            self._failing = True
            self._log.error("The route writer failed", exc_info=error)
        else:
            self._failing = True
            what = f"Changes of routes failed: {changes}." if changes else "A repair failed."
            self._log.error("%s %s", what, error)

    def served_anew(self, generation: int) -> None:
        """A Traefik that was started again has all routes."""
        self._log.info("Traefik serves the routes again (generation %d)", generation)

    def corrupt(self, error: Exception) -> None:
        """The store broke while the Hub runs."""
        if self.fenced:
            return
        self._metrics.drift()
        self._log.error("Will repair the stored routes: %s", error)

    def drifted(self, found: Snapshot, expected: int, repairs: Batch) -> None:
        """The store holds something else than what was written. It is another's business, if that
        has taken over."""
        if self.fenced:
            return
        self._metrics.drift()
        self._log.warning(
            "The stored routes are not what was written last (generation %d, expected %d): "
            "something else changed them. Will put right %s",
            found.generation,
            expected,
            _records(repairs),
        )

    def repaired(self, repairs: Batch, *, at_start: bool) -> None:
        """The store holds again what it should. At the start that is routine."""
        level = logging.DEBUG if at_start else logging.INFO
        self._log.log(level, "Brought the store up to date, %s", _records(repairs))


def _records(batch: Batch) -> str:
    number = len(batch.puts) + len(batch.deletes)
    # Not the first of all: to sort ten thousand would hold the event loop.
    some = sorted(islice(chain(batch.puts, batch.deletes), _NAMED))
    named = ", ".join(f"{key.section} {key.name}" for key in some)
    more = f" and {number - _NAMED} more" if number > _NAMED else ""
    return f"records: {number} ({named}{more})" if number else "the generation"
