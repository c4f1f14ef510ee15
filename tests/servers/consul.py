"""consul for tests: a single server, to be killed, frozen and started anew, and a client over plain
HTTP that has no code in common with the store."""

from __future__ import annotations

import base64
import json
import os
import secrets
import shutil
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import requests

from servers import require
from support import free_port, wait_until

if TYPE_CHECKING:
    from traefikhub.testing import Certificates

__all__ = ["ConsulServer", "consul_binary"]

_FETCH: Final = "python tools/fetch_consul.py"
_FETCHED: Final = Path(__file__).parents[2] / ".cache" / "consul" / "usr" / "bin" / "consul"


def consul_binary() -> str:
    """The consul that the script fetched, or else the one on PATH; skips the test if there is
    none."""
    return require("consul", shutil.which(_FETCHED) or shutil.which("consul"), _FETCH)


class ConsulServer:
    """A consul server with its data in ``directory``. Use it as a context manager.

    Args:
        directory: for configuration, data and log; made if absent.
        certificates: serve the API by TLS.
        ask_clients: and only to clients that show the client's certificate.
        root_token: let in nobody without a token; this one may do everything.
        settings: further entries of consul's configuration.
    """

    def __init__(
        self,
        directory: Path,
        *,
        certificates: Certificates | None = None,
        ask_clients: bool = True,
        root_token: str = "",
        **settings: Any,
    ) -> None:
        self._binary = consul_binary()
        self._directory = directory
        self._tls = certificates is not None
        self._process: subprocess.Popen[bytes] | None = None
        # It finds its own address in its data, so it keeps its ports through a restart.
        self._http, self._https, serf, rpc = (free_port() for _ in range(4))
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.headers["X-Consul-Token"] = root_token
        self._settings: dict[str, Any] = {
            "server": True,
            "bootstrap_expect": 1,
            "node_name": "single",
            "data_dir": str(directory / "data"),
            "bind_addr": "127.0.0.1",
            "client_addr": "127.0.0.1",
            "ports": {
                "http": self._http,
                "https": self._https if certificates else -1,
                "serf_lan": serf,
                "server": rpc,
                **dict.fromkeys(("dns", "grpc", "serf_wan"), -1),
            },
            "performance": {"raft_multiplier": 1},  # elections take a second, not five
            "connect": {"enabled": False},
            "disable_update_check": True,
            "log_level": "warn",
        } | settings
        if root_token:
            self._settings["acl"] = {
                "enabled": True,
                "default_policy": "deny",
                "tokens": {"master": root_token},
                **settings.get("acl", {}),
            }
        if certificates:
            self._settings |= {
                "ca_file": certificates.ca,
                "cert_file": certificates.server_cert,
                "key_file": certificates.server_key,
                "verify_incoming_https": ask_clients,
            }

    @property
    def url(self) -> str:
        """Where the store finds it."""
        if self._tls:
            return f"https://127.0.0.1:{self._https}"
        return f"http://127.0.0.1:{self._http}"

    @property
    def log(self) -> Path:
        """What consul has said since its first start."""
        return self._directory / "consul.log"

    def __enter__(self) -> ConsulServer:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._session.close()

    def start(self) -> None:
        """Start it with the data that it had; return when it takes requests."""
        self._directory.mkdir(parents=True, exist_ok=True)
        config = self._directory / "config.json"
        config.write_text(json.dumps(self._settings))
        command = [self._binary, "agent", f"-config-file={config}"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_until(self._is_ready, f"consul to be ready; see {self.log}")

    def _is_ready(self) -> bool:
        """Whether it has a leader and knows its tokens: it has neither when it begins to listen."""
        if self._process is None or self._process.poll() is not None:
            log = self.log.read_text(errors="replace")[-2000:]
            raise AssertionError(f"consul is not running: {log}")
        try:
            response = self._send("GET", "v1/kv/ready?consistent", timeout=2)
        except requests.RequestException:
            return False
        return response.status_code == 404

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
        assert self._process, "it is not running"
        os.kill(self._process.pid, signal.SIGSTOP)
        # The signal is only on its way: a thread on another processor may answer once more.
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED)

    def resume(self) -> None:
        """Let it go on."""
        assert self._process, "it is not running"
        os.kill(self._process.pid, signal.SIGCONT)

    # --- the other client ----------------------------------------------------------------------

    def dump(self) -> dict[str, str]:
        """Every key and its value."""
        return {
            entry["Key"]: base64.b64decode(entry["Value"] or "").decode(errors="replace")
            for entry in self.entries("")
        }

    def entries(self, prefix: str) -> list[dict[str, Any]]:
        """Everything that consul tells of the keys that begin like this."""
        response = self._send("GET", f"v1/kv/{quote(prefix)}?recurse&consistent")
        if response.status_code == 404:
            return []
        assert response.ok, response.text
        found: list[dict[str, Any]] = response.json()
        return found

    def put(self, key: str, value: str | bytes) -> None:
        """Write one key."""
        data = value.encode() if isinstance(value, str) else value
        response = self._send("PUT", f"v1/kv/{quote(key)}", data=data)
        assert response.text.strip() == "true", response.text

    def delete(self, key: str) -> None:
        """Remove one key."""
        response = self._send("DELETE", f"v1/kv/{quote(key)}")
        assert response.text.strip() == "true", response.text

    def snapshot(self) -> bytes:
        """Everything, as a backup."""
        response = self._send("GET", "v1/snapshot")
        assert response.ok, response.text
        return response.content

    def set_back(self, snapshot: bytes) -> None:
        """Put a backup in the place of what it has."""
        response = self._send("PUT", "v1/snapshot", data=snapshot)
        assert response.ok, response.text

    def add_token(self, rules: str) -> tuple[str, str]:
        """A new token, and the policy that says what it may do, in consul's own language."""
        policy = self._acl("policy", Name=secrets.token_hex(8), Rules=rules)
        return self._acl("token", Policies=[{"ID": policy["ID"]}])["SecretID"], policy["ID"]

    def set_rules(self, policy: str, rules: str) -> None:
        """Change what a policy says."""
        self._acl(f"policy/{policy}", ID=policy, Name=secrets.token_hex(8), Rules=rules)

    def _acl(self, path: str, **body: Any) -> Any:
        response = self._send("PUT", f"v1/acl/{path}", json=body)
        assert response.ok, response.text
        return response.json()

    def _send(
        self, method: str, path: str, *, timeout: float = 10, **options: Any
    ) -> requests.Response:
        url = f"http://127.0.0.1:{self._http}/{path}"
        return self._session.request(method, url, timeout=timeout, **options)
