"""Keeps users supplied with a certificate that is good: gives a renewed one to Traefik, and tells
of one that is about to expire."""

from __future__ import annotations

import asyncio
import datetime
import logging
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, Protocol

import anyio

from traefikhub.metrics import metrics_of_hub
from traefikhub.session._certificate import (
    Pair,
    forget_others,
    keep,
    read_pair,
    record_of,
    stamp,
)
from traefikhub.session._settings import SessionSettings
from traefikhub.stores import Records, StoreError
from traefikhub.threads import in_thread
from traefikhub.traefik import TraefikError, TraefikUnusable
from traefikhub.traefik.acme import expiry_of
from traefikhub.traefik.https import AcmeSettings
from traefikhub.traefik.process import last_words

__all__ = ["CertificateWatch", "source_of"]

_LOOK_SECONDS: Final = 5.0
_WARN_BEFORE: Final = datetime.timedelta(days=14)
_AGAIN: Final = datetime.timedelta(days=1)
_PATIENCE_SECONDS: Final = 60.0
"""How long an authority may take before somebody is told."""


class Source(Protocol):
    """Where the certificate comes from."""

    @property
    def about(self) -> str:
        """Which it is, for a sentence."""

    @property
    def mend(self) -> str:
        """What to do if it is about to expire."""

    async def look(self) -> datetime.datetime | None:
        """See what is new; when the certificate ends that users see, or None if there is none."""


class FromFiles:
    """``ssl_cert`` and ``ssl_key``, given to Traefik again when they have changed.

    Args:
        pair: what Traefik shows.
        copies: where it finds that.
        give: puts other records in the place of those that name the certificate.
    """

    def __init__(
        self,
        settings: SessionSettings,
        run_dir: Path,
        pair: Pair,
        copies: Path,
        give: Callable[[Records], Awaitable[None]],
    ) -> None:
        self._files = settings.ssl_cert, settings.ssl_key
        self._run_dir = run_dir
        self._pair, self._copies = pair, copies
        self._give = give
        self._log = settings.log
        self._seen: object = None  # files that were read; else they are to be
        self._problem = ""
        self._times = 0  # in a row that this was found

    @property
    def about(self) -> str:
        """Which it is."""
        return f"the certificate c.JupyterHub.ssl_cert = {self._files[0]!r}"

    @property
    def mend(self) -> str:
        """What to do."""
        return "renew it; Traefik takes the new files without a restart"

    async def look(self) -> datetime.datetime:
        """Give Traefik what has changed."""
        seen = await in_thread(stamp, *self._files)
        if seen != self._seen:
            try:
                pair = await in_thread(read_pair, *self._files)
                if pair != self._pair:
                    await self._change(pair)
                self._problem = ""
                self._seen = seen
            except TraefikUnusable as error:
                self._tell(str(error))
            except (StoreError, TraefikError) as error:
                self._tell(f"Traefik can't be told of it: {error}")
        return self._pair.expires

    async def _change(self, pair: Pair) -> None:
        copies = await in_thread(keep, pair, self._run_dir)
        await self._give(record_of(copies))
        before, self._copies, self._pair = self._copies, copies, pair
        # The one before for the while: a Traefik that makes room may still read it.
        await in_thread(forget_others, self._run_dir, before, copies)
        self._log.info(
            "%s has changed; Traefik shows the new one, valid until %s UTC",
            self.about,
            f"{pair.expires:%Y-%m-%d %H:%M}",
        )

    def _tell(self, problem: str) -> None:
        # The first time may be between the replacement of the one file and of the other.
        self._times = self._times + 1 if problem == self._problem else 1
        self._problem = problem
        if self._times == 2:
            self._log.warning(
                "%s has changed, but Traefik goes on with what it has: %s", self.about, problem
            )


class FromAuthority:
    """What Traefik gets by ACME; it renews that itself."""

    def __init__(self, acme: AcmeSettings, storage: Path, run_dir: Path, log: logging.Logger):
        self._acme = acme
        self._storage = storage
        self._run_dir = run_dir
        self._log = log
        self._began = time.monotonic()
        self._told = False
        self._seen: object = None
        self._expires: datetime.datetime | None = None

    @property
    def about(self) -> str:
        """Which it is."""
        return f"the certificate for {', '.join(self._acme.domains)}"

    @property
    def mend(self) -> str:
        """What to do."""
        return f"Traefik fails to renew it: see {self._run_dir / 'traefik.log'}"

    async def look(self) -> datetime.datetime | None:
        """Read what Traefik keeps; tell if there is nothing after a while, and when there is."""
        seen = await in_thread(stamp, str(self._storage), str(self._storage))
        if seen != self._seen:
            self._seen = seen
            expires = await in_thread(expiry_of, self._acme, self._storage)
            if expires and expires != self._expires:
                self._log.info(
                    "Traefik has %s, valid until %s UTC", self.about, f"{expires:%Y-%m-%d %H:%M}"
                )
            self._expires = expires
        overdue = time.monotonic() - self._began > _PATIENCE_SECONDS
        if self._expires is None and overdue and not self._told:
            self._told = True
            self._log.warning(
                "Traefik has got no certificate for %s from %s yet, and shows one that no browser "
                "trusts. Does the name lead to this machine, and %s?%s",
                ", ".join(self._acme.domains),
                self._acme.ca_server,
                "is the provider's access right (c.TraefikProxy.traefik_env)"
                if self._acme.dns_provider
                else f"can the authority reach it for {self._acme.challenge}",
                await in_thread(last_words, self._run_dir),
            )
        return self._expires


def source_of(
    settings: SessionSettings,
    run_dir: Path,
    pair: Pair | None,
    copies: Path | None,
    give: Callable[[Records], Awaitable[None]],
) -> Source | None:
    """Where the certificate comes from; None if there is none to look after."""
    if pair and copies:
        return FromFiles(settings, run_dir, pair, copies, give)
    if settings.acme:
        return FromAuthority(settings.acme, run_dir / settings.acme.storage, run_dir, settings.log)
    return None


class CertificateWatch:
    """A task that looks at the source every few seconds, which costs two questions to the file
    system.

    Args:
        source: what to look at.
        log: where it is told.
    """

    def __init__(self, source: Source, log: logging.Logger) -> None:
        self._source = source
        self._log = log
        self._expires: datetime.datetime | None = None
        self._told: datetime.datetime | None = None
        self._task: asyncio.Task[None] | None = None
        self._scope = anyio.CancelScope()

    def run(self) -> None:
        """Begin, in a task of the running event loop."""
        name = "traefikhub-certificate"
        self._task = asyncio.get_running_loop().create_task(self._run(), name=name)
        metrics_of_hub().show_certificate(self.expires)

    async def aclose(self) -> None:
        """Stop. Idempotent."""
        task, self._task = self._task, None
        if task is not None:
            self._scope.cancel()  # unlike Task.cancel, lets a write that has begun end
            with anyio.CancelScope(shield=True):
                await asyncio.wait([task])

    def expires(self) -> float | None:
        """When the certificate ends, in seconds since 1970; None if there is none."""
        return self._expires.timestamp() if self._expires else None

    async def _run(self) -> None:
        with self._scope:
            while True:
                try:
                    self._expires = await self._source.look()
                    self._warn(datetime.datetime.now(datetime.timezone.utc))
                except Exception:
                    self._log.exception("Can't look after %s", self._source.about)
                await anyio.sleep(_LOOK_SECONDS)

    def _warn(self, now: datetime.datetime) -> None:
        """Tell of an end that is near, once a day."""
        if self._expires is None or self._expires - now > _WARN_BEFORE:
            self._told = None
            return
        if self._told is None or now - self._told >= _AGAIN:
            self._told = now
            left = self._expires - now
            when = f"expires in {left.days} days, on" if left > datetime.timedelta(0) else "expired"
            self._log.warning(
                "%s %s %s UTC: %s",
                self._source.about,
                when,
                f"{self._expires:%Y-%m-%d %H:%M}",
                self._source.mend,
            )
