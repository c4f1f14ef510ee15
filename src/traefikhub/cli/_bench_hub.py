"""The hub that is measured: a whole proxy, configured as the admin's, in a scratch place."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
import socket
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import anyio
import requests
from urllib3.exceptions import InsecureRequestWarning

from traefikhub.cli._scratch import Place
from traefikhub.proxy import TraefikProxy
from traefikhub.session import SessionSettings
from traefikhub.stores import in_thread

__all__ = ["BenchHub", "running_hub", "throttle_of", "what_differs"]

_DOMAIN: Final = "bench.invalid"
"""Of routes with a host: a name that no one can have."""

_ROUTES_A_SECOND: Final = 50
"""That any Traefik reads: a large table may need longer for a reload than an admin lets a change
take."""


@dataclass(frozen=True, slots=True)
class BenchHub:
    """A proxy that runs, and where its routes lead.

    base: the path in front of all routes, ``/`` as a rule.
    target: a server that answers with ``token``.
    """

    proxy: TraefikProxy
    run_dir: Path
    base: str
    target: str
    token: str

    async def add(self, number: int) -> None:
        """The route of a user; returns when it is live."""
        await self.proxy.add_route(self._spec(number), self.target, {"user": _name(number)})

    async def delete(self, number: int) -> None:
        """As ``add``."""
        await self.proxy.delete_route(self._spec(number))

    async def serves(self, number: int) -> bool:
        """Whether a request for the user reaches the server."""
        host, slash, path = self._spec(number).partition("/")
        return await in_thread(_asks, self.proxy.public_url + slash + path, host, self.token)

    def _spec(self, number: int) -> str:
        name = _name(number)
        host = f"{name}.{_DOMAIN}" if self.proxy.host_routing else ""
        return f"{host}{self.base}user/{name}/"


def _name(number: int) -> str:
    """Names have no more in common than those of people."""
    return hashlib.blake2b(str(number).encode(), digest_size=5).hexdigest()


def _asks(url: str, host: str, token: str) -> bool:
    with requests.Session() as session:
        session.trust_env = False  # no proxy is on the way to our own machine
        session.verify = False  # of a certificate for another name
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", InsecureRequestWarning)
            try:
                answer = session.get(url, headers={"Host": host} if host else {}, timeout=10)
            except requests.RequestException:
                return False
    return answer.text == token


def what_differs(settings: SessionSettings) -> list[str]:
    """What is not measured as the admin has it."""
    notes = []
    if not settings.starts_traefik:
        notes.append(
            "c.TraefikProxy.should_start is False: measured with a Traefik of its own, on this "
            "machine. The one that others run may be slower or faster, or of another version."
        )
    if settings.extra_static_config:
        notes.append(
            "c.TraefikProxy.extra_static_config is left out, but for providersThrottleDuration: "
            "its ports, certificates and logs are the Hub's."
        )
    return notes


def _settings_here(
    settings: SessionSettings, place: Place, run_dir: Path, ports: tuple[int, int], largest: int
) -> SessionSettings:
    """The admin's, with all that would meet the running Hub put elsewhere."""
    scheme = "https" if settings.https else "http"
    return replace(
        settings,
        store=place.store,
        log=_silent(),
        public_url=f"{scheme}://127.0.0.1:{ports[0]}",
        api_urls=(f"http://127.0.0.1:{ports[1]}",),
        run_dir=str(run_dir),
        static_config_file="",
        access_log="",
        extra_static_config={},
        throttle=throttle_of(settings),
        setup_dynamic_config=True,
        starts_traefik=True,
        keep_running=False,
        grace_seconds=0,
        drain_seconds=0,
        check_route_timeout=max(settings.check_route_timeout, largest / _ROUTES_A_SECOND),
    )


def throttle_of(settings: SessionSettings) -> str:
    """How long Traefik waits between changes, as the admin has it in either place."""
    match settings.extra_static_config:
        case {"providers": {"providersThrottleDuration": str() | int() | float() as found}}:
            return str(found)
    return settings.throttle


def _silent() -> logging.Logger:
    log = logging.getLogger("traefikhub.bench")
    log.handlers, log.propagate = [logging.NullHandler()], False
    return log


class _Proxy(TraefikProxy):
    """One that is told what to begin with."""

    given: SessionSettings

    def session_settings(self) -> SessionSettings:
        return self.given


@asynccontextmanager
async def running_hub(
    settings: SessionSettings, place: Place, run_dir: Path, *, largest: int, host_routing: bool
) -> AsyncIterator[BenchHub]:
    """Start it; at the end all that was started is stopped.

    Args:
        settings: the admin's.
        run_dir: empty, and nobody else's.
        largest: how many routes there will be.

    Raises:
        TraefikError, StoreError, ValueError: as ``TraefikProxy.start``.
    """
    here = _settings_here(settings, place, run_dir, _free_ports(), largest)
    token = secrets.token_hex(8)
    server = await asyncio.start_server(_answering(token), "127.0.0.1", 0)
    try:
        target = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        proxy = _Proxy(
            log=here.log,
            public_url=here.public_url,
            host_routing=host_routing,
        )
        proxy.given = here
        base = here.hub_prefix.removesuffix("hub/")
        try:
            await proxy.start()
            await proxy.add_route("/" if host_routing else base, target, {"hub": True})
            yield BenchHub(proxy, run_dir, base, target, token)
        finally:
            with anyio.CancelScope(shield=True):
                await proxy.stop()
    finally:
        server.close()


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


def _answering(token: str) -> Any:
    """Answers every request with the token."""
    answer = (
        f"HTTP/1.1 200 OK\r\nContent-Length: {len(token)}\r\nConnection: close\r\n\r\n{token}"
    ).encode()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()

    return serve
