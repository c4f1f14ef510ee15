"""What there is when nothing goes on: what is served, and what the store holds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

from faults.holdings import Holdings
from faults.model import Held, as_text
from faults.places import Place
from faults.probes import Prober
from faults.targets import HUB, Targets
from faults.verdict import Stored
from traefikhub.stores import Records, RouteStore, StoreError
from traefikhub.table import routes_of

__all__ = ["StoreReader", "sweep", "told"]

_TRIES = 5
_PAUSE = 1.0


async def sweep(prober: Prober, specs: Sequence[str]) -> None:
    """Ask every route once, those that were deleted, too. ``judge`` looks at the answers."""
    for spec in specs:
        await prober.ask(spec)


def told(answer: Mapping[str, Any], targets: Targets, how: str) -> Stored:
    """What ``get_all_routes`` tells. When each route was used, which it adds, is of the moment."""
    routes: dict[str, Held] = {}
    amiss = []
    for spec, route in answer.items():
        data = dict(route["data"])
        data.pop("last_activity", None)
        routes[spec] = (targets.name(route["target"]), as_text(data))
        if route["routespec"] != spec:
            amiss.append(f"{spec} is told as {route['routespec']}")
    return Stored(time.monotonic(), routes, how, tuple(amiss))


class StoreReader:
    """Reads what the store holds, as one who has no part in the Hub.

    The first reading is taken when there is no user's route yet.
    """

    def __init__(self, place: Place, targets: Targets) -> None:
        self._place = place
        self._targets = targets
        self._holdings: Holdings | None = None

    async def read(self, *, stopped: bool = False) -> Stored:
        """What it holds now.

        Args:
            stopped: the Hub was, in good order.

        Raises:
            StoreError: it can't be read.
        """
        store = self._place.reader()
        when = time.monotonic()
        await store.open(read_only=True)
        try:
            records = (await store.load()).records
        finally:
            await store.close()
        return await asyncio.to_thread(self._stored, when, store, records, stopped)

    async def read_at_rest(self, *, stopped: bool = False) -> Stored:
        """The same, when nothing is broken. A store that can't be read is amiss."""
        for _ in range(_TRIES):
            try:
                return await self.read(stopped=stopped)
            except StoreError as error:
                text = f"it can't be read: {error}"
            await asyncio.sleep(_PAUSE)
        return Stored(time.monotonic(), {}, self._place.name, (text,))

    def _stored(self, when: float, store: RouteStore, records: Records, stopped: bool) -> Stored:
        if self._holdings is None:
            self._holdings = Holdings(self._targets.url(HUB), records)
        routes = {
            spec: (self._targets.name(route.target), as_text(route.data))
            for spec, route in routes_of(records).items()
        }
        amiss = tuple(self._holdings.amiss(records, store, stopped))
        return Stored(when, routes, f"{self._place.name} read by another", amiss)
