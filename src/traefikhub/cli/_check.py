"""``traefikhub check``."""

from __future__ import annotations

import datetime
import logging
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

import anyio
import click

from traefikhub.cli._check_certificates import (
    look_at_certificates,
    look_at_default,
    look_at_internal,
)
from traefikhub.cli._check_machine import (
    look_at_directories,
    look_at_hub,
    look_at_ports,
    look_at_program,
    look_at_user,
)
from traefikhub.cli._check_store import look_at_guard, look_at_store, look_at_writing
from traefikhub.cli._check_traefik import look_at_external, look_at_own, look_at_trial
from traefikhub.cli._commands import HubCommand
from traefikhub.cli._findings import (
    Finding,
    Status,
    fault,
    fine,
    show_findings,
    skipped,
    warning,
)
from traefikhub.cli._hub import Hub, hub_options
from traefikhub.cli._screen import progress_bar
from traefikhub.proxy import TraefikProxy
from traefikhub.session import (
    EXTERNAL_OPTION_CHECKS,
    OPTION_CHECKS,
    SessionSettings,
    Standing,
    checked_extra,
    read_internal_ssl,
    read_pair,
    standing_of,
    why_not_beside,
)
from traefikhub.stores import Snapshot, StoreNotFound, in_thread
from traefikhub.traefik import TraefikError

__all__ = ["command"]

_STEPS: Final = 6


@click.command(cls=HubCommand, epilog="Example: traefikhub check -f jupyterhub_config.py")
@click.option("--json", "as_json", is_flag=True, help="A document, for scripts.")
@hub_options
def command(hub: Hub, as_json: bool) -> int:
    """Look at all that must be right before the Hub starts, and say what mends it.

    Run it as the Hub's user. It may run beside the Hub: nothing is taken over, and what it writes
    for a trial is in places of its own, and removed. Traefik is started for a moment, on other
    ports.

    Exit code 1 if there is a fault; warnings are none.
    """
    told = _Told()
    findings = anyio.run(_Checkup(hub, hub.proxy(told.log), told).run)
    show_findings(findings, as_json=as_json)
    return 1 if any(each.status is Status.FAULT for each in findings) else 0


class _Checkup:
    """One look at everything. What was found so far decides what can be looked at next."""

    def __init__(self, hub: Hub, proxy: TraefikProxy, told: _Told) -> None:
        self._hub = hub
        self._proxy = proxy
        self._findings: list[Finding] = []
        self._told = told

    async def run(self) -> list[Finding]:
        """All findings, in the order in which they help best."""
        async with anyio.create_task_group() as group:
            # A Traefik that is tried must not outlive this, however it is ended.
            group.start_soon(_cancel_on_signal, group.cancel_scope)
            with progress_bar() as bar:
                task = bar.add_task("Looking", total=_STEPS)
                await self._run(lambda: bar.advance(task))
            group.cancel_scope.cancel()
            return self._findings
        raise click.Abort

    async def _run(self, advance: Callable[[], None]) -> None:
        proxy = self._proxy
        missing = ""
        try:
            with self._hub.explained():
                settings = proxy.session_settings()
        except StoreNotFound as error:
            # All else can be looked at with the store that is always there.
            missing, proxy.store = str(error), "toml-file"
            settings = proxy.session_settings()
        proxy.warn_of_options()
        self._add(*self._told.findings("options"))
        good = self._options(settings)
        advance()
        standing = None
        if good:
            # Nobody locks the directory of a Hub that starts no Traefik.
            starts = settings.starts_traefik
            standing = await in_thread(standing_of, settings) if starts else Standing("", (), "")
        self._add(look_at_user(settings))
        program = await self._machine(settings, proxy, standing) if standing else False
        advance()
        now = datetime.datetime.now(datetime.timezone.utc)
        host = str(getattr(proxy.app, "subdomain_host", "") or "")
        self._add(*look_at_certificates(settings, host=_host_of(host), now=now))
        anew = bool(getattr(proxy.app, "recreate_internal_certs", False))
        if internal := look_at_internal(settings, anew=anew, now=now):
            self._add(internal)
        advance()
        snapshot = await self._store(settings, proxy, missing)
        advance()
        if snapshot and not settings.ssl_cert and (own := look_at_default(snapshot.records, now)):
            self._add(own)
        if standing is None:
            self._add(skipped("API", "the options come first"))
        elif settings.starts_traefik:
            self._add(*await look_at_own(settings, standing, snapshot))
        else:
            self._add(*await look_at_external(settings, snapshot))
        advance()
        await self._trial(settings, standing, program, snapshot is not None)
        advance()

    def _add(self, *findings: Finding) -> None:
        self._findings += findings

    def _options(self, settings: SessionSettings) -> bool:
        """Whether the options make sense."""
        errors: list[str] = []
        own = settings.starts_traefik
        checks = [*(OPTION_CHECKS if own else EXTERNAL_OPTION_CHECKS)]
        if settings.setup_dynamic_config:
            checks.append(checked_extra)
        for check in checks:
            try:
                check(settings)
            except (TraefikError, ValueError) as error:
                errors.append(str(error))
        found = [fault("options", each, "change that option") for each in dict.fromkeys(errors)]
        self._add(*(found or [fine("options", f"{self._hub.about}: make sense")]))
        return not found

    async def _machine(
        self, settings: SessionSettings, proxy: TraefikProxy, standing: Standing
    ) -> bool:
        """Whether there is a program."""
        self._add(await look_at_hub(proxy, settings, standing))
        if not settings.starts_traefik:
            return False
        self._add(await look_at_directories(settings, standing))
        self._add(*await look_at_ports(settings, standing))
        program = await look_at_program(settings)
        self._add(program)
        return program.status is Status.OK

    async def _store(
        self, settings: SessionSettings, proxy: TraefikProxy, missing: str
    ) -> Snapshot | None:
        finding, snapshot = (
            (fault("store", missing, "install it, or set c.TraefikProxy.store to another"), None)
            if missing
            else await look_at_store(settings.store)
        )
        self._add(finding)
        if snapshot is None:
            self._add(skipped("store, writing", "the store can't be read"))
        else:
            # One of its own: it is moved to another place.
            self._add(*await look_at_writing(proxy.session_settings().store))
            self._add(*look_at_guard(settings.store))
        self._add(*self._told.findings("store"))
        return snapshot

    async def _trial(
        self,
        settings: SessionSettings,
        standing: Standing | None,
        program: bool,
        readable: bool,
    ) -> None:
        check = "static configuration"
        if not settings.starts_traefik:
            self._add(
                skipped(check, "others run Traefik; traefikhub static-config shows what it needs")
            )
            return
        if standing is None or not program:
            self._add(
                skipped(check, f"{'Traefik comes' if standing else 'the options come'} first")
            )
            return
        if standing.traefik and (why := why_not_beside(settings)):
            self._add(skipped(check, f"not while this Hub's Traefik runs: {why}"))
            return
        try:
            if settings.ssl_cert:
                await in_thread(read_pair, settings.ssl_cert, settings.ssl_key)
        except TraefikError:  # which was told
            settings = replace(settings, ssl_cert="", ssl_key="")
        try:
            if settings.internal_ssl:
                read_internal_ssl(settings.internal_ssl)
        except TraefikError:
            settings = replace(settings, internal_ssl=None)
        self._add(*await look_at_trial(settings, readable=readable))
        self._add(*self._told.findings("options"))


def _host_of(url: str) -> str:
    """Without scheme and port."""
    host = url.partition("://")[2] or url
    return host.partition("/")[0].partition(":")[0]


async def _cancel_on_signal(scope: anyio.CancelScope) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGHUP) as signals:
        async for _ in signals:
            scope.cancel()
            return


class _Told(logging.Handler):
    """What the code of a start warns of. No look fails because of it."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.log = logging.Logger("traefikhub-check")
        self.log.addHandler(self)
        self._seen: dict[str, bool] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it, once."""
        self._seen.setdefault(record.getMessage(), False)

    def findings(self, check: str) -> Iterator[Finding]:
        """Those that are new."""
        for text, told in list(self._seen.items()):
            if not told:
                self._seen[text] = True
                yield warning(check, text, "change or remove what it names")
