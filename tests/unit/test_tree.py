"""The tree of routers: whatever the routes, each request goes where the longest prefix says."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from traefikhub.rules import parent_name, parse_routespec, record_name
from traefikhub.stores import Batch, Document, Key, Records
from traefikhub.table import Route, Table
from traefikhub.tree import DEPTH, FAN_OUT, RouteTree
from unit.test_rules import paths as hostile_paths
from unit.test_rules import spec_of, wire
from unit.traefik_rules import answering_service

# --- strategies --------------------------------------------------------------------------------

# Few letters, so that prefixes are shared and nested; and whatever has an encoding of its own.
names = st.text(alphabet="aab0A.%/+é😀 ", min_size=0, max_size=4)
paths = st.lists(names | st.sampled_from(["user", "hub"]), max_size=4).map(tuple)
hosts = st.sampled_from(["", "", "", "a.test", "ab.test", "ab.test.org", "b-c.test", "[::1]"])
shapes = st.tuples(st.integers(1, 4), st.integers(1, 4))


def routed(path: tuple[str, ...], host: str) -> str:
    return spec_of(path, host)


specs = st.builds(routed, paths | hostile_paths, hosts)
crowds = st.lists(specs, max_size=30, unique_by=lambda spec: parse_routespec(spec).key)


def route_to(spec: str, target: str = "http://10.0.0.1:8888") -> Route:
    return Route(spec, target, {})


def table(specs: Iterable[str], fan_out: int = 2, depth: int = 3, *, hub: str = "/hub/") -> Table:
    return Table(
        entry_point="web",
        tree=RouteTree(hub, fan_out=fan_out, depth=depth),
        routes=map(route_to, specs),
    )


def routers(records: Records) -> dict[str, dict[str, Any]]:
    return {
        key.name: document
        for key, document in records.items()
        if key.section == "http/routers" and isinstance(document, dict)
    }


def longest_prefix(specs: Iterable[str], path: tuple[str, ...], host: str) -> str | None:
    """The naive way: the route of this host with the most segments of the path, else the same
    among those without a host."""
    best: tuple[bool, int, str] | None = None
    for spec in specs:
        parsed = parse_routespec(spec)
        if parsed.host in ("", host) and path[: len(parsed.segments)] == parsed.segments:
            rank = (bool(parsed.host), len(parsed.segments), spec)
            best = max(best, rank) if best else rank
    return best[2] if best else None


# --- the proof obligation ----------------------------------------------------------------------


@settings(max_examples=400)
@given(st.data(), crowds, shapes)
def test_the_tree_answers_as_the_longest_prefix(
    data: st.DataObject, crowd: list[str], shape: tuple[int, int]
) -> None:
    made = routers(table(crowd, *shape).records)
    event(f"parents: {sum('_tree_' in name and '_rest' not in name for name in made)}")
    known = [parse_routespec(spec) for spec in crowd]
    for _ in range(5):
        base = data.draw(st.sampled_from([parsed.segments for parsed in known]) if known else paths)
        path = base[: data.draw(st.integers(0, len(base)))] + data.draw(paths)
        host = data.draw(st.sampled_from([each.host for each in known]) if known else hosts)
        expected = longest_prefix(crowd, path, host)
        asked = host.strip("[]") or "other.test"
        found = answering_service(made, data.draw(wire(path)) if path else "/", asked)
        assert found == (record_name(expected) if expected else None), (path, host)


@given(st.data(), st.lists(names.filter(bool), min_size=1, max_size=30, unique=True), shapes)
def test_a_path_without_its_last_slash_is_still_the_users(
    data: st.DataObject, users: list[str], shape: tuple[int, int]
) -> None:
    specs = [spec_of(("user", name)) for name in users]
    made = routers(table(["/", *specs], *shape).records)
    name = data.draw(st.sampled_from(users))
    request = data.draw(wire(("user", name), end=""))
    assert answering_service(made, request) == record_name(spec_of(("user", name)))


@given(crowds, st.randoms(use_true_random=False), shapes)
def test_the_tree_depends_on_the_routes_alone(
    crowd: list[str], random: Any, shape: tuple[int, int]
) -> None:
    at_once = table(crowd, *shape)
    others = [spec_of(("x", str(number))) for number in range(7)] + ["/", "a.test/", "/hub/x/"]
    steps: list[tuple[str, bool]] = [(spec, True) for spec in crowd]
    steps += [(spec, put) for spec in others if spec not in crowd for put in (True, False)]
    random.shuffle(steps)
    stepwise = table((), *shape)
    for spec, put in sorted(steps, key=lambda step: step[0] in others and not step[1]):
        stepwise.update({spec: route_to(spec) if put else None})
    assert stepwise.records == at_once.records


@given(crowds, specs, shapes)
def test_a_route_that_comes_and_goes_leaves_nothing(
    crowd: list[str], spec: str, shape: tuple[int, int]
) -> None:
    kept = [each for each in crowd if parse_routespec(each).key != parse_routespec(spec).key]
    made = table(kept, *shape)
    before = dict(made.records)
    made.update({spec: route_to(spec)})
    assert made.records == table([*kept, spec], *shape).records
    made.update({spec: None})
    assert made.records == before


@given(crowds, crowds, shapes)
def test_a_batch_leads_where_its_steps_lead(
    before: list[str], after: list[str], shape: tuple[int, int]
) -> None:
    made = table(before, *shape)
    stored: dict[Key, Document] = dict(made.records)
    gone = {spec: None for spec in before if spec not in after}
    keys = {parse_routespec(spec).key for spec in before if spec in after}
    came = {
        spec: route_to(spec)
        for spec in after
        if spec not in before and parse_routespec(spec).key not in keys
    }
    for key, document in made.update({**gone, **came}).items():
        if document is None:
            del stored[key]
        else:
            stored[key] = document
    assert stored == made.records == table(made.routes, *shape).records
    Batch(1, made.records)


@given(crowds, specs, shapes)
def test_a_fallback_follows_its_routes_target(
    crowd: list[str], spec: str, shape: tuple[int, int]
) -> None:
    if not any(parse_routespec(each).key == parse_routespec(spec).key for each in crowd):
        crowd = [*crowd, spec]
    made = table(crowd, *shape)
    moved = {each: route_to(each, "http://10.0.0.2:1/deep/") for each in crowd[::2]}
    made.update(moved)
    at_once = Table(
        entry_point="web",
        tree=RouteTree("/hub/", fan_out=shape[0], depth=shape[1]),
        routes=[moved.get(each, route_to(each)) for each in crowd],
    )
    assert made.records == at_once.records


@given(crowds, shapes)
def test_names_of_records_stay_apart_in_lower_case(
    crowd: list[str], shape: tuple[int, int]
) -> None:
    made = table(crowd, *shape).records
    assert len({(key.section, key.name.casefold()) for key in made}) == len(made)


# --- shape -------------------------------------------------------------------------------------


def depths(made: Records) -> dict[str, int]:
    """How many parents stand above each router."""
    known = routers(made)

    @cache
    def depth(name: str) -> int:
        return sum(1 + depth(parent) for parent in known[name].get("parentRefs", []))

    return {name: depth(name) for name in known}


def test_a_small_hub_is_flat() -> None:
    specs = ["/", *(f"/user/u{number}/" for number in range(FAN_OUT))]
    made = table(specs, FAN_OUT, DEPTH)
    assert set(depths(made.records).values()) == {0}
    made.update({"/user/one-more/": route_to("/user/one-more/")})
    assert made.records[Key("http/routers", parent_name("/user/"))] == {
        "rule": '(PathPrefix("/user/") || Path("/user"))',
        "priority": 6,
        "entryPoints": ["web"],
    }
    assert made.records[Key("http/routers", "p_user_u1")] == {
        "rule": '(PathPrefix("/user/u1/") || Path("/user/u1"))',
        "priority": 9,
        "parentRefs": [parent_name("/user/")],
        "service": "p_user_u1",
    }


def test_no_router_stands_deeper_than_the_cap() -> None:
    nested = ["/" + "a/" * number for number in range(200)]
    made = table(nested, 4, 5)
    assert max(depths(made.records).values()) == 5
    assert answering_service(routers(made.records), "/" + "a/" * 150) == record_name(nested[150])


def test_ten_thousand_users_need_few_comparisons_and_levels() -> None:
    made = table(["/", *(f"/user/user{number}/" for number in range(10_000))], FAN_OUT, DEPTH)
    known = routers(made.records)
    siblings: dict[str, int] = {}
    for router in known.values():
        for parent in router.get("parentRefs", ["top"]):
            siblings[parent] = siblings.get(parent, 0) + 1
    assert siblings["top"] < 10
    assert max(siblings.values()) < 4 * FAN_OUT
    assert max(depths(made.records).values()) <= 5


def test_one_route_changes_little() -> None:
    """At most the children of one parent, and its own."""
    made = table(["/", *(f"/user/user{number}/" for number in range(2_000))], FAN_OUT, DEPTH)
    most = 0
    for number in range(2_000, 3_000):
        spec = f"/user/user{number}/"
        changed = made.update({spec: route_to(spec)})
        parents = {
            tuple(router.get("parentRefs", [])) for router in routers(made_of(changed)).values()
        }
        most = max(most, len(changed))
        assert len(changed) <= FAN_OUT + 6
        assert len(parents) <= 3
    assert most > FAN_OUT  # it did split


def made_of(changed: dict[Key, Document | None]) -> dict[Key, Document]:
    return {key: document for key, document in changed.items() if document is not None}


# --- hosts -------------------------------------------------------------------------------------


def test_hubs_with_a_host_for_each_user_have_parents_too() -> None:
    specs = [f"user{number}.hub.test/user/user{number}/" for number in range(500)]
    made = table(["/", "services.hub.test/services/x/", *specs], 16, 8)
    known = routers(made.records)
    top = [router for router in known.values() if "entryPoints" in router]
    assert len(top) < 20
    for path, host, expected in [
        ("/user/user77/lab", "user77.hub.test", specs[77]),
        ("/user/user78/lab", "user77.hub.test", "/"),
        ("/services/x/", "services.hub.test", "services.hub.test/services/x/"),
        ("/", "user7.other.test", "/"),
        ("/hub/login", "user77.hub.test", "/"),
    ]:
        assert answering_service(known, path, host) == record_name(expected)


def test_routes_without_a_host_keep_those_with_one_flat() -> None:
    """Their parents would need all of those as fallbacks."""
    specs = [f"user{number}.hub.test/" for number in range(60)]
    made = table(["/", *specs, "/services/x/"], 40, 8)
    assert "parentRefs" not in routers(made.records)[record_name(specs[0])]
    made.update({"/services/x/": None})
    assert "parentRefs" in routers(made.records)[record_name(specs[0])]


# --- the Hub's own router ----------------------------------------------------------------------

HUB = Key("http/routers", "traefikhub__hub")


def test_the_hubs_pages_come_first() -> None:
    made = table(["/", "/user/mary/"], FAN_OUT)
    router = made.records[HUB]
    assert isinstance(router, dict)
    assert router["service"] == record_name("/")
    assert router["rule"] == '(PathPrefix("/hub/") || Path("/hub"))'
    assert router["priority"] == max(each["priority"] for each in routers(made.records).values())


def test_a_hub_below_a_base_url_has_it_too() -> None:
    made = table(["/jupyter/", "/jupyter/user/mary/"], hub="/jupyter/@x/hub/")
    router = made.records[HUB]
    assert isinstance(router, dict)
    service = router["service"]
    assert service == record_name("/jupyter/")
    assert answering_service(routers(made.records), "/jupyter/%40x/hub/home") == service


@pytest.mark.parametrize(
    "rival",
    ["/hub/api/", "/hub/x/y/", "hub.test/", "hub.test/hub/", "hub.test/hub/user/", "/hub//"],
)
def test_where_another_route_claims_some_of_them_there_is_none(rival: str) -> None:
    made = table(["/", "/hu/", "/hub2/", "hub.test/user/"])
    assert HUB in made.records
    made.update({rival: route_to(rival)})
    assert HUB not in made.records
    made.update({rival: None})
    assert HUB in made.records


def test_the_route_of_the_hubs_pages_can_stand_at_them() -> None:
    made = table(["/", "/hub/"])
    router = made.records[HUB]
    assert isinstance(router, dict)
    assert router["service"] == record_name("/hub/")
    made.update({"/hub/": None, "/": None})
    assert HUB not in made.records


def test_without_a_tree_there_is_one_level() -> None:
    specs = ["/", *(f"/user/{number}/" for number in range(300))]
    made = Table(entry_point="web", routes=map(route_to, specs))
    assert set(routers(made.records)) == set(map(record_name, specs))
    assert all("entryPoints" in router for router in routers(made.records).values())


@example("/user/a/b/")
@given(st.text(max_size=30))
def test_the_name_of_a_parent_is_never_that_of_a_route(prefix: str) -> None:
    assert parent_name(prefix) != record_name(spec_of((quote(prefix),)))
    assert "/" not in parent_name(prefix)
    assert parent_name(prefix).isascii()
