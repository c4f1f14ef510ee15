"""KeyValueStore: the base of stores on hierarchical key-value servers (etcd, consul, redis, …)."""

from __future__ import annotations

import secrets
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import anyio
import anyio.to_thread
from traitlets import Unicode

from traefikhub.stores._batch import (
    GENERATION_HEADER,
    GENERATION_MARKER,
    Batch,
    Document,
    Key,
    Snapshot,
    is_private,
)
from traefikhub.stores._errors import FencedError, StoreCorrupt, StoreError
from traefikhub.stores._interface import RouteStore
from traefikhub.stores._layout import canonical, keys_of, read_records, require_distinct

__all__ = ["Change", "Guard", "KeyValueStore"]

_OWNER: Final = "jupyterhub/owner"


class Change(NamedTuple):
    """A put, or a delete if ``value`` is None, of one key below the prefix."""

    path: str
    value: str | None


class Guard(NamedTuple):
    """A key below the prefix, and the value that it must have for a transaction to happen."""

    path: str
    value: str


class KeyValueStore(RouteStore):
    """Turns records into Traefik's key layout; leaves the server to its subclass.

    A subclass says how many operations fit into a transaction, reads everything below the prefix,
    and makes one transaction. ``connect`` and ``disconnect`` are there for its client.
    """

    prefix = Unicode(
        "traefik",
        help="""The root of all keys, Traefik's ``rootKey``. Hubs that share a server need
        different ones.""",
    ).tag(config=True)

    @property
    @abstractmethod
    def transaction_limit(self) -> int:
        """How many changes one ``transact`` takes, its guard not counted."""

    @abstractmethod
    async def read_all(self) -> dict[str, str]:
        """Every key below ``prefix/``, without that, and its value, as of one moment.

        Raises:
            StoreUnavailable: the server can't be reached, or refuses this user.
        """

    @abstractmethod
    async def transact(self, changes: Sequence[Change], guard: Guard | None) -> bool:
        """Make all changes at once if the guard's key has its value; say whether it had.

        Deleting an absent key is no error. When it returns True, the changes are durable.

        Raises:
            StoreUnavailable: the server can't be reached or refuses; the transaction may or may
                not have happened.
            RecordRefused: the server can't hold a key or value of that size.
        """

    @abstractmethod
    async def connect(self) -> None:
        """Make the client, and prove that it reaches the server.

        Raises:
            StoreUnavailable: it doesn't, or the server refuses this user.
            StoreError: the client library is missing, or an option makes no sense.
        """

    @abstractmethod
    async def disconnect(self) -> None:
        """Close the client. Idempotent; the server may be gone."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._state = ""  # "reading" or "writing" while open
        self._token = ""
        # What the store is known to hold, by record; None when that is unknown.
        self._keys: Mapping[Key, Mapping[str, str]] | None = None

    def canonical(self, key: Key, document: Document) -> Document:
        """Traefik's sections come back as strings, tables and lists."""
        return canonical(key, document)

    async def open(self, *, read_only: bool = False) -> None:
        """Connect, and unless ``read_only`` put a new owner token into the store."""
        self._keys = None
        try:
            await self.connect()
            if not read_only:
                token = secrets.token_hex(16)
                await self.transact([Change(_OWNER, token)], None)
                self._token = token
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self.disconnect()
            raise
        self._state = "reading" if read_only else "writing"

    async def close(self) -> None:
        """Disconnect; the token stays, and tells nothing to anybody."""
        self._state = self._token = ""
        with anyio.CancelScope(shield=True):
            await self.disconnect()

    async def load(self) -> Snapshot:
        """Everything below the prefix, by one read."""
        self._require("reading", "writing")
        flat = await self.read_all()
        flat.pop(_OWNER, None)
        try:
            # Tens of milliseconds for ten thousand routes.
            records, keys = await anyio.to_thread.run_sync(read_records, flat)
            generation = _generation_in(records.pop(GENERATION_MARKER, None))
        except ValueError as error:
            raise StoreCorrupt(f"{self.prefix}/ in {self.provider_name}: {error}") from error
        self._keys = keys
        return Snapshot(records, generation)

    async def apply(self, batch: Batch) -> None:
        """Send the keys that differ from what the store is known to hold.

        In one transaction if they fit, with the marker; else in an order in which no router names
        anything that is missing, the marker last.
        """
        self._require("writing")
        after = {key: keys_of(key, document) for key, document in batch.puts.items()}
        if self._keys is None:
            await self.load()
        before = self._keys or {}
        known = {key: own for key, own in before.items() if key not in batch.deletes} | after
        require_distinct(known)
        marker_key, marker = batch.marker
        turns = _turns(batch, before)
        changes = [
            _difference(before.get(key, {}), after.get(key, {}))
            for key in sorted(turns, key=turns.__getitem__)
        ]
        changes.append(_difference({}, keys_of(marker_key, marker)))
        guard = Guard(_OWNER, self._token)
        self._keys = None  # until it is known that all of it happened
        for portion in _portions(changes, self.transaction_limit):
            if not await self.transact(portion, guard):
                raise FencedError(
                    f"another writer has taken over {self.prefix}/ in {self.provider_name}; this "
                    "one writes no more. Give each Hub a prefix of its own "
                    f"(c.{type(self).__name__}.prefix)."
                )
        self._keys = known

    def _require(self, *states: str) -> None:
        if self._state not in states:
            raise StoreError(
                f"{type(self).__name__} is "
                + ("open for reading only" if self._state else "not open")
            )


def _generation_in(marker: Document) -> int:
    """The generation that the marker shows; 0 if there is none.

    Raises:
        ValueError: it shows something else.
    """
    match marker:
        case None:
            return 0
        case {"headers": {"customResponseHeaders": dict(headers)}}:
            text = headers.get(GENERATION_HEADER)
            if isinstance(text, str) and text.isdecimal():
                return int(text)
    raise ValueError(f"the generation marker {GENERATION_MARKER.name} is damaged: {marker}")


def _difference(old: Mapping[str, str], new: Mapping[str, str]) -> list[Change]:
    """What turns the keys of one record into others."""
    puts = [Change(path, value) for path, value in new.items() if old.get(path) != value]
    return puts + [Change(path, None) for path in old if path not in new]


def _portions(records: Sequence[Sequence[Change]], limit: int) -> Iterator[list[Change]]:
    """Fill transactions in the order given; a record that fits into one is not torn apart."""
    portion: list[Change] = []
    for changes in records:
        if portion and len(portion) + len(changes) > limit:
            yield portion
            portion = []
        portion.extend(changes)
        while len(portion) > limit:
            yield portion[:limit]
            portion = portion[limit:]
    if portion:
        yield portion


def _turns(batch: Batch, before: Mapping[Key, Mapping[str, str]]) -> dict[Key, tuple[int, int]]:
    """When each record of a batch is written, should it not fit into one transaction.

    What routers name comes before them, parents before children; they go in reverse.
    """
    parents = {
        key.name: list(_parents(keys_of(key, document)))
        for key, document in batch.puts.items()
        if key.section == "http/routers"
    }
    for key in batch.deletes:
        if key.section == "http/routers":
            parents.setdefault(key.name, list(_parents(before.get(key, {}))))
    depths: dict[str, int] = {}

    def depth(name: str) -> int:
        if name not in depths:
            depths[name] = 0  # should they name each other in a circle
            depths[name] = 1 + max(map(depth, parents.get(name, ())), default=0)
        return depths[name]

    turns: dict[Key, tuple[int, int]] = {}
    for key in batch.puts:
        is_router = key.section == "http/routers"
        turns[key] = (1, depth(key.name)) if is_router else (4 if is_private(key.section) else 0, 0)
    for key in batch.deletes:
        is_router = key.section == "http/routers"
        turns[key] = (2, -depth(key.name)) if is_router else (3, 0)
    return turns


def _parents(own: Mapping[str, str]) -> Iterator[str]:
    return (value for path, value in own.items() if path.split("/")[3:4] == ["parentRefs"])
