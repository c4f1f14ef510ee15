"""One version, wherever it is told, and what keeps one from being released."""

from __future__ import annotations

import datetime
import re
import subprocess
import sys
from dataclasses import replace

import pytest

import changelog
import versions
from traefikhub import __version__

DAY = datetime.date(2026, 12, 31)
HEAD = "# Changelog\n\nhttps://keepachangelog.com/en/1.1.0/ https://semver.org/spec/v2.0.0.html\n\n"
ENTRIES = "\n### Added\n\n- Something.\n\n"


def changes(*headings: str) -> changelog.Changelog:
    return changelog.parse(HEAD + "".join(f"## {heading}\n{ENTRIES}" for heading in headings))


RELEASED = changelog.parse(f"{HEAD}## [Unreleased]\n\n## [0.2.0] - {DAY}\n{ENTRIES}")
READY = versions.Told("0.2.0", "0.2.0", ("0.1", "0.2.0"), "0.2.0", DAY, RELEASED)
FIRST = versions.Told("0.1.0", "0.1.0", ("0.1",), "0.1.0", None, changes("[Unreleased]"))


def test_all_places_of_this_project_go_together() -> None:
    told = versions.read(versions.ROOT)
    assert told.core == __version__
    assert list(versions.differences(told)) == []


LATER = replace(READY, core="0.3.0.dev0", plugin="0.3.0.dev0")


@pytest.mark.parametrize("told", [READY, FIRST, LATER])
def test_what_goes_together(told: versions.Told) -> None:
    assert list(versions.differences(told)) == []


@pytest.mark.parametrize(
    ("told", "problem"),
    [
        (replace(READY, plugin="0.1.0"), "says 0.1.0, src/traefikhub/__init__.py says 0.2.0"),
        (replace(READY, required=()), 'no "traefikhub>=…"'),
        (replace(READY, required=("0.3",)), "wants traefikhub 0.3, later than 0.2.0"),
        (replace(READY, core="0.1.0", plugin="0.1.0"), "tells of 0.2.0, later than 0.1.0"),
        (replace(READY, core="0.3.0", plugin="0.3.0"), "of no 0.3.0, and of nothing unreleased"),
        (replace(READY, cited="0.1.0"), "expected version 0.2.0, date-released 2026-12-31"),
        (replace(READY, cited_date=None), "expected version 0.2.0, date-released 2026-12-31"),
        (replace(FIRST, cited_date=DAY), "expected version 0.1.0, no date-released"),
        (replace(FIRST, changes=changes("0.1.0")), "CHANGELOG.md: line 5"),
    ],
)
def test_what_does_not_go_together(told: versions.Told, problem: str) -> None:
    assert any(problem in each for each in versions.differences(told))


def test_ready_for_its_tag() -> None:
    assert list(versions.unready(READY, "v0.2.0", DAY)) == []


@pytest.mark.parametrize(
    ("told", "tag", "day", "problem"),
    [
        (READY, "v0.2.1", DAY, "the tag must be v0.2.0"),
        (READY, "0.2.0", DAY, "the tag must be v0.2.0"),
        (READY, "v0.2.0", DAY - datetime.timedelta(days=2), "is yet to come"),
        (replace(READY, core="0.2.0.dev0"), "v0.2.0.dev0", DAY, "under development"),
        (FIRST, "v0.1.0", DAY, "the newest version isn't '## [0.1.0] - 2026-12-31'"),
        (
            replace(READY, changes=changes("[Unreleased]", f"[0.2.0] - {DAY}")),
            *("v0.2.0", DAY, "something is still unreleased"),
        ),
        (
            replace(READY, changes=changes("[Unreleased]", f"[0.2.0] - {DAY} [YANKED]")),
            *("v0.2.0", DAY, "0.2.0 was yanked"),
        ),
    ],
)
def test_not_ready(told: versions.Told, tag: str, day: datetime.date, problem: str) -> None:
    assert any(problem in each for each in versions.unready(told, tag, day))


def test_the_site_takes_the_version_from_the_package() -> None:
    text = (versions.ROOT / "docs" / "conf.py").read_text(encoding="utf-8")
    told = re.findall(r"^(?:version|release)\b.*", text, re.M)
    assert told
    assert all(line.endswith("= __version__") for line in told)


def test_to_import_the_package_for_its_version_imports_nothing_else() -> None:
    code = (
        "import sys; before = set(sys.modules); import traefikhub; traefikhub.__version__\n"
        "new = {name.split('.')[0] for name in set(sys.modules) - before}\n"
        "print(*sorted(new - {'traefikhub'} - set(sys.stdlib_module_names)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
