"""A scratch place in a store, to try or measure it without touching the Hub's own routes."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import anyio
from traitlets import TraitError

from traefikhub.stores import KeyValueStore, RouteStore, StoreError, in_thread

__all__ = ["NoPlace", "NotRemoved", "Place", "scratch_place"]


class NoPlace(Exception):
    """The store offers no place beside the Hub's."""


class NotRemoved(Exception):
    """What was written could not be removed."""


class Place(NamedTuple):
    """Where is measured.

    name: for people.
    store: closed; it writes there and nowhere else.
    directory: where its file is; None if it has a server.
    """

    name: str
    store: RouteStore
    directory: Path | None


@asynccontextmanager
async def scratch_place(store: RouteStore) -> AsyncIterator[Place]:
    """Move a store that is not open, made for the Hub's own place, to one that is empty. At the
    end it must be closed; everything there is removed.

    Raises:
        NoPlace: the store has none to offer.
        StoreError: it can't be reached, or this user may not write there.
        NotRemoved: at the end.
    """
    if isinstance(store, KeyValueStore):
        async with _prefix(store) as place:
            yield place
    elif store.provider_name == "file" and store.has_trait("path"):
        async with _file(store) as place:
            yield place
    else:
        raise NoPlace(
            f"{type(store).__name__} can't be measured: it offers no place beside the one with the "
            "Hub's routes, which are not to be touched. A store can that is a KeyValueStore, with "
            "a prefix, or has its file in the option path."
        )


@asynccontextmanager
async def _prefix(store: KeyValueStore) -> AsyncIterator[Place]:
    own, scratch = store.prefix, store.scratch_prefix(secrets.token_hex(4))
    try:
        store.prefix = scratch
    except TraitError as error:
        raise NoPlace(f"{type(store).__name__} takes no prefix {scratch!r}: {error}") from error
    try:
        # Nothing is written by it; so if this fails, there is nothing to remove.
        await store.connect(read_only=False)
        try:
            taken = await store.read_all()
        finally:
            await store.disconnect()
    except StoreError as error:
        raise type(error)(
            f"{error}\n(It was to be measured below {scratch}/, beside {own}/.)"
        ) from error
    if taken or own == scratch or store.prefix != scratch:  # all that is there will be deleted
        raise NoPlace(
            f"{type(store).__name__} has something below {scratch}/ already. If nobody tries or "
            "measures the store just now, somebody was killed when they did: delete all keys there"
        )
    try:
        yield Place(f"{scratch}/", store, None)
    finally:
        with anyio.CancelScope(shield=True):
            await _erase(store)


async def _erase(store: KeyValueStore) -> None:
    try:
        await store.erase()
    except StoreError as error:
        raise NotRemoved(
            f"What was written below {store.prefix}/ could not be removed: {error}\n"
            "Delete all keys there; nobody else uses them."
        ) from error


@asynccontextmanager
async def _file(store: Any) -> AsyncIterator[Place]:
    own = Path(store.path)
    directory = _directory_beside(own)  # in no thread: cancelled, that would lose its name
    try:
        store.path = str(directory / own.name)
        yield Place(store.path, store, directory)
    finally:
        with anyio.CancelScope(shield=True):
            await in_thread(_remove, directory)


def _directory_beside(file: Path) -> Path:
    """A new one on the same disk. Not where a Traefik looks that reads the file."""
    file = file.absolute()
    beside = file.parent
    while not beside.is_dir():  # of a hub that was never started
        beside = beside.parent
    try:
        return Path(tempfile.mkdtemp(prefix=".traefikhub-scratch-", dir=beside))
    except OSError as error:
        raise NoPlace(
            f"{beside} can't be written: {error.strerror}. It is measured there, on the disk of "
            f"{file}; be the Hub's user."
        ) from error


def _remove(directory: Path) -> None:
    try:
        shutil.rmtree(directory)
    except OSError as error:
        raise NotRemoved(
            f"{directory} could not be removed: {error.strerror}. Remove it; nobody else uses it."
        ) from error
