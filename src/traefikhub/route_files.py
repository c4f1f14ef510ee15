"""Routes as documents: our own export, configurable-http-proxy's API, and what
jupyterhub-traefik-proxy leaves in its file or its keys. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from traefikhub.rules import parse_routespec
from traefikhub.stores import check_document
from traefikhub.table import Route
from traefikhub.targets import check_target

__all__ = [
    "NoRoutes",
    "as_document",
    "routes_of_document",
    "routes_of_old_file",
    "routes_of_old_keys",
]

_FORMAT: Final = 1


class NoRoutes(ValueError):
    """A document doesn't hold what it should; the text says where."""


def as_document(routes: Iterable[Route]) -> dict[str, Any]:
    """What ``routes_of_document`` takes."""
    ordered = sorted(routes, key=lambda route: route.routespec)
    return {"traefikhub": _FORMAT, "routes": [route.to_document() for route in ordered]}


def routes_of_document(document: object) -> dict[str, Route]:
    """By routespec: an export, or the answer of configurable-http-proxy's ``/api/routes``.

    Raises:
        NoRoutes: it is neither, or one of the routes could not be served.
    """
    match document:
        case {"traefikhub": 1, "routes": [*entries]}:
            return _unique(_entry(number, each) for number, each in enumerate(entries, 1))
        case {"traefikhub": version}:
            raise NoRoutes(
                f"it is an export of format {version!r}, and this is format {_FORMAT}; upgrade "
                "traefikhub"
            )
        case {**table} if table and all(str(name).startswith("/") for name in table):
            return _unique(_of_configurable(name, each) for name, each in table.items())
    raise NoRoutes(
        'it is neither an export, {"traefikhub": 1, "routes": […]}, nor an answer of '
        "configurable-http-proxy's /api/routes"
    )


def routes_of_old_file(document: Mapping[str, Any]) -> dict[str, Route]:
    """By routespec: those of a routes file of jupyterhub-traefik-proxy, read as TOML or YAML.

    Raises:
        NoRoutes: it is no such file, or one of its routes could not be served.
    """
    match document:
        case {"jupyterhub": {"routes": {**routes}}}:
            return _unique(_of_old(name, each) for name, each in routes.items())
        case {"http": _}:  # of no route
            return {}
    raise NoRoutes("it is no routes file of jupyterhub-traefik-proxy: it has no jupyterhub.routes")


def routes_of_old_keys(flat: Mapping[str, str]) -> dict[str, Route]:
    """By routespec: those of the keys that jupyterhub-traefik-proxy left in etcd, consul or redis.

    Args:
        flat: below its prefix, by default ``jupyterhub``.

    Raises:
        NoRoutes: one of its routes could not be served.
    """
    routes: dict[str, dict[str, Any]] = {}
    for key, value in sorted(flat.items()):
        match key.split("/"):
            case ["routes", name, "data", *path] if path:
                # JupyterHub's own data are one level deep.
                data = routes.setdefault(name, {}).setdefault("data", {})
                data["/".join(path)] = value
            case ["routes", name, "data"]:
                routes.setdefault(name, {}).setdefault("data", {})
            case ["routes", name, field]:
                routes.setdefault(name, {})[field] = value
    return _unique(_of_old(name, each) for name, each in routes.items())


def _unique(routes: Iterable[Route]) -> dict[str, Route]:
    found: dict[str, Route] = {}
    keys: dict[str, str] = {}
    for route in routes:
        key = parse_routespec(route.routespec).key
        if other := keys.get(key):
            raise NoRoutes(f"it has two routes for the same: {other!r} and {route.routespec!r}")
        keys[key] = route.routespec
        found[route.routespec] = route
    return found


def _entry(number: int, entry: object) -> Route:
    match entry:
        case {"routespec": str(spec), "target": str(target), "data": dict(data)}:
            return _checked(spec, target, data)
    raise NoRoutes(f"its route number {number} is not of routespec, target and data")


def _of_configurable(name: object, entry: object) -> Route:
    match entry:
        case {"target": str(target), **data}:
            spec = str(name).rstrip("/") + "/"
            data.pop("last_activity", None)
            return _checked(spec, target, {str(key): value for key, value in data.items()})
    raise NoRoutes(f"its route {name!r} has no target")


def _of_old(name: object, entry: object) -> Route:
    match entry:
        case {"routespec": str(spec), "target": str(target), **rest}:
            data = rest.get("data", {})
            if not isinstance(data, dict):
                raise NoRoutes(f"the data of its route {spec!r} are no table")
            hub = {"hub": True} if str(data.get("hub")).lower() == "true" else {}
            return _checked(spec, target, {**data, **hub})
    raise NoRoutes(f"its route {name!r} is not whole: it has no routespec, or no target")


def _checked(spec: str, target: str, data: dict[str, Any]) -> Route:
    try:
        parse_routespec(spec)
        check_target(spec, target)
        check_document(data)
    except ValueError as error:
        raise NoRoutes(str(error)) from error
    return Route(spec, target, data)
