"""Routes to records: what the store must hold for a set of routes. Pure, no I/O.

The records are a function of the set of routes and the base alone, never of history, so that a
restarted Hub computes the same ones and writes nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urlsplit

from traefikhub.rules import ParsedSpec, parse_routespec, record_name, rule_and_priority
from traefikhub.stores import Document, Key, RecordRefused, Records

__all__ = ["ROUTES_SECTION", "Change", "OtherSpelling", "Route", "Table", "merge", "routes_of"]

ROUTES_SECTION: Final = "jupyterhub/routes"


class OtherSpelling(RecordRefused, ValueError):
    """A route for the same requests exists under another spelling of its routespec."""


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """One entry of JupyterHub's routing table.

    routespec: ``[host]/path/``, percent-encoded.
    target: ``http[s]://host[:port][/path]``, where requests go.
    data: JSON-able, JupyterHub's own; handed back unchanged. Never changed in place.
    """

    routespec: str
    target: str
    data: dict[str, Document]

    def __eq__(self, other: object) -> bool:
        """Equal when JupyterHub could not tell them apart; 1 == True == 1.0 is not that."""
        return (
            isinstance(other, Route)
            and (self.routespec, self.target, self.data)
            == (other.routespec, other.target, other.data)
            and json.dumps(self.data) == json.dumps(other.data)
        )

    __hash__ = None  # type: ignore[assignment]

    def to_document(self) -> Document:
        """The route as its ``jupyterhub/routes`` record keeps it."""
        return {"routespec": self.routespec, "target": self.target, "data": self.data}


Change = Mapping[str, "Route | None"]
"""By routespec: the new route, or None to delete it."""


def routes_of(records: Records) -> dict[str, Route]:
    """The routes that a store's records describe, by routespec.

    A record that isn't a route (edited by hand) is left out; the next repair removes it. Of
    several spellings of one routespec, that with the first name stays.
    """
    routes: dict[str, Route] = {}
    spellings: dict[ParsedSpec, str] = {}
    for key, document in records.items():
        if key.section != ROUTES_SECTION or not isinstance(document, dict):
            continue
        match document:
            case {"routespec": str(spec), "target": str(target), "data": dict(data)}:
                if key.name != record_name(spec):
                    continue
                try:
                    parsed = parse_routespec(spec)
                except ValueError:
                    continue
                if other := spellings.get(parsed):
                    if record_name(other) < key.name:
                        continue
                    del routes[other]
                spellings[parsed] = spec
                routes[spec] = Route(spec, target, data)
    return routes


def merge(base: Document, over: Document) -> Document:
    """``over`` laid upon ``base``: tables merge key by key, anything else is replaced."""
    if not (isinstance(base, dict) and isinstance(over, dict)):
        return over
    merged = dict(base)
    for key, value in over.items():
        merged[key] = merge(merged[key], value) if key in merged else value
    return merged


class Table:
    """The routing table and the records that stand for it.

    Args:
        entry_point: the name of the Traefik entry point that serves users.
        base: records that stand beside the routes' (API router, default certificate).
        extra: the admin's records, merged over those of the same key, or added.
        routes: the routes to begin with.
    """

    def __init__(
        self,
        *,
        entry_point: str,
        base: Records | None = None,
        extra: Records | None = None,
        routes: Iterable[Route] = (),
    ) -> None:
        self._entry_point = entry_point
        self._extra = dict(extra or {})
        self._routes: dict[str, Route] = {}
        self._spellings: dict[ParsedSpec, str] = {}
        self._records: dict[Key, Document] = {}
        for key, document in {**self._extra, **(base or {})}.items():
            self._records[key] = self._with_extra(key, document)
        self.update({route.routespec: route for route in routes})

    @property
    def routes(self) -> Mapping[str, Route]:
        """The routes by routespec. A live view: don't keep it across an ``update``."""
        return self._routes

    @property
    def records(self) -> Records:
        """All records that the store should hold. A live view, as ``routes``."""
        return self._records

    def update(self, change: Change) -> dict[Key, Document | None]:
        """Apply a change to the table.

        Returns:
            What changed in the records: the new document of each key, or None if it is gone.
            Empty if the change says nothing new. Undo by ``update`` with the earlier routes.

        Raises:
            ValueError: a routespec is malformed, or another spelling of one that stays; nothing
                was changed.
        """
        changed: dict[Key, Document | None] = {}
        # All are rendered before the first is entered: a malformed one leaves the table as it was.
        rendered = [
            (routespec, route, self._render(old), self._render(route))
            for routespec, route in change.items()
            if route != (old := self._routes.get(routespec))
        ]
        self._enter_spellings(change)
        for routespec, route, before, after in rendered:
            for key in before.keys() - after.keys():
                if key in self._extra:  # the admin's own part of that record stays
                    self._records[key] = changed[key] = self._extra[key]
                else:
                    del self._records[key]
                    changed[key] = None
            for key, document in after.items():
                if key.section == ROUTES_SECTION or self._records.get(key) != document:
                    self._records[key] = changed[key] = document
            if route:
                self._routes[routespec] = route
            else:
                del self._routes[routespec]
        return changed

    def _enter_spellings(self, change: Change) -> None:
        """Note which routespec stands for which requests; refuse a second one for the same.

        Their rules would be the same and Traefik would serve either, so that which one had to
        depend on history.
        """
        came = {spec: parse_routespec(spec) for spec, route in change.items() if route}
        went = {spec for spec, route in change.items() if not route and spec in self._routes}
        new: dict[ParsedSpec, str] = {}
        for spec, parsed in came.items():
            other = new.setdefault(parsed, spec)
            if other == spec and (old := self._spellings.get(parsed, spec)) not in went:
                other = old
            if other != spec:
                raise OtherSpelling(
                    f"can't route {spec!r}: {other!r}, another spelling of the same, is routed "
                    "already; delete that first"
                )
        for spec in went:
            del self._spellings[parse_routespec(spec)]
        self._spellings.update(new)

    def _render(self, route: Route | None) -> dict[Key, Document]:
        """The records of one route, dependencies first."""
        if route is None:
            return {}
        name = record_name(route.routespec)
        rule, priority = rule_and_priority(parse_routespec(route.routespec))
        router: dict[str, Document] = {
            "rule": rule,
            "priority": priority,
            "entryPoints": [self._entry_point],
            "service": name,
        }
        records: dict[Key, Document] = {
            Key("http/services", name): {"loadBalancer": {"servers": [{"url": route.target}]}},
        }
        # Traefik ignores a path in a server's URL; configurable-http-proxy prepends it.
        if prefix := urlsplit(route.target).path.rstrip("/"):
            records[Key("http/middlewares", name)] = _prepend(prefix)
            router["middlewares"] = [name]
        records[Key("http/routers", name)] = router
        records[Key(ROUTES_SECTION, name)] = route.to_document()
        return {key: self._with_extra(key, document) for key, document in records.items()}

    def _with_extra(self, key: Key, document: Document) -> Document:
        return merge(document, self._extra[key]) if key in self._extra else document


_KEPT_BY_ADD_PREFIX: Final = re.compile(r"[A-Za-z0-9/._~$&+,:;=@-]*", re.ASCII)
_KEPT_BY_QUOTE: Final = "/%:@!$&'()*+,;=[]~"


def _prepend(prefix: str) -> Document:
    """The middleware that puts a target's path before that of the request.

    ``addPrefix`` works on decoded paths and would encode the escapes of the prefix once more.
    ``replacePathRegex`` works on the path as sent, but answers 400 to double slashes in it, so
    that it serves only where it must (docs/traefik-facts.md).
    """
    if _KEPT_BY_ADD_PREFIX.fullmatch(prefix):
        return {"addPrefix": {"prefix": prefix}}
    replacement = quote(prefix, safe=_KEPT_BY_QUOTE).replace("$", "$$") + "$1"
    return {"replacePathRegex": {"regex": "^(.*)", "replacement": replacement}}
