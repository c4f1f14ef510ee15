"""The options of TraefikProxy, but for those about https."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from traitlets import (
    Bool,
    CaselessStrEnum,
    Dict,
    Float,
    Integer,
    List,
    Type,
    Unicode,
    Union,
    default,
)

from traefikhub.https_options import HttpsOptions
from traefikhub.stores import RouteStore
from traefikhub.traefik.https import HttpsSettings

__all__ = ["ProxyOptions"]


class _Urls(Union):
    """One or several; on the command line as well, where lists are given as JSON."""

    def from_string_list(self, texts: list[str]) -> str | list[str]:
        """What the arguments for one option say."""
        if len(texts) == 1 and texts[0].startswith("["):
            return [str(each) for each in json.loads(texts[0])]
        return texts[0] if len(texts) == 1 else texts


class ProxyOptions(HttpsOptions):
    """Part of TraefikProxy, as whose options they are set."""

    if TYPE_CHECKING:  # of JupyterHub's Proxy
        hub: Any
        public_url: str
        ssl_cert: str

    store = Union(
        [Unicode(), Type(RouteStore)],
        default_value="toml-file",
        help="""Where routes are kept: the name of an installed store (``toml-file``, …), a
        RouteStore class, or its dotted path. Options of the store are set on its own class.""",
    ).tag(config=True)

    run_dir = Unicode(
        "jupyterhub-traefik",
        help="""The directory for what the proxy keeps on this machine: static configuration,
        API password, Traefik's log, and the routes file. Made if absent, private to the Hub's
        user, relative to where the Hub starts.""",
    ).tag(config=True)

    traefik_command = Unicode(
        "",
        help="""The traefik program. By default looked for on PATH, then beside the running
        Python, where ``pip install "traefikhub[traefik]"`` puts it.""",
    ).tag(config=True)

    traefik_env = Dict(
        key_trait=Unicode(),
        value_trait=Unicode(),
        help="""Environment variables for Traefik, e.g. for its certificate resolvers. Of the
        Hub's own environment only harmless ones are passed on (PATH, HOME, TZ, …); not
        HTTP_PROXY and HTTPS_PROXY, through which Traefik would send all traffic of users.""",
    ).tag(config=True)

    traefik_log_level = CaselessStrEnum(
        ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL", "PANIC"],
        default_value="WARN",
        help="How much Traefik writes into its log: from this level up.",
    ).tag(config=True)

    access_log = Unicode(
        "",
        help="""A file for Traefik's access log, one line of JSON for each request, e.g.
        ``access.log``; relative to ``run_dir``. By default there is none. Query strings and
        headers, which hold tokens, are left out; before Traefik 3.6.19 and 3.7.3, paths are, too.
        Traefik reopens the file on SIGUSR1. Without effect if ``should_start`` is False.""",
    ).tag(config=True)

    traefik_entrypoint = Unicode(
        help="""The name of Traefik's entry point for users. If Traefik is run by others, the name
        that they gave it. The default is worked out: ``https`` with a certificate
        (``c.JupyterHub.ssl_cert``) or an https ``c.JupyterHub.bind_url``, else ``http``.""",
    ).tag(config=True)

    @default("traefik_entrypoint")
    def _default_entrypoint(self) -> str:
        return "https" if self.https else "http"

    traefik_api_entrypoint = Unicode(
        "auth_api", help="The name of Traefik's entry point for its API and dashboard."
    ).tag(config=True)

    traefik_api_url = _Urls(
        [Unicode(), List(Unicode())],
        default_value="http://127.0.0.1:8099",
        help="""Where Traefik's API listens, or shall listen. If several Traefiks are run by others
        (``should_start = False``), a list of theirs; a name that has several addresses stands for
        as many Traefiks, and is looked up again and again.""",
    ).tag(config=True)

    replica_timeout = Float(
        5.0,
        min=0,
        help="""Seconds that a Traefik may be later with a change than another one. Then changes
        no longer wait for it, until it has caught up. For Traefiks that others run.""",
    ).tag(config=True)

    traefik_api_validate_cert = Bool(
        True, help="Verify the certificate of an https ``traefik_api_url``."
    ).tag(config=True)

    traefik_api_ca = Unicode(
        "",
        help="""A file with the certificates by which that of an https ``traefik_api_url`` is
        believed; the system's if empty.""",
    ).tag(config=True)

    traefik_api_username = Unicode(
        "jupyterhub",
        help="The user of Traefik's API and dashboard that goes with ``traefik_api_password``.",
    ).tag(config=True)

    traefik_api_password = Unicode(
        "",
        help="""A password for the admin's own visits to Traefik's API and dashboard.

        Without it, user ``traefikhub`` with the random password in ``run_dir/api-password``
        enters; the proxy itself uses that one always. With an external Traefik whose API router
        is configured elsewhere, the password that it asks for.""",
    ).tag(config=True)

    traefik_api_hashed_password = Unicode(
        "",
        help="""Instead of ``traefik_api_password``, its hash as Traefik's basic authentication
        takes it (bcrypt, MD5 or SHA-1), so that no clear password stands in the configuration.""",
    ).tag(config=True)

    static_config_file = Unicode(
        "",
        help="Where to write Traefik's static configuration; ``run_dir/traefik.toml`` by default.",
    ).tag(config=True)

    extra_static_config = Dict(
        help="""Merged last into Traefik's static configuration, in the form of its own files.
        Without effect if ``should_start`` is False.""",
    ).tag(config=True)

    extra_dynamic_config = Dict(
        help="""Merged last into Traefik's dynamic configuration, in the form of its own files,
        e.g. ``{"http": {"middlewares": {"slim": {"compress": {}}}}}``. Tried at start: if Traefik
        refuses it, the start fails with Traefik's own words.""",
    ).tag(config=True)

    enable_setup_dynamic_config = Bool(
        True,
        help="""With an external Traefik (``should_start = False``), whether to write the API's
        router, a default certificate and ``extra_dynamic_config`` into the store. Set to False
        if all that is configured elsewhere.""",
    ).tag(config=True)

    routing = CaselessStrEnum(
        ["tree", "flat"],
        default_value="tree",
        help="""How Traefik's routers are arranged. ``tree``: routes that share a prefix stand below
        a router for that prefix, so that a request costs about the same at ten thousand users as
        at ten. ``flat``: all on one level, for comparison and diagnosis. Requests land alike.""",
    ).tag(config=True)

    traefik_providers_throttle_duration = Unicode(
        "0s",
        help="""How long Traefik waits before it applies the next change, e.g. ``200ms``. Changes
        come grouped already, so that more than 0 only delays logins.""",
    ).tag(config=True)

    error_pages = Bool(
        True,
        help="""Show the Hub's own page, with status 503, to a browser whose user's server can't
        be reached, as configurable-http-proxy does. If False, Traefik answers with a line of text.
        Needs Traefik 3.7 or later. A server's own answers pass as they are, but for 502 and 504
        to a browser that opens a page.""",
    ).tag(config=True)

    last_activity = Bool(
        help="""Tell JupyterHub when each route was last used, as configurable-http-proxy does, so
        that servers which don't report that themselves can be culled when they are idle. Traefik
        then counts requests, for which it needs some more time and memory. By default on if there
        is a Hub. Of Traefiks that others run, only what they count is known: an open websocket
        is use when it is closed.""",
    ).tag(config=True)

    @default("last_activity")
    def _default_last_activity(self) -> bool:
        return self.hub is not None

    sanitize_path = Bool(
        False,
        help="""Let Traefik resolve dot segments and double slashes in request paths before
        routing. By default paths arrive as they were sent, as with configurable-http-proxy:
        URLs inside paths need their double slashes.""",
    ).tag(config=True)

    trusted_proxies = List(
        Unicode(),
        help="""The load balancers in front of Traefik, as addresses or networks
        (``["10.0.0.0/8"]``). From them X-Forwarded-For, -Proto, -Host and so on are believed and
        passed on; from everybody else they are replaced by what Traefik sees itself. Needed if
        something before Traefik ends TLS: JupyterHub learns from X-Forwarded-Proto that the
        browser used https.""",
    ).tag(config=True)

    grace_seconds = Integer(
        3,
        min=0,
        help="""Seconds that open connections may go on when the Hub stops Traefik. One open
        notebook makes every stop last that long.""",
    ).tag(config=True)

    drain_seconds = Integer(
        60,
        min=0,
        help="""Seconds that open connections may go on when a Hub finds a Traefik of an earlier
        one, and replaces it because its configuration or program changed. New requests go to
        the new one meanwhile. At least ``grace_seconds``.""",
    ).tag(config=True)

    check_route_timeout = Float(
        30.0, help="Seconds to wait until Traefik serves a changed route."
    ).tag(config=True)

    store_check_interval = Float(
        2.0,
        min=0,
        help="""Seconds between two looks at whether the store still holds what was written.
        What somebody else changed is put right then. A look costs a millisecond; where it takes
        longer, it is taken more rarely. 0: only when JupyterHub checks its routes, every five
        minutes.""",
    ).tag(config=True)

    @property
    def api_urls(self) -> tuple[str, ...]:
        """``traefik_api_url``, one or several."""
        urls = self.traefik_api_url
        return (urls,) if isinstance(urls, str) else tuple(urls)

    @property
    def https(self) -> HttpsSettings | None:
        """How users come by https; None if they don't."""
        return self.https_settings(certificate=bool(self.ssl_cert), url=self.public_url)
