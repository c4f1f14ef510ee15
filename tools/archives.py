"""What is in a wheel and in a source archive, and what must not be.

``python tools/archives.py PROJECT DIRECTORY`` looks at the wheel and the source archive that were
built of a project into a directory. A second directory holds the same two, built once more: they
must have the same bytes.
"""

from __future__ import annotations

import configparser
import hashlib
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from email.parser import Parser
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import Any, Final

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = [
    "ArchiveError",
    "differ",
    "forbidden",
    "one",
    "parse_project",
    "read_sdist",
    "read_wheel",
    "sdist_problems",
    "wheel_problems",
]

Files = Mapping[str, bytes]
"""Of each path, with slashes, the content."""

LARGEST: Final = 256 * 1024
"""Bytes of a file. Pictures of docs/ are the largest there are."""
LARGEST_WHEEL: Final = 2 * 1024 * 1024
"""Bytes of a wheel."""

_STRAY: Final = (
    *("__pycache__", "*.py[cod]", ".*cache*", ".nox", ".venv*", "*.egg-info", ".coverage*"),
    *(".git", ".hypothesis", ".benchmarks", "node_modules", "_build", "build", "dist"),
    *("*.orig", "*.rej", "*.bak", "*.swp", "*~", ".DS_Store", "*.log"),
)
"""Names of files and directories that programs leave behind."""
_SECRET: Final = (
    *("*.pem", "*.key", "*.p12", "*.pfx", ".env", ".env.*", ".netrc", ".pypirc", "id_rsa*"),
    *("*cookie_secret*", "api-password", "*.sqlite", "acme.json"),
)
_SECRET_TEXT: Final = re.compile(
    rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\s+[A-Za-z0-9+/]{60}"
    rb"|\bpypi-AgE[\w-]{50}|\bgh[opsu]_\w{36}|\bgithub_pat_\w{50}|\bAKIA[0-9A-Z]{16}\b"
)
_KINDS: Final = ("*.py", "py.typed", "*.tmpl")
"""What packages are made of. Another kind of file that is meant to be there is one more here."""
_NOT_IN_A_WHEEL: Final = ("tests", "test_*.py", "conftest.py", "noxfile.py", "docs", "benchmarks")


class ArchiveError(Exception):
    """There is no such archive, or it can't be read."""


def parse_project(text: str) -> dict[str, Any]:
    """A pyproject.toml."""
    return tomllib.loads(text)


def one(directory: Path, pattern: str) -> Path:
    """The only file of that name.

    Raises:
        ArchiveError: there is none, or several.
    """
    found = sorted(directory.glob(pattern))
    if len(found) != 1:
        raise ArchiveError(f"{len(found)} files {pattern} in {directory}, not 1")
    return found[0]


def read_wheel(file: Path) -> dict[str, bytes]:
    """What is in it."""
    with zipfile.ZipFile(file) as archive:
        return {each.filename: archive.read(each) for each in archive.infolist()}


def read_sdist(file: Path) -> dict[str, bytes]:
    """What is in its one directory, which has the archive's name.

    Raises:
        ArchiveError: there is something beside that, or something that is no file.
    """
    found = {}
    top = file.name.removesuffix(".tar.gz") + "/"
    with tarfile.open(file) as archive:
        for member in archive:
            content = archive.extractfile(member) if member.isfile() else None
            if content is None or not member.name.startswith(top):
                raise ArchiveError(f"{file.name}: {member.name} is no file below {top}")
            found[member.name.removeprefix(top)] = content.read()
    return found


def forbidden(files: Files) -> Iterator[str]:
    """Leftovers, secrets, large files."""
    for name, content in files.items():
        for patterns, what in ((_STRAY, "is a leftover"), (_SECRET, "may be a secret")):
            if _matches(name, patterns):
                yield f"{name} {what}"
        if _SECRET_TEXT.search(content):
            yield f"{name} holds a key or a token"
        if len(content) > LARGEST:
            yield f"{name} has {len(content)} bytes, of {LARGEST}"


def _matches(name: str, patterns: Iterable[str]) -> bool:
    parts = PurePosixPath(name).parts
    return any(fnmatch(part, pattern) for part in parts for pattern in patterns)


def wheel_problems(files: Files, sources: Files, project: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with a wheel.

    Args:
        sources: what the source archive of the same build has.
        project: of pyproject.toml.
    """
    packages = [PurePosixPath(each) for each in _packages(project)]
    about = next((name.split("/")[0] for name in files if name.endswith("/METADATA")), "")
    expected = {
        name.removeprefix(f"{package.parent}/"): name
        for package in packages
        for name in sources
        if name.startswith(f"{package}/")
    }
    yield from forbidden(files)
    for name in sorted(files):
        own = not name.startswith(f"{about}/")
        if own and not any(fnmatch(PurePosixPath(name).name, kind) for kind in _KINDS):
            yield f"{name} is of no kind that a wheel here has: {', '.join(_KINDS)}"
        # What is laid out to be copied, such as the tests of a new package, is no test here.
        if _matches(name, _NOT_IN_A_WHEEL) and not name.endswith(".tmpl"):
            yield f"{name} doesn't belong into a wheel"
        if own and name not in expected:
            yield f"{name} isn't in the sources of {', '.join(each.name for each in packages)}"
    for name, source in sorted(expected.items()):
        if files.get(name) != sources[source]:
            yield f"{name} {'differs from its source' if name in files else 'is missing'}"
    for package in packages:
        if f"{package.name}/py.typed" not in files:
            yield f"{package.name}/py.typed is missing: type checkers would take it as untyped"
    yield from _metadata_problems(files, about, project["project"])


def _packages(project: Mapping[str, Any]) -> list[str]:
    found: list[str] = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    return found


def _metadata_problems(files: Files, about: str, wanted: Mapping[str, Any]) -> Iterator[str]:
    for name in ("METADATA", "RECORD", "WHEEL", "licenses/LICENSE"):
        if not files.get(f"{about}/{name}"):
            yield f"{about}/{name} is missing"
    metadata = Parser().parsestr(files.get(f"{about}/METADATA", b"").decode())
    for field, value in {
        "Name": wanted["name"],
        "Summary": wanted["description"],
        "Requires-Python": wanted["requires-python"],
        "License-Expression": wanted["license"],
        "Description-Content-Type": "text/markdown",
    }.items():
        if metadata[field] != value:
            yield f"METADATA: {field} is {metadata[field]!r}, not {value!r}"
    groups = {name: dict(points) for name, points in wanted.get("entry-points", {}).items()}
    if "scripts" in wanted:
        groups["console_scripts"] = dict(wanted["scripts"])
    points = configparser.ConfigParser(delimiters=("=",))
    points.optionxform = str  # type: ignore[assignment,method-assign]
    points.read_string(files.get(f"{about}/entry_points.txt", b"").decode())
    found = {name: dict(points[name]) for name in points.sections()}
    if found != groups:
        yield f"entry points are {found}, not {groups}"


def sdist_problems(files: Files, kept: Mapping[str, bytes] | None) -> Iterator[str]:
    """What is wrong with a source archive.

    Args:
        kept: what is under version control; None if that isn't known. It must be there, all of it
            and nothing else: what the tests need is then there, too.
    """
    yield from forbidden(files)
    if kept is None:
        return
    for name in sorted({*files} - {*kept} - {"PKG-INFO", ".gitignore"}):
        yield f"{name} isn't under version control"
    for name in sorted({*kept} - {*files}):
        yield f"{name} is missing"
    for name in sorted({*kept} & {*files}):
        if kept[name] != files[name]:
            yield f"{name} isn't as it is in the tree"


def under_version_control(project: Path) -> dict[str, bytes] | None:
    """The files that git knows, as they are now; None if this is no checkout.

    Elsewhere than in CI, new files that nothing ignores count as well: they are about to be added.
    """
    new = () if os.environ.get("CI") else ("--others", "--exclude-standard")
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", *new],
            cwd=project,
            capture_output=True,
            encoding="utf-8",
            check=True,
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    names = [name for name in listed.split("\0") if name]
    return {name: (project / name).read_bytes() for name in names if (project / name).exists()}


def differ(first: Files, second: Files) -> str:
    """Where two archives differ, in one line."""
    lacks = sorted({*first} ^ {*second})
    other = sorted(name for name in {*first} & {*second} if first[name] != second[name])
    if lacks or other:
        return f"in one alone: {lacks or 'nothing'}; of other content: {other or 'nothing'}"
    return "in order, times or modes of what is in them"


def main(arguments: list[str]) -> int:
    """0 if nothing is wrong, else 1."""
    root, directory, *again = (Path(each) for each in arguments)
    project = parse_project((root / "pyproject.toml").read_text("utf-8"))
    stem = project["project"]["name"].replace("-", "_")
    wheel, sdist = one(directory, f"{stem}-[0-9]*.whl"), one(directory, f"{stem}-[0-9]*.tar.gz")
    files, sources = read_wheel(wheel), read_sdist(sdist)
    kept = under_version_control(root)
    problems = [f"{wheel.name}: {each}" for each in wheel_problems(files, sources, project)]
    problems += [f"{sdist.name}: {each}" for each in sdist_problems(sources, kept)]
    if wheel.stat().st_size > LARGEST_WHEEL:
        problems.append(f"{wheel.name} has {wheel.stat().st_size} bytes, of {LARGEST_WHEEL}")
    for other in again:
        for mine, read in ((wheel, read_wheel), (sdist, read_sdist)):
            theirs = one(other, mine.name)
            if mine.read_bytes() != theirs.read_bytes():
                where = differ(read(mine), read(theirs))
                problems.append(f"{mine.name} has other bytes when it is built again: {where}")
    for problem in problems:
        sys.stderr.write(f"{problem}\n")
    if not problems:
        if kept is None:
            sys.stdout.write("no git here: the source archive wasn't compared with a checkout\n")
        for file, held in ((wheel, files), (sdist, sources)):
            digest = hashlib.sha256(file.read_bytes()).hexdigest()
            sys.stdout.write(f"{file.name}: {len(held)} files, sha256 {digest}\n")
    return int(bool(problems))


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except ArchiveError as error:
        sys.exit(str(error))
