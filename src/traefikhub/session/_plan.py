"""What can be known to be wrong before anything is touched, and where Traefik is to be."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

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
)
from traefikhub.traefik.ports import listen_address, require_apart, require_free

__all__ = ["Plan", "make_plan"]

_USERS_SETTING: Final = "c.JupyterHub.bind_url"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What was checked before anything was touched.

    address, api_address: where Traefik is to listen, ``host:port``.
    program: the path of Traefik.
    extra: the admin's own dynamic configuration.
    """

    address: str
    api_address: str
    program: str
    version: Version
    extra: Records

    @property
    def ports(self) -> tuple[int, int]:
        """Those of users and of the API."""
        return _port(self.address), _port(self.api_address)

    def require_free(self, but: Collection[int] = ()) -> None:
        """Refuse ports that are taken. Blocks.

        Args:
            but: ports that needn't be free.

        Raises:
            TraefikUnusable: one is.
        """
        for address, setting in (
            (self.address, _USERS_SETTING),
            (self.api_address, API_SETTING),
        ):
            if _port(address) not in but:
                require_free(address, setting)


async def make_plan(settings: SessionSettings) -> Plan:
    """Check everything that can be checked before the start.

    Raises:
        TraefikError, ValueError: see there.
    """
    address = listen_address(settings.public_url, _USERS_SETTING)
    api_address = listen_address(settings.api_url, API_SETTING)
    check_api_url(settings.api_url)
    check_entry_points(settings.entry_point, settings.api_entry_point)
    check_duration(settings.throttle)
    check_environment(settings.traefik_env)
    check_trusted_proxies(settings.trusted_proxies)
    check_run_dir(settings.run_dir)
    check_hash(settings.api_hashed_password)
    await in_thread(check_certificate, settings.ssl_cert, settings.ssl_key)
    await in_thread(require_apart, address, _USERS_SETTING, api_address, API_SETTING)
    extra = checked_extra(settings)
    program = await in_thread(find_traefik, settings.traefik_command)
    version = await in_thread(version_of, program)
    require_supported(version, program)
    return Plan(
        address=address, api_address=api_address, program=program, version=version, extra=extra
    )


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])
