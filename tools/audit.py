"""Look for known vulnerabilities in what is installed here: ``python tools/audit.py``.

pip-audit asks PyPI's vulnerability service, package by package. Where that can't be reached, or a
mirror stands in for it that knows none, nothing is known, which is told loudly and is no failure:
no change should wait for somebody else's service. ``TRAEFIKHUB_REQUIRE_AUDIT=1`` makes it one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

SECONDS: Final = 240
"""For all of it; one question has 10."""

OWN: Final = frozenset({"traefikhub", "traefikhub-redis"})
"""Not asked for: a package of that name elsewhere would be another one."""

ACCEPTED: Final[Mapping[str, str]] = {}
"""Vulnerabilities that don't concern us: the id, and why."""

_COMMAND: Final = (
    *(sys.executable, "-m", "pip_audit", "--local", "--skip-editable"),
    *("--progress-spinner", "off", "--timeout", "10", "--format", "json"),
)


class NotAudited(Exception):
    """Nothing is known; the message says why."""


def main() -> int:
    """0 if nothing is known against anything, or nothing can be known; else 1."""
    try:
        text, failed = report(run(_COMMAND, SECONDS), ACCEPTED)
    except NotAudited as error:
        required = bool(os.environ.get("TRAEFIKHUB_REQUIRE_AUDIT"))
        line = "!" * 78
        out(f"{line}\nNOT AUDITED: {error}\nNothing is known about vulnerabilities.\n{line}")
        return int(required)
    out(text)
    return int(failed)


def run(command: Sequence[str], seconds: float) -> Any:
    """What pip-audit prints, as JSON.

    Raises:
        NotAudited: it took too long, or printed none.
    """
    try:
        done = subprocess.run(
            command, capture_output=True, encoding="utf-8", timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise NotAudited(f"pip-audit was ended after {seconds:g} s") from error
    try:
        return json.loads(done.stdout)
    except ValueError as error:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise NotAudited(f"pip-audit failed: {last}") from error


def report(found: Any, accepted: Mapping[str, str]) -> tuple[str, bool]:
    """What to print, and whether there is a vulnerability that nobody has accepted.

    Raises:
        NotAudited: no package was looked up.
    """
    packages = [each for each in found["dependencies"] if each["name"] not in OWN]
    skipped = sorted(each["name"] for each in packages if "vulns" not in each)
    if len(skipped) == len(packages):
        raise NotAudited(f"the vulnerability service knows none of {len(packages)} packages")
    lines, failed = [], False
    for package in packages:
        for each in package.get("vulns", ()):
            names = {each["id"], *each.get("aliases", ())}
            reasons = [accepted[name] for name in sorted(names & set(accepted))]
            failed |= not reasons
            mended = ", ".join(each.get("fix_versions", ())) or "no release"
            told = f"accepted: {reasons[0]}" if reasons else f"mended in {mended}"
            lines.append(f"{package['name']} {package['version']}: {each['id']}, {told}")
    lines.append(f"audited {len(packages) - len(skipped)} packages")
    if skipped:
        lines.append(f"NOT AUDITED, unknown to the service: {', '.join(skipped)}")
    return "\n".join(lines), failed


def out(text: str) -> None:
    """Print at once, in order with what other programs print."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
