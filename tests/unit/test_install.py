"""What the projects publish, and how their files are read."""

from __future__ import annotations

import subprocess
import sys

import pytest

from traefikhub.install import ETCD, TRAEFIK, InstallError, Project, _command
from traefikhub.install._download import shown
from traefikhub.install._releases import (
    Platform,
    checksum_in,
    checksum_of,
    parse_version,
    this_platform,
)
from traefikhub.traefik.binary import OLDEST
from traefikhub.traefik.binary import parse_version as traefik_version

ONE, OTHER = "1" * 64, "2" * 64


@pytest.mark.parametrize(
    ("project", "platform", "archive"),
    [
        (TRAEFIK, "linux/amd64", "traefik_v1.2.3_linux_amd64.tar.gz"),
        (TRAEFIK, "linux/arm64", "traefik_v1.2.3_linux_arm64.tar.gz"),
        (TRAEFIK, "linux/armv7", "traefik_v1.2.3_linux_armv7.tar.gz"),
        (TRAEFIK, "darwin/arm64", "traefik_v1.2.3_darwin_arm64.tar.gz"),
        (ETCD, "linux/amd64", "etcd-v1.2.3-linux-amd64.tar.gz"),
        (ETCD, "linux/arm64", "etcd-v1.2.3-linux-arm64.tar.gz"),
        (ETCD, "darwin/amd64", "etcd-v1.2.3-darwin-amd64.zip"),
    ],
)
def test_archives_are_named_as_on_the_release_page(
    project: Project, platform: str, archive: str
) -> None:
    assert project.archive_of("1.2.3", Platform(*platform.split("/"))) == archive
    assert project.version_in(archive) == "1.2.3"


@pytest.mark.parametrize(
    ("project", "archive", "version"),
    [
        (TRAEFIK, "traefik_v3.7.0-rc.1_linux_amd64.tar.gz", "3.7.0-rc.1"),
        (ETCD, "etcd-v3.6.0-rc.3-linux-amd64.tar.gz", "3.6.0-rc.3"),
        (TRAEFIK, "etcd-v3.6.0-linux-amd64.tar.gz", ""),
        (TRAEFIK, "traefik.tar.gz", ""),
        (TRAEFIK, "traefik_v3.7.0_linux_amd64.tar.gz.part", ""),
    ],
)
def test_the_version_is_read_from_the_name(project: Project, archive: str, version: str) -> None:
    assert project.version_in(archive) == version


def test_checksums_are_in_the_file_that_the_project_publishes() -> None:
    assert TRAEFIK.checksums_of("1.2.3") == "traefik_v1.2.3_checksums.txt"
    assert ETCD.checksums_of("1.2.3") == "SHA256SUMS"
    assert TRAEFIK.base_url == "https://github.com/traefik/traefik/releases/download"


@pytest.mark.parametrize("platform", ["linux/armv7", "linux/riscv64", "windows/amd64"])
def test_what_nobody_publishes_is_refused_with_what_there_is(platform: str) -> None:
    with pytest.raises(InstallError, match=rf"etcd publishes nothing for {platform}.*linux/arm64"):
        ETCD.archive_of("1.2.3", Platform(*platform.split("/")))


@pytest.mark.parametrize(
    ("system", "machine", "platform"),
    [
        ("Linux", "x86_64", "linux/amd64"),
        ("Linux", "aarch64", "linux/arm64"),
        ("Linux", "armv7l", "linux/armv7"),
        ("Darwin", "arm64", "darwin/arm64"),
        ("Darwin", "x86_64", "darwin/amd64"),
        ("FreeBSD", "amd64", "freebsd/amd64"),
        ("Linux", "riscv64", "linux/riscv64"),
        ("", "", "unknown/unknown"),
    ],
)
def test_this_machine(
    monkeypatch: pytest.MonkeyPatch, system: str, machine: str, platform: str
) -> None:
    monkeypatch.setattr("platform.system", lambda: system)
    monkeypatch.setattr("platform.machine", lambda: machine)
    assert str(this_platform()) == platform


def test_versions_are_taken_with_and_without_v() -> None:
    assert parse_version("v3.7.15") == parse_version("3.7.15") == "3.7.15"
    assert parse_version("v3.7.0-rc.1") == "3.7.0-rc.1"


@pytest.mark.parametrize(
    "text", ["latest", "3.7", "3.7.x", "", "../3.7.15", "3.7.15/x", "3.7.15\n1"]
)
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no version"):
        parse_version(text)


@pytest.mark.parametrize(
    "line",
    [f"{ONE}  a.tar.gz", f"{ONE} *a.tar.gz", f"{ONE}  ./a.tar.gz", f"{ONE.upper()}  a.tar.gz  "],
)
def test_a_checksum_is_found_by_the_archives_name(line: str) -> None:
    lines = [f"{OTHER}  b.tar.gz", f"{OTHER}  a.tar.gz.sig", "# a.tar.gz", line, line]
    assert checksum_in(lines, "a.tar.gz") == ONE


def test_a_checksum_that_is_not_there_is_not_made_up() -> None:
    assert not checksum_in([f"{ONE}  aXtar.gz", f"{ONE}  x/a.tar.gz", f"{ONE}", ""], "a.tar.gz")


def test_two_checksums_of_one_archive_are_refused() -> None:
    with pytest.raises(ValueError, match="differ"):
        checksum_in([f"{ONE}  a.tar.gz", f"{OTHER}  a.tar.gz"], "a.tar.gz")


def test_a_checksum_has_64_digits() -> None:
    assert checksum_of(f" {'AB' * 32}\n") == "ab" * 32
    for wrong in ("", "ab" * 31, "xy" * 32):
        with pytest.raises(ValueError, match="64"):
            checksum_of(wrong)


def test_programs_are_asked_as_they_answer() -> None:
    said = {
        "traefik": "Version:      3.7.15\nCodename:     x\nGo version:   go1.26.9\n",
        "etcd": "etcd Version: 3.6.16\nGit SHA: 0b065e6\nGo Version: go1.24.9\n",
        "etcdctl": "etcdctl version: 3.6.16\nAPI version: 3.6\n",
        "etcdutl": "etcdutl version: 3.6.16\nAPI version: 3.6\n",
    }
    for project in (TRAEFIK, ETCD):
        for program in project.programs:
            assert program.version_in(said.pop(program.name)) in ("3.7.15", "3.6.16")
            assert not program.version_in("Go Version: go1.26.9\nAPI version: 3.6\n")
    assert not said


def test_the_default_is_a_traefik_that_the_proxy_starts() -> None:
    assert _command._OLDEST == OLDEST
    assert traefik_version(TRAEFIK.version, "the default") >= OLDEST


def test_an_address_is_shown_without_what_is_secret() -> None:
    url = "https://mary:secret@mirror.example:8443/a/b.tar.gz?signature=secret#secret"
    assert shown(url) == "https://mirror.example:8443/a/b.tar.gz"


def test_it_needs_no_jupyterhub() -> None:
    code = (
        "import sys, traefikhub.install.__main__; "
        "print(*(x for x in sys.modules if x.split('.')[0] in ('jupyterhub', 'traefikhub')))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "traefikhub.install" in loaded
    own = {"traefikhub", "traefikhub._ending"}
    assert [x for x in loaded if x not in own and "traefikhub.install" not in x] == []
