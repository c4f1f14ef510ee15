"""Routes to records: what the store must hold for a set of routes. Pure, no I/O.

The records are a function of the set of routes and the base alone, never of history, so that a
restarted Hub computes the same ones and writes nothing.
"""

from __future__ import annotations

import json
import re
from collections import ChainMap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urlsplit

from traefikhub.rules import parent_name, parse_routespec, prefix_rule_and_priority, record_name
from traefikhub.stores import Document, Key, RecordRefused, Records
from traefikhub.tree import Parent, RouteTree, TreeChange

__all__ = [
    "INHERITED",
    "ROUTES_SECTION",
    "Change",
    "OtherSpelling",
    "Route",
    "Table",
    "merge",
    "routes_of",
]

ROUTES_SECTION: Final = "jupyterhub/routes"

INHERITED: Final = frozenset({"entryPoints", "observability", "tls"})
"""What a router below another has from that one. Traefik disables one that says so itself."""


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
    spellings: dict[str, str] = {}
    for key, document in records.items():
        if key.section != ROUTES_SECTION or not isinstance(document, dict):
            continue
        match document:
            case {"routespec": str(spec), "target": str(target), "data": dict(data)}:
                if key.name != record_name(spec):
                    continue
                try:
                    parsed = parse_routespec(spec).key
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
        transport: the ``serversTransport`` of https targets, which is among ``base``; empty for
            Traefik's default.
        roots: routers that all others stand below, but the Hub's own; there while there are routes.
        base: records that stand beside the routes' (API router, default certificate).
        extra: the admin's records, merged over those of the same key, or added.
        tree: arranges the routers; None leaves all of them on one level. It becomes the table's.
        routes: the routes to begin with.
    """

    def __init__(
        self,
        *,
        entry_point: str,
        transport: str = "",
        roots: Records | None = None,
        base: Records | None = None,
        extra: Records | None = None,
        tree: RouteTree | None = None,
        routes: Iterable[Route] = (),
    ) -> None:
        self._entry_point = entry_point
        self._transport = transport
        self._roots = dict(roots or {})
        self._extra = dict(extra or {})
        self._tree = tree
        self._routes: dict[str, Route] = {}
        self._spellings: dict[str, str] = {}  # the routespec of each key
        self._base = dict(base or {})
        self._fixed = self._beside_routes()
        self.update({route.routespec: route for route in routes})

    @property
    def routes(self) -> Mapping[str, Route]:
        """The routes by routespec. A live view: don't keep it across an ``update``."""
        return self._routes

    @property
    def records(self) -> Records:
        """All records that the store should hold.

        Made anew each time, some tenths of a second for ten thousand routes: to keep them would
        cost more memory than the routes do.
        """
        bare = self._above_all()
        for route in self._routes.values():
            bare.update(self._of_route(route))
        if self._tree is not None:
            bare[_SHORTCUT] = self._shortcut(self._tree)
            for parent in self._tree.parents():
                bare.update(self._of_parent(parent, self._routes))
        records = dict(self._fixed)
        for key, document in bare.items():
            if (whole := self._with_extra(key, document)) is not None:
                records[key] = whole
        return records

    def update(self, change: Change) -> dict[Key, Document | None]:
        """Apply a change to the table.

        Returns:
            What changed in the records: the new document of each key, or None if it is gone; what
            others name before what names it. Empty if the change says nothing new. Undo by
            ``update`` with the earlier routes.

        Raises:
            ValueError: a routespec is malformed, or another spelling of one that stays; nothing
                was changed.
        """
        news = {spec: route for spec, route in change.items() if route != self._routes.get(spec)}
        if not news:
            return {}
        # All are checked before the first is entered: one that is refused changes nothing.
        keys = {spec: parse_routespec(spec).key for spec, route in news.items() if route}
        self._require_one_spelling(news, keys)
        old = {spec: route for spec in news if (route := self._routes.get(spec))}

        before = self._above_all()
        for route in old.values():
            before.update(self._of_route(route))
        if self._tree is not None:
            before[_SHORTCUT] = self._shortcut(self._tree)
        arranged = self._replace(news, keys)
        after = self._above_all()
        for spec in keys:
            after.update(self._dependencies(self._routes[spec]))
        if self._tree is not None:
            after[_SHORTCUT] = self._shortcut(self._tree)
        earlier = ChainMap(old, self._routes)
        for prefix in sorted(arranged.parents):  # from the top down
            was, now = arranged.parents[prefix]
            before |= self._of_parent(was, earlier) if was else {}
            after |= self._of_parent(now, self._routes) if now else {}
        for spec in arranged.routes:
            after.update(self._router(self._routes[spec]))
        for spec in keys:
            after.update(_state(self._routes[spec]))
        return self._difference(before, after)

    def rebase(self, base: Records) -> dict[Key, Document | None]:
        """Put other records in the place of those of the same keys beside the routes'.

        Returns:
            As ``update``. Undo by ``rebase`` with the earlier records.
        """
        self._base |= base
        before, self._fixed = self._fixed, self._beside_routes()
        return {key: self._fixed[key] for key in base if self._fixed[key] != before.get(key)}

    def base(self, keys: Iterable[Key]) -> Records:
        """Records beside the routes' as they were given."""
        return {key: self._base[key] for key in keys}

    def _beside_routes(self) -> dict[Key, Document]:
        return {
            key: self._with_extra(key, document)
            for key, document in {**self._extra, **self._base}.items()
        }

    def _replace(self, news: Change, keys: Mapping[str, str]) -> TreeChange:
        """Take the old routes out, and put the new ones in."""
        removed = []
        for spec, route in news.items():
            if spec in self._routes and route is None:
                del self._routes[spec]
                removed.append(parse_routespec(spec).key)
                del self._spellings[removed[-1]]
        for spec, key in keys.items():
            new = news[spec]
            assert new is not None
            # The spec itself where it is its own key, for the sake of memory.
            self._routes[spec] = new
            self._spellings[spec if key == spec else key] = spec
        came = {spec if key == spec else key: spec for spec, key in keys.items()}
        if self._tree is None:
            return TreeChange(set(keys), {})
        return self._tree.update(removed, came)

    def _difference(
        self, before: Mapping[Key, Document], after: Mapping[Key, Document]
    ) -> dict[Key, Document | None]:
        changed: dict[Key, Document | None] = {}
        for key in [*(key for key in before if key not in after), *after]:
            new = self._with_extra(key, after.get(key))
            # Of a route's data, Python takes for equal what JSON tells apart.
            if key.section == ROUTES_SECTION or new != self._with_extra(key, before.get(key)):
                changed[key] = new
        return changed

    def _require_one_spelling(self, news: Change, keys: Mapping[str, str]) -> None:
        """Refuse two routespecs for the same requests.

        Their rules would be the same and Traefik would serve either, so that which one had to
        depend on history.
        """
        new: dict[str, str] = {}
        for spec, key in keys.items():
            other = new.setdefault(key, spec)
            if other == spec:
                other = self._spellings.get(key, spec)
                if other in news and news[other] is None:
                    continue
            if other != spec:
                raise OtherSpelling(
                    f"can't route {spec!r}: {other!r}, another spelling of the same, is routed "
                    "already; delete that first"
                )

    def _with_extra(self, key: Key, document: Document) -> Document:
        """With the admin's own part, which stays when ours goes."""
        if key not in self._extra:
            return document
        if document is None:
            return self._extra[key]
        merged = merge(document, self._extra[key])
        if isinstance(merged, dict) and "parentRefs" in merged:
            return {name: value for name, value in merged.items() if name not in INHERITED}
        return merged

    # --- records -----------------------------------------------------------------------------

    def _above_all(self) -> dict[Key, Document]:
        return dict(self._roots) if self._routes else {}

    def _of_route(self, route: Route) -> dict[Key, Document]:
        """All that stand for a route that is in the table."""
        return {**self._dependencies(route), **self._router(route), **_state(route)}

    def _dependencies(self, route: Route) -> dict[Key, Document]:
        """What the router of a route names."""
        name = record_name(route.routespec)
        balancer: dict[str, Document] = {"servers": [{"url": route.target}]}
        if self._transport and urlsplit(route.target).scheme == "https":
            balancer["serversTransport"] = self._transport
        records: dict[Key, Document] = {Key(_SERVICES, name): {"loadBalancer": balancer}}
        # Traefik ignores a path in a server's URL; configurable-http-proxy prepends it.
        if path := _path_of(route):
            records[Key(_MIDDLEWARES, name)] = _prepend(path)
        return records

    def _router(self, route: Route) -> dict[Key, Document]:
        key = parse_routespec(route.routespec).key
        above = self._tree.parent_of(key) if self._tree else ""
        name = record_name(route.routespec)
        return {Key(_ROUTERS, name): self._leading_to(route, key, above)}

    def _leading_to(self, route: Route, key: str, above: str) -> dict[str, Document]:
        """A router to a route's service, below a parent or none."""
        rule, priority = prefix_rule_and_priority(key)
        return {"rule": rule, "priority": priority, **self._place(above), **_destination(route)}

    def _place(self, above: str) -> dict[str, Document]:
        # Traefik disables a child that names entry points.
        if above:
            return {"parentRefs": [parent_name(above)]}
        if self._roots:
            return {"parentRefs": [key.name for key in self._roots]}
        return {"entryPoints": [self._entry_point]}

    def _of_parent(self, parent: Parent, routes: Mapping[str, Route]) -> dict[Key, Document]:
        """The router of a parent, then that of its fallback."""
        rule, priority = prefix_rule_and_priority(parent.prefix)
        name = parent_name(parent.prefix)
        records: dict[Key, Document] = {
            Key(_ROUTERS, name): {"rule": rule, "priority": priority, **self._place(parent.above)}
        }
        if parent.fallback:
            route = routes[parent.fallback]
            key = parse_routespec(route.routespec).key
            records[Key(_ROUTERS, f"{name}_rest")] = self._leading_to(route, key, parent.prefix)
        return records

    def _shortcut(self, tree: RouteTree) -> Document:
        """A first router for the Hub's own pages: they cost the same however many users are on."""
        spec = tree.shortcut()
        if spec is None:
            return None
        rule, _ = prefix_rule_and_priority(tree.shortcut_key)
        return {
            "rule": rule,
            "priority": _FIRST,
            "entryPoints": [self._entry_point],
            **_destination(self._routes[spec]),
        }


_ROUTERS: Final = "http/routers"
_SERVICES: Final = "http/services"
_MIDDLEWARES: Final = "http/middlewares"
_SHORTCUT: Final = Key(_ROUTERS, "traefikhub__hub")
_FIRST: Final = 2_000_000
"""The priority of the Hub's own router: above that of every route."""


def _destination(route: Route) -> dict[str, Document]:
    """What a router to a route names."""
    name = record_name(route.routespec)
    return {"service": name, **({"middlewares": [name]} if _path_of(route) else {})}


def _state(route: Route) -> dict[Key, Document]:
    """What we remember of a route."""
    return {Key(ROUTES_SECTION, record_name(route.routespec)): route.to_document()}


def _path_of(route: Route) -> str:
    return urlsplit(route.target).path.rstrip("/")


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
