"""Bring the parts up in the right order, and down again: store, routes, Traefik, writer."""

from __future__ import annotations

import atexit
import logging
import os
import secrets
import ssl
import threading
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import anyio
import tomli_w

from traefikhub.activity import from_records
from traefikhub.activity_watch import ActivityWatch, LocalTraefik
from traefikhub.base import (
    extra_records,
)
from traefikhub.error_pages import ERROR_PAGES_SINCE, HubPages, root_routers
from traefikhub.metrics import metrics_of_hub
from traefikhub.rules import parse_routespec
from traefikhub.session_records import base_records
from traefikhub.session_settings import SessionSettings
from traefikhub.stores import (
    GENERATION_HEADER,
    GENERATION_MARKER,
    Document,
    Records,
    Snapshot,
)
from traefikhub.table import Route, Table, merge
from traefikhub.threads import in_thread
from traefikhub.traefik import (
    Credentials,
    NotLive,
    StaticSettings,
    TraefikApi,
    TraefikError,
    TraefikProcess,
    TraefikUnusable,
    Version,
    end_leftover,
    find_traefik,
    require_supported,
    static_config,
    version_of,
)
from traefikhub.traefik.checks import (
    check_api_url,
    check_certificate,
    check_duration,
    check_entry_points,
    check_environment,
    check_hash,
    check_run_dir,
    check_trusted_proxies,
    require_both,
)
from traefikhub.traefik.metrics import scrape
from traefikhub.traefik.ports import listen_address, require_apart, require_free
from traefikhub.traefik.process import last_words
from traefikhub.traefik.rundir import RunDir, write_private
from traefikhub.traefik.supervisor import Supervisor
from traefikhub.tree import RouteTree
from traefikhub.writer import RouteWriter

__all__ = ["ProxySession", "connect_external", "start_traefik"]

_POLLING_USER: Final = "traefikhub"
_USERS_SETTING: Final = "c.JupyterHub.bind_url"
_API_SETTING: Final = "c.TraefikProxy.traefik_api_url"

_PASSED_ON: Final = {
    *("PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
    *("GODEBUG", "GOGC", "GOMAXPROCS", "GOMEMLIMIT"),
}
"""Of the Hub's environment, which may hold its secrets, Traefik gets these alone."""


_HTTP_PROXIES: Final = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")
"""With one of these, Traefik's connections don't lead to the targets."""

_SAVE_SECONDS: Final = 5.0
_SCRAPE_SECONDS: Final = 15.0
"""10,000 routes with traffic of all kinds take some seconds."""


@dataclass(frozen=True, slots=True)
class ProxySession:
    """A proxy that is up.

    activity: None if nobody wants to know.
    about: for the log: which Traefik it is, and where its dashboard is.
    """

    writer: RouteWriter
    activity: ActivityWatch | None
    about: str


async def start_traefik(settings: SessionSettings, stack: AsyncExitStack) -> ProxySession:
    """Start Traefik with what the store remembers; return when it serves that.

    What must be undone is put on ``stack`` as it comes up. Everything that can be checked
    beforehand is, so that a mistake never disturbs a Hub that is running already.
    """
    address = listen_address(settings.public_url, _USERS_SETTING)
    api_address = listen_address(settings.api_url, _API_SETTING)
    check_api_url(settings.api_url)
    check_entry_points(settings.entry_point, settings.api_entry_point)
    check_duration(settings.throttle)
    check_environment(settings.traefik_env)
    check_trusted_proxies(settings.trusted_proxies)
    check_run_dir(settings.run_dir)
    check_hash(settings.api_hashed_password)
    await in_thread(check_certificate, settings.ssl_cert, settings.ssl_key)
    await in_thread(require_apart, address, _USERS_SETTING, api_address, _API_SETTING)
    extra = extra_records(settings.extra_dynamic_config)
    program = await in_thread(find_traefik, settings.traefik_command)
    version = await in_thread(version_of, program)
    require_supported(version, program)
    run_dir = RunDir(settings.run_dir)
    stack.callback(run_dir.unlock)
    await in_thread(run_dir.acquire)
    ended = await in_thread(lambda: end_leftover(run_dir.path, grace=settings.grace_seconds))
    if ended:
        settings.log.warning("Ended Traefik %d, left running by a Hub that was killed", ended)
    await in_thread(require_free, address, _USERS_SETTING)
    await in_thread(require_free, api_address, _API_SETTING)

    snapshot = await _open_store(settings, stack)
    password = await in_thread(run_dir.secret, "api-password")
    polling = Credentials(_POLLING_USER, password)
    pages = _error_pages(settings, version)
    base = await base_records(settings, snapshot, polling, pages)
    config = static_config(
        StaticSettings(
            address=address,
            entry_point=settings.entry_point,
            https=settings.https,
            api_address=api_address,
            api_entry_point=settings.api_entry_point,
            providers=settings.store.provider_config(),
            log_level=settings.log_level,
            access_log=str(run_dir.path / settings.access_log) if settings.access_log else "",
            sanitize_path=settings.sanitize_path,
            trusted_proxies=settings.trusted_proxies,
            grace_seconds=settings.grace_seconds,
            throttle=settings.throttle,
            counts_requests=settings.counts_requests,
        ),
        version,
    )
    match config.get("metrics"), settings.extra_static_config.get("metrics"):
        case {"prometheus": dict(ours)}, {"prometheus": {"entryPoint": _}}:
            ours["manualRouting"] = False  # else they would be nowhere but at ours
    merged = merge(config, settings.extra_static_config)
    text = _to_toml(merged)
    config_file = run_dir.path / "traefik.toml"
    if settings.static_config_file:
        config_file = Path.cwd() / settings.static_config_file
        await in_thread(write_private, config_file, text, "c.TraefikProxy.static_config_file")
    else:
        await in_thread(write_private, config_file, text)

    writer = _writer(
        settings,
        base,
        extra,
        pages,
        _api_client(settings, [polling], stack),
        lambda: (
            "If its log complains of something that c.TraefikProxy.extra_dynamic_config added, "
            f"mend that.{last_words(run_dir.path)}"
        ),
    )
    await writer.restore(snapshot)
    env = {name: os.environ[name] for name in _PASSED_ON & os.environ.keys()}
    env |= settings.traefik_env
    watch = None
    if settings.last_activity:
        blind = _why_blind(merged, settings.entry_point, env)
        if blind:
            settings.log.warning(
                "It can't be known which routes are used, because %s: all count as active, and "
                "none is ever idle (c.TraefikProxy.last_activity)",
                blind,
            )
        local = LocalTraefik(lambda: supervisor.process.pid, int(api_address.rpartition(":")[2]))
        watch = _activity_watch(settings, [polling], None if blind else local)
        await watch.restore(_targets(writer), from_records(snapshot.records))
        writer.on_drift = watch.forget
        if not settings.keep_running:
            stack.push_async_callback(_save_activity, watch, writer, settings.log)

    def restarted(started: bool) -> None:
        metrics_of_hub().restart(started)
        if watch:
            watch.forget()

    supervisor = Supervisor(
        lambda: TraefikProcess.start(
            program,
            config_file,
            run_dir=run_dir.path,
            env=env,
            grace=settings.grace_seconds,
        ),
        settings.log,
        restarted,
    )
    stack.push_async_callback(supervisor.aclose)
    if watch:
        watch.run()
        stack.push_async_callback(watch.aclose)
    if not settings.keep_running:
        # JupyterHub skips stop() when its own start fails later on.
        atexit.register(supervisor.terminate)
        stack.callback(atexit.unregister, supervisor.terminate)
    await _first_live(writer, supervisor.process)
    supervisor.watch()
    writer.run()
    stack.push_async_callback(writer.aclose)
    return ProxySession(
        writer,
        watch,
        f"Traefik {version}, process {supervisor.process.pid}, dashboard at "
        f"{settings.api_url}/dashboard/ (user {_POLLING_USER}, password in "
        f"{run_dir.path / 'api-password'})",
    )


async def connect_external(settings: SessionSettings, stack: AsyncExitStack) -> ProxySession:
    """Connect to a Traefik that others run; return when it serves what the store remembers."""
    listen_address(settings.api_url, _API_SETTING)
    check_run_dir(settings.run_dir)
    check_hash(settings.api_hashed_password)
    require_both(settings.ssl_cert, settings.ssl_key)
    extra = extra_records(settings.extra_dynamic_config)
    snapshot = await _open_store(settings, stack)
    credentials = []
    if settings.api_password:
        credentials.append(Credentials(settings.api_username, settings.api_password))
    base: Records = {}
    pages = None
    if settings.setup_dynamic_config:
        polling = Credentials(_POLLING_USER, secrets.token_hex(32))
        credentials.insert(0, polling)
        pages = settings.error_pages
        base = await base_records(settings, snapshot, polling, pages)
    else:
        extra = {}
    api = _api_client(settings, credentials, stack)
    providers = ", ".join(f"providers.{name}" for name in settings.store.provider_config())

    def explain() -> str:
        return (
            f"Does that Traefik read the store? Its static configuration needs {providers} as "
            "this Hub has it (c.TraefikProxy.store), and c.TraefikProxy.extra_dynamic_config must "
            "be to its liking; before version 3.7, c.TraefikProxy.error_pages must be False. Its "
            "log says more; if that holds 'Cannot start the provider', "
            "restart it now that the store exists."
        )

    writer = _writer(settings, base, extra, pages, api, explain)
    await writer.restore(snapshot)
    try:
        version = await api.version(timeout=settings.check_route_timeout)
    except NotLive as error:
        raise NotLive(f"{error}. Is Traefik running there ({_API_SETTING})? {explain()}") from error
    require_supported(version, settings.api_url)
    await writer.wait_live()
    writer.run()
    stack.push_async_callback(writer.aclose)
    watch = None
    if settings.last_activity:
        settings.log.warning(
            "Of an external Traefik it can't be known which routes are used: all count as active, "
            "and none is ever idle (c.TraefikProxy.last_activity)"
        )
        watch = _activity_watch(settings, credentials, None)
        await watch.restore(_targets(writer), None)
    return ProxySession(writer, watch, f"Traefik {version} at {settings.api_url}, run by others")


def _activity_watch(
    settings: SessionSettings, credentials: list[Credentials], traefik: LocalTraefik | None
) -> ActivityWatch:
    return ActivityWatch(
        traefik,
        partial(
            scrape,
            f"{settings.api_url.rstrip('/')}/metrics",
            settings.store.provider_name,
            credentials=credentials,
            timeout=_SCRAPE_SECONDS,
            tls=_tls(settings),
        ),
        settings.log,
    )


def _why_blind(config: Document, entry_point: str, env: Mapping[str, str]) -> str:
    """Why Traefik's counters and connections don't tell what is used; empty if they do.

    Args:
        config: static, with the admin's part.
    """
    for name in _HTTP_PROXIES:
        if env.get(name):
            return f"Traefik has {name} in its environment"
    match config:
        case {"metrics": {"prometheus": {"addServicesLabels": True}}}:
            pass
        case _:
            return "metrics.prometheus.addServicesLabels is not True in extra_static_config"
    match config:
        case {"entryPoints": {**points}}:
            match points.get(entry_point):
                case {"observability": {"metrics": False}}:
                    return f"entryPoints.{entry_point}.observability.metrics is False"
    return ""


def _targets(writer: RouteWriter) -> dict[str, str]:
    return {routespec: route.target for routespec, route in writer.known.items()}


async def _save_activity(watch: ActivityWatch, writer: RouteWriter, log: logging.Logger) -> None:
    """For the next start; without it all routes are active then."""
    records = watch.to_save()
    if records is None:
        return
    try:
        with anyio.fail_after(_SAVE_SECONDS):
            await writer.save(records)
    except Exception as error:  # whatever it is, Traefik has ended, and the Hub must
        log.warning("When routes were last used is not remembered: %s", error)


def _error_pages(settings: SessionSettings, version: Version) -> HubPages | None:
    if settings.error_pages and version < ERROR_PAGES_SINCE:
        settings.log.warning(
            "Traefik %s can't show the Hub's error pages; users see its own, a line of text. "
            "Version %s and later can.",
            version,
            ".".join(map(str, ERROR_PAGES_SINCE)),
        )
        return None
    return settings.error_pages


async def _open_store(settings: SessionSettings, stack: AsyncExitStack) -> Snapshot:
    # The order matters: close() undoes an open() that was cancelled half-way.
    stack.push_async_callback(settings.store.close)
    await settings.store.open()
    return await settings.store.load()


def _api_client(
    settings: SessionSettings, credentials: list[Credentials], stack: AsyncExitStack
) -> TraefikApi:
    api = TraefikApi(settings.api_url, credentials, tls=_tls(settings))
    stack.callback(api.close)
    return api


def _tls(settings: SessionSettings) -> ssl.SSLContext | None:
    if not settings.api_url.startswith("https:"):
        return None
    tls = ssl.create_default_context()
    if not settings.api_validate_cert:
        tls.check_hostname = False
        tls.verify_mode = ssl.CERT_NONE
    return tls


def _writer(
    settings: SessionSettings,
    base: Records,
    extra: Records,
    pages: HubPages | None,
    api: TraefikApi,
    explain: Callable[[], str],
) -> RouteWriter:
    hub_key = parse_routespec(settings.hub_prefix).key

    def make_table(routes: list[Route]) -> Table:
        return Table(
            entry_point=settings.entry_point,
            roots=root_routers(settings.entry_point, pages) if pages else None,
            base=base,
            extra=extra,
            tree=RouteTree(hub_key) if settings.routing == "tree" else None,
            routes=routes,
        )

    async def wait_live(generation: int, stored: threading.Event) -> None:
        try:
            await api.wait_for_generation(
                generation,
                marker=f"{GENERATION_MARKER.name}@{settings.store.provider_name}",
                header=GENERATION_HEADER,
                timeout=settings.check_route_timeout,
                stored=stored,
            )
        except NotLive as error:
            raise NotLive(f"{error}. {await in_thread(explain)}") from error

    return RouteWriter(settings.store, make_table, wait_live, settings.log)


async def _first_live(writer: RouteWriter, process: TraefikProcess) -> None:
    """Wait until a Traefik that was just started serves the routes.

    Raises:
        TraefikExited: it ended instead.
        NotLive, ApiRejected: it runs, but doesn't serve them in time.
    """
    failure: TraefikError | None = None
    async with anyio.create_task_group() as group:

        async def watch() -> None:
            await process.exited()
            group.cancel_scope.cancel()

        group.start_soon(watch)
        try:
            await writer.wait_live()
        except TraefikError as error:
            failure = error
        group.cancel_scope.cancel()
    process.check()
    if failure:
        raise failure


def _to_toml(config: Document) -> str:
    try:
        return tomli_w.dumps(dict(config)) if isinstance(config, dict) else ""
    except (TypeError, ValueError) as error:
        raise TraefikUnusable(
            f"c.TraefikProxy.extra_static_config can't be written as TOML: {error}"
        ) from error
