"""What there is when all is over: what is served, and what the store holds."""

from __future__ import annotations

import time
from collections.abc import Sequence

from faults.places import Place
from faults.probes import Prober
from faults.targets import Targets
from faults.verdict import Stored

__all__ = ["read_all", "sweep"]

_ROUTES = "jupyterhub/routes"
_SERVICES = "http/services"


async def sweep(prober: Prober, specs: Sequence[str]) -> None:
    """Ask every route once, those that were deleted, too. ``judge`` looks at the answers."""
    for spec in specs:
        await prober.ask(spec)


async def read_all(place: Place, targets: Targets, before: Stored | None = None) -> Stored:
    """What the store holds, by the store's own reader.

    Args:
        before: what it held when there were no users' routes: what isn't theirs stays.
    """
    store = place.reader()
    await store.open(read_only=True)
    try:
        snapshot = await store.load()
    finally:
        await store.close()
    routes: dict[str, str] = {}
    names = set()
    services = set()
    for key, document in snapshot.records.items():
        if key.section == _ROUTES and isinstance(document, dict):
            routes[str(document["routespec"])] = targets.name(str(document["target"]))
            names.add(key.name)
        elif key.section == _SERVICES:
            services.add(key.name)
    own = frozenset(services - names)
    return Stored(
        time.monotonic(),
        routes,
        f"{place.name} read by another",
        leftovers=tuple(sorted(own - before.own)) if before else (),
        own=own,
    )
