"""Start Traefik, with all that it needs, and keep it running."""

from __future__ import annotations

import atexit
import os
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import anyio

from traefikhub.activity import from_records
from traefikhub.activity_watch import ActivityWatch, LocalTraefik
from traefikhub.metrics import metrics_of_hub
from traefikhub.session._parts import (
    API_SETTING,
    POLLING_USER,
    ProxySession,
    activity_watch,
    api_client,
    checked_extra,
    make_writer,
    open_store,
    pages_for,
    targets_of,
)
from traefikhub.session._records import base_records
from traefikhub.session._settings import SessionSettings
from traefikhub.session._static import as_toml, http_proxy_of, why_blind, with_extra
from traefikhub.stores import Document, Records, Snapshot
from traefikhub.threads import in_thread
from traefikhub.traefik import (
    Credentials,
    StaticSettings,
    TraefikError,
    TraefikProcess,
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
)
from traefikhub.traefik.ports import listen_address, require_apart, require_free
from traefikhub.traefik.process import last_words
from traefikhub.traefik.rundir import RunDir, require_appendable, write_private
from traefikhub.traefik.supervisor import Supervisor
from traefikhub.writer import RouteWriter

__all__ = ["start_traefik"]

_USERS_SETTING: Final = "c.JupyterHub.bind_url"

_PASSED_ON: Final = {
    *("PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR"),
    *("GODEBUG", "GOGC", "GOMAXPROCS", "GOMEMLIMIT"),
}
"""Of the Hub's environment, which may hold its secrets, Traefik gets these alone. Not HTTP_PROXY:
Traefik would send all that users ask through it, cookies and tokens included."""

_SAVE_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """What was checked before anything was touched.

    address, api_address: where Traefik is to listen, ``host:port``.
    program: the path of Traefik.
    extra: the admin's own dynamic configuration.
    """

    address: str
    api_address: str
    program: str
    version: Version
    extra: Records


async def start_traefik(settings: SessionSettings, stack: AsyncExitStack) -> ProxySession:
    """Start Traefik with what the store remembers; return when it serves that.

    What must be undone is put on ``stack`` as it comes up. Everything that can be checked
    beforehand is, so that a mistake never disturbs a Hub that is running already.
    """
    plan = await _checked(settings)
    run_dir = await _take_over(settings, plan, stack)
    snapshot = await open_store(settings, stack)
    polling = Credentials(POLLING_USER, await in_thread(run_dir.secret, "api-password"))
    pages = pages_for(settings, plan.version)
    base = await base_records(settings, snapshot, polling, pages)
    config = with_extra(_static(settings, plan, run_dir), settings.extra_static_config)
    config_file = await _write(settings, run_dir, as_toml(config))
    writer = make_writer(
        settings,
        base=base,
        extra=plan.extra,
        pages=pages,
        api=api_client(settings, [polling], stack),
        explain=lambda: (
            "If its log complains of something that c.TraefikProxy.extra_dynamic_config added, "
            f"mend that.{last_words(run_dir.path)}"
        ),
    )
    await writer.restore(snapshot)
    env = {name: os.environ[name] for name in _PASSED_ON & os.environ.keys()}
    env |= settings.traefik_env
    if proxied := http_proxy_of(env):
        settings.log.warning(
            "c.TraefikProxy.traefik_env has %s: Traefik asks that for users' servers, with all "
            "cookies and tokens. Add NO_PROXY with their networks, or '*'.",
            proxied,
        )

    watch: ActivityWatch | None = None
    if settings.last_activity:
        blind = why_blind(config, settings.entry_point, env)
        local = LocalTraefik(lambda: supervisor.process.pid, int(plan.api_address.split(":")[-1]))
        watch = await _activity(settings, polling, writer, snapshot, blind, local)
        if not settings.keep_running:
            stack.push_async_callback(_save_activity, settings, watch, writer)

    def restarted(started: bool) -> None:
        metrics_of_hub().restart(started)
        if watch:
            watch.forget()

    supervisor = Supervisor(
        partial(
            TraefikProcess.start,
            plan.program,
            config_file,
            run_dir=run_dir.path,
            env=env,
            grace=settings.grace_seconds,
        ),
        settings.log,
        restarted,
    )
    stack.push_async_callback(supervisor.aclose)
    if not settings.keep_running:
        # JupyterHub skips stop() when its own start fails later on.
        atexit.register(supervisor.terminate)
        stack.callback(atexit.unregister, supervisor.terminate)
    await _first_live(writer, supervisor.process)
    if watch:
        watch.run()
        stack.push_async_callback(watch.aclose)
    supervisor.watch()
    writer.run()
    stack.push_async_callback(writer.aclose)
    return ProxySession(
        writer,
        watch,
        f"Traefik {plan.version}, process {supervisor.process.pid}, dashboard at "
        f"{settings.api_url}/dashboard/ (user {POLLING_USER}, password in "
        f"{run_dir.path / 'api-password'})",
    )


async def _checked(settings: SessionSettings) -> _Plan:
    """Everything that can be known to be wrong before the start.

    Raises:
        TraefikError, ValueError: see there.
    """
    address = listen_address(settings.public_url, _USERS_SETTING)
    api_address = listen_address(settings.api_url, API_SETTING)
    check_api_url(settings.api_url)
    check_entry_points(settings.entry_point, settings.api_entry_point)
    check_duration(settings.throttle)
    check_environment(settings.traefik_env)
    check_trusted_proxies(settings.trusted_proxies)
    check_run_dir(settings.run_dir)
    check_hash(settings.api_hashed_password)
    await in_thread(check_certificate, settings.ssl_cert, settings.ssl_key)
    await in_thread(require_apart, address, _USERS_SETTING, api_address, API_SETTING)
    extra = checked_extra(settings)
    program = await in_thread(find_traefik, settings.traefik_command)
    version = await in_thread(version_of, program)
    require_supported(version, program)
    return _Plan(
        address=address, api_address=api_address, program=program, version=version, extra=extra
    )


async def _take_over(settings: SessionSettings, plan: _Plan, stack: AsyncExitStack) -> RunDir:
    """The run directory, ours alone until the stack is closed, and the ports free."""
    run_dir = RunDir(settings.run_dir)
    stack.callback(run_dir.unlock)
    await in_thread(run_dir.acquire)
    ended = await in_thread(lambda: end_leftover(run_dir.path, grace=settings.grace_seconds))
    if ended:
        settings.log.warning("Ended Traefik %d, left running by a Hub that was killed", ended)
    await in_thread(require_free, plan.address, _USERS_SETTING)
    await in_thread(require_free, plan.api_address, API_SETTING)
    if settings.access_log:
        path = run_dir.path / settings.access_log
        await in_thread(require_appendable, path, "c.TraefikProxy.access_log")
    return run_dir


def _static(settings: SessionSettings, plan: _Plan, run_dir: RunDir) -> Document:
    return static_config(
        StaticSettings(
            address=plan.address,
            entry_point=settings.entry_point,
            https=settings.https,
            api_address=plan.api_address,
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
        plan.version,
    )


async def _write(settings: SessionSettings, run_dir: RunDir, text: str) -> Path:
    """Write the static configuration where Traefik, or the admin, looks for it."""
    if not settings.static_config_file:
        path = run_dir.path / "traefik.toml"
        await in_thread(write_private, path, text)
        return path
    path = Path.cwd() / settings.static_config_file
    await in_thread(write_private, path, text, "c.TraefikProxy.static_config_file")
    return path


async def _activity(
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
    watch = activity_watch(settings, [polling], None if blind else local)
    await watch.restore(targets_of(writer), from_records(snapshot.records))
    writer.on_drift = watch.forget
    return watch


async def _save_activity(
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
