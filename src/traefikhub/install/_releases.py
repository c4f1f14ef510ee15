"""What the projects publish: versions, platforms, names of files. Pure, but for asking which
machine this is."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from traefikhub.install._errors import InstallError

__all__ = [
    "ETCD",
    "PROJECTS",
    "TRAEFIK",
    "Platform",
    "Program",
    "Project",
    "checksum_in",
    "checksum_of",
    "parse_version",
    "this_platform",
]

_VERSION: Final = r"\d+\.\d+\.\d+(?:-[0-9A-Za-z.]+)?"

_SYSTEMS: Final = {"Linux": "linux", "Darwin": "darwin"}
_MACHINES: Final = {
    "x86_64": "amd64",
    "amd64": "amd64",
    "aarch64": "arm64",
    "arm64": "arm64",
    "armv7l": "armv7",
    "armv8l": "armv7",  # 32-bit programs on a 64-bit processor
}


@dataclass(frozen=True, slots=True)
class Platform:
    """A system and a processor, as Go calls them: ``linux`` and ``amd64``."""

    system: str
    machine: str

    def __str__(self) -> str:
        return f"{self.system}/{self.machine}"


@dataclass(frozen=True, slots=True)
class Program:
    """An executable of a release.

    ask: the argument that makes it tell its version.
    answer: what stands before the version.
    """

    name: str
    ask: str
    answer: str

    def version_in(self, said: str) -> str:
        """Its version, or nothing if that is not how it answers."""
        found = re.search(rf"^{re.escape(self.answer)}:\s+v?({_VERSION})\s*$", said, re.MULTILINE)
        return found[1] if found else ""


@dataclass(frozen=True, slots=True)
class Project:
    """A project and how its release page is laid out.

    version: what is installed unless another is asked for.
    page: where people see the releases; below it are the files.
    archive, checksums: names, in which ``{tag}`` is ``v`` and the version.
    """

    name: str
    version: str
    page: str
    programs: tuple[Program, ...]
    platforms: frozenset[Platform]
    archive: str
    checksums: str
    zipped: frozenset[str] = frozenset()

    @property
    def base_url(self) -> str:
        """What a mirror stands for: the files of 1.2.3 are in ``v1.2.3/`` below it."""
        return f"{self.page}/download"

    def archive_of(self, version: str, platform: Platform) -> str:
        """The name of the archive.

        Raises:
            InstallError: there is none for this platform.
        """
        if platform not in self.platforms:
            others = ", ".join(sorted(map(str, self.platforms)))
            raise InstallError(
                f"{self.name} publishes nothing for {platform}, only for {others}. Build it for "
                "this machine, and install your archive with --from FILE --sha256 HEX."
            )
        return self.archive.format(
            tag=f"v{version}",
            system=platform.system,
            machine=platform.machine,
            suffix="zip" if platform.system in self.zipped else "tar.gz",
        )

    def checksums_of(self, version: str) -> str:
        """The name of the file with the checksums."""
        return self.checksums.format(tag=f"v{version}")

    def version_in(self, archive: str) -> str:
        """The version in an archive's name, or nothing if it isn't named as on the page."""
        pattern = self.archive.format(
            tag=f"v({_VERSION})", system="[a-z]+", machine="[a-z0-9]+", suffix=r"(?:tar\.gz|zip)"
        )
        found = re.fullmatch(pattern, archive)
        return found[1] if found else ""


def _platforms(*names: str) -> frozenset[Platform]:
    return frozenset(Platform(*each.split("/")) for each in names)


# The versions that are installed by default stand here and nowhere else.
TRAEFIK: Final = Project(
    name="traefik",
    version="3.7.15",
    page="https://github.com/traefik/traefik/releases",
    programs=(Program("traefik", "version", "Version"),),
    platforms=_platforms(
        "linux/amd64", "linux/arm64", "linux/armv7", "darwin/amd64", "darwin/arm64"
    ),
    archive="traefik_{tag}_{system}_{machine}.{suffix}",
    checksums="traefik_{tag}_checksums.txt",
)
ETCD: Final = Project(
    name="etcd",
    version="3.6.16",
    page="https://github.com/etcd-io/etcd/releases",
    programs=(
        Program("etcd", "--version", "etcd Version"),
        Program("etcdctl", "version", "etcdctl version"),
        Program("etcdutl", "version", "etcdutl version"),
    ),
    platforms=_platforms("linux/amd64", "linux/arm64", "darwin/amd64", "darwin/arm64"),
    archive="etcd-{tag}-{system}-{machine}.{suffix}",
    checksums="SHA256SUMS",
    zipped=frozenset({"darwin"}),
)
PROJECTS: Final = {each.name: each for each in (TRAEFIK, ETCD)}


def parse_version(text: str) -> str:
    """``v3.7.15`` or ``3.7.15`` as ``3.7.15``.

    Raises:
        ValueError: it is no full version.
    """
    found = re.fullmatch(f"v?({_VERSION})", text.strip())
    if not found:
        raise ValueError(f"{text!r} is no version such as 3.7.15")
    return found[1]


def this_platform() -> Platform:
    """Where Python runs. A system or processor that nobody publishes for keeps its own name."""
    system, machine = platform.system(), platform.machine()
    return Platform(
        _SYSTEMS.get(system, system.lower() or "unknown"),
        _MACHINES.get(machine.lower(), machine or "unknown"),
    )


def checksum_of(text: str) -> str:
    """A SHA-256 as 64 small hexadecimal digits.

    Raises:
        ValueError: it is none.
    """
    found = text.strip().lower()
    if not re.fullmatch("[0-9a-f]{64}", found):
        raise ValueError(f"{text!r} is no SHA-256: 64 hexadecimal digits")
    return found


def checksum_in(lines: Iterable[str], archive: str) -> str:
    """The checksum of an archive in what ``sha256sum`` writes, or nothing if it isn't there.

    Raises:
        ValueError: it is there twice, and they differ.
    """
    found = set()
    for line in lines:
        match = re.fullmatch(r"([0-9A-Fa-f]{64})[ \t]+\*?(?:\./)?(\S.*?)\s*", line)
        if match and match[2] == archive:
            found.add(match[1].lower())
    if len(found) > 1:
        raise ValueError(f"two checksums of {archive}, which differ")
    return found.pop() if found else ""
