"""What can be known to be wrong before anything is touched, and where Traefik is to be."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final, NamedTuple

from traefikhub.internal_ssl import TransportTls
from traefikhub.session._internal_ssl import read_internal_ssl
from traefikhub.session._parts import API_SETTING, checked_extra
from traefikhub.session._settings import SessionSettings
from traefikhub.stores import Records
from traefikhub.threads import in_thread
from traefikhub.traefik import Version, find_traefik, require_supported, version_of
from traefikhub.traefik.checks import (
    check_api_url,
    check_certificate,
    check_duration,
    check_entry_points,
    check_environment,
    check_hash,
    check_run_dir,
    check_trusted_proxies,
    require_both,
)
from traefikhub.traefik.ports import listen_address, require_apart, require_free

__all__ = [
    "EXTERNAL_OPTION_CHECKS",
    "OPTION_CHECKS",
    "Listener",
    "Plan",
    "Program",
    "find_program",
    "listeners",
    "make_plan",
]

_USERS_SETTING: Final = "c.JupyterHub.bind_url"

OPTION_CHECKS: Final[tuple[Callable[[SessionSettings], object], ...]] = (
    lambda settings: listen_address(settings.public_url, _USERS_SETTING),
    lambda settings: listen_address(settings.api_url, API_SETTING),
    lambda settings: check_api_url(settings.api_url),
    lambda settings: check_entry_points(settings.entry_point, settings.api_entry_point),
    lambda settings: check_duration(settings.throttle),
    lambda settings: check_environment(settings.traefik_env),
    lambda settings: check_trusted_proxies(settings.trusted_proxies),
    lambda settings: check_run_dir(settings.run_dir),
    lambda settings: check_hash(settings.api_hashed_password),
)
"""What options alone tell. Each raises TraefikUnusable or ValueError, which name the option."""

EXTERNAL_OPTION_CHECKS: Final[tuple[Callable[[SessionSettings], object], ...]] = (
    lambda settings: listen_address(settings.api_url, API_SETTING),
    lambda settings: check_run_dir(settings.run_dir),
    lambda settings: check_hash(settings.api_hashed_password),
    lambda settings: require_both(settings.ssl_cert, settings.ssl_key),
)
"""As ``OPTION_CHECKS``, for a Traefik that others run."""


class Listener(NamedTuple):
    """Where Traefik is to listen.

    address: ``host:port``, the host empty for every interface.
    setting: the option that says so.
    """

    address: str
    setting: str

    @property
    def port(self) -> int:
        """Its number."""
        return int(self.address.rpartition(":")[2])

    def require_free(self, but: Collection[int] = ()) -> None:
        """Refuse a port that is taken. Blocks.

        Args:
            but: ports that needn't be free.

        Raises:
            TraefikUnusable: it is.
        """
        if self.port not in but:
            require_free(self.address, self.setting)


class Program(NamedTuple):
    """The Traefik that is going to be started."""

    path: str
    version: Version


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What was checked before anything was touched.

    listeners: for users, and for the API.
    program: the path of Traefik.
    extra: the admin's own dynamic configuration.
    tls: for servers and the Hub, as PEM texts; None without ``c.JupyterHub.internal_ssl``.
    """

    listeners: tuple[Listener, Listener]
    program: str
    version: Version
    extra: Records
    tls: TransportTls | None

    @property
    def address(self) -> str:
        """Where users ask."""
        return self.listeners[0].address

    @property
    def api_address(self) -> str:
        """Where the API listens."""
        return self.listeners[1].address

    @property
    def ports(self) -> tuple[int, int]:
        """Those of users and of the API."""
        return self.listeners[0].port, self.listeners[1].port

    def require_free(self, but: Collection[int] = ()) -> None:
        """Refuse ports that are taken. Blocks.

        Args:
            but: ports that needn't be free.

        Raises:
            TraefikUnusable: one is.
        """
        for listener in self.listeners:
            listener.require_free(but)


async def make_plan(settings: SessionSettings) -> Plan:
    """Check everything that can be checked before the start.

    Raises:
        TraefikError, ValueError: see there.
    """
    for check in OPTION_CHECKS:
        check(settings)
    await in_thread(check_certificate, settings.ssl_cert, settings.ssl_key)
    internal = settings.internal_ssl
    tls = await in_thread(read_internal_ssl, internal) if internal else None
    users, api = await in_thread(listeners, settings)
    extra = checked_extra(settings)
    program, version = await in_thread(find_program, settings)
    return Plan(listeners=(users, api), program=program, version=version, extra=extra, tls=tls)


def listeners(settings: SessionSettings) -> tuple[Listener, Listener]:
    """Where Traefik is to listen for users, and for the API. May block on name resolution.

    Raises:
        TraefikUnusable: it can't be told, or one program can't listen on both.
    """
    users = Listener(listen_address(settings.public_url, _USERS_SETTING), _USERS_SETTING)
    api = Listener(listen_address(settings.api_url, API_SETTING), API_SETTING)
    require_apart(users.address, users.setting, api.address, api.setting)
    return users, api


def find_program(settings: SessionSettings) -> Program:
    """The traefik program, of a version that will do. Blocks, for a few tens of milliseconds.

    Raises:
        TraefikUnusable: there is none.
    """
    path = find_traefik(settings.traefik_command)
    version = version_of(path)
    require_supported(version, path)
    return Program(path, version)
