"""What a look at a hub found: rows for people, documents for scripts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from rich.text import Text

from traefikhub.cli._screen import printable, show_json, show_table

__all__ = ["Finding", "Status", "fault", "fine", "show_findings", "skipped", "warning"]


class Status(str, Enum):
    """How it stands with one thing."""

    OK = "ok"
    WARNING = "warning"
    FAULT = "fault"
    SKIPPED = "skipped"
    """It couldn't be looked at."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One row.

    check: what was looked at.
    found: what was seen; of what was skipped, why.
    fix: what mends it; empty if nothing needs to.
    """

    check: str
    status: Status
    found: str
    fix: str = ""


def fine(check: str, found: str) -> Finding:
    """All is well."""
    return Finding(check, Status.OK, found)


def warning(check: str, found: object, fix: str) -> Finding:
    """It works, but not as well as it should, or not for ever."""
    return Finding(check, Status.WARNING, str(found), fix)


def fault(check: str, found: object, fix: str) -> Finding:
    """With this the Hub won't start, or won't serve."""
    return Finding(check, Status.FAULT, str(found), fix)


def skipped(check: str, found: str) -> Finding:
    """It couldn't be looked at."""
    return Finding(check, Status.SKIPPED, found)


_STYLES: Final = {
    Status.OK: "green",
    Status.WARNING: "yellow",
    Status.FAULT: "bold red",
    Status.SKIPPED: "dim",
}


def show_findings(findings: Sequence[Finding], *, as_json: bool) -> None:
    """On standard output."""
    if as_json:
        show_json(_document(findings))
        return
    rows = [
        (each.check, Text(each.status.value, style=_STYLES[each.status]), each.found, each.fix)
        for each in findings
    ]
    show_table(("check", "status", "found", "fix"), rows)


def _document(findings: Iterable[Finding]) -> dict[str, Any]:
    rows = [
        {
            "check": each.check,
            "status": each.status.value,
            "found": printable(each.found),
            "fix": printable(each.fix),
        }
        for each in findings
    ]
    counts = {
        f"{status.value}s": sum(row["status"] == status.value for row in rows)
        for status in (Status.FAULT, Status.WARNING)
    }
    return {"checks": rows, **counts}
