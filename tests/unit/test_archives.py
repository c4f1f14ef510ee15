"""What must be in the archives for PyPI, and what must not, is seen."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

import archives

PYPROJECT = """\
[project]
name = "some-thing"
description = "A thing"
requires-python = ">=3.10"
license = "BSD-3-Clause"
[project.scripts]
thing = "thing:main"
[project.entry-points."jupyterhub.proxies"]
thing = "thing:Proxy"
[tool.hatch.build.targets.wheel]
packages = ["src/thing"]
"""
PROJECT = archives.parse_project(PYPROJECT)
ABOUT = "some_thing-1.0.0.dist-info"
METADATA = b"""\
Metadata-Version: 2.4
Name: some-thing
Summary: A thing
Requires-Python: >=3.10
License-Expression: BSD-3-Clause
Description-Content-Type: text/markdown

# A thing
"""
POINTS = b"[console_scripts]\nthing = thing:main\n[jupyterhub.proxies]\nthing = thing:Proxy\n"
SOURCES = {
    "src/thing/__init__.py": b"import this\n",
    "src/thing/py.typed": b"",
    "src/thing/new/tests/test_it.py.tmpl": b"assert True\n",
    "tests/test_thing.py": b"import thing\n",
    "pyproject.toml": PYPROJECT.encode(),
}
WHEEL = {
    "thing/__init__.py": b"import this\n",
    "thing/py.typed": b"",
    "thing/new/tests/test_it.py.tmpl": b"assert True\n",
    f"{ABOUT}/METADATA": METADATA,
    f"{ABOUT}/RECORD": b"thing/__init__.py,sha256=abc,12\n",
    f"{ABOUT}/WHEEL": b"Wheel-Version: 1.0\n",
    f"{ABOUT}/licenses/LICENSE": b"As you like\n",
    f"{ABOUT}/entry_points.txt": POINTS,
}
KEY = b"-----BEGIN " + b"PRIVATE KEY-----\n" + b"A" * 64 + b"\n"


def without(files: Mapping[str, bytes], name: str) -> dict[str, bytes]:
    assert name in files
    return {each: content for each, content in files.items() if each != name}


def test_a_wheel_as_it_should_be() -> None:
    assert list(archives.wheel_problems(WHEEL, SOURCES, PROJECT)) == []


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("thing/__init__.py", "thing/__init__.py is missing"),
        ("thing/py.typed", "thing/py.typed is missing: type checkers"),
        (f"{ABOUT}/licenses/LICENSE", "licenses/LICENSE is missing"),
        (f"{ABOUT}/RECORD", "RECORD is missing"),
        (f"{ABOUT}/entry_points.txt", "entry points are {}"),
    ],
)
def test_a_wheel_that_lacks_something(name: str, problem: str) -> None:
    found = list(archives.wheel_problems(without(WHEEL, name), SOURCES, PROJECT))
    assert any(problem in each for each in found), found


def test_py_typed_that_lacks_in_the_sources_too() -> None:
    wheel, sources = without(WHEEL, "thing/py.typed"), without(SOURCES, "src/thing/py.typed")
    assert "untyped" in "".join(archives.wheel_problems(wheel, sources, PROJECT))


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("thing/__pycache__/a.cpython-311.pyc", b"", "is a leftover"),
        ("thing/.mypy_cache/a.py", b"", "is a leftover"),
        ("thing/a.py.orig", b"", "is a leftover"),
        ("thing/server.pem", b"", "may be a secret"),
        ("thing/jupyterhub_cookie_secret", b"", "may be a secret"),
        ("thing/a.py", KEY, "thing/a.py holds a key or a token"),
        ("thing/a.py", b"T = 'pypi-AgE" + b"x" * 60, "thing/a.py holds a key or a token"),
        ("thing/a.py", b"x" * 300_000, "thing/a.py has 300000 bytes, of 262144"),
        ("thing/a.py", b"", "thing/a.py isn't in the sources of thing"),
        ("thing/notes.txt", b"", "is of no kind that a wheel here has"),
        ("thing/__init__.py", b"import that\n", "thing/__init__.py differs from its source"),
        ("thing/tests/test_it.py", b"", "thing/tests/test_it.py doesn't belong into a wheel"),
        ("tests/__init__.py", b"", "tests/__init__.py doesn't belong into a wheel"),
        ("other/__init__.py", b"", "other/__init__.py isn't in the sources"),
        (
            f"{ABOUT}/METADATA",
            METADATA.replace(b">=3.10", b">=3.9"),
            "Requires-Python is '>=3.9', not '>=3.10'",
        ),
        (
            f"{ABOUT}/METADATA",
            METADATA.replace(b"text/markdown", b"text/plain"),
            "Description-Content-Type is 'text/plain'",
        ),
        (f"{ABOUT}/entry_points.txt", POINTS.replace(b"Proxy", b"Other"), "thing:Other"),
    ],
)
def test_a_wheel_with_something_wrong(name: str, content: bytes, problem: str) -> None:
    found = list(archives.wheel_problems({**WHEEL, name: content}, SOURCES, PROJECT))
    assert any(problem in each for each in found), found


def test_a_source_archive_has_what_is_kept_and_nothing_else() -> None:
    built = {**SOURCES, "PKG-INFO": METADATA, ".gitignore": b"*.pyc\n"}
    assert list(archives.sdist_problems(built, SOURCES)) == []
    assert list(archives.sdist_problems(built, None)) == []


@pytest.mark.parametrize(
    ("built", "problem"),
    [
        ({**SOURCES, "src/thing/mine.py": b""}, "src/thing/mine.py isn't under version control"),
        (without(SOURCES, "tests/test_thing.py"), "tests/test_thing.py is missing"),
        ({**SOURCES, "src/thing/__init__.py": b""}, "src/thing/__init__.py isn't as it is in the"),
        ({**SOURCES, ".venv/bin/python": b""}, ".venv/bin/python is a leftover"),
        ({**SOURCES, "docs/.env": b""}, "docs/.env may be a secret"),
    ],
)
def test_a_source_archive_with_something_wrong(built: dict[str, bytes], problem: str) -> None:
    found = list(archives.sdist_problems(built, SOURCES))
    assert any(problem in each for each in found), found


def test_what_git_does_not_know(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert archives.under_version_control(tmp_path) is None
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / "a.py").write_bytes(b"a")
    (tmp_path / "b.py").write_bytes(b"b")
    subprocess.run(["git", "add", "a.py"], cwd=tmp_path, check=True)
    monkeypatch.delenv("CI", raising=False)
    assert archives.under_version_control(tmp_path) == {"a.py": b"a", "b.py": b"b"}
    monkeypatch.setenv("CI", "true")
    assert archives.under_version_control(tmp_path) == {"a.py": b"a"}


# --- the whole, on archives in files ---------------------------------------------------------


def pack(directory: Path, wheel: Mapping[str, bytes], day: int = 1) -> None:
    directory.mkdir()
    with zipfile.ZipFile(directory / "some_thing-1.0.0-py3-none-any.whl", "w") as archive:
        for name, content in wheel.items():
            archive.writestr(zipfile.ZipInfo(name, (2026, 1, day, 0, 0, 0)), content)
    # Without compression, whose header would have the time.
    with tarfile.open(directory / "some_thing-1.0.0.tar.gz", "w") as sources:
        for name, content in SOURCES.items():
            member = tarfile.TarInfo(f"some_thing-1.0.0/{name}")
            member.size = len(content)
            sources.addfile(member, io.BytesIO(content))


def look(root: Path, *directories: Path) -> subprocess.CompletedProcess[str]:
    (root / "pyproject.toml").write_text(PYPROJECT)
    return subprocess.run(
        [sys.executable, archives.__file__, str(root), *map(str, directories)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_archives_that_are_the_same_a_second_time(tmp_path: Path) -> None:
    pack(tmp_path / "one", WHEEL)
    pack(tmp_path / "two", WHEEL)
    done = look(tmp_path, tmp_path / "one", tmp_path / "two")
    assert (done.returncode, done.stderr) == (0, "")
    assert "some_thing-1.0.0-py3-none-any.whl: 8 files, sha256 " in done.stdout
    assert "no git here" in done.stdout


@pytest.mark.parametrize(
    ("wheel", "day", "problem"),
    [
        (WHEEL, 2, "in order, times or modes"),
        ({**WHEEL, "thing/__init__.py": b"import that\n"}, 1, "of other content: ['thing/__init"),
        (without(WHEEL, "thing/py.typed"), 1, "in one alone: ['thing/py.typed']"),
    ],
)
def test_archives_that_are_not(
    tmp_path: Path, wheel: Mapping[str, bytes], day: int, problem: str
) -> None:
    pack(tmp_path / "one", WHEEL)
    pack(tmp_path / "two", wheel, day)
    done = look(tmp_path, tmp_path / "one", tmp_path / "two")
    assert done.returncode == 1
    assert "has other bytes when it is built again: " in done.stderr
    assert problem in done.stderr


def test_no_archive_at_all(tmp_path: Path) -> None:
    done = look(tmp_path, tmp_path)
    assert done.returncode == 1
    assert "0 files some_thing-[0-9]*.whl in" in done.stderr
    assert "Traceback" not in done.stderr
