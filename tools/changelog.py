"""Check CHANGELOG.md against its form: ``python tools/changelog.py``; or print what it says of one
version: ``python tools/changelog.py 0.1.0``. With a URL after that, links to files of the project
lead to it, for a page that isn't beside them.

The form is that of Keep a Changelog 1.1.0, and one rule of our own: an entry is short.
"""

from __future__ import annotations

import datetime
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Final

__all__ = ["FILE", "GROUPS", "UNRELEASED", "Changelog", "Release", "order_of", "parse"]

FILE: Final = Path(__file__).resolve().parent.parent / "CHANGELOG.md"
UNRELEASED: Final = "Unreleased"
GROUPS: Final = ("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security")
"""What a version may tell, in the order in which it does."""
LONGEST: Final = 320
"""Characters of an entry. What needs more has a page in docs/, to which the entry leads."""

_LINKS: Final = (
    "https://keepachangelog.com/en/1.1.0/",
    "https://semver.org/spec/v2.0.0.html",
)
_NUMBER: Final = r"(?:0|[1-9]\d*)"
_VERSION: Final = rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:(?:a|b|rc){_NUMBER})?"
_HEADING: Final = re.compile(
    rf"## \[(?P<version>{_VERSION})\] - (?P<date>\d{{4}}-\d\d-\d\d)(?P<yanked> \[YANKED\])?"
)
_LOCAL_LINK: Final = re.compile(r"\]\((?![a-z]+:|#)")
_WRAPPED: Final = re.compile(r"(?<=[^\n])\n *(?=[^\n#\- ])")
_REFERENCE: Final = re.compile(r"\[(?P<name>[^]]+)\]: \S+")


@dataclass
class Release:
    """One version, or what no version has yet."""

    version: str
    line: int
    date: datetime.date | None = None
    yanked: bool = False
    summary: list[str] = field(default_factory=list)
    groups: dict[str, list[str]] = field(default_factory=dict)
    text: list[str] = field(default_factory=list)
    """All lines below the heading."""

    def notes(self, base: str = "") -> str:
        """What it says, as Markdown, each paragraph and entry on one line: the page of a release
        would show the ends of lines.

        Args:
            base: put before each link to a file of the project.
        """
        text = _WRAPPED.sub(" ", "\n".join(self.text).strip()) + "\n"
        return _LOCAL_LINK.sub(lambda _: f"]({base}", text)


@dataclass
class Changelog:
    """The file. ``problems`` says, line by line, what isn't in its form."""

    releases: list[Release] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def find(self, version: str) -> Release | None:
        """The part on one version, if there is one."""
        return next((each for each in self.releases if each.version == version), None)

    @property
    def newest(self) -> Release | None:
        """The newest version with a number."""
        return next((each for each in self.releases if each.version != UNRELEASED), None)


def parse(text: str) -> Changelog:
    """Read a changelog; what is wrong with its form is in ``problems``."""
    found = Changelog()
    lines = text.splitlines()
    if lines[:1] != ["# Changelog"]:
        found.problems.append("line 1: the title is '# Changelog'")
    top = "\n".join(lines[: next(_headings(lines), len(lines))])
    for link in _LINKS:
        if link not in top:
            found.problems.append(f"above the first version stands no link to {link}")
    _read(lines, found)
    _check_order(found)
    _check_contents(found)
    return found


def _headings(lines: list[str]) -> Iterator[int]:
    return (at for at, line in enumerate(lines) if line.startswith("## "))


def _read(lines: list[str], found: Changelog) -> None:
    release: Release | None = None
    entries: list[str] | None = None
    references: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        if line.startswith("## "):
            release, entries = _release(line, number, found), None
            found.releases.append(release)
        elif reference := _REFERENCE.fullmatch(line):
            references[reference["name"]] = number
        elif release is not None:
            release.text.append(line)
            if line.startswith("#"):
                entries = _group(line, number, release, found)
            elif line.startswith("- ") and entries is not None:
                entries.append(line[2:])
            elif line.startswith("  ") and entries:
                entries[-1] += " " + line.strip()
            elif line and entries is None:
                release.summary.append(line)
            elif line:
                found.problems.append(f"line {number}: not an entry, which begins with '- '")
    for name, number in references.items():
        if found.find(name) is None:
            found.problems.append(f"line {number}: a link for {name}, of which nothing is told")


def _release(line: str, number: int, found: Changelog) -> Release:
    if line == f"## [{UNRELEASED}]":
        return Release(UNRELEASED, number)
    heading = _HEADING.fullmatch(line)
    if not heading:
        found.problems.append(
            f"line {number}: {line!r} is neither '## [{UNRELEASED}]' nor '## [1.2.3] - 2026-12-31'"
        )
        return Release(line.removeprefix("## "), number)
    release = Release(heading["version"], number, yanked=bool(heading["yanked"]))
    try:
        release.date = datetime.date.fromisoformat(heading["date"])
    except ValueError:
        found.problems.append(f"line {number}: there is no day {heading['date']}")
    return release


def _group(line: str, number: int, release: Release, found: Changelog) -> list[str]:
    name = line.removeprefix("### ")
    if name not in GROUPS:
        found.problems.append(f"line {number}: {line!r} is none of {', '.join(GROUPS)}")
    elif name in release.groups:
        found.problems.append(f"line {number}: a second {name!r} of {release.version}")
    return release.groups.setdefault(name, [])


def _check_order(found: Changelog) -> None:
    if [each.version for each in found.releases[:1]] != [UNRELEASED]:
        found.problems.append(f"'## [{UNRELEASED}]' comes first")
    numbered = [each for each in found.releases if each.date]
    for newer, older in pairwise(numbered):
        assert newer.date
        assert older.date
        if order_of(newer.version) <= order_of(older.version):
            found.problems.append(
                f"line {older.line}: {older.version} isn't before {newer.version}"
            )
        if newer.date < older.date:
            found.problems.append(f"line {newer.line}: {newer.date} is before {older.version}'s")


def _check_contents(found: Changelog) -> None:
    for release in found.releases:
        if release.version != UNRELEASED and not release.groups:
            found.problems.append(f"line {release.line}: nothing is told of {release.version}")
        if list(release.groups) != [name for name in GROUPS if name in release.groups]:
            found.problems.append(f"{release.version}: the order is {', '.join(GROUPS)}")
        for name, entries in release.groups.items():
            if not entries:
                found.problems.append(f"{release.version}: {name!r} is empty")
            found.problems += [
                f"{release.version}, {name}: {len(entry)} characters, of {LONGEST}: {entry[:60]} …"
                for entry in entries
                if len(entry) > LONGEST
            ]


def order_of(version: str) -> tuple[int, int, int, str, int]:
    """To sort by: 1.2.0.dev0, then 1.2.0a1, b1, rc1, and 1.2.0.

    Raises:
        ValueError: it isn't of that form.
    """
    numbers = re.fullmatch(r"(\d+)\.(\d+)\.(\d+)(?:(a|b|rc|\.dev)(\d+))?", version)
    if not numbers:
        raise ValueError(f"{version!r} is no version such as 1.2.3, 1.2.3rc1 or 1.2.3.dev0")
    major, minor, patch, stage, count = numbers.groups()
    return int(major), int(minor), int(patch), stage or "~", int(count or 0)


def main(arguments: list[str]) -> int:
    """0 if the form is right and the version is there, else 1."""
    found = parse(FILE.read_text(encoding="utf-8"))
    for problem in found.problems:
        sys.stderr.write(f"CHANGELOG.md: {problem}\n")
    if found.problems or not arguments:
        return int(bool(found.problems))
    release = found.find(arguments[0])
    if release is None:
        sys.stderr.write(f"CHANGELOG.md: nothing is told of {arguments[0]}\n")
        return 1
    sys.stdout.write(release.notes(*arguments[1:2]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
