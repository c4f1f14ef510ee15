"""Tells of a certificate that is about to end, and lets its source look after it."""

from __future__ import annotations

import asyncio
import datetime
import logging
from typing import Final

import anyio

from traefikhub.metrics import metrics_of_hub
from traefikhub.session._certificate_sources import Source, Term

__all__ = ["CertificateWatch"]

_LOOK_SECONDS: Final = 5.0
_AGAIN: Final = datetime.timedelta(days=1)


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
        self._term: Term | None = None
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
        return self._term.expires.timestamp() if self._term else None

    async def _run(self) -> None:
        with self._scope:
            while True:
                try:
                    self._term = await self._source.look()
                    self._warn(datetime.datetime.now(datetime.timezone.utc))
                except Exception:
                    self._log.exception("Can't look after %s", self._source.about)
                await anyio.sleep(_LOOK_SECONDS)

    def _warn(self, now: datetime.datetime) -> None:
        """Tell of an end that is near, once a day."""
        if self._term is None or now < self._term.warn_at:
            self._told = None
            return
        if self._told is None or now - self._told >= _AGAIN:
            self._told = now
            expires = self._term.expires
            left = expires - now
            when = f"expires in {left.days} days, on" if left > datetime.timedelta(0) else "expired"
            self._log.warning(
                "%s %s %s UTC: %s",
                self._source.about,
                when,
                f"{expires:%Y-%m-%d %H:%M}",
                self._source.mend,
            )
