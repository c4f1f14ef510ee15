"""A run for people and for programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from replicas.book import Book, Chapter

__all__ = ["document", "text"]

_HEAD: Final = (
    ("event", "seconds"),
    ("requests", "failed", "failed again", "slowest"),
    ("websockets", "dropped", "old Traefiks that hold some"),
    ("route changes", "asked twice", "late", "lost", "slowest"),
)


def text(book: Book, about: Mapping[str, str]) -> str:
    """Markdown: a table with a row for each event, and what was not in order."""
    head = [name for names in _HEAD for name in names]
    lines = [
        ", ".join(f"{name} {value}" for name, value in about.items()),
        "",
        f"| {' | '.join(head)} |",
        f"|{' --- |' * len(head)}",
        *(f"| {' | '.join(_row(chapter))} |" for chapter in book.chapters),
        "",
    ]
    for chapter in book.chapters:
        seen = Counter(f"{each.kind}: {each.text}" for each in chapter.failures)
        lines += [f"{chapter.name}: {count} x {what}" for what, count in seen.most_common(8)]
    problems = book.problems()
    lines += ["", *(f"NOT IN ORDER: {each}" for each in problems)]
    return "\n".join([*lines, *([] if problems else ["All goals were kept."]), ""])


def _row(chapter: Chapter) -> list[str]:
    dropped = str(chapter.dropped.total())
    if chapter.dropped[chapter.gone]:
        dropped += f", {chapter.dropped[chapter.gone]} of them on that one"
    return [
        chapter.name,
        f"{chapter.seconds:.0f}",
        str(chapter.well.total() + chapter.failed.total()),
        str(chapter.failed.total()),
        str(chapter.uncovered.total()),
        f"{max(chapter.slowest.values(), default=0):.1f} s",
        str(chapter.sockets),
        dropped,
        str(chapter.draining),
        str(chapter.changes.total()),
        str(chapter.refused),
        str(len(chapter.late)),
        str(chapter.lost),
        f"{chapter.slowest_change:.1f} s",
    ]


def document(book: Book, about: Mapping[str, str]) -> dict[str, Any]:
    """All of it, for JSON."""
    return {
        "about": dict(about),
        "problems": book.problems(),
        "events": [
            {
                "name": chapter.name,
                "gone": chapter.gone,
                "seconds": round(chapter.seconds, 3),
                "well": dict(chapter.well),
                "failed": dict(chapter.failed),
                "failed again": dict(chapter.uncovered),
                "slowest": {kind: round(each, 3) for kind, each in chapter.slowest.items()},
                "websockets": chapter.sockets,
                "dropped": dict(chapter.dropped),
                "draining": chapter.draining,
                "changes": dict(chapter.changes),
                "asked twice": chapter.refused,
                "late": [round(each, 3) for each in chapter.late],
                "lost": chapter.lost,
                "slowest change": round(chapter.slowest_change, 3),
                "failures": [
                    {"at": round(each.at, 3), "kind": each.kind, "text": each.text}
                    for each in chapter.failures
                ],
            }
            for chapter in book.chapters
        ],
    }
