"""What can be known to be wrong before anything is touched, and where Traefik is to be."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Final, NamedTuple

from traefikhub.internal_ssl import TransportTls
from traefikhub.session._certificate import Pair, read_pair
from traefikhub.session._internal_ssl import read_internal_ssl
from traefikhub.session._parts import API_SETTING, checked_extra
from traefikhub.session._settings import SessionSettings
from traefikhub.session._static import entry_point_addresses
from traefikhub.stores import Records
from traefikhub.threads import in_thread
from traefikhub.traefik import (
    TraefikUnusable,
    Version,
    find_traefik,
    require_supported,
    version_of,
)
from traefikhub.traefik.checks import (
    check_api_ca,
    check_api_url,
    check_apis,
    check_duration,
    check_entry_points,
    check_environment,
    check_hash,
    check_one_api,
    check_run_dir,
    check_trusted_proxies,
    require_both,
)
from traefikhub.traefik.https_checks import check_acme, check_acme_here, check_http_port
from traefikhub.traefik.ports import listen_address, require_apart, require_free

__all__ = [
    "EXTERNAL_OPTION_CHECKS",
    "OPTION_CHECKS",
    "Listener",
    "Plan",
    "Program",
    "find_program",
    "http_address_of",
    "listeners",
    "make_plan",
]

_USERS_SETTING: Final = "c.JupyterHub.bind_url"
_HTTP_SETTING: Final = "c.TraefikProxy.http_port"
_HTTP3_SETTING: Final = "c.TraefikProxy.http3"
_EXTRA: Final = "c.TraefikProxy.extra_static_config"
_ADDRESS: Final = re.compile(r".*:[1-9][0-9]*")

OPTION_CHECKS: Final[tuple[Callable[[SessionSettings], object], ...]] = (
    lambda settings: listen_address(settings.public_url, _USERS_SETTING),
    lambda settings: check_one_api(settings.api_urls),
    lambda settings: listen_address(settings.api_url, API_SETTING),
    lambda settings: check_api_url(settings.api_url),
    lambda settings: check_entry_points(settings.entry_point, settings.api_entry_point),
    lambda settings: check_duration(settings.throttle),
    lambda settings: check_environment(settings.traefik_env),
    lambda settings: check_trusted_proxies(settings.trusted_proxies),
    lambda settings: check_run_dir(settings.run_dir),
    lambda settings: check_hash(settings.api_hashed_password),
    lambda settings: check_no_other_address(settings),
    lambda settings: check_http_port(settings.https, settings.http_port),
    lambda settings: check_acme(
        settings.acme, http_port=settings.http_port, ssl_cert=settings.ssl_cert
    ),
)
"""What options alone tell. Each raises TraefikUnusable or ValueError, which name the option."""

EXTERNAL_OPTION_CHECKS: Final[tuple[Callable[[SessionSettings], object], ...]] = (
    lambda settings: check_apis(settings.api_urls),
    lambda settings: [listen_address(url, API_SETTING) for url in settings.api_urls],
    lambda settings: check_run_dir(settings.run_dir),
    lambda settings: check_hash(settings.api_hashed_password),
    lambda settings: require_both(settings.ssl_cert, settings.ssl_key),
    lambda settings: check_api_ca(settings.api_ca),
    lambda settings: check_acme_here(settings.acme),
)
"""As ``OPTION_CHECKS``, for a Traefik that others run."""


class Listener(NamedTuple):
    """Where Traefik is to listen.

    address: ``host:port``, the host empty for every interface.
    setting: the option that says so.
    protocol: ``tcp``, or ``udp`` for HTTP/3.
    """

    address: str
    setting: str
    protocol: str = "tcp"

    @property
    def port(self) -> int:
        """Its number."""
        return int(self.address.rpartition(":")[2])

    def require_free(self, but: Collection[int] = (), program: str = "") -> None:
        """Refuse a port that is taken. Blocks.

        Args:
            but: ports that needn't be free.
            program: the Traefik that is to listen there.

        Raises:
            TraefikUnusable: it is.
        """
        if self.port not in but:
            require_free(self.address, self.setting, program, self.protocol)


class Program(NamedTuple):
    """The Traefik that is going to be started."""

    path: str
    version: Version


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What was checked before anything was touched.

    listeners: for users, for the API, for those who come by http, and the admin's own.
    program: the path of Traefik.
    extra: the admin's own dynamic configuration.
    pair: the admin's certificate, if there is one.
    tls: for servers and the Hub, as PEM texts; None without ``c.JupyterHub.internal_ssl``.
    """

    listeners: tuple[Listener, ...]
    program: str
    version: Version
    extra: Records
    pair: Pair | None
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
    def http_address(self) -> str:
        """Where users are led to https; empty if they aren't."""
        return http_address_of(self.listeners)

    @property
    def ports(self) -> tuple[int, ...]:
        """Those of users and of the API first."""
        return tuple(listener.port for listener in self.listeners)

    def require_free(self, but: Collection[int] = ()) -> None:
        """Refuse ports that are taken. Blocks.

        Args:
            but: ports that needn't be free.

        Raises:
            TraefikUnusable: one is.
        """
        for listener in self.listeners:
            listener.require_free(but, self.program)


async def make_plan(settings: SessionSettings) -> Plan:
    """Check everything that can be checked before the start.

    Raises:
        TraefikError, ValueError: see there.
    """
    for check in OPTION_CHECKS:
        check(settings)
    await in_thread(require_both, settings.ssl_cert, settings.ssl_key)
    pair = None
    if settings.ssl_cert:
        pair = await in_thread(read_pair, settings.ssl_cert, settings.ssl_key)
    internal = settings.internal_ssl
    tls = await in_thread(read_internal_ssl, internal) if internal else None
    found = await in_thread(listeners, settings)
    extra = checked_extra(settings)
    program, version = await in_thread(find_program, settings)
    return Plan(listeners=found, program=program, version=version, extra=extra, pair=pair, tls=tls)


def listeners(settings: SessionSettings) -> tuple[Listener, ...]:
    """Where Traefik is to listen for users, for the API, for those who come by http, if they are
    led to https, and where else the admin says. May block on name resolution.

    Raises:
        TraefikUnusable: it can't be told, or one program can't listen on all.
    """
    users = Listener(listen_address(settings.public_url, _USERS_SETTING), _USERS_SETTING)
    api = Listener(listen_address(settings.api_url, API_SETTING), API_SETTING)
    found: tuple[Listener, ...] = (users, api)
    if settings.http_port:
        host = users.address.rpartition(":")[0]
        found += (Listener(f"{host}:{settings.http_port}", _HTTP_SETTING),)
    found += (*_of_the_admins(settings),)
    for one, other in combinations(found, 2):
        require_apart(one.address, one.setting, other.address, other.setting)
    if settings.https and settings.https.http3:
        found += (Listener(users.address, _HTTP3_SETTING, "udp"),)
    return found


def http_address_of(found: Iterable[Listener]) -> str:
    """Where users are led to https, ``host:port``; empty if they aren't."""
    return next((each.address for each in found if each.setting == _HTTP_SETTING), "")


def _of_the_admins(settings: SessionSettings) -> Iterator[Listener]:
    """Entry points of the admin's own, as far as they are for TCP."""
    ours = {settings.entry_point.lower(), settings.api_entry_point.lower()}
    for name, address in entry_point_addresses(settings.extra_static_config):
        if name.lower() not in ours:
            where, _, protocol = address.partition("/")
            if protocol.lower() != "udp" and _ADDRESS.fullmatch(where):
                yield Listener(where, f"{_EXTRA}, entryPoints.{name}")


def check_no_other_address(settings: SessionSettings) -> None:
    """Refuse an address for our own entry points in ``extra_static_config``: what the Hub and its
    users are told would be another.

    Raises:
        TraefikUnusable: there is one.
    """
    ours = {settings.entry_point.lower(): _USERS_SETTING}
    ours[settings.api_entry_point.lower()] = API_SETTING
    for name, address in entry_point_addresses(settings.extra_static_config):
        if setting := ours.get(name.lower()):
            raise TraefikUnusable(
                f"{_EXTRA} has {address!r} as the address of entry point {name}; set {setting} "
                "instead, so that the Hub knows of it"
            )


def find_program(settings: SessionSettings) -> Program:
    """The traefik program, of a version that will do. Blocks, for a few tens of milliseconds.

    Raises:
        TraefikUnusable: there is none.
    """
    path = find_traefik(settings.traefik_command)
    version = version_of(path)
    require_supported(version, path)
    return Program(path, version)
