"""When each route was last used, folded from repeated looks at Traefik. Pure, no I/O.

The rule: never report less activity than there was. A server that is taken for idle is ended, with
what its user was doing. So whatever can't be known counts as activity, now; and times only grow.

There are two looks, both of them partial. Connections show what goes on at this moment, an open
websocket for instance; counters show what has ended since the last look. A request moves from the
first to the second, so that connections are looked at before counters.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from traefikhub.rules import record_name
from traefikhub.stores import Document, Key, Records
from traefikhub.traefik.connections import Address, plain
from traefikhub.traefik.metrics import Scrape

__all__ = ["ACTIVITY_SECTION", "Activity", "from_records", "timestamp", "to_records"]

ACTIVITY_SECTION: Final = "jupyterhub/activity"

_NONE: Final[frozenset[str]] = frozenset()
_MOST_PAST: Final = 10_000
"""Places of ended routes that are remembered: more than end while connections to them linger."""


class _Route(NamedTuple):
    """target: the URL. host: its name if that has to be resolved, else None."""

    target: str
    service: str
    host: str | None
    port: int


class Activity:
    """The time of the last activity of each route, in seconds of the epoch.

    For one thread, the event loop's. At 10,000 routes the looks take 0.5 to 6 ms, and 15 ms the
    first one at 10,000 names; only ``restore`` takes 100 ms, and may run in another thread as long
    as nobody else has the object.

    Every ``now`` is the time after what is told: when the look had ended, the change was live.
    """

    def __init__(self) -> None:
        self._routes: dict[str, _Route] = {}
        self._times: dict[str, float] = {}
        self._specs: dict[str, str] = {}  # by service
        self._at: dict[Address, set[str]] = {}  # the routes that lead, or once led, there
        self._named: dict[str, set[str]] = {}  # by host: the routes to it
        self._known: dict[str, set[str]] = {}  # by host: every address it has had
        self._past: dict[Address, None] = {}  # where routes led that have ended, the latest last
        # By process and service, what it had counted at the last look; 0 if absent. None: what
        # was before can't be known.
        self._before: dict[tuple[str, float], dict[str, int]] | None = None
        # Scrapes take a while, in which routes begin. Turns tell what came first, as clocks don't.
        self._turn = 0
        self._seen = 0  # the turn of the last scrape that was folded
        self._forgotten = 0
        self._begun: dict[str, int] = {}  # by service: routes that no later scrape has seen yet

    def times(self) -> dict[str, float]:
        """The time of the last activity, by routespec."""
        return dict(self._times)

    # --- routes ------------------------------------------------------------------------------

    def knows(self, routespec: str, target: str) -> bool:
        """Whether this route is known, and leads there. JupyterHub adds some routes again at every
        check: those did not begin."""
        route = self._routes.get(routespec)
        return route is not None and route.target == target

    def began(self, routespec: str, target: str, now: float) -> None:
        """A route was added or leads elsewhere, or may have been. That is activity.

        Traefik's counter may go on or begin anew, so nothing is known of it.
        """
        now = max(now, self._times.get(routespec, now))
        self.ended(routespec)
        service = record_name(routespec)
        addresses, host, port = _place(target)
        self._routes[routespec] = _Route(target, service, host, port)
        self._times[routespec] = now
        self._specs[service] = routespec
        if host is not None:
            self._named.setdefault(host, set()).add(routespec)
            addresses = self._known.setdefault(host, set())
        for ip in addresses:
            self._at.setdefault((ip, port), set()).add(routespec)
        self._turn += 1
        self._begun[service] = self._turn
        for counts in (self._before or {}).values():
            counts.pop(service, None)

    def ended(self, routespec: str) -> None:
        """A route was deleted, or may have been."""
        route = self._routes.pop(routespec, None)
        if route is None:
            return
        del self._times[routespec], self._specs[route.service]
        self._begun.pop(route.service, None)
        addresses: Collection[str] = _place(route.target)[0]
        if route.host is not None:
            addresses = self._known[route.host]
            self._named[route.host].discard(routespec)
            if not self._named[route.host]:
                del self._named[route.host], self._known[route.host]
        for ip in addresses:
            self._at[ip, route.port].discard(routespec)
            if not self._at[ip, route.port]:
                del self._at[ip, route.port]
            self._past.pop((ip, route.port), None)
            self._past[ip, route.port] = None
        while len(self._past) > _MOST_PAST:
            del self._past[next(iter(self._past))]

    def follow(self, targets: Mapping[str, str], now: float) -> None:
        """Agree with the routes there are, by routespec: whatever ``began`` and ``ended`` were not
        told (a change that failed half-way, routes edited in the store) is made up for. 10 µs for
        each of those."""
        for routespec in [each for each in self._routes if each not in targets]:
            self.ended(routespec)
        for routespec, target in targets.items():
            if not self.knows(routespec, target):
                self.began(routespec, target, now)

    # --- looks -------------------------------------------------------------------------------

    def hosts(self) -> frozenset[str]:
        """The names that ``see_connections`` wants resolved."""
        return frozenset(self._named) - {""}

    def see_connections(
        self,
        targets: Collection[Address] | None,
        resolved: Mapping[str, Collection[str]],
        now: float,
    ) -> None:
        """Routes to which Traefik has a connection are active, be it idle: it closes those after
        90 s.

        A name may have had, for a while, an address that we never saw, and some networks lead a
        connection elsewhere at once (a service's address to a pod's). So a connection to a place
        where no route leads or led is taken for one of every route with that port.

        Args:
            targets: where Traefik has connections to; None if that can't be known.
            resolved: the addresses of ``hosts()``; routes to a name that lacks here are active.
        """
        if targets is None:
            self._all_active(now)
            return
        for host, addresses in resolved.items():
            if not self._known.get(host, _NONE).issuperset(addresses):
                self._learn(host, addresses)
        strange = set()
        for target in targets:
            if target in self._at:
                self._active(self._at[target], now)
            elif target not in self._past:
                strange.add(target[1])
        for host, routespecs in self._named.items():
            if not resolved.get(host):
                self._active(routespecs, now)
        if strange:
            self._active([x for x, route in self._routes.items() if route.port in strange], now)

    def asking(self) -> int:
        """The turn of a scrape that is about to begin, to be handed to ``see_counters``."""
        self._turn += 1
        return self._turn

    def see_counters(self, scrapes: Sequence[Scrape | None], asked: int, now: float) -> None:
        """Routes whose counters are not what they were are active.

        All are, if one Traefik couldn't be asked, if a process that had counted is gone and its
        last requests with it, or if nothing is known of before.

        Args:
            scrapes: one for each replica; None for one that couldn't be asked.
            asked: what ``asking`` returned before the first was asked.
        """
        if asked < self._seen:
            return  # overtaken by a later one, which saw all that this did
        if not scrapes or None in scrapes:
            self._all_active(now)
            return  # and what was before stays, so that the next look has more to differ from
        counted = {each.process: dict(each.requests) for each in scrapes if each is not None}
        before, self._before, self._seen = self._before, counted, asked
        if asked < self._forgotten:
            self._before = before = None
        if before is None or before.keys() - counted.keys():
            self._all_active(now)
        else:
            for process, counts in counted.items():
                different = _different(before.get(process, {}), counts)
                self._active([self._specs[each] for each in different if each in self._specs], now)
        # Their counters may have been read before those began at 0 once more.
        self._begun = {name: turn for name, turn in self._begun.items() if turn > asked}
        for counts in counted.values():
            for service in self._begun:
                counts.pop(service, None)

    def forget(self) -> None:
        """Whatever Traefik had counted may have begun anew: it was started again, or routes
        vanished from the store for a while. At the next look all routes are active."""
        self._turn += 1
        self._forgotten = self._turn
        self._before = None

    def _learn(self, host: str, addresses: Collection[str]) -> None:
        routespecs = self._named.get(host, _NONE)
        known = self._known.get(host, set())
        for ip in set(addresses) - known:
            known.add(ip)
            for routespec in routespecs:
                port = self._routes[routespec].port
                self._at.setdefault((ip, port), set()).add(routespec)

    def _active(self, routespecs: Iterable[str], now: float) -> None:
        for routespec in routespecs:
            if now > self._times[routespec]:
                self._times[routespec] = now

    def _all_active(self, now: float) -> None:
        self._times = {spec: now if now > at else at for spec, at in self._times.items()}

    # --- across a restart of the Hub ---------------------------------------------------------

    def restore(
        self, targets: Mapping[str, str], saved: Mapping[str, float] | None, now: float
    ) -> None:
        """Begin, with a Traefik that is not running yet. Some 10 µs for each route.

        Args:
            targets: the routes, by routespec.
            saved: what ``from_records`` returned: the times after which no Traefik served these
                routes. Routes that it lacks are active; all are, now and at the first look, if it
                is None, and always with a Traefik that others started.
        """
        self.follow(targets, now)
        if saved is None:
            return
        for routespec in self._times:
            # Not later than now: since then, somebody has put the clock right.
            self._times[routespec] = min(saved.get(routespec, now), now)
        self._before, self._begun = {}, {}


def _place(target: str) -> tuple[Collection[str], str | None, int]:
    """The addresses of a target's host, or else its name (empty if it can't be told), and its
    port."""
    try:
        parts = urlsplit(target)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        host = parts.hostname or ""
    except ValueError:
        return (), "", 0
    try:
        address = plain(host)
    except ValueError:
        return (), host, port
    # As Go and Linux have it, "no address" is this machine.
    if address in ("0.0.0.0", "::"):  # nosec B104 # only compared
        return {"127.0.0.1", "::1"}, None, port
    return {address}, None, port


def _different(before: Mapping[str, int], after: Mapping[str, int]) -> Iterable[str]:
    for service, count in after.items():
        if before.get(service, 0) != count:
            yield service
    for service, count in before.items():
        if count and service not in after:
            yield service


# --- saved and shown -------------------------------------------------------------------------

_ROUTES_PER_RECORD: Final = 500
_TEXT_PER_RECORD: Final = 100_000
"""Characters of routespecs, which may be long: consul takes no value above 512 KiB."""

_LATEST: Final = 253_402_300_799
"""The last second of the year 9999, beyond which there are no dates."""


def to_records(times: Mapping[str, float]) -> dict[Key, Document]:
    """The records that keep these times across a restart of the Hub, in whole seconds, rounded up.

    There is one at least: they are written when Traefik has ended in good order, and deleted before
    it starts again, so that their presence tells that nothing is missing from them.
    """
    chunks: list[dict[str, Document]] = [{}]
    text = 0
    for routespec, at in times.items():
        text += len(routespec)
        if len(chunks[-1]) >= _ROUTES_PER_RECORD or (text > _TEXT_PER_RECORD and chunks[-1]):
            chunks.append({})
            text = len(routespec)
        chunks[-1][routespec] = math.ceil(at)
    return {
        Key(ACTIVITY_SECTION, str(number)): {"times": chunk} for number, chunk in enumerate(chunks)
    }


def from_records(records: Records) -> dict[str, float] | None:
    """The times that ``to_records`` has put among the records of a store, by routespec; None if it
    hasn't. What is damaged is left out."""
    found: dict[str, float] | None = None
    for key, document in records.items():
        if key.section != ACTIVITY_SECTION:
            continue
        found = {} if found is None else found
        times = document.get("times") if isinstance(document, dict) else None
        for routespec, at in times.items() if isinstance(times, dict) else ():
            if isinstance(at, int | float) and not isinstance(at, bool) and 0 <= at <= _LATEST:
                found[routespec] = max(float(at), found.get(routespec, 0.0))
    return found


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)


def timestamp(at: float) -> str:
    """Seconds of the epoch as JupyterHub reads them in a route's ``last_activity``, and as
    configurable-http-proxy writes them: ``2026-11-23T13:04:58.971Z``, rounded up. 2 µs."""
    numerator, denominator = at.as_integer_ratio()
    milliseconds = -(-numerator * 1000 // denominator)  # exact, as multiplied floats aren't
    return (_EPOCH + timedelta(milliseconds=milliseconds)).isoformat(timespec="milliseconds")[
        :-6
    ] + "Z"
