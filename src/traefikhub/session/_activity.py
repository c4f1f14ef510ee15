"""The watch over what is used, and what a restart remembers of it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from typing import Final

import anyio

from traefikhub.activity import from_records
from traefikhub.activity_watch import ActivityWatch, LocalTraefik
from traefikhub.session._parts import tls_of
from traefikhub.session._settings import SessionSettings
from traefikhub.stores import Snapshot
from traefikhub.threads import in_thread
from traefikhub.traefik import Credentials, Endpoint
from traefikhub.traefik.metrics import MetricsUnavailable, Scrape, scrape
from traefikhub.traefik.replicas import Replicas
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
    watch = ActivityWatch(
        None if blind else local,
        None if blind else partial(_scrape_all, settings, [polling], (Endpoint(settings.api_url),)),
        settings.log,
    )
    await watch.restore(_targets_of(writer), from_records(snapshot.records))
    writer.on_drift = watch.forget
    return watch


async def watch_external(
    settings: SessionSettings,
    credentials: list[Credentials],
    writer: RouteWriter,
    replicas: Replicas,
) -> ActivityWatch:
    """The watch over what Traefiks count that others run, whose connections can't be seen."""

    async def scrape_all() -> Sequence[Scrape | None]:
        # What one has counted that is gone, is gone: then all routes are active once. Through one
        # that is silent users may go on to come: as long as that is so, all are active.
        there = [each for each in replicas.members if not each.gone]
        reached = [each.endpoint for each in there if each.reached]
        silent: list[Scrape | None] = [None] * (len(there) - len(reached))
        return [*await _scrape_all(settings, credentials, reached), *silent]

    watch = ActivityWatch(None, scrape_all, settings.log)
    await watch.restore(_targets_of(writer), None)
    writer.on_drift = watch.forget
    return watch


async def _scrape_all(
    settings: SessionSettings, credentials: list[Credentials], endpoints: Collection[Endpoint]
) -> Sequence[Scrape | None]:
    """What each has counted; None for one that couldn't be asked, which is told."""
    found: dict[Endpoint, Scrape | None] = dict.fromkeys(endpoints)

    async def ask(endpoint: Endpoint) -> None:
        try:
            found[endpoint] = await scrape(
                f"{endpoint.url.rstrip('/')}/metrics",
                settings.store.provider_name,
                credentials=credentials,
                timeout=_SCRAPE_SECONDS,
                tls=tls,
                address=endpoint.address,
            )
        except MetricsUnavailable as error:
            settings.log.warning("All routes count as active: %s", error)

    # In a thread: to read the system's authorities takes 20 ms, which the event loop can't spare.
    tls = await in_thread(tls_of, settings)
    async with anyio.create_task_group() as group:
        for endpoint in found:
            group.start_soon(ask, endpoint)
    return [*found.values()]


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


def _targets_of(writer: RouteWriter) -> dict[str, str]:
    """The targets that the writer knows, by routespec."""
    return {routespec: route.target for routespec, route in writer.known.items()}
