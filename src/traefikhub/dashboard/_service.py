"""The service as ``c.JupyterHub.services`` takes it."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from traitlets.config import Config

__all__ = ["dashboard_service"]

_POLLING_USER: Final = "traefikhub"
"""The proxy's own user of Traefik's API."""
_NAME: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_PASSWORD_FILE: Final = "api-password"
"""Where a proxy that starts Traefik keeps that user's password, in its ``run_dir``."""


def dashboard_service(
    config: Config,
    *,
    name: str = "traefik",
    port: int = 8098,
    username: str = "",
    password_file: str = "",
) -> dict[str, Any]:
    """The service at ``/services/NAME/``, for a list in ``c.JupyterHub.services``.

    Args:
        config: the ``c`` of ``jupyterhub_config.py``, which says where Traefik's API is. Call this
            below the options of ``c.TraefikProxy``: what is set later, or on the command line, is
            not seen.
        name: of the service.
        port: on which it listens, on this machine only.
        username: of Traefik's API; the proxy's own if empty.
        password_file: holds the password of ``username``. Needed for a Traefik that others run;
            else it is in ``run_dir``.

    Raises:
        ValueError: name or port can't be one; or Traefik is run by others, and who may ask it
            isn't given.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"dashboard_service: name={name!r} can't be a part of a path; use letters of "
            "ASCII, digits, and - . _ between them"
        )
    if not isinstance(port, int) or not 0 < port < 65536:
        raise ValueError(f"dashboard_service: port={port!r} is no port; use one of 1 to 65535")
    # As for traitlets, an option of the base class counts where that of the class isn't set.
    proxy = {**config.get("Proxy", {}), **config.get("TraefikProxy", {})}
    if bool(username) != bool(password_file):
        raise ValueError(
            "dashboard_service: username and password_file go together: a user of Traefik's API, "
            "and a file with the password"
        )
    if not password_file:
        if not proxy.get("should_start", True):
            raise ValueError(
                "dashboard_service: with c.TraefikProxy.should_start = False, give username=… and "
                "password_file=…, the user whom Traefik's API asks for and a file with the "
                "password, which only the Hub's user can read"
            )
        run_dir = Path(proxy.get("run_dir", "jupyterhub-traefik")).expanduser().absolute()
        username, password_file = _POLLING_USER, str(run_dir / _PASSWORD_FILE)
    configured = proxy.get("traefik_api_url", "http://127.0.0.1:8099")
    # All serve the same; the dashboard shows the first.
    api_url = configured if isinstance(configured, str) else str([*configured, ""][0])
    if "@" in urlsplit(api_url).netloc:  # it would be seen in the list of processes
        raise ValueError(
            "dashboard_service: c.TraefikProxy.traefik_api_url holds a password; set "
            "c.TraefikProxy.traefik_api_username and traefik_api_password instead"
        )
    options = {
        "--api-url": api_url,
        "--username": username,
        "--password-file": str(Path(password_file).expanduser().absolute()),
    }
    if authority := proxy.get("traefik_api_ca", ""):
        options["--api-ca"] = str(Path(authority).expanduser().absolute())
    command = [sys.executable, "-m", "traefikhub.dashboard"]
    command += [word for pair in options.items() for word in pair]
    if not proxy.get("traefik_api_validate_cert", True):
        command.append("--insecure")
    return {
        "name": name,
        # With c.JupyterHub.internal_ssl as well: JupyterHub (6.1) can't find out whether a managed
        # service that speaks TLS is up, and ends.
        "url": f"http://127.0.0.1:{port}",
        "command": command,
        # It is a part of the Hub: nobody needs to be asked whether it may know the user's name.
        "oauth_no_confirm": True,
    }
