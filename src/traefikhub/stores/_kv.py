"""KeyValueStore: the base of stores on hierarchical key-value servers (etcd, consul, redis, …)."""

from __future__ import annotations

import os
import re
import secrets
import socket
from abc import abstractmethod
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any, Final, NamedTuple

import anyio
from traitlets import TraitError, Unicode, validate

from traefikhub.stores._batch import Batch, Document, Key, Snapshot
from traefikhub.stores._errors import FencedError, RecordRefused, StoreCorrupt, StoreError
from traefikhub.stores._interface import RouteStore
from traefikhub.stores._layout import canonical
from traefikhub.stores._memory import paused_gc
from traefikhub.stores._place import place_of
from traefikhub.stores._stages import Change, Stage, stages
from traefikhub.stores._transactions import KnownKeys, Plan
from traefikhub.threads import in_thread

__all__ = ["Change", "Changed", "Guard", "KeyValueStore"]

_OWNER: Final = "jupyterhub/owner"
_SHORT: Final = 8
_OWNERS: Final = 8
"""Earlier owners that a token names. So a Hub knows its predecessors' tokens, should the server be
set back to an older backup, from a rival's."""

_ERASED_AT_ONCE: Final = 500
"""Keys that one transaction deletes: far below what any server takes."""

_MANY: Final = 100
"""Records of a batch from which it is prepared in a thread: some milliseconds."""


class Guard(NamedTuple):
    """A key below the prefix, and the value that it must have for a transaction to happen."""

    path: str
    value: str


class Changed(NamedTuple):
    """What ``read_changed`` tells.

    flat: every key below the prefix that was put since, and its value.
    total: how many keys there are below the prefix, changed or not. None, with an empty ``flat``,
        from a server that doesn't count them: nobody has put or deleted any.
    """

    flat: dict[str, str]
    total: int | None


class KeyValueStore(RouteStore):
    """Turns records into Traefik's key layout; leaves the server to its subclass.

    A subclass says how many operations fit into a transaction, reads everything below the prefix,
    and makes one transaction. ``connect`` and ``disconnect`` are there for its client. Names that
    begin with one underscore are its own.
    """

    prefix = Unicode(
        "traefik",
        help="""The root of all keys, Traefik's ``rootKey``. Hubs that share a server need
        different ones.""",
    ).tag(config=True)

    @validate("prefix")
    def __check_prefix(self, proposal: dict[str, Any]) -> str:
        prefix: str = proposal["value"]
        if not prefix or "" in prefix.split("/"):
            raise TraitError(
                f"c.{type(self).__name__}.prefix = {prefix!r}: one word or more, joined by single "
                "slashes, none at either end"
            )
        return prefix

    @property
    @abstractmethod
    def transaction_limit(self) -> int:
        """How many changes one ``transact`` takes, its guard not counted."""

    @property
    def transaction_bytes(self) -> int | None:
        """How many bytes of keys and values one ``transact`` takes; None: whatever comes."""
        return None

    @property
    def transacts_at_once(self) -> bool:
        """Whether ``transact_all`` is better off with some changes made several times than with
        more stages."""
        return False

    @abstractmethod
    async def read_all(self) -> dict[str, str]:
        """Every key below ``prefix/``, without that, and its value, as of one moment.

        Raises:
            StoreUnavailable: the server can't be reached, or refuses this user.
        """

    async def read_changed(self) -> Changed | None:
        """The keys that may have changed since the last ``read_all`` or ``read_changed``, as of
        one moment. None if the server can't tell; then everything is read.

        Raises:
            StoreUnavailable: as ``read_all``.
        """
        return None

    async def read_value(self, path: str) -> str | None:
        """The value of one key below ``prefix/``; None if it is absent. By default out of
        everything.

        Raises:
            StoreUnavailable: as ``read_all``.
        """
        return (await self.read_all()).get(path)

    @abstractmethod
    async def transact(self, changes: Sequence[Change], guard: Guard | None) -> bool:
        """Make all changes at once if the guard's key has its value; say whether it had.

        Deleting an absent key is no error. When it returns True, the changes are durable.

        Raises:
            StoreUnavailable: the server can't be reached or refuses; the transaction may or may
                not have happened.
            RecordRefused: the server can't hold a key or value, which ``check_value`` could not
                tell beforehand.
        """

    def check_value(self, path: str, value: str) -> None:
        """Refuse a key that the server can't hold, or Traefik's provider can't read there.

        Asked of every key that a batch puts before anything is sent, and by ``canonical``; maybe
        in a thread. By default everything passes.

        Args:
            path: of the key, below ``prefix/``. ``is_private`` of its first word tells whether
                Traefik reads it.
            value: its text.

        Raises:
            RecordRefused: it names what was refused, and why.
        """

    async def transact_all(
        self, stages: Sequence[Sequence[Sequence[Change]]], guard: Guard
    ) -> bool:
        """Make several transactions, each as ``transact`` does; say whether the guard's key had
        its value at each.

        Those of one stage may be made in any order or at once, and a stage as soon as the one
        before is done. When it returns or raises, none is under way any more.

        Raises:
            as ``transact``; some of them may have happened.
        """
        for stage in stages:
            for changes in stage:
                if not await self.transact(changes, guard):
                    return False
        return True

    @abstractmethod
    async def connect(self, *, read_only: bool) -> None:
        """Make the client, and prove that it reaches the server.

        What only writers need is looked at here, too, unless ``read_only``: nothing has been
        taken over yet, so that a server which is refused costs the live writer nothing.

        Raises:
            StoreUnavailable: it doesn't, or the server refuses this user.
            StoreError: the client library is missing, or an option makes no sense.
        """

    @abstractmethod
    async def disconnect(self) -> None:
        """Close the client. Idempotent; the server may be gone."""

    def scratch_prefix(self, name: str) -> str:
        """Another prefix on the same server, to try or measure the store there while a Hub uses
        ``prefix``. By default one that the same rights cover which cover all that begins with
        ``prefix``. A server whose Traefik is disturbed by that has another.

        Args:
            name: some letters and digits, others each time. Without them in it, there is one place
                for all; who finds something there already is refused.
        """
        return f"{self.prefix}-scratch-{name}"

    async def prove_writable(self) -> None:
        """Prove what a start needs, beside a Hub that runs: that this user may write below the
        prefix. Writes nothing. For a store that is not open.

        By default by a transaction whose guard can't hold: a server that looks at rights before
        it looks at values refuses that. Others have a way of their own.

        Raises:
            as ``open``.
        """
        await self.connect(read_only=False)
        try:
            nobody = "nobody"  # no owner's token is like that
            await self.transact([Change(_OWNER, nobody)], Guard(_OWNER, nobody))
        finally:
            await self.disconnect()

    async def erase(self) -> None:
        """Delete every key below the prefix, those of the base class included. For a prefix that
        nobody else uses, of a store that is not open. A server with keys of the store's own that
        ``read_all`` leaves out deletes those in an ``erase`` of its own.

        Raises:
            StoreError: not all could be deleted.
        """
        await self.connect(read_only=False)
        try:
            paths = list(await self.read_all())
            size = min(self.transaction_limit, _ERASED_AT_ONCE)
            for start in range(0, len(paths), size):
                changes = [Change(path, None) for path in paths[start : start + size]]
                await self.transact(changes, None)
            if left := await self.read_all():
                raise StoreError(f"{len(left)} keys below {self.prefix}/ are still there")
        finally:
            await self.disconnect()

    # Two underscores: what a subclass calls its own must not be one of these by accident.

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.__state = ""  # "reading" or "writing" while open
        self.__token = ""  # nosec B105 # none yet
        self.__owner: str | None = None  # what the owner's key held when it was last seen
        self.__fenced = ""  # why, once it was: there is no way back but open()
        self.__known: KnownKeys | None = None  # None when what the server holds is unknown
        self.__loaded = False  # whether the caller has seen that
        # A load that ends after a write it did not see would pass for what the store holds.
        self.__busy = anyio.Lock()

    def canonical(self, key: Key, document: Document) -> Document:
        """Traefik's sections come back as strings, tables and lists."""
        return canonical(key, document, self.check_value)

    async def open(self, *, read_only: bool = False) -> None:
        """Connect, and unless ``read_only`` put a new owner token into the store."""
        self.__known, self.__loaded, self.__fenced = None, False, ""
        try:
            await self.connect(read_only=read_only)
            if not read_only:
                token = _token_after(await self.read_value(_OWNER))
                await self.transact([Change(_OWNER, token)], None)
                self.__token = self.__owner = token
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self.disconnect()
            raise
        self.__state = "reading" if read_only else "writing"

    async def close(self) -> None:
        """Disconnect; the token stays, and tells nothing to anybody."""
        self.__state = self.__token = ""  # nosec B105 # none any more
        with anyio.CancelScope(shield=True):
            await self.disconnect()

    async def load(self) -> Snapshot:
        """Everything below the prefix, by one read."""
        self.__require("reading", "writing")
        async with self.__busy:
            return await self.__load()

    async def intact(self) -> bool:
        """By what changed since the last read, if the server can tell."""
        self.__require("reading", "writing")
        async with self.__busy:
            if self.__known is None or not self.__loaded:
                return False
            # Until it is known that it is: the changes will not be told again.
            known, self.__known = self.__known, None
            if (changed := await self.read_changed()) is None:
                return False
            flat = dict(changed.flat)
            self.__owner = flat.pop(_OWNER, self.__owner)
            if changed.total is None:
                if changed.flat:  # who doesn't count hides what was deleted
                    return False
            else:
                agrees = partial(known.agrees, flat, changed.total - 1)
                if not (await in_thread(agrees) if len(flat) > _MANY else agrees()):
                    return False
            if self.__owner != self.__token and self.__state == "writing":
                return False
            self.__known = known
            return True

    async def __load(self) -> Snapshot:
        known = await self.__read()
        with paused_gc():
            snapshot, wrong = await in_thread(known.snapshot)
        if self.__state == "writing" and self.__owner != self.__token:
            # A generation counts with its owner's token. So the caller writes, and by that the
            # token is put back, or whoever took over noticed, if all records are alike.
            snapshot = Snapshot(snapshot.records, 0)
        if wrong:
            more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
            raise StoreCorrupt(f"{self.prefix}/ in {place_of(self)}: {wrong[0]}{more}", snapshot)
        self.__loaded = True
        return snapshot

    async def __read(self) -> KnownKeys:
        # Until it is known anew: what has changed will not be told again.
        self.__known, self.__loaded = None, False
        with paused_gc():
            flat = await self.read_all()
            self.__owner = flat.pop(_OWNER, None)
            # Tenths of a second for ten thousand routes.
            self.__known = await in_thread(KnownKeys, flat)
        return self.__known

    async def apply(self, batch: Batch) -> None:
        """Send the keys that differ from what the store is known to hold.

        In one transaction if they fit, with the marker; else in an order in which no router names
        anything that is missing, the marker last.
        """
        self.__require("writing")
        async with self.__busy:
            await self.__apply(batch)

    async def __apply(self, batch: Batch) -> None:
        if self.__fenced:
            raise FencedError(self.__fenced)
        token = self.__token
        many = len(batch.puts) + len(batch.deletes) > _MANY
        with paused_gc() if many else nullcontext():
            while not await self.__send(batch, token, many):
                # What the server holds is not what the batch was planned upon.
                await self.__take_back(token)

    async def __take_back(self, token: str) -> None:
        """Put the token back in its place, if nobody took over.

        Raises:
            FencedError: somebody did.
        """
        guard = None
        owner = await self.read_value(_OWNER)
        if owner is None:
            self.log.warning("The keys of %s/ were deleted by hand", self.prefix)
        elif owner == token or owner[:_SHORT] in token.split()[1:]:
            if owner != token:
                self.log.warning("%s/ was set back to what an earlier Hub left", self.prefix)
            guard = Guard(_OWNER, owner)
        else:
            self.__fenced = (
                f"another writer{_whose(owner)} has taken over {self.prefix}/ in {place_of(self)}; "
                "this one writes no more until its Hub is started again. Give each Hub a prefix of "
                f"its own (c.{type(self).__name__}.prefix)."
            )
            raise FencedError(self.__fenced)
        if await self.transact([Change(_OWNER, token)], guard):
            self.__owner = token

    async def __send(self, batch: Batch, token: str, many: bool) -> bool:
        """Apply a batch; False, with nothing known, if the owner's key has not this token."""
        known = self.__known or await self.__read()
        self.__known = None  # until it is known that all of it happened

        def prepare() -> tuple[Plan, list[Stage]]:
            plan = known.plan(batch, self.check_value)
            # All before anything is sent: what is refused in the midst would be half-applied.
            return plan, stages(
                plan.groups,
                self.transaction_limit,
                self.transaction_bytes,
                repeat=self.transacts_at_once,
            )

        try:
            plan, transactions = await in_thread(prepare) if many else prepare()
        except RecordRefused:
            self.__known = known
            raise
        if not await self.transact_all(transactions, Guard(_OWNER, token)):
            return False
        known.commit(batch, plan)
        self.__known, self.__owner = known, token
        return True

    def __require(self, *states: str) -> None:
        if self.__state not in states:
            raise StoreError(
                f"{type(self).__name__} is "
                + ("open for reading only" if self.__state else "not open")
            )


def _token_after(owner: str | None) -> str:
    """A new owner's token: random, and with the beginnings of those before it."""
    earlier = [
        each[:_SHORT] for each in (owner or "").split() if re.fullmatch("[0-9a-f]{8,32}", each)
    ]
    who = f"{os.getpid()}@{socket.gethostname()}"
    return " ".join([secrets.token_hex(16), *earlier[:_OWNERS], who])


def _whose(owner: str) -> str:
    """The process that an owner's token tells of, for people."""
    found = re.fullmatch(r"(?:.* )?([0-9]+)@([!-~]+)", owner)
    return f", process {found[1]} on {found[2]}," if found else ""
