"""The judge, with invented histories: each rule is broken by one, and kept by its like."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import inf
from pathlib import Path
from typing import Any

import pytest

from faults.model import Held, Model, as_text
from faults.record import Arrival, Call, Excuse, Fault, History, Outcome, Probe
from faults.verdict import DEADLINE, LIVELY, Stored, judge

OK, ERROR, LOST = Outcome.OK, Outcome.ERROR, Outcome.LOST
ALL = frozenset(Excuse)


class Invented(History):
    """A history that is written down in a line or two."""

    def call(
        self,
        begin: float,
        end: float,
        spec: str,
        target: str | None,
        outcome: Outcome = OK,
        do: str = "add",
        data: Any = None,
    ) -> Invented:
        """One of a single route."""
        number, written = len(self.calls), {spec: data}
        self.calls.append(Call(number, do, {spec: target}, begin, end, outcome, data=written))
        return self

    def request(self, begin: float, end: float, spec: str, target: str = "") -> Invented:
        """One that reached a target, and was answered by it; or by nobody."""
        status = 200 if target else 404
        self.probes.append(Probe(len(self.probes), spec, begin, end, status, target))
        if target:
            self.arrivals.append(Arrival(len(self.probes) - 1, target, (begin + end) / 2))
        return self

    def fault(
        self,
        begin: float,
        end: float,
        recovered: float,
        excuses: frozenset[Excuse] = ALL,
        strange: dict[str, list[str | None]] | None = None,
    ) -> Invented:
        """One, which excuses everything unless something is said."""
        made = Fault("a fault", begin, 15, excuses, end, recovered, strange=strange or {})
        self.faults.append(made)
        return self

    def broken(self, *stored: Stored) -> list[str]:
        """The rules that were."""
        return [violation.rule for violation in judge(self, stored)]


def held(routes: Mapping[str, str], amiss: tuple[str, ...] = (), **data: Any) -> Stored:
    """What the store holds at last, the Hub's route too; ``u=1``: the data of ``/u/``."""
    everything: dict[str, Held] = {
        spec: (target, as_text(data.get(spec.strip("/")) if spec != "/" else None))
        for spec, target in ({"/": "hub"} | dict(routes)).items()
    }
    return Stored(20, everything, "read", amiss)


def hub() -> Invented:
    """The default route is there."""
    return Invented().call(0, 1, "/", "hub")


def test_what_is_right_is_no_violation() -> None:
    history = hub().call(2, 3, "/u/", "a").request(4, 5, "/u/", "a")
    history.call(6, 7, "/u/", "b").request(8, 9, "/u/", "b")
    history.call(10, 11, "/u/", None).request(12, 13, "/u/", "hub")
    assert not history.broken(held({}))


def test_an_acknowledged_route_that_is_not_served() -> None:
    history = hub().call(2, 3, "/u/", "a").request(4, 5, "/u/")
    assert history.broken() == ["an acknowledged route is not served"]


def test_an_acknowledged_route_whose_requests_reach_a_shorter_one() -> None:
    history = hub().call(2, 3, "/u/", "a").request(4, 5, "/u/", "hub")
    assert history.broken() == ["an acknowledged route is not served"]


def test_a_former_target_after_an_acknowledged_update() -> None:
    history = hub().call(2, 3, "/u/", "a").call(4, 5, "/u/", "b").request(6, 7, "/u/", "a")
    assert history.broken() == ["a former target is served"]


def test_a_deleted_route_that_is_served() -> None:
    history = hub().call(2, 3, "/u/", "a").call(4, 5, "/u/", None).request(6, 7, "/u/", "a")
    assert history.broken() == ["a deleted route is served"]


def test_somebody_elses_target() -> None:
    history = hub().call(2, 3, "/u/a/", "a").call(2, 3, "/u/ab/", "b")
    history.request(4, 5, "/u/a/", "b")
    assert history.broken() == ["a request reached a stranger"]


def test_a_wrong_target_is_no_less_wrong_when_nobody_got_the_answer() -> None:
    history = hub().call(2, 3, "/u/", "a").fault(4, 5, 9).request(6, 7, "/u/")
    history.arrivals.append(Arrival(0, "b", 6.5))
    assert history.broken() == ["a request reached a stranger"]


def test_a_fault_excuses_no_answer_but_never_a_wrong_one() -> None:
    history = hub().call(2, 3, "/u/", "a").fault(4, 5, 9).request(6, 7, "/u/")
    assert not history.broken()
    history.request(6, 7, "/u/", "b")
    assert history.broken() == ["a request reached a stranger"]


def test_half_deleted_keys_may_lead_to_a_target_without_its_path() -> None:
    history = hub().call(2, 3, "/u/", "a/below").fault(4, 5, 9).request(6, 7, "/u/", "a")
    assert history.broken() == ["a request reached a stranger"]
    history.faults[0].kind = "by hand: all keys deleted"
    assert not history.broken()
    history.request(6, 7, "/u/", "b")
    assert history.broken() == ["a request reached a stranger"]
    history.request(10, 11, "/u/", "a")
    assert len(history.broken()) == 2


@pytest.mark.parametrize(("begin", "end"), [(1.1, 3.9), (9.1, 12)])
def test_a_fault_excuses_nothing_before_it_and_nothing_after_its_recovery(
    begin: float, end: float
) -> None:
    history = hub().fault(4, 5, 9).request(begin, end, "/")
    assert history.broken() == ["an acknowledged route is not served"]


def test_a_fault_of_the_hub_alone_does_not_excuse_requests() -> None:
    history = hub().fault(4, 5, 9, frozenset({Excuse.CALLS})).request(6, 7, "/")
    assert history.broken() == ["an acknowledged route is not served"]


@pytest.mark.parametrize("target", ["a", "b"])
def test_while_a_change_is_made_both_are_right(target: str) -> None:
    history = hub().call(2, 3, "/u/", "a").call(4, 6, "/u/", "b").request(3.5, 4.5, "/u/", target)
    assert not history.broken()


@pytest.mark.parametrize("outcome", [ERROR, LOST, Outcome.OPEN])
@pytest.mark.parametrize("target", ["a", "b"])
def test_a_change_of_unknown_fate_may_be_made_until_a_later_one_is(
    outcome: Outcome, target: str
) -> None:
    history = hub().fault(4, 5, 9).call(2, 3, "/u/", "a")
    history.call(4, 5, "/u/", "b", outcome).request(50, 51, "/u/", target)
    assert not history.broken()
    history.call(60, 61, "/u/", "c").request(62, 63, "/u/", target)
    assert history.broken() == ["a former target is served"]


def test_a_refused_change_is_none_and_a_violation() -> None:
    history = hub().call(2, 3, "/u/", "a", Outcome.REFUSED).request(4, 5, "/u/", "a")
    assert sorted(history.broken()) == ["a call was refused", "a request reached a stranger"]


def test_what_a_stranger_wrote_is_possible_until_it_is_put_right() -> None:
    history = hub().call(2, 3, "/u/", "a").fault(4, 5, 6, ALL, {"/u/": ["stranger"]})
    assert not history.request(5, 5.5, "/u/", "stranger").broken()
    assert history.request(7, 8, "/u/", "stranger").broken() == ["a request reached a stranger"]


def test_a_call_that_fails_for_no_reason() -> None:
    assert hub().call(2, 3, "/u/", "a", ERROR).broken() == ["a call failed for no reason"]
    assert not hub().call(2, 3, "/u/", "a", ERROR).fault(1, 2, 4).broken()


def test_a_start_has_its_own_excuse() -> None:
    history = hub().fault(1, 2, 4, frozenset({Excuse.CALLS})).call(2, 3, "", None, ERROR, "start")
    assert history.broken() == ["a call failed for no reason"]


def test_a_call_that_takes_too_long_unless_the_hub_was_stopped() -> None:
    assert hub().call(2, 3 + DEADLINE, "/u/", "a").broken() == ["a call took too long"]
    assert not hub().call(2, 3 + DEADLINE, "/u/", "a").fault(10, 20, 21).broken()


def test_a_call_that_never_ends() -> None:
    assert hub().call(2, inf, "/u/", "a", Outcome.OPEN).broken() == ["a call took too long"]


@pytest.mark.parametrize("do", ["add", "ping", "stop"])
def test_a_hub_that_never_answers(do: str) -> None:
    """Not even a fault that excuses late answers excuses that."""
    history = hub().fault(1, 10, 11).call(2, 62, "/u/", "a", Outcome.SILENT, do)
    assert history.broken() == ["the Hub never answers"]


def test_a_question_that_is_open_at_the_end() -> None:
    history = hub().call(2, inf, "", None, Outcome.OPEN, "ping")
    history.ended = 2 + LIVELY
    assert not history.broken()
    history.ended = 3 + LIVELY
    assert history.broken() == ["the Hub was held up"]


def test_what_comes_after_the_end_is_not_judged_but_for_how_long_it_took() -> None:
    """The Hub is killed then."""
    history = hub()
    history.ended = 40
    history.call(39, 41, "/u/", "a", LOST).request(39, 41, "/")
    assert not history.broken()
    history.call(39 - DEADLINE, 41, "/v/", "a", LOST)
    assert history.broken() == ["a call took too long"]


def test_a_fault_of_one_route_excuses_what_is_below_it() -> None:
    history = hub().call(2, 3, "/u/a/", "a").fault(4, 5, 9)
    history.faults[0].below = "/u/a/"
    assert not history.request(6, 7, "/u/a/").request(6, 7, "/u/a/b/").broken()
    assert history.request(6, 7, "/u/").broken() == ["an acknowledged route is not served"]


def test_a_hub_that_is_held_up() -> None:
    history = hub().call(2, 3 + LIVELY, "", None, OK, "ping")
    assert history.broken() == ["the Hub was held up"]
    assert not history.fault(3, 4, 5).broken()


@pytest.mark.parametrize("recovered", [30.0, inf])
def test_a_recovery_that_takes_too_long(recovered: float) -> None:
    assert hub().fault(4, 5, recovered).broken() == ["the recovery took too long"]


@pytest.mark.parametrize("routes", [{}, {"/u/": "b"}, {"/u/": "a", "/v/": "x"}])
def test_a_store_that_differs_from_the_record(routes: dict[str, str]) -> None:
    history = hub().call(2, 3, "/u/", "a")
    assert history.broken(held(routes)) == ["the store differs from the record"]


def test_a_store_may_hold_either_value_of_an_unknown_change() -> None:
    history = hub().fault(3, 4, 5).call(2, 3, "/u/", "a", ERROR)
    for routes in ({}, {"/u/": "a"}):
        assert not history.broken(held(routes))


def test_a_store_with_something_left_over() -> None:
    stored = held({}, ("http/routers/g_user_x is left over",))
    assert hub().broken(stored) == ["the store's records are amiss"]


def test_a_store_with_other_data() -> None:
    history = hub().call(2, 3, "/u/", "a", data={"serial": 1})
    assert not history.broken(held({"/u/": "a"}, u={"serial": 1}))
    for data in (None, {}, {"serial": 2}, {"serial": True}, {"serial": 1.0}):
        assert history.broken(held({"/u/": "a"}, u=data)) == ["the store differs from the record"]


def test_a_check_leaves_the_data_or_writes_its_own() -> None:
    history = hub().call(2, 3, "/u/", "a", data=1).call(4, 5, "/u/", "b", data=2)
    history.call(6, 7, "/u/", "b", do="check", data=3).call(8, 9, "/u/", "b", do="check", data=4)
    for data in (2, 3, 4):
        assert not history.broken(held({"/u/": "b"}, u=data))
    assert history.broken(held({"/u/": "b"}, u=1)) == ["the store differs from the record"]
    history.call(10, 11, "/u/", "b", data=5)
    assert not history.broken(held({"/u/": "b"}, u=5))
    assert history.broken(held({"/u/": "b"}, u=4)) == ["the store differs from the record"]


def test_data_that_a_stranger_wrote_must_be_gone_when_the_store_is_read() -> None:
    history = hub().call(2, 3, "/u/", "a").fault(4, 5, inf, ALL, {"/u/": ["stranger"]})
    assert "the store differs from the record" in history.broken(held({"/u/": "stranger"}))


def test_a_request_reaches_the_longest_route_that_could_be_there() -> None:
    history = hub().call(2, 3, "/u/", "a").call(4, 6, "/u/x/", "b").call(8, 9, "/u/x/", None)
    model = Model(history.calls, [])
    assert model.reachable("/u/x/y", 5, 5) == {"a", "b"}
    assert model.reachable("/u/x/y", 7, 7) == {"b"}
    assert model.reachable("/u/x/y", 10, 10) == {"a"}
    assert model.reachable("/u/xy", 7, 7) == {"a"}
    assert model.reachable("/u", 7, 7) == {"hub"}
    assert model.reachable("/", 0.5, 0.5) == {"hub", None}


def test_a_history_is_written_in_order_and_shown_around_a_violation(tmp_path: Path) -> None:
    history = hub().fault(3, 4, inf).call(2, inf, "/u/", "a", LOST).request(5, 6, "/u/", "a")
    history.call(5, 6, "/v/", "b")
    path = tmp_path / "history.jsonl"
    history.write(path)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["type"] for line in lines] == [
        *("call", "call", "fault", "call", "probe", "arrival")
    ]
    assert lines[2]["recovered"] is None
    shown = "\n".join(history.around(4.5, 5.5, "/u/"))
    assert "FAULT" in shown
    assert "/v/" not in shown
    assert "reached a" in shown
