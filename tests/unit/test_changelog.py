"""CHANGELOG.md keeps its form, and what looks at that sees what is wrong."""

from __future__ import annotations

import datetime

import pytest

import changelog

HEAD = """\
# Changelog

As in [Keep a Changelog](https://keepachangelog.com/en/1.1.0/), with
[Semantic Versioning](https://semver.org/spec/v2.0.0.html).

"""
RELEASED = """\
## [Unreleased]

## [0.2.0] - 2026-12-31

What it is about.

### Added

- One thing,
  on [two lines](docs/https.md).
- [Another](https://example.org/).

### Fixed

- A third.

## [0.2.0rc1] - 2026-12-01 [YANKED]

### Removed

- Something.
"""


def test_this_projects_changelog() -> None:
    assert changelog.parse(changelog.FILE.read_text(encoding="utf-8")).problems == []


def test_what_is_read() -> None:
    found = changelog.parse(HEAD + RELEASED)
    assert found.problems == []
    assert [each.version for each in found.releases] == ["Unreleased", "0.2.0", "0.2.0rc1"]
    newest = found.newest
    assert newest is not None
    assert (newest.date, newest.yanked) == (datetime.date(2026, 12, 31), False)
    assert newest.summary == ["What it is about."]
    assert newest.groups == {
        "Added": [
            "One thing, on [two lines](docs/https.md).",
            "[Another](https://example.org/).",
        ],
        "Fixed": ["A third."],
    }
    assert found.releases[2].yanked


def test_the_notes_of_a_version() -> None:
    newest = changelog.parse(HEAD + RELEASED).newest
    assert newest is not None
    notes = newest.notes("https://host/files/")
    assert notes.startswith("What it is about.\n\n### Added\n")
    assert notes.endswith("- A third.\n")
    assert "\n- One thing, on [two lines](https://host/files/docs/https.md).\n- [Another]" in notes
    assert "(https://example.org/)" in notes


@pytest.mark.parametrize(
    ("right", "wrong", "problem"),
    [
        ("# Changelog\n", "# Changes\n", "the title"),
        ("keepachangelog.com/en/1.1.0/", "example.org", "no link to https://keepachangelog"),
        ("## [Unreleased]\n", "", "comes first"),
        ("[0.2.0] - 2026-12-31", "0.2.0 (2026-12-31)", "is neither"),
        ("[0.2.0] - 2026-12-31", "[0.2] - 2026-12-31", "is neither"),
        ("[0.2.0] - 2026-12-31", "[0.2.0]", "is neither"),
        ("[0.2.0] - 2026-12-31", "[0.2.0] - 2026-02-30", "there is no day 2026-02-30"),
        ("[0.2.0] - 2026-12-31", "[0.1.0] - 2026-12-31", "0.2.0rc1 isn't before 0.1.0"),
        ("[0.2.0] - 2026-12-31", "[0.2.0rc1] - 2026-12-31", "isn't before"),
        ("[0.2.0] - 2026-12-31", "[0.2.0] - 2026-11-30", "2026-11-30 is before"),
        ("### Added", "### News", "is none of Added"),
        ("### Fixed", "### Added", "a second 'Added'"),
        ("### Fixed", "### Fixed\n\n#### More", "is none of Added"),
        ("### Added", "### Security", "the order is"),
        ("- A third.", "", "'Fixed' is empty"),
        ("- A third.", "A third.", "not an entry"),
        ("- A third.", "- " + "far too long " * 40, "520 characters, of 320"),
        ("### Removed\n\n- Something.\n", "", "nothing is told of 0.2.0rc1"),
        ("- Something.", "- Something.\n\n[0.9.0]: https://example.org", "a link for 0.9.0"),
    ],
)
def test_what_is_not_in_the_form(right: str, wrong: str, problem: str) -> None:
    assert right in HEAD + RELEASED
    problems = changelog.parse((HEAD + RELEASED).replace(right, wrong, 1)).problems
    assert any(problem in each for each in problems), problems


def test_the_order_of_versions() -> None:
    versions = ["0.9.0", "0.10.0.dev0", "0.10.0a1", "0.10.0b1", "0.10.0rc2", "0.10.0", "1.0.0"]
    assert sorted({*versions}, key=changelog.order_of) == versions
    with pytest.raises(ValueError, match="is no version"):
        changelog.order_of("1.0")
