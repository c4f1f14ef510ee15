"""All processes of the example: to be ended in good order, killed, and started again."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import psutil
import requests

from replicas.files import HAPROXY, commands, place, programs_path
from servers import require
from servers.etcd import etcd_binary
from support import wait_until
from traefikhub.traefik import find_traefik

__all__ = ["MEMBERS", "REPLICAS", "Stage"]

REPLICAS: Final = {"one": ("traefik-1", "127.0.0.2"), "two": ("traefik-2", "127.0.0.3")}
"""By the name that HAProxy gives a replica: that of its process, and its address."""

MEMBERS: Final = {"etcd-1": "127.0.0.11", "etcd-2": "127.0.0.12", "etcd-3": "127.0.0.13"}

_PATIENCE: Final = 60
_FETCH: Final = "python tools/fetch_haproxy.py"


class Stage:
    """The example in a directory. Use it as a context manager. All methods block.

    Args:
        directory: empty; for all that is written.

    draining: Traefiks that take no requests any more and end with their last websocket, by the
    name of their replica.
    """

    def __init__(self, directory: Path) -> None:
        programs = {
            "haproxy": require("haproxy", HAPROXY, _FETCH),
            "etcd": etcd_binary(),
            "traefik": find_traefik(),
        }
        self.directory = directory
        self.draining: dict[str, list[subprocess.Popen[bytes]]] = {name: [] for name in REPLICAS}
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._ports = place(directory)
        self._commands = commands((directory / "Procfile").read_text())
        self._environment = {
            **os.environ,
            "PATH": programs_path(directory / "bin", programs),
            "NO_PROXY": "*",
        }
        self.url = f"http://127.0.0.1:{self._ports[8000]}"
        self.port = self._ports[8000]
        self._hub = f"http://127.0.0.1:{self._ports[8081]}"

    def __enter__(self) -> Stage:
        try:
            prepared = self._launch("prepare", ["sh", "prepare.sh"])
            self._running["prepare"] = prepared
            for name in MEMBERS:
                self._start(name)
            for name in MEMBERS:
                self._wait_for_member(name)
            self._start("hub")  # which waits for Traefik
            assert prepared.wait(_PATIENCE) == 0, self.log("prepare")
            for name in ("traefik-1", "traefik-2", "haproxy"):
                self._start(name)
            for replica in REPLICAS:
                self.wait_ready(replica)
            self._wait_for_hub()
            wait_until(lambda: _status(f"{self.url}/hub/health") == 200, "HAProxy", _PATIENCE)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        # The Hub first: it would wait for what it can't reach any more.
        for name in ["hub", *self._running]:
            if process := self._running.pop(name, None):
                process.terminate()
                try:
                    process.wait(5 if name in ("hub", "haproxy") else 0)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        for replica in REPLICAS:
            self._end_drained(replica)
        self._end_servers()

    def _end_servers(self) -> None:
        """Users' servers outlive their Hub."""
        killed = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if Path(process.cwd()).is_relative_to(self.directory):
                    process.kill()
                    killed.append(process)
        psutil.wait_procs(killed, timeout=1)

    def replica_url(self, replica: str) -> str:
        """Where users are served by one replica, past HAProxy."""
        return f"http://{REPLICAS[replica][1]}:{self._ports[8000]}"

    def ping_url(self, replica: str) -> str:
        """Where one replica says whether it is well."""
        return f"http://{REPLICAS[replica][1]}:{self._ports[8099]}/ping"

    def require_running(self) -> None:
        """Fail if a process has ended that nobody has ended."""
        for name, process in self._running.items():
            if name != "prepare":
                assert process.poll() is None, f"{name} has ended: {self.log(name)[-2000:]}"

    def still_draining(self) -> int:
        """How many Traefiks take no requests any more, and hold websockets."""
        return sum(old.poll() is None for each in self.draining.values() for old in each)

    # --- what an admin does ----------------------------------------------------------------------

    def restart_replica(self, replica: str) -> None:
        """In good order: the new Traefik listens as soon as the old one takes no requests any more;
        that one goes on until its websockets are closed."""
        name, _ = REPLICAS[replica]
        old = self._running.pop(name)
        old.terminate()
        self.draining[replica].append(old)
        ping = self.ping_url(replica)
        wait_until(lambda: _status(ping) != 200, f"the old Traefik {replica}", _PATIENCE)
        self._start(name)

        def serves() -> bool:
            if self._running[name].poll() is not None:  # the address is still taken
                self._start(name)
            return _status(ping) == 200

        wait_until(serves, f"the new Traefik {replica}", _PATIENCE)

    def kill_replica(self, replica: str) -> None:
        """All of it, as if its machine were gone."""
        process = self._running.pop(REPLICAS[replica][0])
        process.kill()
        self._end_drained(replica)
        process.wait()

    def pause_replica(self, replica: str) -> None:
        """Let it hang: connections stay, nothing is answered."""
        self._running[REPLICAS[replica][0]].send_signal(signal.SIGSTOP)

    def resume_replica(self, replica: str) -> None:
        """Let it go on."""
        self._running[REPLICAS[replica][0]].send_signal(signal.SIGCONT)

    def start_replica(self, replica: str) -> None:
        """Start one; return when it serves routes."""
        self._start(REPLICAS[replica][0])
        self.wait_ready(replica)

    def restart_member(self, name: str) -> None:
        """One of etcd's, in good order; return when it is in step with the others."""
        self._end(name)
        self._start(name)
        self._wait_for_member(name)

    def restart_hub(self) -> None:
        """In good order."""
        self._end("hub")
        self._start("hub")
        self._wait_for_hub()

    def reload_haproxy(self) -> None:
        """Let it read its file again."""
        self._running["haproxy"].send_signal(signal.SIGUSR2)

    def wait_ready(self, replica: str) -> None:
        """Return when a replica says that it has its routes."""
        ping = self.ping_url(replica)
        wait_until(lambda: _status(ping) == 200, f"Traefik {replica}", _PATIENCE)

    # --- processes -------------------------------------------------------------------------------

    def _start(self, name: str) -> None:
        self._running[name] = self._launch(name, self._commands[name])

    def _launch(self, name: str, command: list[str]) -> subprocess.Popen[bytes]:
        with (self.directory / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                command, cwd=self.directory, env=self._environment, stdout=log, stderr=log
            )

    def _end(self, name: str) -> None:
        process = self._running.pop(name)
        process.terminate()
        process.wait(_PATIENCE)

    def _end_drained(self, replica: str) -> None:
        for process in self.draining[replica]:
            process.kill()
            process.wait()
        self.draining[replica].clear()

    def _wait_for_member(self, name: str) -> None:
        health = f"http://{MEMBERS[name]}:{self._ports[2379]}/health"
        self._wait(name, lambda: _status(health) == 200)

    def _wait_for_hub(self) -> None:
        self._wait("hub", lambda: _status(f"{self._hub}/hub/health") == 200)

    def _wait(self, name: str, condition: Callable[[], bool]) -> None:
        def holds() -> bool:
            process = self._running[name]
            assert process.poll() is None, f"{name} has ended: {self.log(name)[-2000:]}"
            return condition()

        wait_until(holds, name, _PATIENCE)

    def log(self, name: str) -> str:
        """What a process has said."""
        return (self.directory / f"{name}.log").read_text(errors="replace")


def _status(url: str) -> int:
    """Of an answer; 0 if there is none."""
    with requests.Session() as session:
        session.trust_env = False
        try:
            return session.get(url, timeout=5).status_code
        except requests.RequestException:
            return 0
