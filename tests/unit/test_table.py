"""Routes to records."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traefikhub.rules import record_name
from traefikhub.stores import Batch, Document, Key, RecordRefused, Records
from traefikhub.table import ROUTES_SECTION, Change, Route, Table, merge, routes_of

MARY = "/user/mary/"
NAME = record_name(MARY)
ROUTER = Key("http/routers", NAME)
SERVICE = Key("http/services", NAME)
MIDDLEWARE = Key("http/middlewares", NAME)
STATE = Key(ROUTES_SECTION, NAME)

BASE: Records = {Key("http/routers", "traefikhub__api"): {"rule": 'PathPrefix("/api")'}}
EXTRA: dict[Key, Document] = {
    SERVICE: {"loadBalancer": {"passHostHeader": False}},
    Key("http/routers", "traefikhub__api"): {"priority": 7},
    Key("http/middlewares", "slim"): {"compress": {}},
}

specs = st.sampled_from(["/", "/a/", "/a/b/", "/A/", "/user/mary/", "h.example/", "/x%20y/"])
targets = st.sampled_from(["http://10.0.0.1:8888", "http://10.0.0.2:1/p", "https://[::1]:2/p/q/"])
payloads = st.dictionaries(st.text(max_size=2), st.none() | st.integers() | st.text(max_size=2))
routes = st.builds(Route, specs, targets, payloads)
changes = st.dictionaries(specs, st.none(), max_size=3) | st.lists(routes, max_size=3).map(
    lambda made: {route.routespec: route for route in made}
)


def route(target: str = "http://10.0.0.7:8888", **data: Document) -> Route:
    return Route(MARY, target, data)


def table(*routes: Route, extra: Records | None = None) -> Table:
    return Table(entry_point="web", base=BASE, extra=extra, routes=routes)


def test_https_targets_alone_have_the_transport() -> None:
    targets = {"/a/": "http://h:1", "/b/": "https://h:2/path", "/c/": "HTTPS://h:3"}
    made = Table(entry_point="web", transport="tls", routes=[])
    made.update({spec: Route(spec, target, {}) for spec, target in targets.items()})
    assert transports(made.records) == {
        record_name("/a/"): None, record_name("/b/"): "tls", record_name("/c/"): "tls"
    }  # fmt: skip
    # A target that turns to https, and one that turns from it.
    changed = made.update({"/a/": Route("/a/", "https://h:1", {}),
                           "/b/": Route("/b/", "http://h:2", {})})  # fmt: skip
    assert transports(changed) == {record_name("/a/"): "tls", record_name("/b/"): None}
    without = Table(entry_point="web", routes=made.routes.values())
    assert set(transports(without.records).values()) == {None}


def transports(records: Mapping[Key, Document | None]) -> dict[str, Any]:
    """What services name, by their names."""
    found: dict[str, Any] = {}
    for key, document in records.items():
        if key.section == "http/services":
            assert isinstance(document, dict)
            assert isinstance(document["loadBalancer"], dict)
            found[key.name] = document["loadBalancer"].get("serversTransport")
    return found


def test_a_route_becomes_a_router_a_service_and_what_we_remember() -> None:
    made = table(route(user="mary"))
    expected: Records = {
        **BASE,
        ROUTER: {
            "rule": '(PathPrefix("/user/mary/") || Path("/user/mary"))',
            "priority": 11,
            "entryPoints": ["web"],
            "service": NAME,
        },
        SERVICE: {"loadBalancer": {"servers": [{"url": "http://10.0.0.7:8888"}]}},
        STATE: {"routespec": MARY, "target": "http://10.0.0.7:8888", "data": {"user": "mary"}},
    }
    assert made.records == expected


def test_a_path_in_the_target_is_put_before_the_request_path() -> None:
    made = table(route("http://10.0.0.7:8888/deep/er/"))
    assert made.records[MIDDLEWARE] == {"addPrefix": {"prefix": "/deep/er"}}
    router = made.records[ROUTER]
    assert isinstance(router, dict)
    assert router["middlewares"] == [NAME]


@pytest.mark.parametrize(
    ("path", "replacement"),
    [
        ("/pre%20fix/é/", "/pre%20fix/%C3%A9$1"),
        ("/a%2fb", "/a%2fb$1"),
        ("/$1/%24${x}", "/$$1/%24$$%7Bx%7D$1"),
        ("/{{x}}", "/%7B%7Bx%7D%7D$1"),
    ],
)
def test_a_path_with_escapes_is_put_before_the_path_as_sent(path: str, replacement: str) -> None:
    made = table(route("http://10.0.0.7:8888" + path))
    expected = {"replacePathRegex": {"regex": "^(.*)", "replacement": replacement}}
    assert made.records[MIDDLEWARE] == expected


AT, ENCODED = "/user/q@/", "/user/q%40/"


def test_another_spelling_of_a_route_is_refused_naming_both() -> None:
    made = table(Route(AT, "http://a:1", {}))
    before = dict(made.records)
    for spec in (ENCODED, "/user/%71@/"):
        with pytest.raises(ValueError, match=f"{spec}.*{AT}") as caught:
            made.update({MARY: route(), spec: Route(spec, "http://a:2", {})})
        assert isinstance(caught.value, RecordRefused)
        assert made.records == before
    with pytest.raises(ValueError, match="spelling"):
        table(Route(AT, "http://a:1", {}), Route(ENCODED, "http://a:1", {}))
    made.update({AT: Route(AT, "http://a:3", {})})


@pytest.mark.parametrize("order", [1, -1])
def test_one_spelling_can_take_the_place_of_another(order: int) -> None:
    made = table(Route(AT, "http://a:1", {}))
    change: list[tuple[str, Route | None]] = [
        (ENCODED, Route(ENCODED, "http://a:2", {})),
        (AT, None),
    ]
    made.update(dict(change[::order]))
    assert made.records == table(Route(ENCODED, "http://a:2", {})).records
    made.update({ENCODED: None})
    made.update({AT: Route(AT, "http://a:1", {})})
    assert made.records == table(Route(AT, "http://a:1", {})).records


def test_of_two_spellings_in_a_store_always_the_same_stays() -> None:
    both = [
        (Key(ROUTES_SECTION, record_name(spec)), Route(spec, "http://a:1", {}).to_document())
        for spec in (AT, ENCODED)
    ]
    kept = routes_of(dict(both))
    assert len(kept) == 1
    assert routes_of(dict(reversed(both))) == kept


@pytest.mark.parametrize("target", ["http://10.0.0.7:8888", "http://10.0.0.7:8888/"])
def test_a_target_without_a_path_needs_no_middleware(target: str) -> None:
    made = table(route(target))
    assert MIDDLEWARE not in made.records


def test_a_target_that_loses_its_path_loses_the_middleware() -> None:
    made = table(route("http://a:1/deep"))
    changed = made.update({MARY: route("http://a:1")})
    assert changed[MIDDLEWARE] is None
    assert made.records == table(route("http://a:1")).records


def test_update_tells_exactly_what_changed() -> None:
    made = table(route(one=1))
    assert made.update({MARY: route(one=2)}) == {STATE: made.records[STATE]}
    assert made.update({MARY: route(one=2), "/absent/": None}) == {}
    assert made.update({MARY: None}) == {ROUTER: None, SERVICE: None, STATE: None}
    assert made.records == BASE
    assert made.routes == {}


@given(st.lists(changes, max_size=6))
def test_records_depend_on_the_routes_alone(history: list[Change]) -> None:
    aged = table(extra=EXTRA)
    for change in history:
        aged.update(change)
    assert aged.records == table(*reversed(list(aged.routes.values())), extra=EXTRA).records


@given(st.lists(routes, max_size=4), changes)
def test_what_update_returns_leads_from_the_old_records_to_the_new(
    begun: list[Route], change: Change
) -> None:
    made = table(*begun, extra=EXTRA)
    stored = dict(made.records)
    for key, document in made.update(change).items():
        if document is None:
            del stored[key]
        else:
            stored[key] = document
    assert stored == made.records


@given(st.lists(routes, max_size=4), changes)
def test_a_change_can_be_undone(begun: list[Route], change: Change) -> None:
    made = table(*begun, extra=EXTRA)
    before = dict(made.records)
    earlier = {spec: made.routes.get(spec) for spec in change}
    made.update(change)
    made.update(earlier)
    assert made.records == before


def test_one_malformed_route_leaves_the_table_as_it_was() -> None:
    made = table()
    before = dict(made.records)
    with pytest.raises(ValueError, match="no form"):
        made.update({MARY: route(), "no form": Route("no form", "http://a:1", {})})
    assert made.routes == {}
    assert made.records == before


@given(st.lists(routes, max_size=5))
def test_the_routes_come_back_from_the_records(begun: list[Route]) -> None:
    made = table(*begun, extra=EXTRA)
    assert routes_of(made.records) == dict(made.routes)


@pytest.mark.parametrize(
    "edited",
    [
        None,
        "text",
        {"routespec": MARY, "target": "http://a:1"},
        {"routespec": MARY, "target": None, "data": {}},
        {"routespec": MARY, "target": "http://a:1", "data": []},
        {"routespec": "/user/other/", "target": "http://a:1", "data": {}},
        {"routespec": "user/mary", "target": "http://a:1", "data": {}},
    ],
)
def test_a_remembered_route_that_was_edited_into_none_is_left_out(edited: Document) -> None:
    assert routes_of({STATE: edited}) == {}


@pytest.mark.parametrize("spec", ["no-slash", "/user/%FF/", "/a b/"])
def test_a_remembered_route_that_no_rule_can_express_is_left_out(spec: str) -> None:
    document: Document = {"routespec": spec, "target": "http://a:1", "data": {}}
    assert routes_of({Key(ROUTES_SECTION, record_name(spec)): document}) == {}


def test_the_admins_records_come_last() -> None:
    made = table(route(), extra=EXTRA)
    assert made.records[SERVICE] == {
        "loadBalancer": {
            "servers": [{"url": "http://10.0.0.7:8888"}],
            "passHostHeader": False,
        }
    }
    api = made.records[Key("http/routers", "traefikhub__api")]
    assert api == {"rule": 'PathPrefix("/api")', "priority": 7}
    assert made.records[Key("http/middlewares", "slim")] == {"compress": {}}


def test_a_deleted_route_leaves_the_admins_part_of_its_records() -> None:
    made = table(route(), extra=EXTRA)
    changed = made.update({MARY: None})
    assert changed[SERVICE] == EXTRA[SERVICE]
    assert made.records == table(extra=EXTRA).records


@given(st.lists(routes, max_size=3), changes)
def test_nothing_that_was_given_is_changed(begun: list[Route], change: Change) -> None:
    given_before: Any = copy.deepcopy((begun, change, BASE, EXTRA))
    table(*begun, extra=EXTRA).update(change)
    assert (begun, change, BASE, EXTRA) == given_before


@given(st.lists(routes, max_size=5))
def test_the_records_make_a_valid_batch(begun: list[Route]) -> None:
    made = table(*begun, extra=EXTRA)
    assert not Batch.between(made.records, table(*begun, extra=EXTRA).records, generation=1)
    assert Batch(1, made.records)


def test_merge_joins_tables_and_replaces_everything_else() -> None:
    base: Document = {"a": {"x": 1, "y": [1, 2]}, "b": 1}
    over: Document = {"a": {"y": [3], "z": None}, "c": {"d": 1}}
    assert merge(base, over) == {"a": {"x": 1, "y": [3], "z": None}, "b": 1, "c": {"d": 1}}
    assert merge({"a": {"b": 1}}, {"a": "text"}) == {"a": "text"}
    assert merge("text", {"a": 1}) == {"a": 1}


def test_data_that_python_calls_equal_but_json_does_not_is_a_change() -> None:
    table = Table(entry_point="http", routes=[Route("/a/", "http://x:1", {"n": 1})])
    for value in (True, 1.0, 1):
        changed = table.update({"/a/": Route("/a/", "http://x:1", {"n": value})})
        assert list(changed) == [Key("jupyterhub/routes", record_name("/a/"))]
        document = table.records[Key("jupyterhub/routes", record_name("/a/"))]
        assert repr(document) == repr(
            {"routespec": "/a/", "target": "http://x:1", "data": {"n": value}}
        )
    assert table.update({"/a/": Route("/a/", "http://x:1", {"n": 1})}) == {}
