"""When Traefik is asked, and how often; on a clock that the test turns."""

from __future__ import annotations

import threading

import pytest

from traefikhub.traefik import ApiRejected, NotLive
from traefikhub.traefik._poll import Pace, Poll

ROUND_TRIP = 0.0002


def ask_during(pace: Pace, reload: float) -> tuple[float, int]:
    """How much later than it ended a reload is noticed, and by how many questions."""
    passed, late, questions = 0.0, 0, 0
    while True:
        passed += pace.pause(passed, late)
        late += passed >= pace.aim
        questions += 1
        served = passed >= reload
        passed += ROUND_TRIP
        if served:
            pace.note(passed, late)
            return passed - reload, questions


@pytest.mark.parametrize("seconds", [0.002, 0.02, 0.2, 2.0])
def test_a_reload_like_the_last_ones_is_noticed_soon_by_few_questions(seconds: float) -> None:
    pace = Pace()
    for _ in range(3):
        ask_during(pace, seconds)
    lateness, questions = ask_during(pace, seconds)
    assert lateness <= 0.1 * seconds + 2 * ROUND_TRIP
    assert questions <= 25


@pytest.mark.parametrize("seconds", [0.002, 0.02, 0.2, 2.0, 20.0])
def test_a_first_reload_is_not_asked_about_hundreds_of_times(seconds: float) -> None:
    lateness, questions = ask_during(Pace(), seconds)
    assert lateness <= max(0.5 * seconds, 2 * ROUND_TRIP)
    assert questions <= 130


def test_a_table_that_grows_or_shrinks_is_followed() -> None:
    pace = Pace()
    seconds = 0.002
    for _ in range(40):
        lateness, questions = ask_during(pace, seconds)
        assert lateness <= 0.25 * seconds + 2 * ROUND_TRIP
        assert questions <= 40
        seconds *= 1.2
    for seconds in (0.002, 0.003, 0.002):
        lateness, questions = ask_during(pace, seconds)
        assert lateness <= 0.005
    assert ask_during(pace, 0.002)[0] <= 0.0005


# --- the poll ----------------------------------------------------------------------------------


class Asked:
    """A question that is answered at the n-th time."""

    def __init__(self, answered_at: int) -> None:
        self._answered_at = answered_at
        self.questions = 0

    def __call__(self) -> str | None:
        self.questions += 1
        return "yes" if self.questions == self._answered_at else None


def poll_of(ask: object) -> Poll:
    assert callable(ask)
    return Poll(ask, lambda: "an answer", "http://there")


def test_it_asks_until_it_is_answered() -> None:
    ask = Asked(5)
    assert poll_of(ask).until_answered(30, Pace()) == "yes"
    assert ask.questions == 5


def test_without_an_answer_in_time_it_says_what_it_waited_for() -> None:
    def ask() -> None:
        raise ConnectionRefusedError(111, "Connection refused")

    with pytest.raises(NotLive, match=r"http://there.*an answer within 0 s.*refused"):
        poll_of(ask).until_answered(0, Pace())


def test_its_time_counts_from_when_an_answer_is_possible() -> None:
    possible = threading.Event()

    class Late(Asked):
        def __call__(self) -> str | None:
            if self.questions == 20:
                possible.set()
            return super().__call__()

    ask = Late(1000)
    with pytest.raises(NotLive):
        poll_of(ask).until_answered(0, Pace(), possible)
    assert ask.questions == 21


def test_a_cancelled_poll_ends_at_once() -> None:
    ask = Asked(1)
    poll = poll_of(ask)
    poll.cancelled.set()
    with pytest.raises(NotLive):
        poll.until_answered(30, Pace(), threading.Event())
    assert ask.questions == 0


def test_a_rejection_may_be_a_password_that_is_being_replaced() -> None:
    class Replaced(Asked):
        def __call__(self) -> str | None:
            if self.questions < 2:
                self.questions += 1
                raise ApiRejected("wrong password")
            return super().__call__()

    assert poll_of(Replaced(3)).until_answered(30, Pace()) == "yes"


@pytest.mark.parametrize("error", [KeyError("headers"), ValueError("no JSON"), TypeError("list")])
def test_a_strange_answer_is_no_answer(error: Exception) -> None:
    class Strange(Asked):
        def __call__(self) -> str | None:
            if self.questions == 0:
                self.questions += 1
                raise error
            return super().__call__()

    assert poll_of(Strange(2)).until_answered(30, Pace()) == "yes"
