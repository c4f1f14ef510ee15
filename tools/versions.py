"""Check that all places tell the same version: ``python tools/versions.py``; before a release also
that they are ready for its tag: ``python tools/versions.py v0.1.0``.

The version stands in ``src/traefikhub/__init__.py``. Packages, site and command take it from there;
the plug-in, CITATION.cff and CHANGELOG.md can't, and are compared.
"""

from __future__ import annotations

import datetime
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import changelog

__all__ = ["Told", "differences", "read", "unready"]

ROOT: Final = Path(__file__).resolve().parent.parent

_CORE: Final = "src/traefikhub/__init__.py"
_PLUGIN: Final = "plugins/traefikhub-redis/src/traefikhub_redis/__init__.py"
_REQUIREMENTS: Final = "plugins/traefikhub-redis/pyproject.toml"
_CITATION: Final = "CITATION.cff"


@dataclass(frozen=True)
class Told:
    """What the places say."""

    core: str
    plugin: str
    required: tuple[str, ...]
    """The oldest traefikhub that the plug-in takes, wherever it says so."""
    cited: str
    cited_date: datetime.date | None
    changes: changelog.Changelog


def read(root: Path) -> Told:
    """Look at all of them.

    Raises:
        ValueError: a file names no version.
    """
    citation = root / _CITATION
    date = re.search(r"^date-released: \"?([\d-]+)\"?$", citation.read_text("utf-8"), re.M)
    required = re.findall(r'"traefikhub(?:\[\w+\])?>=([\d.]+)"', (root / _REQUIREMENTS).read_text())
    return Told(
        core=_find(root / _CORE, r'^__version__ = "(.+)"$'),
        plugin=_find(root / _PLUGIN, r'^__version__ = "(.+)"$'),
        required=tuple(required),
        cited=_find(citation, r'^version: "?([^"\n]+)"?$'),
        cited_date=datetime.date.fromisoformat(date[1]) if date else None,
        changes=changelog.parse((root / "CHANGELOG.md").read_text("utf-8")),
    )


def _find(file: Path, pattern: str) -> str:
    found = re.findall(pattern, file.read_text("utf-8"), re.M)
    if len(found) != 1:
        raise ValueError(f"{file}: {len(found)} lines of the form {pattern}, not 1")
    version = str(found[0])
    changelog.order_of(version)
    return version


def differences(told: Told) -> Iterator[str]:
    """What doesn't go together, at any time."""
    order = changelog.order_of
    yield from (f"CHANGELOG.md: {problem}" for problem in told.changes.problems)
    if told.plugin != told.core:
        yield f"{_PLUGIN} says {told.plugin}, {_CORE} says {told.core}"
    if not told.required:
        yield f'{_REQUIREMENTS}: no "traefikhub>=…"'
    for oldest in told.required:
        whole = oldest + ".0" * (2 - oldest.count("."))
        if order(whole) > order(told.core):
            yield f"{_REQUIREMENTS} wants traefikhub {oldest}, later than {told.core}"
    newest = told.changes.newest
    if newest is None:
        expected, date = told.core, None
    else:
        expected, date = newest.version, newest.date
        if order(newest.version) > order(told.core):
            yield f"CHANGELOG.md tells of {newest.version}, later than {told.core} in {_CORE}"
    unreleased = told.changes.find(changelog.UNRELEASED)
    # A version under development may have no changes yet.
    told_of = (newest and newest.version == told.core) or (unreleased and unreleased.groups)
    if not told_of and ".dev" not in told.core:
        yield f"CHANGELOG.md tells of no {told.core}, and of nothing unreleased"
    if (told.cited, told.cited_date) != (expected, date):
        wanted = f"version {expected}, " + (f"date-released {date}" if date else "no date-released")
        yield f"{_CITATION}: {told.cited}, {told.cited_date}; expected {wanted}"


def unready(told: Told, tag: str, today: datetime.date) -> Iterator[str]:
    """What keeps it from being released with this tag."""
    if tag != f"v{told.core}":
        yield f"the tag is {tag}, but {_CORE} says {told.core}: the tag must be v{told.core}"
    if ".dev" in told.core:
        yield f"{told.core} is a version under development"
    newest = told.changes.newest
    if newest is None or newest.version != told.core:
        yield f"CHANGELOG.md: the newest version isn't '## [{told.core}] - {today}'"
    elif newest.date and newest.date > today + datetime.timedelta(days=1):
        # One day: it may be tomorrow already where it was written.
        yield f"CHANGELOG.md: {newest.date} of {told.core} is yet to come"
    elif newest.yanked:
        yield f"CHANGELOG.md: {told.core} was yanked; a version is released once"
    unreleased = told.changes.find(changelog.UNRELEASED)
    if unreleased and (unreleased.groups or unreleased.summary):
        yield f"CHANGELOG.md: something is still unreleased; move it to {told.core}"


def main(arguments: list[str]) -> int:
    """0 if all go together, else 1."""
    told = read(ROOT)
    problems = list(differences(told))
    if arguments:
        today = datetime.datetime.now(datetime.timezone.utc).date()
        problems += unready(told, arguments[0], today)
    for problem in problems:
        sys.stderr.write(f"{problem}\n")
    if not problems:
        sys.stdout.write(f"{told.core}\n")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
