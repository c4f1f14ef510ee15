"""The parts of a session that it has whoever runs Traefik, made from the options."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol
from urllib.parse import urlsplit

from traefikhub.activity_watch import ActivityWatch
from traefikhub.base import extra_records, without_rule
from traefikhub.error_pages import ERROR_PAGES_SINCE, HubPages, root_routers
from traefikhub.internal_ssl import TRANSPORT_KEY
from traefikhub.metrics import metrics_of_hub
from traefikhub.rules import parse_routespec
from traefikhub.self_check import SelfCheck
from traefikhub.session._certificate_sources import Source
from traefikhub.session._certificate_watch import CertificateWatch
from traefikhub.session._settings import SessionSettings
from traefikhub.stores import GENERATION_HEADER, GENERATION_MARKER, Records, Snapshot, StoreCorrupt
from traefikhub.table import INHERITED, Route, Table
from traefikhub.threads import in_thread
from traefikhub.traefik import (
    Credentials,
    Endpoint,
    Marker,
    NotLive,
    TraefikApi,
    TraefikError,
    TraefikUnusable,
    Version,
    require_supported,
)
from traefikhub.traefik.replica_watch import ReplicaWatch
from traefikhub.traefik.replicas import Replicas
from traefikhub.traefik.users_entry_point import UsersEntryPoint
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
    "marker_of",
    "open_store",
    "pages_for",
    "replicas_of",
    "run_writer",
    "served_generation",
    "tls_of",
    "watch_certificate",
    "watch_replicas",
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


class Waits(Protocol):
    """One Traefik, or several as one."""

    async def wait_for_generation(
        self,
        generation: int,
        *,
        timeout: float,
        stored: threading.Event | None = None,
        newest: Callable[[], int] | None = None,
    ) -> None:
        """See ``TraefikApi``."""

    async def served_generation(self) -> int:
        """See ``TraefikApi``."""


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
    settings: SessionSettings,
    endpoint: Endpoint,
    credentials: list[Credentials],
    stack: AsyncExitStack,
    users: UsersEntryPoint | None = None,
) -> TraefikApi:
    """A client of the API of one Traefik, until the stack is closed."""
    api = TraefikApi(endpoint, credentials, marker_of(settings), tls=tls_of(settings), users=users)
    stack.callback(api.close)
    return api


def replicas_of(
    settings: SessionSettings, credentials: list[Credentials], stack: AsyncExitStack
) -> Replicas:
    """All Traefiks that others run, until the stack is closed."""
    tls = tls_of(settings)
    replicas = Replicas(
        settings.api_urls,
        lambda endpoint: TraefikApi(endpoint, credentials, marker_of(settings), tls=tls),
        patience=min(settings.replica_timeout, settings.check_route_timeout),
        log=settings.log,
    )
    stack.callback(replicas.close)
    metrics_of_hub().show_replicas(replicas.standing)
    return replicas


def tls_of(settings: SessionSettings) -> ssl.SSLContext | None:
    """How to verify an https API; None for plain http."""
    if all(urlsplit(url).scheme != "https" for url in settings.api_urls):
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
    api: Waits,
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


async def served_generation(api: Waits) -> int:
    """The generation that Traefik serves now; 0 if it isn't known."""
    try:
        return await api.served_generation()
    except TraefikError:
        return 0


def marker_of(settings: SessionSettings) -> Marker:
    """What shows the generation in the API of a Traefik that reads this store."""
    return Marker(f"{GENERATION_MARKER.name}@{settings.store.provider_name}", GENERATION_HEADER)


def run_writer(settings: SessionSettings, writer: RouteWriter, stack: AsyncExitStack) -> None:
    """Let it take changes, and look after the store, until the stack is closed."""
    writer.run()
    stack.push_async_callback(writer.aclose)
    if settings.store_check_interval:
        check = SelfCheck(writer, settings.log, settings.store_check_interval)
        check.run()
        stack.push_async_callback(check.aclose)


def watch_replicas(
    settings: SessionSettings,
    replicas: Replicas,
    writer: RouteWriter,
    pages: HubPages | None,
    stack: AsyncExitStack,
) -> None:
    """Look after Traefiks that others run, until the stack is closed.

    Args:
        pages: the error pages that they are to show.
    """

    def accept(version: Version, name: str) -> None:
        require_supported(version, name)
        if pages and version < ERROR_PAGES_SINCE:
            raise TraefikUnusable(
                f"{name} is Traefik {version}, which refuses all routes because of the Hub's error "
                f"pages. Upgrade it to {'.'.join(map(str, ERROR_PAGES_SINCE))} or later, or set "
                "c.TraefikProxy.error_pages = False"
            )

    watch = ReplicaWatch(replicas, lambda: writer.generation, accept, settings.log)
    watch.run()
    stack.push_async_callback(watch.aclose)


def watch_certificate(source: Source, settings: SessionSettings, stack: AsyncExitStack) -> None:
    """Look after the certificate that users see, until the stack is closed."""
    watch = CertificateWatch(source, settings.log)
    watch.run()
    stack.push_async_callback(watch.aclose)
