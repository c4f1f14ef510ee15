"""The judge of what Hub and Traefik held, with invented looks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from faults.growth import OLD_SECONDS, judge_looks
from faults.record import Look

FIRST = Look(
    0,
    "begin",
    hub=10,
    traefiks=[20],
    hub_mib=90,
    hub_descriptors=9,
    hub_threads=4,
    traefik_mib=90,
    traefik_descriptors=11,
    traefik_threads=8,
)
NUMBERS = [
    *("hub_mib", "hub_descriptors", "hub_threads"),
    *("traefik_mib", "traefik_descriptors", "traefik_threads"),
]


def rules(*looks: Look) -> list[str]:
    """Those that were broken."""
    return [violation.rule for violation in judge_looks(looks)]


def recoveries(count: int, **grows: int) -> list[Look]:
    """Looks after recoveries, between which numbers grow."""
    return [
        replace(
            FIRST,
            at=10.0 * index,
            rest="well",
            **{name: getattr(FIRST, name) + index * by for name, by in grows.items()},
        )
        for index in range(1, count + 1)
    ]


def test_what_stays_as_it_is() -> None:
    assert not rules(FIRST, *recoveries(20), replace(FIRST, at=300, rest="end"))


@pytest.mark.parametrize("name", NUMBERS)
def test_what_is_more_at_the_end_than_at_the_beginning(name: str) -> None:
    more = {name: getattr(FIRST, name) + 100}
    assert rules(FIRST, replace(FIRST, at=300, rest="end", **more)) == ["something grows"]


@pytest.mark.parametrize("name", NUMBERS)
def test_what_grows_from_recovery_to_recovery(name: str) -> None:
    looks = recoveries(40, **{name: 3})
    assert rules(*looks) == ["something grows"]
    # Each process has its own life.
    assert not rules(*(replace(look, hub=n, traefiks=[n]) for n, look in enumerate(looks, 1)))


def test_connections_of_users_are_not_traefiks_own() -> None:
    looks = [replace(FIRST, at=300, rest="end", traefik_descriptors=200, connections=189)]
    assert not rules(FIRST, *looks)


def test_no_traefik_after_a_recovery() -> None:
    assert rules(replace(FIRST, traefiks=[], rest="well")) == ["no Traefik runs"]
    assert not rules(replace(FIRST, traefiks=[], rest=""))


def test_two_of_them_when_nothing_goes_on() -> None:
    assert rules(replace(FIRST, traefiks=[20, 30], rest="end")) == ["a process was left"]
    assert not rules(replace(FIRST, traefiks=[20, 30], rest="well"))


def test_one_that_stays_beside_its_successor() -> None:
    both = replace(FIRST, at=1, rest="", traefiks=[20, 30])
    assert not rules(both, replace(both, at=OLD_SECONDS))
    assert not rules(both, replace(both, at=9, traefiks=[30]), replace(both, at=17))
    late = replace(both, at=2 + OLD_SECONDS)
    assert rules(both, late, replace(late, at=90)) == ["a process was left"]


def test_ended_processes_that_the_hub_does_not_know_of() -> None:
    dead = replace(FIRST, at=1, rest="", unreaped=1)
    assert not rules(dead, replace(dead, at=9, unreaped=0), replace(dead, at=17))
    assert rules(dead, replace(dead, at=2 + OLD_SECONDS)) == ["a process was left"]
