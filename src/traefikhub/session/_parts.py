"""The parts of a session that it has whoever runs Traefik, made from the options."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import Final
from urllib.parse import urlsplit

from traefikhub.activity_watch import ActivityWatch
from traefikhub.base import extra_records, without_rule
from traefikhub.error_pages import ERROR_PAGES_SINCE, HubPages, root_routers
from traefikhub.internal_ssl import TRANSPORT_KEY
from traefikhub.rules import parse_routespec
from traefikhub.self_check import SelfCheck
from traefikhub.session._certificate_sources import Source
from traefikhub.session._certificate_watch import CertificateWatch
from traefikhub.session._settings import SessionSettings
from traefikhub.stores import GENERATION_HEADER, GENERATION_MARKER, Records, Snapshot, StoreCorrupt
from traefikhub.table import INHERITED, Route, Table
from traefikhub.threads import in_thread
from traefikhub.traefik import Credentials, NotLive, TraefikApi, Version
from traefikhub.tree import RouteTree
from traefikhub.writer import RouteWriter

__all__ = [
    "API_SETTING",
    "POLLING_USER",
    "ProxySession",
    "api_client",
    "checked_extra",
    "load",
    "make_table",
    "make_writer",
    "open_store",
    "pages_for",
    "run_writer",
    "served_generation",
    "tls_of",
    "watch_certificate",
]

API_SETTING: Final = "c.TraefikProxy.traefik_api_url"
POLLING_USER: Final = "traefikhub"
"""The user as which the proxy itself asks Traefik's API."""


@dataclass(frozen=True, slots=True)
class ProxySession:
    """A proxy that is up.

    activity: None if nobody wants to know.
    about: for the log: which Traefik it is, and where its dashboard is.
    """

    writer: RouteWriter
    activity: ActivityWatch | None
    about: str


async def open_store(settings: SessionSettings, stack: AsyncExitStack) -> Snapshot:
    """Open the store, until the stack is closed, and read it.

    Raises:
        StoreError: it can't be.
    """
    # The order matters: close() undoes an open() that was cancelled half-way.
    stack.push_async_callback(settings.store.close)
    await settings.store.open()
    return await load(settings)


async def load(settings: SessionSettings) -> Snapshot:
    """What the store holds. Single records that are damaged don't keep the others from users.

    Raises:
        StoreError: it can't be read.
    """
    try:
        return await settings.store.load()
    except StoreCorrupt as error:
        if error.readable is None:
            raise
        settings.log.error("Will put right what is damaged in the store: %s", error)
        return error.readable


def api_client(
    settings: SessionSettings, credentials: list[Credentials], stack: AsyncExitStack
) -> TraefikApi:
    """A client of Traefik's API, until the stack is closed."""
    api = TraefikApi(settings.api_url, credentials, tls=tls_of(settings))
    stack.callback(api.close)
    return api


def tls_of(settings: SessionSettings) -> ssl.SSLContext | None:
    """How to verify an https API; None for plain http."""
    if urlsplit(settings.api_url).scheme != "https":
        return None
    tls = ssl.create_default_context(cafile=settings.api_ca or None)
    if not settings.api_validate_cert:
        tls.check_hostname = False
        tls.verify_mode = ssl.CERT_NONE
    return tls


def checked_extra(settings: SessionSettings) -> Records:
    """``extra_dynamic_config`` as records. What will have no effect is told.

    Raises:
        ValueError: it hasn't the form of Traefik's files.
    """
    extra = extra_records(settings.extra_dynamic_config)
    for key, document in without_rule(extra).items():
        for name in sorted(INHERITED & document.keys()):
            settings.log.warning(
                "c.TraefikProxy.extra_dynamic_config: %s.%s.%s has no effect on the router of a "
                "route. Set it for the entry point, in c.TraefikProxy.extra_static_config, or for "
                "a router of your own, with a rule.",
                key.section.replace("/", "."),
                key.name,
                name,
            )
    return extra


def pages_for(settings: SessionSettings, version: Version) -> HubPages | None:
    """The Hub's error pages, if they are wanted and this Traefik can show them. Tells if not."""
    if settings.error_pages and version < ERROR_PAGES_SINCE:
        settings.log.warning(
            "Traefik %s can't show the Hub's error pages; users see its own, a line of text. "
            "Version %s and later can.",
            version,
            ".".join(map(str, ERROR_PAGES_SINCE)),
        )
        return None
    return settings.error_pages


def make_writer(
    settings: SessionSettings,
    *,
    base: Records,
    extra: Records,
    pages: HubPages | None,
    api: TraefikApi,
    explain: Callable[[], str],
    answered: Callable[[], None] = lambda: None,
) -> RouteWriter:
    """The writer of routes, which knows none yet.

    Args:
        explain: what to add if Traefik doesn't serve a batch in time; called in a thread.
        answered: called when it does.
    """

    async def wait_live(generation: int, stored: threading.Event) -> None:
        try:
            await api.wait_for_generation(
                generation,
                marker=_marker(settings),
                header=GENERATION_HEADER,
                timeout=settings.check_route_timeout,
                stored=stored,
                newest=lambda: writer.generation,
            )
        except NotLive as error:
            raise NotLive(f"{error}. {await in_thread(explain)}") from error
        answered()

    table_of = partial(make_table, settings, base, extra, pages)
    writer = RouteWriter(settings.store, table_of, wait_live, settings.log)
    return writer


def make_table(
    settings: SessionSettings,
    base: Records,
    extra: Records,
    pages: HubPages | None,
    routes: Iterable[Route],
) -> Table:
    """The table of these routes, arranged as the options have it."""
    hub_key = parse_routespec(settings.hub_prefix).key
    return Table(
        entry_point=settings.entry_point,
        transport=TRANSPORT_KEY.name if settings.internal_ssl else "",
        roots=root_routers(settings.entry_point, pages) if pages else None,
        base=base,
        extra=extra,
        tree=RouteTree(hub_key) if settings.routing == "tree" else None,
        routes=routes,
    )


async def served_generation(settings: SessionSettings, api: TraefikApi) -> int:
    """The generation that Traefik serves now; 0 if it isn't known."""
    return await api.served_generation(marker=_marker(settings), header=GENERATION_HEADER)


def _marker(settings: SessionSettings) -> str:
    return f"{GENERATION_MARKER.name}@{settings.store.provider_name}"


def run_writer(settings: SessionSettings, writer: RouteWriter, stack: AsyncExitStack) -> None:
    """Let it take changes, and look after the store, until the stack is closed."""
    writer.run()
    stack.push_async_callback(writer.aclose)
    if settings.store_check_interval:
        check = SelfCheck(writer, settings.log, settings.store_check_interval)
        check.run()
        stack.push_async_callback(check.aclose)


def watch_certificate(source: Source, settings: SessionSettings, stack: AsyncExitStack) -> None:
    """Look after the certificate that users see, until the stack is closed."""
    watch = CertificateWatch(source, settings.log)
    watch.run()
    stack.push_async_callback(watch.aclose)
