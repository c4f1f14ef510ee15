"""The process of the service, from start to end."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import anyio
import click
from jupyterhub.services.auth import HubOAuth
from tornado.httpserver import HTTPServer
from tornado.log import app_log, enable_pretty_logging

from traefikhub.dashboard._app import make_app
from traefikhub.dashboard._traefik import Traefik

__all__ = ["main"]

_REMEMBERED_SECONDS: Final = 10
"""How long somebody who is no administrator any longer may still look."""
_LOOK_SECONDS: Final = 1.0
_PORT_TRIES: Final = 6

_LIMITS: Final = {
    "max_body_size": 4096,  # bytes
    "max_buffer_size": 1 << 20,  # bytes, of each connection; headers may be 64 KiB
    "body_timeout": 10.0,  # seconds
    "idle_connection_timeout": 120.0,  # seconds; Traefik keeps a connection for 90
}
"""What a request may take, before it is known who asks. Nobody has to send anything here."""


@click.command()
@click.option("--api-url", required=True, help="Where Traefik's API listens.")
@click.option("--username", required=True, help="The user of Traefik's API.")
@click.option(
    "--password-file", required=True, type=click.Path(path_type=Path), help="Holds the password."
)
@click.option("--api-ca", default="", help="The certificates by which an https API is verified.")
@click.option("--insecure", is_flag=True, help="Don't verify the certificate of an https API.")
def main(api_url: str, username: str, password_file: Path, api_ca: str, insecure: bool) -> None:
    """Traefik's dashboard for the administrators of a JupyterHub, which starts this as a service:
    see traefikhub.dashboard.dashboard_service."""
    missing = [
        name
        for name in ("JUPYTERHUB_API_TOKEN", "JUPYTERHUB_SERVICE_PREFIX", "JUPYTERHUB_SERVICE_URL")
        if not os.environ.get(name)
    ]
    if missing:
        raise click.ClickException(
            f"{', '.join(missing)} isn't set. JupyterHub starts this, with the line "
            "c.JupyterHub.services = [dashboard_service(c)] in its configuration."
        )
    traefik = Traefik(
        url=api_url,
        username=username,
        password_file=password_file,
        authority=api_ca,
        verifies=not insecure,
    )
    enable_pretty_logging()
    asyncio.run(_serve(traefik))


async def _serve(traefik: Traefik) -> None:
    """Serve until told to stop, or until the Hub is gone."""
    hub = os.getppid()
    end = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, end.set)
    HubOAuth.instance(cache_max_age=_REMEMBERED_SECONDS)
    app = make_app(os.environ["JUPYTERHUB_SERVICE_PREFIX"], traefik)
    server = HTTPServer(app, xheaders=True, **_LIMITS)
    await _listen(server, os.environ["JUPYTERHUB_SERVICE_URL"])
    # A Hub that was killed ends no service, and the next one's would find the port taken.
    while os.getppid() == hub and not end.is_set():
        with anyio.move_on_after(_LOOK_SECONDS):
            await end.wait()
    server.stop()


async def _listen(server: HTTPServer, url: str) -> None:
    """Listen. The service of an earlier Hub may need a moment to go."""
    parts = urlsplit(url)
    for left in reversed(range(_PORT_TRIES)):
        try:
            server.listen(parts.port or 80, parts.hostname or "127.0.0.1")
            return
        except OSError as error:
            if not left:
                app_log.critical(
                    "traefikhub.dashboard can't listen at %s: %s. Choose another port: "
                    "dashboard_service(c, port=…). Until then the Hub sends administrators' "
                    "browsers to whatever listens there, as %s: if other users of this machine "
                    "can have started that, find out what it is.",
                    url,
                    error.strerror,
                    os.environ["JUPYTERHUB_SERVICE_PREFIX"],
                )
                raise SystemExit(1) from None
        await asyncio.sleep(_LOOK_SECONDS)
