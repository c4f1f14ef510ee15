"""Where the certificate comes from that users see, and what becomes of it while the Hub runs."""

from __future__ import annotations

import datetime
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, NamedTuple, Protocol

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
from traefikhub.traefik.acme import held_for, storage_of
from traefikhub.traefik.https import AcmeSettings
from traefikhub.traefik.process import last_words

__all__ = ["FilesOfOthers", "FromAuthority", "FromFiles", "Source", "Term"]

_PATIENCE_SECONDS: Final = 60.0
"""How long an authority may take before somebody is told."""


class Term(NamedTuple):
    """When a certificate ends, and from when on somebody should be told of that."""

    expires: datetime.datetime
    warn_at: datetime.datetime


class Source(Protocol):
    """Where the certificate comes from."""

    @property
    def about(self) -> str:
        """Which it is, for a sentence."""

    @property
    def mend(self) -> str:
        """What to do if it is about to expire."""

    async def look(self) -> Term | None:
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

    async def look(self) -> Term:
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
        return Term(self._pair.expires, self._pair.warn_at)

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


class FilesOfOthers:
    """``ssl_cert`` and ``ssl_key`` of a Traefik that others run, as far as they are here, too."""

    def __init__(self, certificate: str, key: str) -> None:
        self._files = certificate, key
        self._term: Term | None = None

    @property
    def about(self) -> str:
        """Which it is."""
        return f"the certificate c.JupyterHub.ssl_cert = {self._files[0]!r}"

    @property
    def mend(self) -> str:
        """What to do."""
        return "renew it, and restart that Traefik, which doesn't see that the files change"

    async def look(self) -> Term | None:
        """Read it."""
        try:
            pair = await in_thread(read_pair, *self._files)
            self._term = Term(pair.expires, pair.warn_at)
        except TraefikUnusable:  # it may be elsewhere only, or just being replaced
            pass
        return self._term


class FromAuthority:
    """What Traefik gets by ACME; it renews that itself."""

    def __init__(self, settings: SessionSettings, acme: AcmeSettings, run_dir: Path) -> None:
        self._acme = acme
        self._storage = storage_of(acme, run_dir)
        self._run_dir = run_dir
        self._log = settings.log
        self._began = time.monotonic()
        self._seen: object = None
        self._term: Term | None = None
        self._missing = acme.domains
        self._told: tuple[str, ...] = ()  # the missing names that were told of

    @property
    def about(self) -> str:
        """Which it is."""
        return f"the certificate for {', '.join(self._acme.domains)}"

    @property
    def mend(self) -> str:
        """What to do."""
        return f"Traefik fails to renew it: see {self._run_dir / 'traefik.log'}"

    async def look(self) -> Term | None:
        """Read what Traefik keeps; tell when all is there, and if something isn't after a while."""
        seen = await in_thread(stamp, str(self._storage))
        if seen != self._seen and (held := await in_thread(held_for, self._acme, self._storage)):
            self._seen = seen
            before, self._missing = self._term, held.missing
            ends = held.expires, held.warn_at
            self._term = Term(ends[0], ends[1]) if ends[0] and ends[1] else None
            if self._term and self._term != before and not self._missing:
                self._log.info(
                    "Traefik has %s, valid until %s UTC",
                    self.about,
                    f"{self._term.expires:%Y-%m-%d %H:%M}",
                )
        overdue = time.monotonic() - self._began > _PATIENCE_SECONDS
        if self._missing and overdue and self._told != self._missing:
            self._told = self._missing
            self._log.warning(
                "Traefik has got no certificate for %s from %s yet, and shows one there that no "
                "browser trusts. Does the name lead to this machine, and %s?%s",
                ", ".join(self._missing),
                self._acme.ca_server,
                "is the provider's access right (c.TraefikProxy.traefik_env)"
                if self._acme.dns_provider
                else f"can the authority reach it for {self._acme.challenge}",
                await in_thread(last_words, self._run_dir),
            )
        return self._term
