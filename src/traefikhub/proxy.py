"""TraefikProxy: JupyterHub's proxy contract, and the options that an admin sets."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, AsyncExitStack, nullcontext
from textwrap import indent
from typing import Any
from urllib.parse import urlsplit

import anyio
from jupyterhub.proxy import Proxy
from traitlets.config import Configurable

from traefikhub.activity import timestamp
from traefikhub.error_pages import HubPages
from traefikhub.internal_ssl import InternalSsl
from traefikhub.old_options import (
    misspelt_sections,
    old_option_warnings,
    unused_store_warnings,
)
from traefikhub.proxy_options import ProxyOptions
from traefikhub.rules import parse_routespec
from traefikhub.session import (
    ProxySession,
    SessionSettings,
    connect_external,
    is_loopback,
    start_traefik,
)
from traefikhub.stores import (
    RouteStore,
    check_document,
    installed_stores,
    paused_gc,
    resolve_store,
)
from traefikhub.table import Route
from traefikhub.targets import check_target, problem_of_target
from traefikhub.threads import in_thread
from traefikhub.writer import WriterClosed

__all__ = ["TraefikProxy"]


class TraefikProxy(ProxyOptions, Proxy):  # type: ignore[misc]
    """JupyterHub's proxy: routes kept in a store, served by Traefik.

    Set it up with::

        c.JupyterHub.proxy_class = "traefikhub"
        c.TraefikProxy.store = "toml-file"
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._session: ProxySession | None = None
        self._stack = AsyncExitStack()
        self._starting: anyio.CancelScope | None = None
        self._lifecycle: anyio.Lock | None = None
        self._told: set[str] = set()
        self.settle_address()

    @classmethod
    def class_get_help(cls, inst: Any = None) -> str:
        """For ``--help-all``: the options of the proxy, then those of every installed store."""
        text: str = super().class_get_help(inst)
        if cls is TraefikProxy:  # a subclass is listed beside it
            for part, is_note in _of_every_store(lambda store: store.class_get_help()):
                text += f"\n\n({part})" if is_note else f"\n\n{part}"
        return text

    @classmethod
    def class_config_section(cls, classes: Any = None) -> str:
        """For ``--generate-config``: as ``class_get_help``."""
        text: str = super().class_config_section(classes)
        if cls is TraefikProxy:
            for part, is_note in _of_every_store(lambda store: store.class_config_section([store])):
                text += "\n" + (indent(part, "# ", bool) + "\n" if is_note else part)
        return text

    # --- start and stop ----------------------------------------------------------------------

    async def start(self) -> None:
        """Start Traefik with the routes that the store remembers.

        Raises:
            TraefikError: Traefik is missing, too old, can't listen, exits, or refuses the
                configuration.
            StoreError: the store can't be found, read or written.
            ValueError: an option makes no sense.

        Whatever it raises, no process, lock or port is left behind. A Traefik that an earlier Hub
        left running goes on.
        """
        await self._bring_up(start_traefik)
        session = self._require_session()
        self.log.info("Traefik serves %s; %s", self.public_url, session.about)

    async def _bring_up(self, bring_up: Any) -> None:
        """Find a session in the way given; undo everything if that fails or is cancelled."""
        self._lifecycle = self._lifecycle or anyio.Lock()
        async with self._lifecycle:
            if self._session is not None:
                return
            with anyio.CancelScope() as self._starting:
                async with AsyncExitStack() as stack:
                    self.warn_of_options()
                    session = await bring_up(self.session_settings(), stack)
                    self._stack = stack.pop_all()
                    self._session = session
                return
            raise WriterClosed("the proxy was stopped while it started")

    async def stop(self) -> None:
        """Stop Traefik and let go of the store; routes stay in it. Idempotent."""
        if self._starting is not None:
            self._starting.cancel()
        if self._lifecycle is None:
            return
        with anyio.CancelScope(shield=True):
            async with self._lifecycle:
                self._session = None
                stack, self._stack = self._stack, AsyncExitStack()
                await stack.aclose()

    def warn_of_options(self) -> None:
        """Tell of options that have no effect, each once: an external Traefik that is down is
        connected to again and again."""
        store_class = resolve_store(self.store)
        for text in (
            *old_option_warnings(self.config, self.trait_names(config=True)),
            *unused_store_warnings(self.config, store_class, installed_stores()),
            *self.https_warnings(self.https),
            *(text for url in self.api_urls for text in _of_the_api(url)),
            *misspelt_sections(
                self.config, {"TraefikProxy", store_class.__name__}, _names_below(Configurable)
            ),
        ):
            if text not in self._told:
                self.log.warning("%s", text)
            self._told.add(text)

    def session_settings(self) -> SessionSettings:
        """What a session begins with, as the options have it. Starts nothing.

        Raises:
            StoreNotFound: the store is not installed, or broken.
            ValueError: an option makes no sense.
        """
        store_class = resolve_store(self.store)
        return SessionSettings(
            store=store_class(parent=self, log=self.log, run_dir=self.run_dir),
            log=self.log,
            public_url=self.public_url,
            https=self.https,
            http_port=self.http_port,
            ssl_cert=self.ssl_cert,
            ssl_key=self.ssl_key,
            internal_ssl=self._internal_ssl(),
            run_dir=self.run_dir,
            traefik_command=self.traefik_command,
            traefik_env=dict(self.traefik_env),
            log_level=self.traefik_log_level,
            access_log=self.access_log,
            entry_point=self.traefik_entrypoint,
            api_entry_point=self.traefik_api_entrypoint,
            api_urls=self.api_urls,
            api_validate_cert=self.traefik_api_validate_cert,
            api_ca=self.traefik_api_ca,
            api_username=self.traefik_api_username,
            api_password=self.traefik_api_password,
            api_hashed_password=self.traefik_api_hashed_password,
            static_config_file=self.static_config_file,
            extra_static_config=dict(self.extra_static_config),
            extra_dynamic_config=dict(self.extra_dynamic_config),
            setup_dynamic_config=self.should_start or self.enable_setup_dynamic_config,
            routing=self.routing,
            hub_prefix=getattr(self.hub, "base_url", "/hub/"),
            error_pages=self._hub_pages() if self.error_pages else None,
            throttle=self.traefik_providers_throttle_duration,
            sanitize_path=self.sanitize_path,
            trusted_proxies=tuple(self.trusted_proxies),
            grace_seconds=self.grace_seconds,
            drain_seconds=self.drain_seconds,
            check_route_timeout=self.check_route_timeout,
            replica_timeout=self.replica_timeout,
            store_check_interval=self.store_check_interval,
            starts_traefik=self.should_start,
            last_activity=self.last_activity,
            keep_running=not getattr(self.app, "cleanup_proxy", True),
        )

    def _hub_pages(self) -> HubPages | None:
        """Where the Hub's pages are; None if this proxy was made without a Hub, or with one that
        Traefik can't reach."""
        url, prefix = getattr(self.hub, "host", ""), getattr(self.hub, "base_url", "")
        if problem_of_target(url) or not (isinstance(prefix, str) and prefix.endswith("/hub/")):
            return None
        return HubPages(url, prefix)

    def _internal_ssl(self) -> InternalSsl | None:
        """The files of the Hub's internal TLS, also if a Hub has still to make them."""
        if not getattr(self.app, "internal_ssl", False):
            return None
        place = os.path.abspath(self.app.internal_certs_location)
        pair = self.app.internal_proxy_certs.get("proxy-client", {})
        bundles = self.app.internal_trust_bundles
        # The second is JupyterHub's for the proxy's API, for the sake of its services' authority.
        trusting = ("proxy-client-ca", "proxy-api-ca")
        return InternalSsl(
            pair.get("certfile", os.path.join(place, "proxy-client", "proxy-client.crt")),
            pair.get("keyfile", os.path.join(place, "proxy-client", "proxy-client.key")),
            tuple(bundles.get(x, os.path.join(place, f"{x}_trust.crt")) for x in trusting),
        )

    def _require_session(self) -> ProxySession:
        if self._session is None:
            raise WriterClosed("the proxy is not running; was its start() called, and succeed?")
        return self._session

    async def _ready(self) -> ProxySession:
        """The session; JupyterHub never calls ``start`` for an external Traefik, so the first
        use connects to it."""
        if self._session is None and not self.should_start:
            await self._bring_up(connect_external)
        return self._require_session()

    # --- routes ------------------------------------------------------------------------------

    async def add_route(self, routespec: str, target: str, data: dict[str, Any]) -> None:
        """Route ``routespec`` to ``target``; return when requests go there.

        Args:
            routespec: ``[host]/path/``, percent-encoded.
            target: ``http[s]://host[:port][/path]``.
            data: JSON-able; handed back by ``get_route``. Copied.

        Raises:
            ValueError: an argument is malformed, or the routespec another spelling of one that
                is routed.
            StoreError: the store refused or failed; the route is as it was.
            NotLive: the store has the route, but Traefik doesn't serve it yet.
        """
        session = await self._ready()
        routespec = self.validate_routespec(routespec)
        parse_routespec(routespec)
        check_target(routespec, target)
        route = Route(routespec, target, _copy_of_data(routespec, data))
        with _watching(session, routespec, target):
            await session.writer.change(routespec, route)
        self.log.debug("Route %s goes to %s", routespec, target)

    async def delete_route(self, routespec: str) -> None:
        """Delete a route, if there is one; return when requests no longer go there.

        Raises:
            as ``add_route``.
        """
        session = await self._ready()
        routespec = self.validate_routespec(routespec)
        with _watching(session, routespec, None):
            await session.writer.change(routespec, None)
        self.log.debug("Route %s is deleted", routespec)

    async def get_all_routes(self) -> dict[str, dict[str, Any]]:
        """All routes in the store, by routespec, each ``{"routespec", "target", "data"}``.

        With ``c.TraefikProxy.last_activity``, data has ``last_activity``, a time in ISO 8601.

        Raises:
            StoreUnavailable: the store can't be read.
        """
        session = await self._ready()
        routes = await session.writer.routes()
        times: Mapping[str, float] = {}
        if session.activity:
            targets = {spec: route.target for spec, route in routes.items()}
            times = await session.activity.times(targets)
        # The copies of ten thousand routes would hold the event loop for tens of milliseconds.
        with paused_gc():
            return await in_thread(
                lambda: {
                    spec: _description(route, times.get(spec)) for spec, route in routes.items()
                }
            )

    async def get_route(self, routespec: str) -> dict[str, Any] | None:
        """One route as in ``get_all_routes``, or None. Without ``last_activity``, which JupyterHub
        reads from there."""
        session = await self._ready()
        routespec = self.validate_routespec(routespec)
        route = (await session.writer.routes()).get(routespec)
        return _description(route) if route else None

    async def check_routes(
        self,
        user_dict: Mapping[Any, Any],
        service_dict: Mapping[Any, Any],
        routes: dict[str, dict[str, Any]] | None = None,
    ) -> None:
        """Make the stored records agree with the routes, and the routes with the Hub.

        ``routes`` is not looked at: what the store had lost, or what somebody else put there, when
        they were asked for, may be otherwise now.
        """
        await (await self._ready()).writer.check()
        await super().check_routes(user_dict, service_dict, await self.get_all_routes())


def _of_the_api(url: str) -> Iterator[str]:
    parts = urlsplit(url)
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        yield (
            f"c.TraefikProxy.traefik_api_url = {url!r} is asked over plain http, on the network: "
            "whoever is between sees the password. Set it to loopback, or to https with "
            "c.TraefikProxy.traefik_api_ca"
        )


def _names_below(cls: type) -> set[str]:
    return {cls.__name__}.union(*map(_names_below, cls.__subclasses__()))


def _of_every_store(text_of: Callable[[type[RouteStore]], str]) -> Iterator[tuple[str, bool]]:
    """A text about each installed store; if a store is broken, why, and True."""
    for store in installed_stores():
        try:
            yield text_of(resolve_store(store.name)), False
        except Exception as error:  # a broken store must not cost the help of all else
            yield f"The options of store {store} can't be shown: {error}", True


def _copy_of_data(routespec: str, data: object) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise ValueError(f"the data of route {routespec!r} is {type(data).__name__}, not a dict")
    try:
        check_document(data)
    except ValueError as error:
        raise ValueError(f"the data of route {routespec!r} is no JSON: {error}") from error
    copied: dict[str, Any] = json.loads(json.dumps(data))
    return copied


def _watching(
    session: ProxySession, routespec: str, target: str | None
) -> AbstractContextManager[None]:
    return session.activity.change(routespec, target) if session.activity else nullcontext()


def _description(route: Route, used: float | None = None) -> dict[str, Any]:
    data = _copy(route.data)
    if used is not None:
        data["last_activity"] = timestamp(used)
    return {"routespec": route.routespec, "target": route.target, "data": data}


def _copy(value: Any) -> Any:
    """JSON, so that the caller may change it. ``deepcopy`` takes ten times as long."""
    if isinstance(value, dict):
        return {name: _copy(item) for name, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list) else value
