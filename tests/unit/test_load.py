"""The judge of the runs under load (docs/load.md), with invented requests."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

# It is no part of what is installed.
sys.path.append(str(Path(__file__).parents[2]))

from benchmarks._load_arguments import parser
from benchmarks._load_book import GONE, HUB, NO_ROUTE, Book, Timeline
from benchmarks._load_client import Answer
from benchmarks._load_traffic import named, who
from benchmarks._load_verdict import problems_of

OLD, NEW, OTHER = "127.64.0.1", "127.64.0.2", "127.64.0.3"
PATH = "/user/u/lab"
BROKEN = "connection closed after 0 bytes"


def judged(seen: str, *names: str, changing: bool, answers: str = OLD) -> Book:
    """What is made of one request to a user whose server is, or was, ``OLD``."""
    book = Book(timelines={"u": Timeline(answers)})
    began = time.monotonic()
    if changing:
        with book.timelines["u"].change(NEW):
            book.judge("page", "u", began, seen, "503", names)
    else:
        book.judge("page", "u", began, seen, "503", names)
    return book


@pytest.mark.parametrize("changing", [False, True])
def test_nothing_explains_an_answer_of_somebody_else(changing: bool) -> None:
    book = judged(OTHER, OTHER, changing=changing)
    assert len(book.unexplained) == len(book.strangers) == 1
    # However the answer looks otherwise: a message over a socket, a download.
    book = judged(f"status 200, {OLD} {OTHER}", OLD, OTHER, changing=changing)
    assert len(book.unexplained) == len(book.strangers) == 1


@pytest.mark.parametrize("name", [OLD, NEW])
def test_while_a_route_changes_the_old_one_and_the_new_one_may_answer(name: str) -> None:
    assert not judged(name, name, changing=True).incidents


@pytest.mark.parametrize("name", [HUB, NO_ROUTE])
def test_while_a_route_changes_the_hub_may_answer(name: str) -> None:
    book = judged(name, name, changing=True)
    assert [each.why for each in book.incidents] == ["its route or server changed meanwhile"]
    assert not book.strangers
    book = judged(name, name, changing=False)
    assert len(book.unexplained) == 1
    assert not book.strangers


def test_a_change_explains_that_there_was_no_answer() -> None:
    assert not judged(BROKEN, changing=True).unexplained
    assert len(judged(BROKEN, changing=False).unexplained) == 1


def test_the_former_server_after_the_change() -> None:
    book = Book(timelines={"u": Timeline(OLD)})
    with book.timelines["u"].change(NEW):
        pass
    time.sleep(0.001)
    book.judge("page", "u", time.monotonic(), OLD, names=[OLD])
    assert len(book.strangers) == 1


def test_a_server_that_died() -> None:
    book = judged("503", changing=False, answers=GONE)
    assert book.counts == {"page, server died": 1}


def test_strangers_are_told_apart() -> None:
    last = {"routes": 1.0, "drifts": 0.0, "restarts": 0.0}
    assert not problems_of([], last, 0, [])
    told = problems_of([], last, 1, [], 1)
    assert told[0] == "answers of servers that were not the user's: 1"
    assert len(told) == 2


def test_who_says_that_an_answer_is_his() -> None:
    assert named(Answer(200, f"{OTHER} {PATH}".encode()), PATH) == [OTHER]
    assert named(Answer(404, f"{NO_ROUTE}\n{PATH}".encode()), PATH) == [NO_ROUTE]
    for answer in (Answer(503, b"no available server\n"), Answer(200, b""), Answer(404, b"404 x")):
        assert not named(answer, PATH)
    assert who(Answer(503, b"no available server\n"), PATH) == "503 no available server"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--users", "0"],
        ["--users", "-3"],
        ["--users", "many"],
        ["--minutes", "0"],
        ["--minutes", "-1"],
        ["--minutes", "nan"],
        ["--minutes", "inf"],
    ],
)
def test_a_load_of_nothing_is_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parser("").parse_args(arguments)
    assert ended.value.code == 2


def test_what_is_asked_for_by_default() -> None:
    given = parser("").parse_args([])
    assert (given.users, given.minutes) == (2000, 10)
