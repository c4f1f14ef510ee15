"""Routes to records: what the store must hold for a set of routes. Pure, no I/O.

The records are a function of the set of routes and the base alone, never of history, so that a
restarted Hub computes the same ones and writes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from traefikhub.rules import parse_routespec, record_name, rule_and_priority
from traefikhub.stores import Document, Key, Records

__all__ = ["ROUTES_SECTION", "Change", "Route", "Table", "merge", "routes_of"]

ROUTES_SECTION: Final = "jupyterhub/routes"


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

    A record that isn't a route (edited by hand) is left out; the next repair removes it.
    """
    routes = {}
    for key, document in records.items():
        if key.section != ROUTES_SECTION or not isinstance(document, dict):
            continue
        match document:
            case {"routespec": str(spec), "target": str(target), "data": dict(data)}:
                if key.name == record_name(spec) and _is_renderable(spec):
                    routes[spec] = Route(spec, target, data)
    return routes


def _is_renderable(routespec: str) -> bool:
    try:
        parse_routespec(routespec)
    except ValueError:
        return False
    return True


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
            ValueError: a routespec is malformed; nothing was changed.
        """
        changed: dict[Key, Document | None] = {}
        # All are rendered before the first is entered: a malformed one leaves the table as it was.
        rendered = [
            (routespec, route, self._render(old), self._render(route))
            for routespec, route in change.items()
            if route != (old := self._routes.get(routespec))
        ]
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
            records[Key("http/middlewares", name)] = {"addPrefix": {"prefix": prefix}}
            router["middlewares"] = [name]
        records[Key("http/routers", name)] = router
        records[Key(ROUTES_SECTION, name)] = route.to_document()
        return {key: self._with_extra(key, document) for key, document in records.items()}

    def _with_extra(self, key: Key, document: Document) -> Document:
        return merge(document, self._extra[key]) if key in self._extra else document
