"""Last activity: never less than there was, and no more than must be."""

from __future__ import annotations

import math
from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    precondition,
    rule,
    run_state_machine_as_test,
)

from traefikhub.activity import (
    ACTIVITY_SECTION,
    Activity,
    from_records,
    timestamp,
    to_records,
)
from traefikhub.rules import record_name
from traefikhub.stores import Document, Key, check_document
from traefikhub.traefik.metrics import Scrape

A, B = "/user/a/", "/user/b/"
TARGETS = {A: "http://10.0.0.1:8888", B: "http://server-b:8888"}
RESOLVED = {"server-b": ["10.0.0.2"]}


def counted(process: float = 1.0, /, **counts: int) -> Scrape:
    return Scrape(
        ("http://x", process), {record_name(f"/user/{name}/"): n for name, n in counts.items()}
    )


def look(activity: Activity, now: float, *scrapes: Scrape | None) -> None:
    activity.see_counters(scrapes, activity.asking(), now)


@pytest.fixture
def activity() -> Activity:
    """Both routes were active at 0, and nobody has asked for anything since."""
    made = Activity()
    made.restore(TARGETS, {A: 0, B: 0}, now=1)
    return made


# --- counters --------------------------------------------------------------------------------


def test_a_counter_that_differs_is_activity_and_one_that_does_not_is_none(
    activity: Activity,
) -> None:
    look(activity, 10, counted(a=1))
    assert activity.times() == {A: 10, B: 0}
    look(activity, 20, counted(a=1, b=0))
    assert activity.times() == {A: 10, B: 0}
    look(activity, 30, counted())
    assert activity.times() == {A: 30, B: 0}, "less than before is a new beginning"


def test_strangers_are_nothing_to_us(activity: Activity) -> None:
    look(activity, 10, Scrape(("http://x", 1.0), {"stranger": 5}))
    assert activity.times() == {A: 0, B: 0}


def test_each_replica_counts(activity: Activity) -> None:
    one, two = Scrape(("http://x", 1.0), {}), Scrape(("http://y", 1.0), {record_name(B): 1})
    look(activity, 10, one, two)
    look(activity, 20, one, two)
    assert activity.times() == {A: 0, B: 10}


def test_a_replica_that_cannot_be_asked_hides_what_it_did(activity: Activity) -> None:
    look(activity, 10, counted())
    look(activity, 20, counted(), None)
    assert activity.times() == {A: 20, B: 20}
    look(activity, 30)
    assert activity.times() == {A: 30, B: 30}
    look(activity, 40, counted())
    assert activity.times() == {A: 30, B: 30}


def test_a_process_that_is_gone_took_its_last_requests_with_it(activity: Activity) -> None:
    look(activity, 10, counted(1.0))
    look(activity, 20, counted(2.0))
    assert activity.times() == {A: 20, B: 20}
    look(activity, 30, counted(2.0))
    assert activity.times() == {A: 20, B: 20}
    look(activity, 40, counted(2.0), Scrape(("http://y", 3.0), {record_name(A): 1}))
    assert activity.times() == {A: 40, B: 20}, "one that came is no riddle"


def test_what_was_forgotten_is_activity_once(activity: Activity) -> None:
    look(activity, 10, counted())
    activity.forget()
    look(activity, 20, counted())
    assert activity.times() == {A: 20, B: 20}
    look(activity, 30, counted())
    assert activity.times() == {A: 20, B: 20}


def test_a_scrape_that_was_under_way_when_all_was_forgotten_tells_nothing(
    activity: Activity,
) -> None:
    asked = activity.asking()
    activity.forget()
    activity.see_counters([counted(a=3)], asked, 10)
    look(activity, 20, counted(a=3))  # again three, since they began at 0
    assert activity.times() == {A: 20, B: 20}


def test_a_scrape_that_was_overtaken_is_not_taken_for_news(activity: Activity) -> None:
    slow = activity.asking()
    look(activity, 10, counted(a=3))
    activity.see_counters([counted(a=2)], slow, 20)
    look(activity, 30, counted(a=3))
    assert activity.times() == {A: 10, B: 0}


# --- routes ----------------------------------------------------------------------------------


def test_a_route_that_begins_is_active(activity: Activity) -> None:
    activity.began("/user/c/", "http://10.0.0.3", 5)
    assert activity.times()["/user/c/"] == 5
    assert activity.knows("/user/c/", "http://10.0.0.3")
    assert not activity.knows("/user/c/", "http://10.0.0.4")
    activity.ended("/user/c/")
    activity.ended("/user/c/")
    assert activity.times() == {A: 0, B: 0}


def test_a_counter_that_began_anew_and_reached_the_same(activity: Activity) -> None:
    look(activity, 10, counted(a=3))
    activity.ended(A)
    activity.began(A, TARGETS[A], 11)
    look(activity, 20, counted(a=3))
    assert activity.times()[A] == 20


def test_a_scrape_from_before_the_route_began_is_no_measure_for_later_ones(
    activity: Activity,
) -> None:
    activity.ended(A)
    asked = activity.asking()
    activity.began(A, TARGETS[A], 11)
    activity.see_counters([counted(a=3)], asked, 12)
    look(activity, 20, counted(a=3))
    assert activity.times()[A] == 20
    look(activity, 30, counted(a=3))
    assert activity.times()[A] == 20


def test_times_never_shrink(activity: Activity) -> None:
    activity.began(A, TARGETS[A], 100)
    activity.began(A, "http://10.0.0.9:1", 50)
    activity.see_connections(None, {}, 60)
    look(activity, 70, None)
    activity.see_connections([("10.0.0.9", 1)], RESOLVED, 80)
    assert activity.times() == {A: 100, B: 70}


def test_following_makes_up_for_what_was_not_told(activity: Activity) -> None:
    activity.follow({A: "http://10.0.0.9:1", "/user/c/": "http://c"}, 50)
    assert activity.times() == {A: 50, "/user/c/": 50}
    activity.follow({A: "http://10.0.0.9:1", "/user/c/": "http://c"}, 60)
    assert activity.times() == {A: 50, "/user/c/": 50}
    assert activity.hosts() == {"c"}


# --- connections -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "far_end"),
    [
        ("http://10.0.0.3:8888/path", ("10.0.0.3", 8888)),
        ("http://10.0.0.3", ("10.0.0.3", 80)),
        ("https://10.0.0.3/", ("10.0.0.3", 443)),
        ("http://[2001:DB8::0:5]:1", ("2001:db8::5", 1)),
        ("http://[::ffff:10.0.0.3]:1", ("10.0.0.3", 1)),
        ("http://0.0.0.0:1", ("127.0.0.1", 1)),
        ("http://[::]:1", ("::1", 1)),
        ("http://Server-B:8888", ("10.0.0.2", 8888)),
    ],
)
def test_an_open_connection_is_activity(
    activity: Activity, target: str, far_end: tuple[str, int]
) -> None:
    activity.began(A, target, 1)
    ip, port = far_end
    activity.see_connections([(ip, port + 1), ("10.9.9.9", port + 1)], RESOLVED, 10)
    assert activity.times()[A] == 1
    activity.see_connections([far_end], RESOLVED, 20)
    assert activity.times()[A] == 20
    activity.ended(A)
    activity.see_connections([far_end], RESOLVED, 30)


def test_connections_that_cannot_be_known_may_be_anybodys(activity: Activity) -> None:
    activity.see_connections(None, RESOLVED, 10)
    assert activity.times() == {A: 10, B: 10}


def test_a_name_that_does_not_resolve_may_be_connected(activity: Activity) -> None:
    activity.see_connections([], {}, 10)
    assert activity.times() == {A: 0, B: 10}
    activity.see_connections([], {"server-b": []}, 20)
    assert activity.times() == {A: 0, B: 20}


def test_an_address_that_a_name_had_is_remembered_while_a_route_leads_there(
    activity: Activity,
) -> None:
    activity.see_connections([], RESOLVED, 5)
    activity.began("/user/c/", "http://server-b:1", 6)
    activity.see_connections([("10.0.0.2", 8888)], {"server-b": ["10.0.0.7"]}, 10)
    assert activity.times()[B] == 10
    activity.see_connections([("10.0.0.2", 1)], {"server-b": ["10.0.0.7"]}, 20)
    activity.see_connections([("10.0.0.7", 1)], {"server-b": ["10.0.0.7"]}, 30)
    assert (activity.times()[B], activity.times()["/user/c/"]) == (10, 30)
    activity.ended("/user/c/")
    activity.ended(B)
    assert activity.hosts() == frozenset()
    activity.began(B, TARGETS[B], 40)
    activity.see_connections([("10.0.0.2", 8888)], {"server-b": ["10.0.0.7"]}, 50)
    assert activity.times()[B] == 40


def test_a_strange_connection_may_be_that_of_any_route_with_its_port(activity: Activity) -> None:
    activity.began("/user/c/", "http://server-c:1", 1)
    resolved = {**RESOLVED, "server-c": ["10.0.0.3"]}
    activity.see_connections([("10.9.9.9", 8888)], resolved, 10)
    assert activity.times() == {A: 10, B: 10, "/user/c/": 1}


def test_a_connection_that_lingers_is_not_strange(
    activity: Activity, monkeypatch: pytest.MonkeyPatch
) -> None:
    activity.see_connections([], RESOLVED, 5)
    activity.began("/user/c/", "http://10.0.0.3:8888", 6)
    activity.ended("/user/c/")
    activity.see_connections([("10.0.0.3", 8888)], RESOLVED, 10)
    assert activity.times()[B] == 0
    monkeypatch.setattr("traefikhub.activity._MOST_PAST", 1)
    activity.began("/user/d/", "http://10.0.0.4:8888", 11)
    activity.ended("/user/d/")
    activity.see_connections([("10.0.0.3", 8888)], RESOLVED, 20)
    assert activity.times()[B] == 20, "too long ago to be remembered"


@pytest.mark.parametrize("target", ["", "http://", "nonsense", "http://[x", "http://h:x"])
def test_a_target_that_is_none_may_be_anywhere(activity: Activity, target: str) -> None:
    activity.began(A, target, 1)
    activity.see_connections([], RESOLVED, 10)
    assert activity.times() == {A: 10, B: 0}
    assert activity.hosts() == {"server-b"}
    activity.ended(A)


# --- across a restart of the Hub -------------------------------------------------------------


def test_after_a_clean_stop_what_was_saved_holds() -> None:
    activity = Activity()
    activity.restore({**TARGETS, "/user/c/": "http://c"}, {A: 3.0, B: 99.0, "/gone/": 1.0}, now=50)
    assert activity.times() == {A: 3, B: 50, "/user/c/": 50}
    look(activity, 60, counted(b=1))
    assert activity.times() == {A: 3, B: 60, "/user/c/": 50}


def test_after_a_kill_nothing_is_known() -> None:
    activity = Activity()
    activity.restore(TARGETS, None, now=50)
    look(activity, 60, counted())
    assert activity.times() == {A: 60, B: 60}
    look(activity, 70, counted())
    assert activity.times() == {A: 60, B: 60}


ROUTESPECS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    st.integers(0, 10).map(lambda n: f"/{'x' * 60_000}{n}/"),
)


@given(st.dictionaries(ROUTESPECS, st.floats(0, 2e9), max_size=8))
def test_records_bring_times_back_rounded_up(times: dict[str, float]) -> None:
    records = to_records(times)
    for key, document in records.items():
        check_document(document)
        assert key.section == ACTIVITY_SECTION
    assert from_records({Key("jupyterhub/routes", "x"): {"times": {"/": 1}}, **records}) == {
        spec: math.ceil(at) for spec, at in times.items()
    }


def test_records_are_small() -> None:
    many = to_records({f"/user/{n}/": 1.0 for n in range(1200)})
    assert [len(each["times"]) for each in list_of_dicts(many)] == [500, 500, 200]
    long = to_records({f"/{'x' * 60_000}{n}/": 1.0 for n in range(3)})
    assert [len(each["times"]) for each in list_of_dicts(long)] == [1, 1, 1]


def list_of_dicts(records: dict[Key, Document]) -> list[dict[str, Any]]:
    return [each for each in records.values() if isinstance(each, dict)]


def test_no_records_are_no_clean_stop_and_no_routes_are_one() -> None:
    assert from_records({Key("jupyterhub/routes", "x"): {}}) is None
    assert from_records(to_records({})) == {}


DAMAGED_TIMES: list[Document] = [None, "1", True, -1, 1e300, 10**400, [], math.nan]
DAMAGED: list[Document] = [None, 1, [], {}, {"times": None}, {"times": []}]
DAMAGED += [{"times": {"/b/": at}} for at in DAMAGED_TIMES]


@pytest.mark.parametrize("document", DAMAGED)
def test_damaged_records_cost_no_more_than_their_own(document: Document) -> None:
    records: dict[Key, Document] = {
        Key(ACTIVITY_SECTION, "7"): document,
        Key(ACTIVITY_SECTION, "8"): {"x": 1},
    }
    assert from_records(records) == {}
    assert from_records({**records, **to_records({A: 5.0})}) == {A: 5.0}


def test_a_time_that_stands_twice_is_the_later() -> None:
    first, second = to_records({A: 5.0}), to_records({A: 7.0})
    moved = {Key(ACTIVITY_SECTION, "9"): document for document in first.values()}
    assert from_records({**second, **moved}) == {A: 7.0}


def test_a_timestamp_is_written_as_by_configurable_http_proxy() -> None:
    assert timestamp(0) == "1970-01-01T00:00:00.000Z"
    assert timestamp(1795439098.9701) == "2026-11-23T13:04:58.971Z"
    assert timestamp(1795439098.9999) == "2026-11-23T13:04:59.000Z"


@given(st.floats(0, 1e11))
def test_a_timestamp_is_less_than_a_millisecond_late_and_never_early(at: float) -> None:
    text = timestamp(at)
    read = datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc)
    delta = read - datetime(1970, 1, 1, tzinfo=timezone.utc)
    thousandths = (delta.days * 86_400 + delta.seconds) * 1000 + delta.microseconds // 1000
    numerator, denominator = at.as_integer_ratio()
    assert 0 <= thousandths * denominator - numerator * 1000 < denominator


# --- never less: a model of Traefik ----------------------------------------------------------

NAMES = st.sampled_from([A, B])


class _Series:
    """The counters of one Traefik process. What a service had outlives its removal by one
    scrape."""

    def __init__(self, started: float) -> None:
        self.started = started
        self.counts: dict[str, int] = {}
        self.served: set[str] = set()

    def scrape(self) -> Scrape:
        answer = Scrape(("http://x", self.started), dict(self.counts))
        for service in self.counts.keys() - self.served:
            del self.counts[service]
        return answer


class NeverLess(RuleBasedStateMachine):
    """Whatever happens, after each look both routes are at least as recent as their activity.

    Of an answer that is broken off, no more is demanded than that it was seen: without TLS it is
    in no counter.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 1.0
        self.addresses = 1
        self.address = {A: ("10.0.0.1", 8888), B: ("10.1.0.1", 8888)}
        self.open: dict[str, list[tuple[str, int]]] = {A: [], B: []}
        self.truth = {A: 1.0, B: 1.0}
        self.pending: list[tuple[int, Scrape | None, dict[str, float]]] = []
        self.live = {A, B}
        self.traefik = self._started()
        self.activity = Activity()
        self.activity.restore(TARGETS, None, self.now)

    def _tick(self) -> float:
        self.now += 1
        return self.now

    def _started(self) -> _Series:
        series = _Series(self.now)
        series.served = {record_name(spec) for spec in self.live}
        return series

    def _used(self, spec: str, *, ended: bool) -> None:
        self.truth[spec] = self._tick()
        if ended:
            counts, service = self.traefik.counts, record_name(spec)
            counts[service] = counts.get(service, 0) + 1

    # what users do

    @rule(spec=NAMES, times=st.integers(1, 3))
    def request(self, spec: str, times: int) -> None:
        for _ in range(times if spec in self.live else 0):
            self._used(spec, ended=True)

    @rule(spec=NAMES)
    def open_websocket(self, spec: str) -> None:
        if spec in self.live:
            self.open[spec].append(self.address[spec])

    @rule(spec=NAMES)
    def close_websocket(self, spec: str) -> None:
        if self.open[spec]:
            self.open[spec].pop()
            self._used(spec, ended=True)

    @rule(spec=NAMES)
    def break_off(self, spec: str) -> None:
        if self.open[spec]:
            self.open[spec].pop()

    # what the Hub and Traefik do

    @rule(spec=NAMES)
    def delete(self, spec: str) -> None:
        if spec in self.live:
            self.live.discard(spec)
            self.traefik.served.discard(record_name(spec))
            self.open[spec] = []
            self.activity.ended(spec)

    @rule(spec=NAMES, told=st.booleans())
    def add(self, spec: str, told: bool) -> None:
        if spec not in self.live:
            self.live.add(spec)
            self.traefik.served.add(record_name(spec))
            self.truth[spec] = self._tick()
            if told:
                self.activity.began(spec, TARGETS[spec], self.now)
            else:  # as far as the proxy knows, that failed
                self._used(spec, ended=True)

    @rule()
    def move(self) -> None:
        """The name of a server gets another address. Connections stay."""
        self.addresses += 1
        self.address[B] = (f"10.1.0.{self.addresses}", 8888)

    @rule()
    def restart_traefik(self) -> None:
        for spec, sockets in self.open.items():
            if sockets:
                self.truth[spec] = self._tick()
        self.open = {A: [], B: []}
        self._tick()
        self.traefik = self._started()
        self.activity.forget()

    # how we look

    @rule(known=st.booleans(), resolves=st.booleans())
    def look_at_connections(self, known: bool, resolves: bool) -> None:
        self._tick()
        found = {target for sockets in self.open.values() for target in sockets}
        resolved = {"server-b": [self.address[B][0]]} if resolves else {}
        self.activity.see_connections(found if known else None, resolved, self.now)
        for spec, sockets in self.open.items():
            if sockets:
                self.truth[spec] = self.now

    @rule(lost=st.booleans())
    def ask(self, lost: bool) -> None:
        self.look_at_connections(known=True, resolves=True)
        targets = {spec: TARGETS[spec] for spec in self.live}
        self.activity.follow(targets, self._tick())
        assert self.activity.times().keys() == self.live
        asked = self.activity.asking()
        answer = self.traefik.scrape()  # it may have been counted, and the answer lost
        self.pending.append((asked, None if lost else answer, dict(self.truth)))

    @precondition(lambda self: self.pending)
    @rule(newest=st.booleans())
    def answer(self, newest: bool) -> None:
        asked, answer, truth = self.pending.pop(-1 if newest else 0)
        self.activity.see_counters([answer], asked, self._tick())
        times = self.activity.times()
        for spec in self.live & times.keys():
            assert times[spec] >= truth[spec], spec
            assert times[spec] <= self.now

    # across a restart of the Hub

    @rule(clean=st.booleans())
    def restart_hub(self, clean: bool) -> None:
        self.pending.clear()
        self.ask(lost=False)
        self.answer(newest=True)
        held = [target for sockets in self.open.values() for target in sockets]
        self.restart_traefik()
        # What was open at the last look may have been until Traefik ended.
        self.activity.see_connections(held, {"server-b": [self.address[B][0]]}, self.now)
        saved = from_records(to_records(self.activity.times())) if clean else None
        self.activity = Activity()
        targets = {spec: TARGETS[spec] for spec in self.live}
        self.activity.restore(targets, saved, self._tick())


TestNeverLess = NeverLess.TestCase
TestNeverLess.settings = settings(max_examples=50, stateful_step_count=40, deadline=None)


def no_op(*_: object) -> None:
    """Instead of a method that matters."""


@pytest.mark.parametrize("method", ["_all_active", "_active", "forget"])
def test_the_model_finds_an_activity_that_reports_less(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Activity, method, no_op)
    with pytest.raises(AssertionError):
        run_state_machine_as_test(
            NeverLess,
            settings=settings(
                max_examples=1000, deadline=None, database=None, phases=[Phase.generate]
            ),
        )
