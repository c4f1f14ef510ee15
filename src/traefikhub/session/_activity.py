"""The watch over what is used, and what a restart remembers of it."""

from __future__ import annotations

from functools import partial
from typing import Final

import anyio

from traefikhub.activity import from_records
from traefikhub.activity_watch import ActivityWatch, LocalTraefik
from traefikhub.session._parts import tls_of
from traefikhub.session._settings import SessionSettings
from traefikhub.stores import Snapshot
from traefikhub.traefik import Credentials
from traefikhub.traefik.metrics import scrape
from traefikhub.writer import RouteWriter

__all__ = ["save_activity", "watch_external", "watch_local"]

_SCRAPE_SECONDS: Final = 15.0
"""10,000 routes with traffic of all kinds take some seconds."""
_SAVE_SECONDS: Final = 5.0


async def watch_local(
    settings: SessionSettings,
    polling: Credentials,
    writer: RouteWriter,
    snapshot: Snapshot,
    blind: str,
    local: LocalTraefik,
) -> ActivityWatch:
    """The watch over what is used, with what the store remembers of it."""
    if blind:
        settings.log.warning(
            "It can't be known which routes are used, because %s: all count as active, and "
            "none is ever idle (c.TraefikProxy.last_activity)",
            blind,
        )
    watch = _watch(settings, [polling], None if blind else local)
    await watch.restore(_targets_of(writer), from_records(snapshot.records))
    writer.on_drift = watch.forget
    return watch


async def watch_external(
    settings: SessionSettings, credentials: list[Credentials], writer: RouteWriter
) -> ActivityWatch:
    """A watch that takes everything for used: of an external Traefik too little can be known."""
    settings.log.warning(
        "Of an external Traefik it can't be known which routes are used: all count as active, "
        "and none is ever idle (c.TraefikProxy.last_activity)"
    )
    watch = _watch(settings, credentials, None)
    await watch.restore(_targets_of(writer), None)
    return watch


async def save_activity(
    settings: SessionSettings, watch: ActivityWatch, writer: RouteWriter
) -> None:
    """For the next start; without it all routes are active then."""
    records = watch.to_save()
    if records is None:
        return
    try:
        with anyio.fail_after(_SAVE_SECONDS):
            await writer.save(records)
    except Exception as error:  # whatever it is, Traefik has ended, and the Hub must
        settings.log.warning("When routes were last used is not remembered: %s", error)


def _watch(
    settings: SessionSettings, credentials: list[Credentials], traefik: LocalTraefik | None
) -> ActivityWatch:
    """What tells when routes were last used.

    Args:
        traefik: None if too little can be known of it.
    """
    return ActivityWatch(
        traefik,
        partial(
            scrape,
            f"{settings.api_url.rstrip('/')}/metrics",
            settings.store.provider_name,
            credentials=credentials,
            timeout=_SCRAPE_SECONDS,
            tls=tls_of(settings),
        ),
        settings.log,
    )


def _targets_of(writer: RouteWriter) -> dict[str, str]:
    """The targets that the writer knows, by routespec."""
    return {routespec: route.target for routespec, route in writer.known.items()}
