"""Whole JupyterHubs, for tests that look at them from outside."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import requests

from support import free_port, wait_until

__all__ = ["TOKEN", "Hub"]

TOKEN = "token-of-a-service-that-administers"


class Hub:
    """A JupyterHub with its single-user servers, in a directory of its own."""

    def __init__(self, directory: Path, options: dict[str, Any]) -> None:
        self.directory = directory
        self.url = f"http://127.0.0.1:{free_port()}"
        self.config = directory / "jupyterhub_config.py"
        settings: dict[str, Any] = {
            "JupyterHub.bind_url": self.url,
            "JupyterHub.hub_bind_url": f"http://127.0.0.1:{free_port()}",
            "JupyterHub.proxy_class": "traefikhub",
            "JupyterHub.authenticator_class": "dummy",
            "DummyAuthenticator.password": "a test's password",
            "Authenticator.allow_all": True,
            "JupyterHub.spawner_class": "simple",
            "SimpleLocalProcessSpawner.home_dir_template": str(directory / "home" / "{username}"),
            "Spawner.cmd": [sys.executable, "-m", "jupyterhub.singleuser"],
            "Spawner.args": ["--allow-root"] if os.geteuid() == 0 else [],
            "Spawner.default_url": "/lab",
            "JupyterHub.cleanup_servers": False,
            "TraefikProxy.traefik_api_url": f"http://127.0.0.1:{free_port()}",
            "TraefikProxy.grace_seconds": 1,
            "JupyterHub.services": [{"name": "admin", "api_token": TOKEN, "admin": True}],
        } | options
        self.config.write_text(
            "".join(f"c.{name} = {value!r}\n" for name, value in settings.items())
        )

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        """Run the Hub; end it as an admin's Ctrl-C would. User servers go on."""
        log = (self.directory / "jupyterhub.log").open("ab")
        process = subprocess.Popen(
            [sys.executable, "-m", "jupyterhub", "-f", str(self.config)],
            cwd=self.directory,
            stdout=log,
            stderr=log,
        )
        try:
            wait_until(lambda: self.is_up(process), "the Hub", 60)
            yield process
        finally:
            process.terminate()
            process.wait(30)
            log.close()

    def is_up(self, process: subprocess.Popen[bytes]) -> bool:
        assert process.poll() is None, self.log()
        with suppress(requests.ConnectionError):
            return requests.get(f"{self.url}/hub/health", timeout=5).status_code == 200
        return False

    def log(self) -> str:
        return (self.directory / "jupyterhub.log").read_text()

    def api(self, method: str, path: str) -> Any:
        """Ask the Hub's own API as an administrator."""
        answer = requests.request(
            method,
            f"{self.url}/hub/api/{path}",
            headers={"Authorization": f"token {TOKEN}"},
            timeout=30,
        )
        answer.raise_for_status()
        return answer.json() if answer.content else None
