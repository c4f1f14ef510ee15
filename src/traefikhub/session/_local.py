"""Start Traefik, with all that it needs, and keep it running."""

from __future__ import annotations

import atexit
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Final

from traefikhub.activity_watch import ActivityWatch, LocalTraefik
from traefikhub.metrics import metrics_of_hub
from traefikhub.session import _certificate, _internal_ssl
from traefikhub.session._activity import save_activity, watch_local
from traefikhub.session._certificate import record_of
from traefikhub.session._certificate_sources import FromAuthority, FromFiles
from traefikhub.session._parts import (
    POLLING_USER,
    ProxySession,
    api_client,
    make_writer,
    open_store,
    pages_for,
    run_writer,
    served_generation,
    watch_certificate,
)
from traefikhub.session._plan import make_plan
from traefikhub.session._process import (
    begin,
    config_file_of,
    first_live,
    hears_of_changes,
    take_run_dir,
)
from traefikhub.session._records import base_records
from traefikhub.session._settings import SessionSettings
from traefikhub.session._static import as_toml, http_proxy_of, own_static, why_blind
from traefikhub.stores import GENERATION_HEADER, place_of
from traefikhub.threads import in_thread
from traefikhub.traefik import Credentials, TraefikProcess
from traefikhub.traefik.api import sign_of_life
from traefikhub.traefik.endpoints import Endpoint
from traefikhub.traefik.environment import passed_on
from traefikhub.traefik.process import last_words
from traefikhub.traefik.rundir import RunDir, write_private
from traefikhub.traefik.running import fingerprint
from traefikhub.traefik.supervisor import Supervisor
from traefikhub.traefik.users_entry_point import UsersEntryPoint, question_for, reach

__all__ = ["start_traefik"]

_MATTERS_NOT: Final = {"PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR"}
"""Of what it inherits, what a Traefik that runs may have otherwise than one started now would."""


async def start_traefik(settings: SessionSettings, stack: AsyncExitStack) -> ProxySession:
    """Start Traefik with what the store remembers, or take over the one that an earlier Hub left
    running; return when it serves that.

    What must be undone is put on ``stack`` as it comes up. Everything that can be checked
    beforehand is, so that a mistake never disturbs a Hub that is running already.
    """
    plan = await make_plan(settings)
    run_dir, leftovers = await take_run_dir(settings, plan, stack)
    snapshot = await open_store(settings, stack)
    polling = Credentials(POLLING_USER, await in_thread(run_dir.secret, "api-password"))
    pages = pages_for(settings, plan.version)
    copies = await in_thread(_certificate.keep, plan.pair, run_dir.path) if plan.pair else None
    tls = await in_thread(_internal_ssl.keep, plan.tls, run_dir.path) if plan.tls else None
    certificate = record_of(copies) if copies else None
    question = question_for(polling.password, GENERATION_HEADER)
    base = await base_records(
        settings,
        snapshot,
        polling,
        pages,
        tls,
        certificate,
        counts=settings.last_activity,
        question=question,
    )
    config = own_static(
        settings,
        plan.version,
        address=plan.address,
        api_address=plan.api_address,
        http_address=plan.http_address,
        run_dir=run_dir.path,
    )
    config_file = await _write(settings, run_dir, as_toml(config))
    users = UsersEntryPoint(reach(plan.address, https=settings.https is not None), question)
    api = api_client(settings, Endpoint(settings.api_url), [polling], stack, users)
    writer = make_writer(
        settings,
        base=base,
        extra=plan.extra,
        pages=pages,
        api=api,
        explain=lambda: (
            f"Does it reach the store ({place_of(settings.store)})? If its log complains of "
            "something that c.TraefikProxy.extra_dynamic_config added, mend that."
            f"{last_words(run_dir.path)}"
        ),
        answered=lambda: supervisor.has_answered(),
    )
    served = await served_generation(api) if leftovers.processes else 0
    await writer.restore(snapshot, served=served)
    env = {**passed_on(), **settings.traefik_env}
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
        watch = await watch_local(settings, polling, writer, snapshot, blind, local)
        if not settings.keep_running:
            stack.push_async_callback(save_activity, settings, watch, writer)

    def restarted(started: bool) -> None:
        metrics_of_hub().restart(started)
        if watch:
            watch.forget()
        if started:
            writer.served_anew()

    mark = fingerprint(
        plan.program,
        str(plan.version),
        as_toml(config),
        env={
            name: value
            for name, value in env.items()
            if name in settings.traefik_env or name not in _MATTERS_NOT
        },
    )
    supervisor = Supervisor(
        run_dir.path,
        partial(
            TraefikProcess.start,
            plan.program,
            config_file,
            run_dir=run_dir.path,
            env=env,
            grace=settings.grace_seconds,
            fingerprint=mark,
            ports=plan.ports,
        ),
        partial(sign_of_life, Endpoint(settings.api_url)),
        settings.drain_seconds,
        settings.log,
        restarted,
    )
    stack.push_async_callback(supervisor.aclose)
    if served > snapshot.generation and not await hears_of_changes(writer):
        settings.log.warning(
            "The store was set back while no Hub ran, and the Traefik that runs doesn't hear of "
            "what it holds now"
        )
        await begin(settings, plan, run_dir, supervisor, leftovers, "")  # none is like that
    else:
        await begin(settings, plan, run_dir, supervisor, leftovers, mark)
    if not settings.keep_running:
        # JupyterHub skips stop() when its own start fails later on.
        atexit.register(supervisor.stop_blocking)
        stack.callback(atexit.unregister, supervisor.stop_blocking)
    await first_live(writer, supervisor)
    await in_thread(_certificate.forget_others, run_dir.path, copies)
    await in_thread(_internal_ssl.forget_others, run_dir.path, tls)
    if watch:
        watch.run()
        stack.push_async_callback(watch.aclose)
    supervisor.watch()
    metrics_of_hub().show_traefik(supervisor.state)
    run_writer(settings, writer, stack)
    if plan.pair and copies:
        watch_certificate(
            FromFiles(settings, run_dir.path, plan.pair, copies, writer.rebase), settings, stack
        )
    elif settings.acme:
        watch_certificate(FromAuthority(settings, settings.acme, run_dir.path), settings, stack)
    return ProxySession(
        writer,
        watch,
        f"Traefik {plan.version}, process {supervisor.process.pid}, dashboard at "
        f"{settings.api_url}/dashboard/ (user {POLLING_USER}, password in "
        f"{run_dir.path / 'api-password'})",
    )


async def _write(settings: SessionSettings, run_dir: RunDir, text: str) -> Path:
    """Write the static configuration."""
    path = config_file_of(settings, run_dir)
    if settings.static_config_file:
        await in_thread(write_private, path, text, "c.TraefikProxy.static_config_file")
    else:
        await in_thread(write_private, path, text)
    return path
