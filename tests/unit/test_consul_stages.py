"""The stages in which a batch is written to a server that takes few changes at once, as consul."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain, pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traefikhub.rules import record_name
from traefikhub.stores import Batch, Document, Key, RecordRefused, Snapshot
from traefikhub.stores._layout import canonical
from traefikhub.stores._stages import Change, Stage, stages
from traefikhub.stores._transactions import KnownKeys
from traefikhub.table import Route, Table
from traefikhub.testing._batches import dangling
from traefikhub.tree import RouteTree

Records = Mapping[Key, Document]

ROUTERS = "http/routers"
TRANSPORT = Key("http/serversTransports", "t")


def known_of(records: Records) -> tuple[KnownKeys, dict[str, str]]:
    """What a server knows that holds these, and its keys."""
    known, batch = KnownKeys({}), Batch(1, records)
    plan = known.plan(batch)
    known.commit(batch, plan)
    return known, {path: value for own in plan.after.values() for path, value in own.items()}


def planned(known: KnownKeys, batch: Batch, limit: int, *, repeat: bool = True) -> list[Stage]:
    return stages(known.plan(batch).groups, limit, None, repeat=repeat)


def make(flat: dict[str, str], transaction: list[Change]) -> None:
    for path, value in transaction:
        if value is None:
            flat.pop(path, None)
        else:
            flat[path] = value


def seen(flat: dict[str, str]) -> Snapshot:
    return KnownKeys(flat).snapshot()[0]


@st.composite
def tables(draw: st.DrawFn) -> dict[Key, Document]:
    """Routers in a tree, with services of their own or shared ones, middlewares, private records,
    services that name each other, and one transport of services."""
    records: dict[Key, Document] = {}
    names = draw(st.lists(st.sampled_from([f"r{n}" for n in range(14)]), unique=True, min_size=5))
    target = draw(st.sampled_from(["http://x:1", "http://x:2"]))
    transport = draw(st.booleans())
    for place, name in enumerate(names):
        service = draw(st.sampled_from([name, name, "shared", "both"]))
        router: dict[str, Document] = {"rule": f"Path({name})", "service": service}
        for each in (service, *(["r0", "shared"] if service == "both" else [])):
            balancer: dict[str, Document] = {"servers": [{"url": target}]}
            balancer |= {"serversTransport": TRANSPORT.name} if transport else {}
            records[Key("http/services", each)] = {"loadBalancer": balancer}
        if service == "both":
            both: list[Document] = [{"name": "r0"}, {"name": "shared"}]
            records[Key("http/services", "both")] = {"weighted": {"services": both}}
        if draw(st.booleans()):
            router["middlewares"] = [name]
            records[Key("http/middlewares", name)] = {"addPrefix": {"prefix": "/x"}}
        if place and draw(st.booleans()):
            router["parentRefs"] = [draw(st.sampled_from(names[:place]))]
        records[Key(ROUTERS, name)] = router
        if draw(st.booleans()):
            records[Key("jupyterhub/routes", name)] = target
    if transport:
        many: list[Document] = [f"/{number}" for number in range(10)]  # a transaction of its own
        records[TRANSPORT] = {"rootCAs": many, "serverName": target}
    return {key: canonical(key, document) for key, document in records.items()}


def missing_services(snapshot: Snapshot) -> list[str]:
    """What a router's service names that isn't there, if the router itself is."""
    used = {doc["service"] for _, doc in snapshot.section(ROUTERS) if isinstance(doc, dict)}
    if "both" not in used:
        return []
    return [name for name in ("r0", "shared") if Key("http/services", name) not in snapshot.records]


def transport_is_missing(snapshot: Snapshot) -> bool:
    """Whether a router's service names it, and it isn't there."""
    used = {doc["service"] for _, doc in snapshot.section(ROUTERS) if isinstance(doc, dict)}
    named = any(name in used and "serversTransport" in str(doc)
                for name, doc in snapshot.section("http/services"))  # fmt: skip
    return named and TRANSPORT not in snapshot.records


@given(tables(), tables(), st.integers(1, 12), st.booleans(), st.randoms(use_true_random=False))
def test_nothing_dangles_in_whatever_order_a_stage_is_made(
    before: Records, after: Records, room: int, repeat: bool, chance: Any
) -> None:
    known, flat = known_of(before)
    planned_stages = planned(
        known, Batch.between(before, after, generation=2), room + 12, repeat=repeat
    )
    assert all(planned_stages)
    for stage in planned_stages:
        assert seen(flat).generation == 1
        for transaction in chance.sample(stage, len(stage)):
            paths = [path for path, _ in transaction]
            assert len(set(paths)) == len(paths) <= room + 12
            make(flat, transaction)
            assert dangling(seen(flat)) == []
            assert missing_services(seen(flat)) == []
            assert not transport_is_missing(seen(flat))
    assert seen(flat) == Snapshot(dict(after), 2)


@pytest.mark.parametrize("turned", ["on", "off"])
def test_services_that_are_in_use_get_a_transport_that_is_there(turned: str) -> None:
    """Whatever the order within a stage: here the last is made first."""
    routes = [Route(f"/user/{number}/", "https://x:1", {}) for number in range(80)]
    plain = Table(entry_point="http", routes=routes).records
    transport: dict[Key, Document] = {TRANSPORT: {"rootCAs": ["/a"], "serverName": "x"}}
    secure = Table(entry_point="http", base=transport, transport="t", routes=routes).records
    before, after = (plain, secure) if turned == "on" else (secure, plain)
    known, flat = known_of(before)
    made = planned(known, Batch.between(before, after, generation=2), 16)
    assert max(map(len, made)) > 1
    for stage in made:
        for transaction in reversed(stage):
            make(flat, transaction)
            assert not transport_is_missing(seen(flat))
    assert seen(flat).records.keys() == after.keys()


@given(tables(), tables(), st.integers(1, 12))
def test_the_marker_is_last_and_alone_in_its_stage(
    before: Records, after: Records, limit: int
) -> None:
    """Also where records are torn apart, for they don't fit."""
    known, flat = known_of(before)
    batch = Batch.between(before, after, generation=2)
    *earlier, last = planned(known, batch, limit)
    (path,) = known.plan(batch).after[batch.marker[0]]
    assert len(last) == 1
    assert last[0][-1] == Change(path, "2")
    for transaction in chain.from_iterable(earlier):
        assert path not in dict(transaction)
        make(flat, transaction)
    make(flat, last[0])
    assert seen(flat) == Snapshot(dict(after), 2)


@given(tables(), tables(), st.integers(1, 40))
def test_a_late_duplicate_within_a_batch_changes_nothing(
    before: Records, after: Records, limit: int
) -> None:
    """Whatever says something of a key says the same of it."""
    known, _ = known_of(before)
    said: dict[str, str | None] = {}
    for stage in planned(known, Batch.between(before, after, generation=2), limit):
        for path, value in chain.from_iterable(stage):
            assert said.setdefault(path, value) == value


@given(tables(), tables(), st.integers(13, 40))
def test_without_repetition_every_change_is_made_once(
    before: Records, after: Records, limit: int
) -> None:
    known, _ = known_of(before)
    batch = Batch.between(before, after, generation=2)
    changes = [
        path
        for stage in planned(known, batch, limit, repeat=False)
        for path, _ in chain.from_iterable(stage)
    ]
    assert len(changes) == len(set(changes))


@pytest.mark.parametrize("repeat", [False, True])
@pytest.mark.parametrize("limit", [2, 5, 9, 13, 40])
def test_a_chain_of_routers_comes_from_the_top_and_goes_from_the_end(
    limit: int, repeat: bool
) -> None:
    """Also where the routers above one don't fit into its transaction."""
    chain_of: dict[Key, Document] = {
        Key(ROUTERS, str(name) * 2): {"rule": "r", "parentRefs": [str(above) * 2]}
        for above, name in pairwise("abcdefghijklm")
    }
    top: dict[Key, Document] = {Key(ROUTERS, "aa"): {"rule": "r", "entryPoints": ["http"]}}
    records = chain_of | top
    known, flat = known_of(records)
    for start, batch, now in (
        ({}, Batch(1, records), KnownKeys({})),
        (flat, Batch(2, {}, frozenset(records)), known),
    ):
        for stage in planned(now, batch, limit, repeat=repeat):
            for transaction in reversed(stage):
                make(start, transaction)
                assert dangling(seen(start)) == []


@pytest.mark.parametrize("limit", range(2, 16))
def test_what_is_torn_apart_is_whole_while_a_router_names_it(limit: int) -> None:
    servers: list[Document] = [{"url": f"http://x:{port}"} for port in range(10, 30)]
    records: dict[Key, Document] = {
        Key(ROUTERS, "a"): {"rule": "r", "service": "a"},
        Key("http/services", "a"): {"loadBalancer": {"servers": servers}},
    }
    known, flat = known_of(records)
    for start, batch, now in (
        ({}, Batch(1, records), KnownKeys({})),
        (flat, Batch(2, {}, frozenset(records)), known),
    ):
        for stage in planned(now, batch, limit):
            for transaction in reversed(stage):
                make(start, transaction)
                whole = sum(path.startswith("http/services/a/") for path in start) == len(servers)
                assert whole or f"{ROUTERS}/a/service" not in start


def users(count: int) -> dict[str, Route]:
    return {
        f"/user/{name}/": Route(f"/user/{name}/", "http://127.0.0.1:1", {"user": name})
        for name in (f"{chr(97 + n % 9)}{n}" for n in range(count))
    }


def table() -> Table:
    hub = Route("/", "http://127.0.0.1:1", {"hub": True})
    return Table(entry_point="http", tree=RouteTree("/hub/"), routes=[hub])


def between(old: Table, new: Table) -> list[Stage]:
    known, _ = known_of(old.records)
    return planned(known, Batch.between(old.records, new.records, generation=2), 63)


def test_a_burst_of_logins_needs_no_stage_but_that_and_the_markers() -> None:
    """Though the tree grows parents: whoever stands below one brings it along."""
    full = table()
    full.update(users(500))
    parents = [key for key in full.records if key.name.startswith("traefikhub__tree")]
    assert len(parents) > 9
    together, last = between(table(), full)
    assert len(together) < 65
    assert len(last) == 1
    routers = [f"{ROUTERS}/{record_name(spec)}/rule" for spec in users(500)]
    service = [f"http/services/{record_name(spec)}/" for spec in users(500)]
    for transaction in (*together, *last):
        paths = [path for path, _ in transaction]
        for router, own in zip(routers, service, strict=True):
            assert (router in paths) == any(path.startswith(own) for path in paths)


def test_the_end_of_many_is_not_one_after_another() -> None:
    full = table()
    full.update(users(500))
    planned_stages = between(full, table())
    assert max(map(len, planned_stages)) > 30
    assert len(planned_stages) < 8


def test_what_is_too_large_by_itself_is_refused() -> None:
    plan = KnownKeys({}).plan(Batch(1, {Key("jupyterhub/notes", "é"): "é" * 100}))
    with pytest.raises(RecordRefused, match=r"jupyterhub/notes.* bytes are more than .*150"):
        stages(plan.groups, 63, 150, repeat=True)
    assert stages(plan.groups, 63, 400, repeat=True)


def test_bytes_are_counted_as_sent() -> None:
    plan = KnownKeys({}).plan(
        Batch(1, {Key("jupyterhub/notes", str(number)): "é" * 100 for number in range(10)})
    )
    for stage in stages(plan.groups, 63, 500, repeat=True):
        for transaction in stage:
            size = sum(
                len(path.encode()) + len((value or "").encode()) for path, value in transaction
            )
            assert size <= 500


def test_routers_that_name_each_other_in_a_circle_are_written_all_the_same() -> None:
    circle: dict[Key, Document] = {
        Key(ROUTERS, name): {"rule": "r", "parentRefs": [other]}
        for name, other in (("a", "b"), ("b", "c"), ("c", "a"), ("d", "a"))
    }
    for limit in (2, 5, 63):
        known, flat = known_of(circle)
        for transaction in chain.from_iterable(planned(KnownKeys({}), Batch(1, circle), limit)):
            make(flat, transaction)
        assert seen(flat).records.keys() == circle.keys()
        for transaction in chain.from_iterable(
            planned(known, Batch(2, {}, frozenset(circle)), limit)
        ):
            make(flat, transaction)
        assert seen(flat) == Snapshot({}, 2)


def crowd(count: int) -> dict[Key, Document]:
    routes = [Route("/", "http://hub:1", {})]
    routes += [Route(f"/user/u{number}/", f"http://u{number}:1", {}) for number in range(count)]
    records = Table(entry_point="http", tree=RouteTree("/hub/"), routes=routes).records
    return {key: canonical(key, document) for key, document in records.items()}


@pytest.mark.parametrize(("before", "after"), [(30, 300), (300, 30), (20, 33), (33, 20)])
@pytest.mark.parametrize("limit", [63, 120])
@pytest.mark.parametrize("repeat", [True, False])
def test_no_parent_is_there_without_its_fallback(
    before: int, after: int, limit: int, repeat: bool
) -> None:
    """It would keep what none of its children wants from the Hub: 404 instead of its page."""
    old, new = crowd(before), crowd(after)
    known, flat = known_of(old)
    deletes = frozenset(old.keys() - new.keys())
    for stage in planned(known, Batch(2, new, deletes), limit, repeat=repeat):
        for order in (stage, stage[::-1]):
            now = dict(flat)
            for transaction in order:
                make(now, transaction)
                there = {key.name for key in seen(now).records if key.section == ROUTERS}
                parents = {name for name in there if "__tree_" in name and "_rest" not in name}
                assert {f"{name}_rest" for name in parents} <= there
        flat = now
