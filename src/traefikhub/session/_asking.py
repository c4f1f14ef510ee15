"""Ask a Traefik that runs: which version it is, and whether it serves what the store holds."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack

from traefikhub.session._parts import POLLING_USER, api_client
from traefikhub.session._settings import SessionSettings
from traefikhub.traefik import Credentials, Endpoint, Version
from traefikhub.traefik.rundir import RunDir

__all__ = ["ask_version", "own_credentials", "wait_served"]


def own_credentials(settings: SessionSettings) -> list[Credentials]:
    """Those with which a Hub on this machine asks its own Traefik; none if it never started, or
    this user may not read them. Blocks."""
    try:
        password = (RunDir(settings.run_dir).path / "api-password").read_text().strip()
    except (OSError, UnicodeError):
        return []
    return [Credentials(POLLING_USER, password)]


async def ask_version(
    settings: SessionSettings,
    endpoint: Endpoint,
    credentials: Sequence[Credentials],
    *,
    timeout: float,
) -> Version:
    """The version of the Traefik whose API is there.

    Raises:
        NotLive: it didn't tell in ``timeout`` seconds.
        ApiRejected: no credentials are accepted.
        TraefikUnusable: it is no release.
    """
    async with AsyncExitStack() as stack:
        api = api_client(settings, endpoint, list(credentials), stack)
        return await api.version(timeout=timeout)


async def wait_served(
    settings: SessionSettings,
    endpoint: Endpoint,
    credentials: Sequence[Credentials],
    generation: int,
    *,
    timeout: float,
) -> None:
    """Return when that Traefik serves what the store held at this generation, or a later one.

    Raises:
        NotLive: it didn't in ``timeout`` seconds.
        ApiRejected: no credentials are accepted.
    """
    async with AsyncExitStack() as stack:
        api = api_client(settings, endpoint, list(credentials), stack)
        await api.wait_for_generation(generation, timeout=timeout)
