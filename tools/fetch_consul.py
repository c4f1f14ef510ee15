"""Bring a consul server for the tests: ``python tools/fetch_consul.py``; prints where it is.

Debian 12 has no consul; Debian 11 (bullseye) has 1.8. This takes the machine's own Debian source
from /etc/apt, changes the suite and keeps the rest (mirror, keys, options), lets apt download and
verify that one package, and unpacks it into ``.cache/consul`` of the project. Everything that apt
writes stays in a directory of its own: needs no root, and changes nothing of the system.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

TARGET: Final = Path(__file__).resolve().parent.parent / ".cache" / "consul"
BINARY: Final = TARGET / "usr" / "bin" / "consul"

_SUITE: Final = "bullseye"
_APT: Final = Path("/etc/apt")
_MOVING_SUITES: Final = {"stable", "oldstable", "oldoldstable", "testing", "unstable", "sid"}
_ONE_LINE: Final = re.compile(
    r"\s*deb\s+(?P<options>\[[^]]*\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)\s+(?P<components>[^#]*)"
)


class FetchError(Exception):
    """No server could be brought; the message says why."""


def main() -> int:
    """Print the path of the server, after fetching it if it isn't there."""
    try:
        if not BINARY.exists():
            fetch()
    except FetchError as error:
        sys.stderr.write(f"fetch_consul: {error}\n")
        return 1
    sys.stdout.write(f"{BINARY}\n")
    return 0


def fetch() -> None:
    """Download and unpack the package.

    Raises:
        FetchError: this is no Debian, or the package can't be downloaded.
    """
    for tool in ("apt-get", "dpkg-deb"):
        if not shutil.which(tool):
            raise FetchError(
                f"there is no {tool} here: this way of getting consul needs a Debian system. "
                f"Any other consul server (1.8 or later) will do as {BINARY} or on PATH."
            )
    sources = dict(debian_sources(_APT, _suites_of_this_machine()))
    if not sources:
        raise FetchError(
            f"no source of Debian's main section was found in {_APT}/sources.list or "
            f"{_APT}/sources.list.d/*.{{list,sources}}: there is no mirror to fetch consul from."
        )
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    # Beside the target, so that a rename completes it: whoever looks sees all of it or nothing.
    with tempfile.TemporaryDirectory(dir=TARGET.parent, prefix="consul-fetch-") as scratch:
        work = Path(scratch)
        package = _download(work, sources)
        unpacked = work / "unpacked"
        _run("dpkg-deb", "-x", str(package), str(unpacked))
        try:
            unpacked.rename(TARGET)
        except OSError:
            if not BINARY.exists():  # else another run of this script was faster
                raise


def _suites_of_this_machine() -> set[str]:
    """The names that Debian's own sources may have here, such as ``bookworm``."""
    try:
        text = Path("/etc/os-release").read_text()
    except FileNotFoundError:
        text = ""
    release = dict(re.findall(r'^(\w+)="?([^"\n]*)"?$', text, re.MULTILINE))
    if release.get("ID") != "debian":
        raise FetchError(
            f"this system is {release.get('ID') or 'unknown'}, not Debian: its package sources "
            f"can't be turned into Debian {_SUITE}'s. Any other consul server (1.8 or later) will "
            f"do as {BINARY} or on PATH."
        )
    return _MOVING_SUITES | {release.get("VERSION_CODENAME", "")}


def debian_sources(apt: Path, suites: set[str]) -> Iterator[tuple[str, str]]:
    """File name and text of sources for bullseye's main section, made from those in ``apt``.

    Only sources of one of these suites that have a section ``main`` are taken. Some third party's
    may be among them; ``_download`` accepts packages of Debian's origin only.
    """
    for path in [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*"))]:
        if path.suffix in (".list", ".sources") and path.is_file():
            text = path.read_text(errors="replace")
            convert = _from_stanzas if path.suffix == ".sources" else _from_lines
            if entries := list(convert(text, suites)):
                yield f"{path.stem}{path.suffix}", "\n".join(entries)


def _from_lines(text: str, suites: set[str]) -> Iterator[str]:
    """From the one-line format: ``deb [options] URI SUITE COMPONENT…``."""
    for line in text.splitlines():
        found = _ONE_LINE.match(line)
        if found and found["suite"] in suites and "main" in found["components"].split():
            yield f"deb {found['options'] or ''}{found['uri']} {_SUITE} main\n"


def _from_stanzas(text: str, suites: set[str]) -> Iterator[str]:
    """From deb822: fields ``Types``, ``URIs``, ``Suites``, ``Components`` and others, which stay as
    they are; ``Signed-By`` may go on over several lines."""
    text = re.sub(r"^#.*\n?", "", text, flags=re.MULTILINE)
    for stanza in re.split(r"\n\s*\n", text):
        fields = {
            name.lower(): value.strip()
            for name, value in re.findall(r"^([\w-]+):(.*(?:\n[ \t].*)*)", stanza, re.MULTILINE)
        }
        if (
            fields.get("enabled", "yes").lower() not in ("no", "false", "0", "off", "disable")
            and "deb" in fields.get("types", "").split()
            and suites & set(fields.get("suites", "").split())
            and "main" in fields.get("components", "").split()
        ):
            fields |= {"types": "deb", "suites": _SUITE, "components": "main"}
            yield "".join(f"{name}: {value}\n" for name, value in fields.items())


def _download(work: Path, sources: dict[str, str]) -> Path:
    """Let apt fetch the package, with lists, cache and settings below ``work``."""
    settings, parts, lists = work / "apt.conf", work / "apt.conf.d", work / "sources.list.d"
    for directory in (parts, lists, work / "state/lists/partial", work / "cache/archives/partial"):
        directory.mkdir(parents=True)
    for name, text in sources.items():
        (lists / name).write_text(text)
    (work / "status").touch()
    (work / "preferences").write_text(
        "Package: *\nPin: release o=Debian\nPin-Priority: 1001\n\n"
        "Package: *\nPin: origin *\nPin-Priority: -1\n"
    )
    # The system's own settings count (an HTTP proxy may be among them), but not its hooks, which
    # would refresh caches of the system.
    for path in sorted((_APT / "apt.conf.d").glob("*")):
        (parts / path.name).symlink_to(path)
    hooks = ("Pre-Invoke", "Post-Invoke", "Post-Invoke-Success")
    (parts / "zz-no-hooks").write_text("".join(f"#clear APT::Update::{hook};\n" for hook in hooks))
    settings.write_text(
        f'Dir::Etc::Parts "{parts}";\n'
        f'Dir::Etc::SourceList "/dev/null";\n'
        f'Dir::Etc::SourceParts "{lists}";\n'
        f'Dir::Etc::Preferences "{work}/preferences";\n'
        f'Dir::Etc::PreferencesParts "/dev/null";\n'
        f'Dir::State "{work}/state";\n'
        f'Dir::State::Status "{work}/status";\n'
        f'Dir::Cache "{work}/cache";\n'
        # The user apt would change to can't enter a private directory.
        'APT::Sandbox::User "root";\n'
        'Acquire::Languages "none";\n'
        'Acquire::Retries "2";\n'
        'APT::Update::Error-Mode "any";\n'
    )
    environment = os.environ | {"APT_CONFIG": str(settings), "LC_ALL": "C"}
    _run("apt-get", "update", "-q", env=environment, cwd=work)
    _run("apt-get", "download", "-q", "consul", env=environment, cwd=work)
    return next(work.glob("consul_*.deb"))


def _run(*command: str, env: dict[str, str] | None = None, cwd: Path | None = None) -> None:
    done = subprocess.run(
        command, env=env, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode:
        raise FetchError(
            f"{' '.join(command)} failed; is there a network, and does the mirror still keep "
            f"Debian {_SUITE}?\n{done.stdout.strip()}"
        )


if __name__ == "__main__":
    sys.exit(main())
