"""The records that lead to the Hub's error pages."""

from __future__ import annotations

import re

import pytest

from traefikhub.error_pages import ROOTS, HubPages, error_page_records, root_routers
from traefikhub.stores import Batch, Document, Key, Records
from traefikhub.stores._layout import keys_of
from traefikhub.table import Route, Table
from traefikhub.tree import RouteTree

PAGES = HubPages("http://10.0.0.1:8081", "/jhub/hub/")


def api_pattern(prefix: str) -> re.Pattern[str]:
    pages = HubPages("http://h:1", prefix)
    router = root_routers("http", pages)[Key("http/routers", ROOTS[1])]
    assert isinstance(router, dict)
    rule = str(router["rule"])
    text, _, sockets = rule.removeprefix('PathRegexp("').partition('") && ')
    assert sockets == '!HeaderRegexp("Upgrade", "(?i)^websocket$")'
    return re.compile(text.replace("\\\\", "\\"))


@pytest.mark.parametrize(
    ("path", "is_api"),
    [
        ("/jhub/user/mary/api/kernels", True),
        ("/jhub/user/mary/api/kernels/1/channels", True),
        ("/jhub/user/mary/server-2/api/contents/a/b.ipynb", True),
        ("/jhub/user/m%40x/api/sessions", True),
        ("/jhub/user/mary/api/else", False),
        ("/jhub/user/mary/lab/tree/api/kernels", False),
        ("/jhub/user/mary/s/proxy/8000/api/kernels", False),
        ("/user/mary/api/kernels", False),
        ("/jhub/hub/api/users", False),
        ("/jhub/user/api/kernels", False),
    ],
)
def test_the_api_of_jupyter_servers_is_told_by_its_path(path: str, is_api: bool) -> None:
    assert bool(api_pattern("/jhub/hub/").match(path)) is is_api


def test_a_base_url_is_no_pattern() -> None:
    pattern = api_pattern("/a.b(c)/hub/")
    assert pattern.match("/a.b(c)/user/mary/api/kernels")
    assert pattern.match("/a.b%28c%29/user/mary/api/kernels")
    assert not pattern.match("/axb(c)/user/mary/api/kernels")


def test_the_records_make_a_valid_batch_and_name_only_each_other() -> None:
    records = {**root_routers("http", PAGES), **error_page_records(PAGES)}
    Batch(1, records)
    names = {key.section: {each.name for each in records if each.section == key.section}
             for key in records}  # fmt: skip
    for key, document in records.items():
        assert isinstance(document, dict)
        named = document.get("middlewares", [])
        assert isinstance(named, list)
        assert set(map(str, named)) <= names["http/middlewares"], key


def test_the_hub_is_asked_with_the_certificate_that_it_wants() -> None:
    tls: dict[str, Document] = {"rootCAs": ["/ca"]}
    (without,) = transports(error_page_records(PAGES))
    (within,) = transports(error_page_records(PAGES, tls))
    assert within == {**without, **tls}
    assert "forwardingTimeouts" in within


def transports(records: Records) -> list[dict[str, Document]]:
    return [
        document
        for key, document in records.items()
        if key.section == "http/serversTransports" and isinstance(document, dict)
    ]


def test_no_value_is_empty() -> None:
    """Traefik's redis provider passes over such keys, so that its store refuses them."""
    for key, document in {**root_routers("http", PAGES), **error_page_records(PAGES)}.items():
        assert "" not in keys_of(key, document).values(), key


@pytest.mark.parametrize("count", [3, 100])
@pytest.mark.parametrize("tree", [None, "/hub/"])
def test_every_router_at_the_top_stands_below_the_roots(count: int, tree: str | None) -> None:
    routes = [Route("/", "http://h:1", {})]
    routes += [Route(f"/user/u{number}/", "http://u:1", {}) for number in range(count)]
    made = Table(
        entry_point="http",
        roots=root_routers("http", PAGES),
        tree=RouteTree(tree) if tree else None,
        routes=routes,
    )
    tops = {
        key.name
        for key, router in made.records.items()
        if key.section == "http/routers" and isinstance(router, dict) and "entryPoints" in router
    }
    # The Hub's own pages need no others in their place.
    assert tops == ({*ROOTS, "traefikhub__hub"} if tree else {*ROOTS})
    below = [
        router["parentRefs"]
        for key, router in made.records.items()
        if key.section == "http/routers" and isinstance(router, dict) and "parentRefs" in router
    ]
    assert below.count([*ROOTS]) == (2 if tree and count > 32 else count + 1)


def test_without_routes_there_are_no_roots() -> None:
    """Traefik would complain of routers that lead nowhere, at every first start."""
    roots = root_routers("http", PAGES)
    made = Table(entry_point="http", roots=roots, tree=RouteTree("/hub/"))
    assert made.records == {}
    changed = made.update({"/": Route("/", "http://h:1", {})})
    assert list(changed)[: len(roots)] == list(roots)
    assert made.update({"/": None}).keys() == changed.keys()
    assert made.records == {}
