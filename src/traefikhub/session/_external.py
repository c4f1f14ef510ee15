"""Connect to Traefiks that others run."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import NamedTuple

from traefikhub.base import READY_SERVICE, metrics_records, ready_records
from traefikhub.error_pages import HubPages, leads_to_pages
from traefikhub.session._activity import watch_external
from traefikhub.session._certificate_sources import FilesOfOthers
from traefikhub.session._internal_ssl import read_internal_ssl
from traefikhub.session._parts import (
    API_SETTING,
    POLLING_USER,
    ProxySession,
    checked_extra,
    load,
    make_writer,
    open_store,
    pages_for,
    replicas_of,
    run_writer,
    served_generation,
    watch_certificate,
    watch_replicas,
)
from traefikhub.session._plan import EXTERNAL_OPTION_CHECKS
from traefikhub.session._records import base_records, own_transport
from traefikhub.session._settings import SessionSettings
from traefikhub.stores import Records
from traefikhub.threads import in_thread
from traefikhub.traefik import Credentials, NotLive, Version, require_supported
from traefikhub.traefik.replicas import Replicas
from traefikhub.writer import RouteWriter

__all__ = ["connect_external"]


async def connect_external(settings: SessionSettings, stack: AsyncExitStack) -> ProxySession:
    """Connect to Traefiks that others run; return when those that can be reached serve what the
    store remembers."""
    for check in EXTERNAL_OPTION_CHECKS:
        check(settings)
    sets_up = settings.setup_dynamic_config
    extra = checked_extra(settings) if sets_up else {}
    internal = settings.internal_ssl
    # As texts: it may run on other machines, in several replicas.
    tls = await in_thread(read_internal_ssl, internal) if internal else None
    snapshot = await open_store(settings, stack)
    polling = Credentials(POLLING_USER, secrets.token_hex(32))
    credentials = [polling] if sets_up else []
    if settings.api_password:
        credentials.append(Credentials(settings.api_username, settings.api_password))
    replicas = replicas_of(settings, credentials, stack)
    explanation = _explanation(settings)

    async def begin(able: _Able, served: int = 0) -> RouteWriter:
        # Of use or not, the routes name it.
        base = own_transport(settings, tls)
        if sets_up:
            base = await base_records(
                settings,
                snapshot,
                polling,
                able.pages,
                tls,
                counts=able.counts,
                ready=able.ready,
            )
        writer = make_writer(
            settings,
            base=base,
            extra=extra,
            pages=able.pages,
            api=replicas,
            explain=lambda: explanation,
        )
        await writer.restore(snapshot, served=served)
        return writer

    # What they are able to is known only after the API's router was written; and one that isn't
    # would refuse the error pages, before 3.7, and all else with them. So at first such things are
    # left alone if they are there, by an earlier Hub, and not begun if they aren't.
    able = (
        _able_by(snapshot.records, settings) if sets_up else _Able(None, counts=False, ready=False)
    )
    writer = await begin(able)
    try:
        versions = await replicas.open(settings.check_route_timeout)
    except NotLive as error:
        raise NotLive(
            f"{error}. Is Traefik running there ({API_SETTING})? {explanation}"
        ) from error
    for name, version in versions.items():
        require_supported(version, name)
    possible = await _possible(settings, replicas, versions) if sets_up else able
    served = await served_generation(replicas)
    if possible != able or served > writer.generation:
        snapshot = await load(settings)
        writer = await begin(possible, served)
    await writer.wait_live()
    run_writer(settings, writer, stack)
    watch_replicas(settings, replicas, writer, possible.pages, stack)
    if settings.ssl_cert and sets_up:
        files = FilesOfOthers(settings.ssl_cert, settings.ssl_key)
        watch_certificate(files, settings, stack)
    watch = None
    if possible.counts:
        watch = await watch_external(settings, credentials, writer, replicas)
    found = ", ".join(f"{version} at {name}" for name, version in versions.items())
    return ProxySession(writer, watch, f"Traefik {found}, run by others")


class _Able(NamedTuple):
    """What the records may have that not every Traefik can do.

    pages: the Hub's error pages, if they can be shown.
    counts: whether requests are counted.
    ready: whether a load balancer can ask it.
    """

    pages: HubPages | None
    counts: bool
    ready: bool


def _able_by(records: Records, settings: SessionSettings) -> _Able:
    """What an earlier Hub found possible."""
    return _Able(
        settings.error_pages if leads_to_pages(records) else None,
        settings.last_activity and metrics_records("").keys() <= records.keys(),
        ready_records("").keys() <= records.keys(),
    )


async def _possible(
    settings: SessionSettings, replicas: Replicas, versions: Mapping[str, Version]
) -> _Able:
    """What all of them are able to. Tells what they aren't."""
    counts = settings.last_activity
    if counts:
        backends = await replicas.ask_each(lambda api: api.metrics_backend())
        lacking = sorted(name for name, backend in backends.items() if backend != "Prometheus")
        if lacking:
            settings.log.warning(
                "It can't be known which routes are used: Traefik at %s counts no requests. Give "
                "it metrics.prometheus, as `traefikhub static-config` prints it; or set "
                "c.TraefikProxy.last_activity = False",
                ", ".join(lacking),
            )
        counts = bool(backends) and not lacking
    services = await replicas.ask_each(lambda api: api.has_service(READY_SERVICE))
    ready = bool(services) and all(services.values())
    if not ready:
        settings.log.info(
            "Traefik has no /ping that tells a load balancer when it has the routes: for that it "
            "needs ping.manualRouting, as `traefikhub static-config` prints it"
        )
    return _Able(pages_for(settings, min(versions.values())), counts, ready)


def _explanation(settings: SessionSettings) -> str:
    providers = ", ".join(f"providers.{name}" for name in settings.store.provider_config())
    return (
        f"Does that Traefik read the store? Its static configuration needs {providers} as this "
        "Hub has it (c.TraefikProxy.store), and c.TraefikProxy.extra_dynamic_config must be to "
        "its liking. If it was of version 3.7 or later and no longer is, "
        "c.TraefikProxy.error_pages must be False for once. If the store was emptied, or restored "
        "from a backup, restart Traefik: it may wait for changes that are lost. Its log says more; "
        "if that holds 'Cannot start the provider', restart it now that the store exists."
    )
