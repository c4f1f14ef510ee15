"""What the store must hold for a set of routes: all records, made anew by the product's own pure
parts from the routes alone, and compared with what is there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from faults.model import as_text
from traefikhub.activity import ACTIVITY_SECTION, from_records
from traefikhub.base import (
    API_USERS_KEY,
    CERTIFICATE_KEY,
    GENERATION_ROUTER_KEY,
    api_records,
    api_users,
    metrics_records,
)
from traefikhub.error_pages import HubPages, error_page_records, root_routers
from traefikhub.rules import parse_routespec
from traefikhub.stores import Key, Records, RouteStore
from traefikhub.table import Route, Table, routes_of
from traefikhub.tree import RouteTree

__all__ = ["HUB_PREFIX", "Holdings"]

HUB_PREFIX = "/hub/"
_ENTRY_POINT, _API_ENTRY_POINT = "http", "auth_api"
_SECRET = (API_USERS_KEY, CERTIFICATE_KEY, GENERATION_ROUTER_KEY)


class Holdings:
    """What there must be.

    Args:
        hub_url: where Traefik asks for the Hub's error pages.
        first: what the store held when there was no user's route yet. The certificate, the hash of
            the API's password and the key for the generation are taken from there, and may not
            change.
    """

    def __init__(self, hub_url: str, first: Records) -> None:
        self._pages = HubPages(hub_url, HUB_PREFIX)
        self._base = {
            **api_records(_API_ENTRY_POINT, api_users(first)),
            **metrics_records(_API_ENTRY_POINT),
            **error_page_records(self._pages),
            **{key: first[key] for key in _SECRET[1:] if key in first},
        }

    def records(self, routes: Iterable[Route]) -> Records:
        """All that stand for these."""
        return Table(
            entry_point=_ENTRY_POINT,
            roots=root_routers(_ENTRY_POINT, self._pages),
            base=self._base,
            tree=RouteTree(parse_routespec(HUB_PREFIX).key),
            routes=routes,
        ).records

    def amiss(self, held: Records, store: RouteStore, stopped: bool) -> Iterator[str]:
        """How records differ from those that stand for the routes among them.

        Args:
            store: of which they are; it may hold some things in another form.
            stopped: the Hub was, in good order: then it keeps when each route was used, else not.
        """
        routes = routes_of(held)
        wanted = {
            key: store.canonical(key, document)
            for key, document in self.records(routes.values()).items()
        }
        if stopped:
            used = from_records(held)
            if used is None or not used.keys() <= routes.keys():
                yield f"{ACTIVITY_SECTION} tells of {used and sorted(used.keys() - routes.keys())}"
            held = {key: document for key, document in held.items() if not _is_activity(key)}
        yield from (f"{_name(key)} is missing" for key in [*wanted, *_SECRET] if key not in held)
        yield from (f"{_name(key)} is left over" for key in held if key not in wanted)
        for key, document in wanted.items():
            if key in held and as_text(held[key]) != as_text(document):
                yield f"{_name(key)} differs"


def _is_activity(key: Key) -> bool:
    return key.section == ACTIVITY_SECTION


def _name(key: Key) -> str:
    return f"{key.section}/{key.name}"
