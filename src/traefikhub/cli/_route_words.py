"""Routes and stores in words, for the commands about routes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import unquote

import click

from traefikhub.cli._hub import Hub
from traefikhub.route_files import routes_of_document
from traefikhub.rules import record_name
from traefikhub.session import SessionSettings, StoredRoutes
from traefikhub.stores import Key, is_private, place_of, resolve_store
from traefikhub.table import Route

__all__ = [
    "RouteTable",
    "another_store",
    "count",
    "drifted_keys",
    "find_routes",
    "is_about",
    "routes_of_json",
    "where",
    "whose",
]

RouteTable = Mapping[str, Route]
"""By routespec."""


def another_store(hub: Hub, settings: SessionSettings, option: str, name: str) -> SessionSettings:
    """The same hub with another store, as its own options have that.

    Args:
        option: of the command, which names the store.

    Raises:
        ClickException: its options can't be used.
        StoreNotFound: there is no such store.
    """
    made = resolve_store(name, origin=f"{option} {name}")
    with hub.explained():
        # Below the same proxy: the configuration is run once.
        parent = settings.store.parent
        store = made(parent=parent, log=settings.log, run_dir=settings.run_dir)
    return replace(settings, store=store)


def where(settings: SessionSettings) -> str:
    """Where routes are kept."""
    prefix = getattr(settings.store, "prefix", "")
    return f"{f'{prefix}/ in ' if prefix else ''}{place_of(settings.store)}"


def count(number: int, noun: str = "route") -> str:
    """``1 route``, ``1,000 routes``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def whose(route: Route) -> str:
    """The user, server or service that a route is of, by what JupyterHub says of it."""
    match route.data:
        case {"user": str(user), "server_name": str(server)} if server:
            return f"{user}, server {server}"
        case {"user": str(user)}:
            return user
        case {"service": str(service)}:
            return f"service {service}"
        case {"hub": _}:
            return "the Hub"
    return ""


def find_routes(routes: RouteTable, wanted: str) -> list[Route]:
    """The route of a routespec, percent-encoded or as people write it, or those of a user."""
    if found := routes.get(wanted) or routes.get(f"{wanted.rstrip('/')}/"):
        return [found]
    ordered = [route for _, route in sorted(routes.items())]
    return [route for route in ordered if _readable(route.routespec) == _readable(wanted)] or [
        route for route in ordered if route.data.get("user") == wanted
    ]


def _readable(routespec: str) -> str:
    return unquote(routespec).rstrip("/")


def is_about(route: Route, key: Key, document: object) -> bool:
    """Whether a record tells Traefik of a route: it has its name, or leads to its service."""
    if is_private(key.section):
        return False
    name = record_name(route.routespec)
    return key.name == name or (isinstance(document, dict) and document.get("service") == name)


def routes_of_json(file: Any) -> dict[str, Route]:
    """The routes of a file.

    Raises:
        ClickException: it holds none that can be used.
    """
    try:
        return routes_of_document(json.load(file))
    except (ValueError, RecursionError, OSError) as error:
        raise click.ClickException(f"{file.name} can't be used: {error}") from error


def drifted_keys(stored: StoredRoutes) -> list[Key]:
    """The records that are not as the routes need them."""
    return sorted([*stored.drift.puts, *stored.drift.deletes])
