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
from pathlib import Path
from typing import Any, Final

import anyio
import tomli_w

from traefikhub.base import (
    CERTIFICATE_KEY,
    api_records,
    api_users,
    certificate_record,
    extra_records,
)
from traefikhub.rules import parse_routespec
from traefikhub.stores import (
    GENERATION_HEADER,
    GENERATION_MARKER,
    Document,
    Records,
    RouteStore,
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
    end_leftover,
    find_traefik,
    require_supported,
    static_config,
    version_of,
)
from traefikhub.traefik.certificate import make_default_certificate, still_good
from traefikhub.traefik.checks import (
    check_api_url,
    check_certificate,
    check_duration,
    check_entry_points,
    check_environment,
    check_hash,
    check_run_dir,
    require_both,
)
from traefikhub.traefik.passwords import admin_user, polling_user
from traefikhub.traefik.ports import listen_address, require_apart, require_free
from traefikhub.traefik.process import last_words
from traefikhub.traefik.rundir import RunDir, write_private
from traefikhub.traefik.supervisor import Supervisor
from traefikhub.tree import RouteTree
from traefikhub.writer import RouteWriter

__all__ = ["ProxySession", "SessionSettings", "connect_external", "start_traefik"]

_POLLING_USER: Final = "traefikhub"
_USERS_SETTING: Final = "c.JupyterHub.bind_url"
_API_SETTING: Final = "c.TraefikProxy.traefik_api_url"

_PASSED_ON: Final = {
    *("PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
    *("GODEBUG", "GOGC", "GOMAXPROCS", "GOMEMLIMIT"),
}
"""Of the Hub's environment, which may hold its secrets, Traefik gets these alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSettings:
    """The options of TraefikProxy, whose help texts explain them."""

    store: RouteStore
    log: logging.Logger
    public_url: str
    https: bool
    ssl_cert: str
    ssl_key: str
    run_dir: str
    traefik_command: str
    traefik_env: Mapping[str, str]
    log_level: str
    entry_point: str
    api_entry_point: str
    api_url: str
    api_validate_cert: bool
    api_username: str
    api_password: str
    api_hashed_password: str
    static_config_file: str
    extra_static_config: dict[str, Any]
    extra_dynamic_config: dict[str, Any]
    setup_dynamic_config: bool
    routing: str
    hub_prefix: str
    throttle: str
    sanitize_path: bool
    grace_seconds: int
    check_route_timeout: float
    keep_running: bool


@dataclass(frozen=True, slots=True)
class ProxySession:
    """A proxy that is up.

    about: for the log: which Traefik it is, and where its dashboard is.
    """

    writer: RouteWriter
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
    base = await _base_records(settings, snapshot, polling)
    config = static_config(
        StaticSettings(
            address=address,
            entry_point=settings.entry_point,
            https=settings.https,
            api_address=api_address,
            api_entry_point=settings.api_entry_point,
            providers=settings.store.provider_config(),
            log_level=settings.log_level,
            sanitize_path=settings.sanitize_path,
            grace_seconds=settings.grace_seconds,
            throttle=settings.throttle,
        ),
        version,
    )
    text = _to_toml(merge(config, settings.extra_static_config))
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
        _api_client(settings, [polling], stack),
        lambda: (
            "If its log complains of something that c.TraefikProxy.extra_dynamic_config added, "
            f"mend that.{last_words(run_dir.path)}"
        ),
    )
    await writer.restore(snapshot)
    env = {name: os.environ[name] for name in _PASSED_ON & os.environ.keys()}
    supervisor = Supervisor(
        lambda: TraefikProcess.start(
            program,
            config_file,
            run_dir=run_dir.path,
            env=env | dict(settings.traefik_env),
            grace=settings.grace_seconds,
        ),
        settings.log,
    )
    stack.push_async_callback(supervisor.aclose)
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
    if settings.setup_dynamic_config:
        polling = Credentials(_POLLING_USER, secrets.token_hex(32))
        credentials.insert(0, polling)
        base = await _base_records(settings, snapshot, polling)
    else:
        extra = {}
    api = _api_client(settings, credentials, stack)
    providers = ", ".join(f"providers.{name}" for name in settings.store.provider_config())

    def explain() -> str:
        return (
            f"Does that Traefik read the store? Its static configuration needs {providers} as "
            "this Hub has it (c.TraefikProxy.store), and c.TraefikProxy.extra_dynamic_config must "
            "be to its liking. Its log says more; if that holds 'Cannot start the provider', "
            "restart it now that the store exists."
        )

    writer = _writer(settings, base, extra, api, explain)
    await writer.restore(snapshot)
    try:
        version = await api.version(timeout=settings.check_route_timeout)
    except NotLive as error:
        raise NotLive(f"{error}. Is Traefik running there ({_API_SETTING})? {explain()}") from error
    require_supported(version, settings.api_url)
    await writer.wait_live()
    writer.run()
    stack.push_async_callback(writer.aclose)
    return ProxySession(writer, f"Traefik {version} at {settings.api_url}, run by others")


async def _open_store(settings: SessionSettings, stack: AsyncExitStack) -> Snapshot:
    # The order matters: close() undoes an open() that was cancelled half-way.
    stack.push_async_callback(settings.store.close)
    await settings.store.open()
    return await settings.store.load()


def _api_client(
    settings: SessionSettings, credentials: list[Credentials], stack: AsyncExitStack
) -> TraefikApi:
    tls = None
    if settings.api_url.startswith("https:"):
        tls = ssl.create_default_context()
        if not settings.api_validate_cert:
            tls.check_hostname = False
            tls.verify_mode = ssl.CERT_NONE
    api = TraefikApi(settings.api_url, credentials, tls=tls)
    stack.callback(api.close)
    return api


def _writer(
    settings: SessionSettings,
    base: Records,
    extra: Records,
    api: TraefikApi,
    explain: Callable[[], str],
) -> RouteWriter:
    hub_key = parse_routespec(settings.hub_prefix).key

    def make_table(routes: list[Route]) -> Table:
        return Table(
            entry_point=settings.entry_point,
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


async def _base_records(
    settings: SessionSettings, snapshot: Snapshot, polling: Credentials
) -> Records:
    """The API's router and the certificate; whatever the store has that still fits is kept, so
    that a restart writes nothing."""
    users = [polling_user(polling.username, polling.password)]
    if (
        settings.api_username == polling.username
        or not settings.api_username.isprintable()
        or (":" in settings.api_username)
    ):
        raise ValueError(
            f"c.TraefikProxy.traefik_api_username = {settings.api_username!r} can't be used: "
            f"{polling.username!r} is the proxy's own, and a name holds no colon"
        )
    if settings.api_hashed_password:
        users.append(f"{settings.api_username}:{settings.api_hashed_password}")
    elif settings.api_password:
        known = api_users(snapshot.records)
        users.append(
            await in_thread(admin_user, settings.api_username, settings.api_password, known)
        )
    return {**api_records(settings.api_entry_point, users), **_certificate(settings, snapshot)}


def _certificate(settings: SessionSettings, snapshot: Snapshot) -> Records:
    if settings.ssl_cert:
        return certificate_record(
            os.path.abspath(settings.ssl_cert), os.path.abspath(settings.ssl_key)
        )
    match snapshot.records.get(CERTIFICATE_KEY):
        case {"defaultCertificate": {"certFile": str(certificate), "keyFile": str(key)}}:
            if still_good(certificate):
                return certificate_record(certificate, key)
    return certificate_record(*make_default_certificate())


def _to_toml(config: Document) -> str:
    try:
        return tomli_w.dumps(dict(config)) if isinstance(config, dict) else ""
    except (TypeError, ValueError) as error:
        raise TraefikUnusable(
            f"c.TraefikProxy.extra_static_config can't be written as TOML: {error}"
        ) from error
