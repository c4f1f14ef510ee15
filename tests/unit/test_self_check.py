"""How often the store is looked at."""

from __future__ import annotations

from traefikhub.self_check import pause


def test_a_look_that_is_quick_may_follow_at_once() -> None:
    assert pause(2.0, [0.001, 0.5, 0.5], 0) == 0.1


def test_a_look_that_takes_long_is_taken_rarely_but_often_enough() -> None:
    assert pause(2.0, [0.05, 0.06], 0) == 5.0
    assert pause(2.0, [30.0], 0) == pause(2.0, [300.0], 0) == 10.0


def test_what_comes_back_again_and_again_is_looked_for_more_and_more_rarely() -> None:
    pauses = [pause(0.1, [0.0], drifts) for drifts in range(20)]
    assert pauses[:7] == [0.0] * 7
    assert pauses == sorted(pauses)
    assert pauses[7:10] == [0.2, 0.4, 0.8]
    assert pauses[-1] == 10.0
