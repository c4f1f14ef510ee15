"""Finding traefik and its version, with programs that are really run."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from traefikhub.traefik import TraefikUnusable, Version, find_traefik, require_supported, version_of
from traefikhub.traefik.binary import OLDEST, parse_version

Program = Callable[..., str]

SETTING = "c.TraefikProxy.traefik_command"


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """Makes executable scripts."""

    def make(script: str = "", *, directory: str = "bin", name: str = "traefik") -> str:
        file = tmp_path / directory / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)
        return str(file)

    return make


@pytest.fixture
def python_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory in which the running Python seems to be."""
    directory = tmp_path / "venv"
    directory.mkdir()
    monkeypatch.setattr(sys, "executable", str(directory / "python"))
    return directory


def test_the_command_of_the_configuration_goes_first(program: Program, python_in: Path) -> None:
    mine, on_path = program(directory="mine"), program(directory="path")
    program(directory=python_in.name)
    assert find_traefik(mine, search_path=str(Path(on_path).parent)) == mine


def test_the_command_may_be_a_name_on_the_path(program: Program, tmp_path: Path) -> None:
    mine = program(name="traefik-v3")
    assert find_traefik("traefik-v3", search_path=f"{tmp_path}:{Path(mine).parent}") == mine


def test_the_command_may_be_relative_or_in_the_home_directory(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = program()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert find_traefik("~/bin/traefik") == mine
    assert find_traefik("bin/traefik") == mine


def test_the_path_goes_before_what_is_beside_python(program: Program, python_in: Path) -> None:
    beside = program(directory=python_in.name)
    on_path = program(directory="path")
    assert find_traefik(search_path=str(Path(on_path).parent)) == on_path
    assert find_traefik(search_path=str(python_in.parent / "nowhere")) == beside


def test_no_traefik_anywhere_tells_how_to_install_it(python_in: Path, tmp_path: Path) -> None:
    with pytest.raises(TraefikUnusable) as caught:
        find_traefik(search_path=str(tmp_path))
    assert 'pip install "traefikhub[traefik]"' in str(caught.value)
    assert str(python_in) in str(caught.value)
    assert SETTING in str(caught.value)


def test_a_command_that_cannot_be_run_is_named(tmp_path: Path, program: Program) -> None:
    plain = Path(program())
    plain.chmod(0o644)
    for command in (str(plain), str(tmp_path / "absent"), str(tmp_path), "no-such-traefik"):
        with pytest.raises(TraefikUnusable, match=SETTING) as caught:
            find_traefik(command, search_path=str(tmp_path))
        assert repr(command) in str(caught.value)


def test_a_configured_command_never_falls_back_to_another(
    program: Program, python_in: Path
) -> None:
    program(directory=python_in.name)
    with pytest.raises(TraefikUnusable):
        find_traefik("/no/such/traefik")


@pytest.mark.parametrize(
    ("script", "version"),
    [
        ("echo 'Version:      3.7.15'; echo 'Codename: x'", Version(3, 7, 15)),
        ("echo 'Version: v3.7.0-rc.1'", Version(3, 7, 0)),
        ("echo warning: something; echo 'Version: 3.6.7+dfsg'", Version(3, 6, 7)),
        ("echo 'Version: 3.7.1' ; exit 1", Version(3, 7, 1)),
        ("test \"$1\" = version && echo 'Version: 3.10.0'", Version(3, 10, 0)),
        (r"printf 'Version: 3.7.1\nCodename: caf\351\n'", Version(3, 7, 1)),
    ],
)
def test_the_version_is_read(program: Program, script: str, version: Version) -> None:
    assert version_of(program(script)) == version


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("exit 3", "exit code 3"),
        ("exit 0", "nothing"),
        ("echo 'nginx version: 1.2'", "nginx version: 1.2"),
        ("echo broken >&2; exit 1", "broken"),
        ("echo 'Version: dev'", "'dev'"),
        ("echo 'Version: 3.7'", "'3.7'"),
        ("echo 'Version:'", "Version:"),
        (r"printf '\377\376 no text'", "no text"),
        ("kill -9 $$", "exit code -9"),
    ],
)
def test_what_is_not_traefik_is_refused_with_what_it_said(
    program: Program, script: str, said: str
) -> None:
    path = program(script)
    with pytest.raises(TraefikUnusable) as caught:
        version_of(path)
    assert said in str(caught.value)
    assert path in str(caught.value)


def test_a_program_that_cannot_be_run_is_refused(program: Program, tmp_path: Path) -> None:
    broken = Path(program())
    broken.write_bytes(b"\x7fELF no program")
    for path in (broken, tmp_path / "absent"):
        with pytest.raises(TraefikUnusable, match=SETTING):
            version_of(str(path))


@pytest.mark.parametrize("version", ["3.6.6", "3.5.9", "2.11.30", "3.0.0"])
def test_what_is_too_old_is_refused_with_the_reason(version: str) -> None:
    with pytest.raises(TraefikUnusable) as caught:
        require_supported(parse_version(version, "x"), "/usr/bin/traefik")
    for part in ("/usr/bin/traefik", version, str(OLDEST), "encoded characters", SETTING):
        assert part in str(caught.value)


@pytest.mark.parametrize("version", ["3.6.7", "3.6.10", "3.7.0", "3.10.0", "4.0.0"])
def test_what_is_new_enough_is_accepted(version: str) -> None:
    require_supported(parse_version(version, "x"), "traefik")
