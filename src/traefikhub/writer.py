"""Group commit: pending changes become one batch, the batch becomes live, all its callers wake.

While a batch is on its way the next one gathers, so that a burst of 500 logins costs a few
reloads of Traefik instead of 500.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager
from functools import partial
from typing import Final

import anyio

from traefikhub._group import Group, Question, WaitLive, already_stored, copy_of
from traefikhub._reports import Reports
from traefikhub.metrics import Health, Metrics, Standing, StoreCall, metrics_of_hub
from traefikhub.stores import (
    Batch,
    Document,
    FencedError,
    Key,
    RecordRefused,
    Records,
    RouteStore,
    Snapshot,
    StoreCorrupt,
    StoreError,
    StoreUnavailable,
    paused_gc,
)
from traefikhub.table import Change, Route, Table, routes_of
from traefikhub.threads import in_thread
from traefikhub.traefik import TraefikError

__all__ = ["RouteWriter", "WaitLive", "WriterClosed"]

_MANY: Final = 10
"""Changes of a group from which they are folded in a thread: a millisecond."""


class WriterClosed(RuntimeError):
    """The writer was stopped before the change could be made."""


class RouteWriter:
    """The one task that writes routes.

    Args:
        store: where records go; opened and closed by the caller.
        make_table: builds the table for the routes that the store remembers.
        wait_live: see ``WaitLive``.
        log: where bursts, failures and repairs are told.
        metrics: where they are counted; those of the Hub if None.

    The table says what the store should hold: this is its only writer, so what was acknowledged
    is true whatever became of the store. ``_repairs`` is what the store was last seen to hold
    differently; it rides along with the next batch.
    """

    def __init__(
        self,
        store: RouteStore,
        make_table: Callable[[list[Route]], Table],
        wait_live: WaitLive,
        log: logging.Logger,
        metrics: Metrics | None = None,
    ) -> None:
        self._store = store
        self._make_table = make_table
        self._wait_live = wait_live
        self._metrics = metrics or metrics_of_hub()
        self._reports = Reports(log, self._metrics)
        self._table = make_table([])
        self._repairs = Batch(1)
        self._generation = 0
        self._live_generation = 0
        self._stored_before = 0  # the generation that the batch in flight, if any, follows
        self._uncertain = False  # a batch may or may not have reached the store
        self._missed = False  # Traefik did not show a batch; somebody may have deleted it
        self._unchecked = False  # the store may have told of a difference that nobody looked at
        self._anew = False  # another Traefik was started, and not seen yet to serve all this
        self._fenced: FencedError | None = None  # another Hub has taken over
        self._unmarked = False  # the store lacks the newest generation's marker
        # Held while the store, the table or the repairs change.
        self._storing = anyio.Lock(fast_acquire=True)
        self._gathering = Group()
        self._in_flight: Group | None = None
        self._wake = anyio.Event()
        self.on_drift: Callable[[], None] = lambda: None
        """Called when the store was found to differ from what it should hold."""
        self._look: asyncio.Task[Mapping[str, Route]] | None = None
        self._task: asyncio.Task[None] | None = None
        self._scope = anyio.CancelScope()

    @property
    def generation(self) -> int:
        """The newest generation that the store is known to hold."""
        return self._generation

    @property
    def known(self) -> Mapping[str, Route]:
        """The routes as they should be, by routespec."""
        return dict(self._table.routes)

    @property
    def outstanding(self) -> tuple[int, Key | None, Key | None] | None:
        """What is to be put right in the store, by what tells one difference from another: how
        many records, and the first of those to write and to delete. None if nothing is."""
        if not self._amiss:
            return None
        puts, deletes = self._repairs.puts, self._repairs.deletes
        first = next(iter(puts), None), next(iter(deletes), None)
        return len(puts) + len(deletes), *first

    async def save(self, records: Records) -> None:
        """Put records beside the table's, until the next ``restore``. For after ``aclose``.

        Raises:
            StoreError: they can't be written.
        """
        async with self._storing:
            await self._settle()
            with self._metrics.store(StoreCall.APPLY):
                await self._store.apply(Batch(self._generation + 1, records))

    def standing(self) -> Standing:
        """How things stand, for the metrics."""
        return Standing(
            self._health(), len(self._table.routes), self._generation, self._live_generation
        )

    def _health(self) -> Health:
        if self._task is None or self._task.done():
            return Health.STOPPED
        if self._fenced:
            return Health.FENCED
        if self._uncertain:
            return Health.UNCERTAIN
        if self._repairs:
            return Health.DRIFTED
        return Health.BEHIND if self._live_generation < self._generation else Health.LIVE

    async def restore(self, snapshot: Snapshot, *, served: int = 0) -> None:
        """Take the routes out of what the store holds, and write what it lacks. Waits for nothing
        to become live: Traefik may not be running yet.

        Args:
            served: the generation that a Traefik serves which runs already. If the store was set
                back below that, the next ones are above it: nothing else tells them apart.

        Raises:
            StoreError: the store can't be written.
        """
        async with self._storing:
            await in_thread(self._remember, snapshot)
            self._reports.restored(len(self._table.routes), snapshot.generation)
            self._generation = max(self._generation, served)
            await self._reconcile(snapshot)
            await self._store_changes({})

    def _remember(self, snapshot: Snapshot) -> None:
        with paused_gc():
            self._table = self._make_table(list(routes_of(snapshot.records).values()))

    async def wait_live(self) -> None:
        """Return when what the store holds is served.

        Raises:
            TraefikError: it isn't in time.
        """
        generation = self._generation
        if self._live_generation < generation:
            with self._noting_misses():
                await self._wait_live(generation, already_stored())
            self._live_generation = max(self._live_generation, generation)
        if self._anew:
            self._anew = False
            self._reports.served_anew(generation)

    @contextmanager
    def _noting_misses(self) -> Iterator[None]:
        try:
            yield
        except TraefikError:
            self._missed = True
            raise

    def served_anew(self) -> None:
        """Another Traefik serves now: see that it has all routes. What it has is asked soon, and
        no change counts as live before."""
        self._live_generation = 0
        self._anew = True
        self._wake.set()

    def run(self) -> None:
        """Begin to take changes, in a task of the running event loop."""
        # A plain task: its life spans many calls of JupyterHub, so that no scope of one call can
        # own it.
        self._task = asyncio.get_running_loop().create_task(self._run(), name="traefikhub-writer")
        self._metrics.show(self.standing)

    async def aclose(self) -> None:
        """Stop. Changes that are still waiting fail with ``WriterClosed``. Idempotent."""
        task, self._task = self._task, None
        if task is not None:
            self._scope.cancel()  # unlike Task.cancel, lets a write that has begun end
            with anyio.CancelScope(shield=True):
                await asyncio.wait([task])
        if (look := self._look) is not None:
            look.cancel()
            with anyio.CancelScope(shield=True):
                await asyncio.wait([look])
        self._fail_waiting()

    def _fail_waiting(self) -> None:
        for group in (self._in_flight, self._gathering):
            if group is not None and not group.done.is_set():
                group.finish(WriterClosed("the proxy was stopped before the route was live"))
        self._in_flight, self._gathering = None, Group()

    async def change(self, routespec: str, route: Route | None) -> None:
        """Set one route, or delete it if ``route`` is None; return when that is live.

        Returns at once, without a write, if it says nothing new. If it raises, the change is
        either in the store whole or not at all, and may be tried again.

        Raises:
            FencedError: another Hub has taken over the store, now or before.
            StoreError: the store refused or failed; nothing was changed.
            NotLive: the store has it, but Traefik didn't show it in time.
            WriterClosed: the writer was stopped.
        """
        self._require_writable()
        if self._is_settled(routespec, route):
            return
        group = self._gathering
        group.changes[routespec] = route
        self._wake.set()
        with self._metrics.change():
            await group.wait(routespec)

    def _require_writable(self) -> None:
        if self._task is None or self._task.done():
            raise WriterClosed("the proxy is not running; was its start() called?")
        if self._fenced:
            # Not even what changes nothing: the table says no more what is served.
            raise copy_of(self._fenced) from self._fenced

    def _is_settled(self, routespec: str, route: Route | None) -> bool:
        """Whether the change is what Traefik serves already, and nothing else is on its way."""
        busy = routespec in self._gathering.changes or (
            self._in_flight is not None and routespec in self._in_flight.changes
        )
        stored = self._generation if self._in_flight is None else self._stored_before
        behind = self._live_generation < stored
        return not (busy or behind or self._amiss) and (self._table.routes.get(routespec) == route)

    async def rebase(self, records: Records) -> None:
        """Put other records in the place of those that stand beside the routes'; return when that
        is live.

        Raises:
            as ``change``; then the earlier ones stay.
        """
        self._require_writable()
        async with self._storing:
            await self._settle()
            before = self._table.base(records)
            try:
                await self._store_changes({}, others=self._table.rebase(records))
            except BaseException:
                self._table.rebase(before)
                raise
        group = self._gathering
        self._wake.set()
        await group.wait()

    async def routes(self) -> Mapping[str, Route]:
        """The routes that the store holds now, by routespec. A difference from what was written
        is noted for ``repair``.

        Raises:
            StoreUnavailable: it can't be read.
        """
        # One look for all who ask meanwhile: one after the other, they and the changes behind
        # them would wait for a store that is down as often as there are callers.
        if self._look is None:
            self._look = asyncio.get_running_loop().create_task(self._look_at_store())
            self._look.add_done_callback(self._end_look)
        try:
            return await asyncio.shield(self._look)
        except StoreUnavailable as error:
            raise copy_of(error) from error

    def _end_look(self, look: asyncio.Task[Mapping[str, Route]]) -> None:
        self._look = None
        if not look.cancelled():
            look.exception()  # looked at, should nobody wait for it any more

    async def _look_at_store(self) -> Mapping[str, Route]:
        try:
            async with self._storing:
                return await self._routes_in_store()
        except StoreUnavailable as error:
            # Changes that wait for this have waited as long as a store may take.
            if self._in_flight is not None:
                self._in_flight.in_vain = error
            raise

    async def _routes_in_store(self) -> Mapping[str, Route]:
        if await self._is_intact():
            return dict(self._table.routes)
        # Until it is compared: the store will not tell the same difference twice.
        self._unchecked = True
        expected, known, doubt = self._generation, self._repairs, self._uncertain
        snapshot = await self._load_to_compare()
        if snapshot is None:
            return dict(self._table.routes)
        if not await self._differs(snapshot):
            self._unchecked = False
            return dict(self._table.routes)
        await self._reconcile(snapshot)
        # Each drift is told once, however often it is seen until it is put right.
        if not (doubt or (known and known == self._repairs)):
            self._reports.drifted(snapshot, expected, self._repairs)
        return await in_thread(routes_of, snapshot.records)

    async def _load_to_compare(self) -> Snapshot | None:
        """What the store holds; None if it is broken, and a repair of that is noted: the table
        still knows everything."""
        known = self._repairs, self._unmarked
        try:
            return await self._load()
        except StoreCorrupt as error:
            found = error.readable or Snapshot({}, 0)
            if not found.generation:  # that of a batch of unknown fate may be there unseen
                self._generation += self._uncertain
            await self._reconcile(found)
            if (self._repairs, self._unmarked) != known:
                self._reports.corrupt(error)
            return None

    async def _is_intact(self) -> bool:
        if self._amiss or self._unchecked:
            return False
        with self._metrics.store(StoreCall.INTACT):
            return await self._store.intact()

    async def _load(self) -> Snapshot:
        with self._metrics.store(StoreCall.LOAD):
            return await self._store.load()

    async def _differs(self, snapshot: Snapshot) -> bool:
        if self._repairs or snapshot.generation != self._generation:
            return True
        return await in_thread(lambda: snapshot.records != self._expected())

    def _expected(self) -> Records:
        """All records as the store should return them: tenths of a second for ten thousand
        routes."""
        with paused_gc():
            return {
                key: self._store.canonical(key, document)
                for key, document in self._table.records.items()
            }

    async def repair(self) -> None:
        """If the store was seen to differ from what it should hold, write the difference.

        Raises:
            as ``change``.
        """
        if self._amiss:
            self._require_writable()
            if self._in_flight is not None:
                # Which may wait for just this: a generation that somebody deleted.
                async with self._storing:
                    await self._settle()
                    await self._store_changes({})
            group = self._gathering
            self._wake.set()
            await group.wait()

    async def check(self) -> None:
        """See that the store and Traefik have all routes, and only these; mend what differs.

        Raises:
            as ``routes`` and ``repair``.
        """
        await self.routes()
        await self.repair()

    @property
    def _amiss(self) -> bool:
        """Whether the store is known, or feared, to hold something else than it should."""
        return bool(self._repairs) or self._uncertain or self._unmarked

    async def _reconcile(self, snapshot: Snapshot) -> None:
        """Note what must be written to turn what the store holds into what it should hold."""
        self._repairs = await in_thread(
            lambda: Batch.between(snapshot.records, self._expected(), generation=1)
        )
        # A generation that doesn't show can't be waited for.
        behind = snapshot.generation < self._generation
        self._unmarked = behind or (snapshot.generation == 0 and bool(snapshot.records))
        self._generation = max(self._generation, snapshot.generation)
        self._uncertain = self._unchecked = self._missed = False
        if self._repairs:
            self.on_drift()

    async def _run(self) -> None:
        try:
            with self._scope:
                while True:
                    await self._wake.wait()
                    self._wake = anyio.Event()
                    group, self._gathering = self._gathering, Group()
                    async with self._flying(group):
                        await self._commit(group)
        finally:
            self._fail_waiting()

    @asynccontextmanager
    async def _flying(self, group: Group) -> AsyncIterator[None]:
        """Mark a group as on its way; tell its callers what became of it."""
        self._in_flight = group
        self._stored_before = self._generation
        try:
            with self._reports.group(group):
                yield
        except Exception as error:
            self._in_flight = None
            group.finish(error)
        else:
            self._in_flight = None
            group.finish()

    async def _commit(self, group: Group) -> None:
        async with aclosing(Question(self._wait_live)) as question:
            async with self._storing:
                if group.in_vain:
                    raise group.in_vain
                await self._settle()
                try:
                    await self._store_changes(group.changes, question)
                except RecordRefused:
                    await question.aclose()
                    if len(group.changes) < 2:
                        raise
                    # One of them can't be stored; the others must not suffer for it.
                    await self._store_halves(group.changes, group.refused)
            if question.generation:
                stored = time.perf_counter()
                with self._noting_misses():
                    await question.answer()
                self._live_generation = max(self._live_generation, question.generation)
                self._metrics.reload(time.perf_counter() - stored)
        await self.wait_live()

    async def _settle(self) -> None:
        """Find out what became of a batch of unknown fate, or of one that Traefik never showed."""
        if (self._uncertain or self._missed) and (
            snapshot := await self._load_to_compare()
        ) is not None:
            await self._reconcile(snapshot)

    async def _store_halves(
        self, changes: Change, refused: dict[str, Exception]
    ) -> StoreError | None:
        """Store what can be; note why the others can't.

        Returns:
            Why the rest was not tried, if the store failed in between.
        """
        failure: StoreError | None = None
        items = list(changes.items())
        middle = len(items) // 2
        for half in (dict(items[:middle]), dict(items[middle:])):
            try:
                if failure is None:
                    await self._store_changes(half)
            except RecordRefused as error:
                if len(half) > 1:
                    failure = await self._store_halves(half, refused)
                else:
                    refused.update(dict.fromkeys(half, error))
                continue
            except StoreError as error:
                failure = error
            if failure:
                refused.update(dict.fromkeys(half, failure))
        return failure

    async def _store_changes(
        self,
        changes: Change,
        question: Question | None = None,
        others: Mapping[Key, Document | None] | None = None,
    ) -> None:
        """Fold the changes and the outstanding repairs into one batch and store it.

        Args:
            others: records that changed beside those of the routes.
        """
        before = {routespec: self._table.routes.get(routespec) for routespec in changes}
        # A burst takes tens of milliseconds, which the event loop can't spare.
        many = len(changes) + len(self._repairs.puts) > _MANY
        attempted = False
        try:
            change = partial(self._next_batch, changes, others or {})
            batch = await in_thread(change) if many else change()
            if not batch and not self._unmarked:
                return
            attempted = True
            if question:
                question.begin(batch.generation)
            with self._metrics.store(StoreCall.APPLY):
                await self._store.apply(batch)
        except BaseException as error:
            # A lost answer may hide a success; so may a cancelled call.
            if isinstance(error, FencedError):
                self._fenced = error
                self._reports.fence(error)
            else:
                self._uncertain |= attempted
            undo = partial(self._table.update, before)
            with anyio.CancelScope(shield=True):
                await in_thread(undo) if many else undo()
            raise
        self._generation, self._unmarked = batch.generation, False
        repaired, self._repairs = self._repairs, Batch(1)
        if repaired:
            self._reports.repaired(repaired, at_start=self._task is None)

    def _next_batch(self, changes: Change, others: Mapping[Key, Document | None]) -> Batch:
        """Enter the changes into the table; what to store."""
        changed = {**others, **self._table.update(changes)}
        puts = {key: doc for key, doc in self._repairs.puts.items() if key not in changed}
        puts |= {key: doc for key, doc in changed.items() if doc is not None}
        deletes = {key for key in self._repairs.deletes if key not in changed}
        deletes |= {key for key, doc in changed.items() if doc is None}
        return Batch(self._generation + 1, puts, frozenset(deletes))
