"""The highly available example of docs/ha, as docs/high-availability.md has it: all goals, once."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

# The benchmarks, whose client it uses, are no part of what is installed.
sys.path.append(str(Path(__file__).parents[1]))

from replicas.book import Book, Chapter
from replicas.files import commands, placed
from replicas.report import text
from replicas.run import Plan, run

pytestmark = pytest.mark.anyio


async def test_an_upgrade_of_anything_drops_nobody(hub_directory: Path) -> None:
    said: list[str] = []
    plan = Plan(settle=0.7, users=3, comers=1, sockets=6, rate=20, hang=False)
    book = await run(plan, hub_directory, said.append)
    report = text(book, {})
    assert not book.problems(), report
    restart, killed = book.chapters[1], book.chapters[-1]
    assert restart.draining, f"no Traefik held a websocket while a new one served: {report}"
    assert killed.dropped[killed.gone], f"nothing was on the replica that was killed: {report}"


def test_files_on_other_ports() -> None:
    text = "bind 127.0.0.1:8000 http://127.0.0.2:8099, port 8099, 80001 :80000"
    assert (
        placed(text, {8000: 1, 8099: 2})
        == "bind 127.0.0.1:1 http://127.0.0.2:2, port 2, 80001 :80000"
    )
    assert commands("a: b --c='d e'\n\n") == {"a": ["b", "--c=d e"]}


def test_the_goals() -> None:
    """With invented events, each in order but for one thing."""

    def problems(gone: str = "", **seen: Any) -> list[str]:
        book = Book()
        chapter = Chapter("event", gone, well=Counter(user=9), sockets=3, **seen)
        book.chapters = [chapter]
        return book.problems()

    assert problems() == []
    assert problems("two", dropped=Counter(two=5), failed=Counter(user=1), refused=1) == []
    for wrong in (
        problems(dropped=Counter(two=1)),
        problems("two", dropped=Counter(two=5, one=1)),
        problems(failed=Counter(user=2), uncovered=Counter(user=1)),
        problems(late=[0.2]),
        problems(lost=1),
    ):
        assert len(wrong) == 1, wrong
    nothing = Book()
    assert nothing.problems(), "a run in which nothing was asked proves nothing"
