"""Routes to records: what the store must hold for a set of routes. Pure, no I/O.

The records are a function of the set of routes and the base alone, never of history, so that a
restarted Hub computes the same ones and writes nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urlsplit

from traefikhub.rules import parent_name, parse_routespec, prefix_rule_and_priority, record_name
from traefikhub.stores import Document, Key, RecordRefused, Records
from traefikhub.tree import Parent, RouteTree, TreeChange

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
        base: records that stand beside the routes' (API router, default certificate).
        extra: the admin's records, merged over those of the same key, or added.
        tree: arranges the routers; None leaves all of them on one level. It becomes the table's.
        routes: the routes to begin with.
    """

    def __init__(
        self,
        *,
        entry_point: str,
        base: Records | None = None,
        extra: Records | None = None,
        tree: RouteTree | None = None,
        routes: Iterable[Route] = (),
    ) -> None:
        self._entry_point = entry_point
        self._extra = dict(extra or {})
        self._tree = tree
        self._routes: dict[str, Route] = {}
        self._keys: dict[str, str] = {}  # by routespec
        self._spellings: dict[str, str] = {}  # the routespec of each key
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
        news = {spec: route for spec, route in change.items() if route != self._routes.get(spec)}
        # All are checked before the first is entered: one that is refused changes nothing.
        keys = {spec: parse_routespec(spec).key for spec, route in news.items() if route}
        self._require_one_spelling(news, keys)
        came = {key: spec for spec, key in keys.items()}

        gone: list[Key] = []
        removed = []
        for spec, route in news.items():
            if old := self._routes.get(spec):
                gone += _keys_of(old)
                if route is None:
                    removed.append(self._keys.pop(spec))
                    del self._spellings[removed[-1]], self._routes[spec]
        for key, spec in came.items():
            new = news[spec]
            assert new is not None
            self._routes[spec], self._keys[spec], self._spellings[key] = new, key, spec
        arranged = self._arrange(removed, came)
        for before, _ in arranged.parents.values():
            gone += _parent_keys(before) if before else []
        wanted = self._render(came.values(), arranged)
        return self._enter(dict.fromkeys(key for key in gone if key not in wanted) | wanted)

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

    def _arrange(self, removed: list[str], came: Mapping[str, str]) -> TreeChange:
        if self._tree is None:
            return TreeChange(set(came.values()), {})
        return self._tree.update(removed, came)

    def _render(self, came: Collection[str], arranged: TreeChange) -> dict[Key, Document | None]:
        """The records of all that changed, what others name before what names it."""
        wanted: dict[Key, Document | None] = {}
        for spec in came:
            wanted.update(_dependencies(self._routes[spec]))
        if self._tree is not None:
            wanted[_SHORTCUT] = self._shortcut(self._tree)
            for prefix in sorted(arranged.parents):  # from the top down
                if parent := arranged.parents[prefix][1]:
                    wanted.update(self._parent(parent))
        for spec in arranged.routes:
            key = self._keys[spec]
            above = self._tree.parent_of(key) if self._tree else ""
            name = record_name(spec)
            wanted[Key(_ROUTERS, name)] = self._router(self._routes[spec], above)
        for spec in came:
            route = self._routes[spec]
            wanted[Key(ROUTES_SECTION, record_name(spec))] = route.to_document()
        return wanted

    def _enter(self, wanted: Mapping[Key, Document | None]) -> dict[Key, Document | None]:
        """Make the records what is wanted; tell what that changed."""
        changed: dict[Key, Document | None] = {}
        for key, bare in wanted.items():
            document = self._with_extra(key, bare)
            if document is None:
                if self._records.pop(key, None) is not None:
                    changed[key] = None
            # Of a route's data, Python takes for equal what JSON tells apart.
            elif key.section == ROUTES_SECTION or self._records.get(key) != document:
                self._records[key] = changed[key] = document
        return changed

    def _with_extra(self, key: Key, document: Document) -> Document:
        """With the admin's own part, which stays when ours goes."""
        if key not in self._extra:
            return document
        return self._extra[key] if document is None else merge(document, self._extra[key])

    # --- routers -----------------------------------------------------------------------------

    def _router(self, route: Route, above: str) -> dict[str, Document]:
        """The router of a route below a parent, or at the top."""
        rule, priority = prefix_rule_and_priority(self._keys[route.routespec])
        name = record_name(route.routespec)
        router: dict[str, Document] = {
            "rule": rule,
            "priority": priority,
            **self._place(above),
            "service": name,
        }
        if _path_of(route):
            router["middlewares"] = [name]
        return router

    def _place(self, above: str) -> dict[str, Document]:
        # Traefik disables a child that names entry points.
        return (
            {"parentRefs": [parent_name(above)]} if above else {"entryPoints": [self._entry_point]}
        )

    def _parent(self, parent: Parent) -> dict[Key, Document]:
        rule, priority = prefix_rule_and_priority(parent.prefix)
        own, *rest = _parent_keys(parent)
        records: dict[Key, Document] = {
            own: {"rule": rule, "priority": priority, **self._place(parent.above)}
        }
        for key in rest:
            assert parent.fallback
            records[key] = self._router(self._routes[parent.fallback], parent.prefix)
        return records

    def _shortcut(self, tree: RouteTree) -> Document:
        """A first router for the Hub's own pages: they cost the same however many users are on."""
        spec = tree.shortcut()
        if spec is None:
            return None
        rule, _ = prefix_rule_and_priority(tree.shortcut_key)
        return {**self._router(self._routes[spec], ""), "rule": rule, "priority": _FIRST}


_ROUTERS: Final = "http/routers"
_SERVICES: Final = "http/services"
_MIDDLEWARES: Final = "http/middlewares"
_SHORTCUT: Final = Key(_ROUTERS, "traefikhub__hub")
_FIRST: Final = 2_000_000
"""The priority of the Hub's own router: above that of every route."""


def _keys_of(route: Route) -> list[Key]:
    name = record_name(route.routespec)
    sections = [_SERVICES, _ROUTERS, ROUTES_SECTION]
    if _path_of(route):
        sections.append(_MIDDLEWARES)
    return [Key(section, name) for section in sections]


def _parent_keys(parent: Parent) -> list[Key]:
    """The router of a parent, then that of its fallback."""
    name = parent_name(parent.prefix)
    names = [name, f"{name}_rest"] if parent.fallback else [name]
    return [Key(_ROUTERS, each) for each in names]


def _dependencies(route: Route) -> dict[Key, Document]:
    """What the router of a route names."""
    name = record_name(route.routespec)
    records: dict[Key, Document] = {
        Key(_SERVICES, name): {"loadBalancer": {"servers": [{"url": route.target}]}}
    }
    # Traefik ignores a path in a server's URL; configurable-http-proxy prepends it.
    if path := _path_of(route):
        records[Key(_MIDDLEWARES, name)] = _prepend(path)
    return records


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
