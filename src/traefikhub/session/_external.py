"""Connect to a Traefik that others run."""

from __future__ import annotations

import secrets
from contextlib import AsyncExitStack

from traefikhub.error_pages import HubPages, leads_to_pages
from traefikhub.session._activity import watch_external
from traefikhub.session._certificate_sources import FilesOfOthers
from traefikhub.session._internal_ssl import read_internal_ssl
from traefikhub.session._parts import (
    API_SETTING,
    POLLING_USER,
    ProxySession,
    api_client,
    checked_extra,
    load,
    make_writer,
    open_store,
    pages_for,
    run_writer,
    served_generation,
    watch_certificate,
)
from traefikhub.session._plan import EXTERNAL_OPTION_CHECKS
from traefikhub.session._records import base_records, own_transport
from traefikhub.session._settings import SessionSettings
from traefikhub.threads import in_thread
from traefikhub.traefik import Credentials, NotLive, require_supported
from traefikhub.writer import RouteWriter

__all__ = ["connect_external"]


async def connect_external(settings: SessionSettings, stack: AsyncExitStack) -> ProxySession:
    """Connect to a Traefik that others run; return when it serves what the store remembers."""
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
    api = api_client(settings, credentials, stack)
    explanation = _explanation(settings)

    async def begin(pages: HubPages | None, served: int = 0) -> RouteWriter:
        # Of use or not, the routes name it.
        base = own_transport(settings, tls)
        if sets_up:
            base = await base_records(settings, snapshot, polling, pages, tls)
        writer = make_writer(
            settings, base=base, extra=extra, pages=pages, api=api, explain=lambda: explanation
        )
        await writer.restore(snapshot, served=served)
        return writer

    # Its version is known only after its API's router was written; before 3.7, it would refuse the
    # error pages and all else with them. So at first they are left alone if they are there, by an
    # earlier Hub, and not begun if they aren't.
    pages = settings.error_pages if sets_up and leads_to_pages(snapshot.records) else None
    writer = await begin(pages)
    try:
        version = await api.version(timeout=settings.check_route_timeout)
    except NotLive as error:
        raise NotLive(
            f"{error}. Is Traefik running there ({API_SETTING})? {explanation}"
        ) from error
    require_supported(version, settings.api_url)
    possible = pages_for(settings, version) if sets_up else pages
    served = await served_generation(settings, api)
    if possible != pages or served > writer.generation:
        snapshot = await load(settings)
        writer = await begin(possible, served)
    await writer.wait_live()
    run_writer(settings, writer, stack)
    if settings.ssl_cert and sets_up:
        files = FilesOfOthers(settings.ssl_cert, settings.ssl_key)
        watch_certificate(files, settings, stack)
    watch = None
    if settings.last_activity:
        watch = await watch_external(settings, credentials, writer)
    return ProxySession(writer, watch, f"Traefik {version} at {settings.api_url}, run by others")


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
