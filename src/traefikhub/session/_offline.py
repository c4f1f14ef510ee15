"""The routes of a store, read, compared and written while no Hub does."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from traefikhub.error_pages import leads_to_pages
from traefikhub.internal_ssl import TRANSPORT_KEY
from traefikhub.session._parts import checked_extra, load, make_table
from traefikhub.session._records import base_keys
from traefikhub.session._settings import SessionSettings
from traefikhub.stores import Batch, Records, Snapshot, StoreError, is_private, paused_gc
from traefikhub.table import ROUTES_SECTION, Route, routes_of
from traefikhub.threads import in_thread
from traefikhub.traefik import TraefikUnusable
from traefikhub.traefik.rundir import RunDir

__all__ = ["StoredRoutes", "read_routes", "write_routes"]


@dataclass(frozen=True, slots=True)
class StoredRoutes:
    """What a store holds, and what it should.

    routes: by routespec, as the Hub remembers them there.
    records: all that is there.
    drift: what turns that into what these routes need; empty if nothing was changed by hand.
    """

    routes: Mapping[str, Route]
    records: Records
    drift: Batch


async def read_routes(settings: SessionSettings) -> StoredRoutes:
    """What the store holds now. Takes over nothing: a Hub may be running.

    Raises:
        StoreError: it can't be read.
    """
    async with AsyncExitStack() as stack:
        stack.push_async_callback(settings.store.close)
        await settings.store.open(read_only=True)
        snapshot = await load(settings)
    return await in_thread(_stored, settings, snapshot)


async def write_routes(
    settings: SessionSettings,
    change: Callable[[Mapping[str, Route]], Mapping[str, Route]],
) -> Batch:
    """Have the store hold other routes, and all that Traefik needs for them. Takes over the store:
    a Hub that writes there is fenced.

    Args:
        change: the routes that are there now to those that shall be.

    Returns:
        What was written; empty if there was nothing to do.

    Raises:
        TraefikUnusable: a Hub of this machine runs with this configuration.
        StoreError: the store can't be read or written, or didn't keep what was written.
    """
    async with _taken_over(settings) as snapshot:
        before = await in_thread(routes_of, snapshot.records)
        routes = change(before)
        batch = await in_thread(_missing, settings, snapshot, routes)
        if not batch:
            return batch
        await settings.store.apply(batch)
        kept = await load(settings)
        if await in_thread(_missing, settings, kept, routes):
            raise StoreError(
                f"{settings.store.provider_name} doesn't hold what was written; does somebody else "
                "write there? Stop that, and try again"
            )
        return batch


@asynccontextmanager
async def _taken_over(settings: SessionSettings) -> AsyncIterator[Snapshot]:
    """The store, open for writing, and what it holds."""
    async with AsyncExitStack() as stack:
        if settings.starts_traefik:
            run_dir = RunDir(settings.run_dir)
            _require_own(run_dir.path)
            stack.callback(run_dir.unlock)
            await in_thread(run_dir.acquire)
        stack.push_async_callback(settings.store.close)
        await settings.store.open()
        yield await load(settings)


def _require_own(directory: Path) -> None:
    """Refuse to leave files there that the Hub could not read."""
    if directory.exists() and (owner := directory.stat().st_uid) != os.geteuid():
        raise TraefikUnusable(
            f"{directory} belongs to user {owner}, the Hub's; run this as that user, with sudo -u"
        )


def _stored(settings: SessionSettings, snapshot: Snapshot) -> StoredRoutes:
    routes = routes_of(snapshot.records)
    return StoredRoutes(routes, snapshot.records, _missing(settings, snapshot, routes))


def _missing(settings: SessionSettings, snapshot: Snapshot, routes: Mapping[str, Route]) -> Batch:
    """What turns the stored records into those that the routes need."""
    # The next Hub writes what is missing of them.
    pages = settings.error_pages if leads_to_pages(snapshot.records) else None
    if TRANSPORT_KEY not in snapshot.records:
        settings = replace(settings, internal_ssl=None)
    beside = base_keys(settings, pages)
    base = {
        key: document
        for key, document in snapshot.records.items()
        if key in beside or (is_private(key.section) and key.section != ROUTES_SECTION)
    }
    extra = checked_extra(settings) if settings.setup_dynamic_config else {}
    with paused_gc():
        table = make_table(settings, base, extra, pages, routes.values())
        wanted = {
            key: settings.store.canonical(key, document) for key, document in table.records.items()
        }
        return Batch.between(snapshot.records, wanted, generation=snapshot.generation + 1)
