"""A JupyterHub with Traefik's dashboard as its service, and how people log in there."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import psutil
import requests

from hubs import Hub
from support import free_port

__all__ = ["ADMIN", "DASHBOARD", "PASSWORD", "DashboardHub"]

DASHBOARD: Final = "/services/traefik/"
ADMIN: Final = "ada"
PASSWORD: Final = "a test's password"


class DashboardHub(Hub):
    """A Hub with the dashboard, by the one line that an admin writes."""

    def __init__(self, directory: Path, options: dict[str, Any] | None = None) -> None:
        self.port = free_port()
        super().__init__(
            directory,
            {
                "Authenticator.admin_users": {ADMIN},
                "TraefikProxy.run_dir": str(directory / "run"),
            }
            | (options or {}),
        )
        self.add(f"c, port={self.port}")

    def add(self, arguments: str) -> None:
        """A dashboard."""
        with self.config.open("a") as config:
            config.write(
                "from traefikhub.dashboard import dashboard_service\n"
                f"c.JupyterHub.services.append(dashboard_service({arguments}))\n"
            )

    def browser(self, name: str) -> requests.Session:
        """A session of somebody who has logged in at the Hub."""
        session = requests.Session()
        session.get(f"{self.url}/hub/login", timeout=30)
        xsrf = next(c.value for c in session.cookies if c.name == "_xsrf")
        answer = session.post(
            f"{self.url}/hub/login?next=/hub/home",
            data={"username": name, "password": PASSWORD, "_xsrf": xsrf},
            timeout=30,
        )
        assert answer.status_code == 200, answer.text
        return session

    def services(self) -> list[psutil.Process]:
        """The processes of its dashboards."""
        return [
            process
            for process in psutil.process_iter(["cmdline"])
            if "traefikhub.dashboard" in (process.info["cmdline"] or [])
            and str(self.directory) in " ".join(process.info["cmdline"])
        ]
