"""The toml-file store: one file that Traefik's file provider watches and that remembers the routes.

A change renders what changed and joins it to the rest, which is kept as text; then the file is
replaced as a whole.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import anyio
from traitlets import Unicode, default

from traefikhub.stores import (
    Batch,
    Document,
    RouteStore,
    Snapshot,
    StoreCorrupt,
    StoreError,
    StoreUnavailable,
    in_thread,
    paused_gc,
)
from traefikhub_backends._ownership import Ownership
from traefikhub_backends._toml_content import Content
from traefikhub_backends._toml_disk import Directory, Signature, read_regular
from traefikhub_backends._toml_read import read
from traefikhub_backends._toml_text import ForeignText, TextError, render

__all__ = ["TomlFileStore"]

_T = TypeVar("_T")

_SETTING: Final = "c.TomlFileStore.path"


class _Known(NamedTuple):
    """One version of the file, read or written."""

    signature: Signature | None  # None: there is no file
    content: Content
    snapshot: Snapshot | None  # what it means, until a load took that
    told: bool  # whether the caller has seen all of it


class _Claim(NamedTuple):
    """What a writer needs to write."""

    ownership: Ownership
    directory: Directory


class TomlFileStore(RouteStore):
    """Routes and Traefik's dynamic configuration in one TOML file, for a hub on one machine."""

    provider_name = "file"

    path = Unicode(
        help="""The file that holds the routes and that Traefik's file provider reads.

        By default ``routes.toml`` in the proxy's ``run_dir``. The file is replaced as a whole
        (rename), so its directory must be writable by the Hub; a Traefik in another container
        needs the directory mounted, not the file.
        """,
    ).tag(config=True)

    @default("path")
    def _default_path(self) -> str:
        return os.path.join(self.run_dir, "routes.toml")

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._open = False
        self._claim: _Claim | None = None
        self._known: _Known | None = None
        self._broken: Signature | None = None  # of the broken file that the caller was told of
        # Else a load that meets a write would take the new file for somebody else's, and read it.
        self._one_at_a_time = threading.Lock()

    def provider_config(self) -> dict[str, Document]:
        """Watch the one file: nothing else in its directory is read or causes a reload."""
        return {"file": {"filename": str(self._file), "watch": True}}

    @property
    def _file(self) -> Path:
        return Path(self.path).absolute()

    async def open(self, *, read_only: bool = False) -> None:
        """Take over the file by leaving a new owner token beside it."""
        if self._known:
            self._known = self._known._replace(told=False)
        if not read_only:
            await self._in_thread(self._take_over)
        self._open = True

    async def close(self) -> None:
        """Remove the lock file if it is still this writer's."""
        claim, self._claim, self._open = self._claim, None, False
        if claim:
            with anyio.CancelScope(shield=True):
                await self._in_thread(partial(self._let_go, claim))

    async def load(self) -> Snapshot:
        """The file's records."""
        self._require_open()
        return await self._in_thread(self._load)

    async def intact(self) -> bool:
        """Whether the file is still the one last loaded or written."""
        self._require_open()
        return await self._in_thread(
            lambda: self._known is not None and self._known.told and self._is_unchanged(self._known)
        )

    async def apply(self, batch: Batch) -> None:
        """Render what changed, and replace the file: temporary file, fsync, rename."""
        self._require_open()
        if not self._claim:
            raise StoreError(f"{self._file} was opened for reading only")
        await self._in_thread(partial(self._apply, batch, self._claim))

    def _require_open(self) -> None:
        if not self._open:
            raise StoreError(f"{type(self).__name__} for {self._file} is not open")

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        try:
            # A write that has begun is seen through: cancelling waits for it.
            return await in_thread(self._alone, work)
        except OSError as error:
            where = error.filename or self._file
            raise StoreUnavailable(
                f"{where}: {error.strerror or error}. Routes are kept in {self._file}; its "
                f"directory must be writable by the Hub's user and have space ({_SETTING})."
            ) from error

    # --- in a thread -------------------------------------------------------------------------

    def _alone(self, work: Callable[[], _T]) -> _T:
        with self._one_at_a_time:
            return work()

    def _take_over(self) -> None:
        file = self._file
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        claim = _Claim(Ownership(file, self.timeout), Directory(file))
        with claim.ownership.taking_over():
            # Before the earlier owner is fenced off: a broken file must not cost it its place.
            self._claim = claim
            try:
                self._look()
            except BaseException:
                self._claim = None
                raise
            finally:
                claim.directory.clear()

    def _let_go(self, claim: _Claim) -> None:
        claim.ownership.let_go()
        claim.directory.leave()

    def _load(self) -> Snapshot:
        if self._known:
            # Should this fail, the caller will put in what it thinks is missing, no more.
            self._known = self._known._replace(told=False)
        try:
            found = self._look()
            if found.snapshot is None:
                found = self._read()
        except StoreCorrupt:
            self._broken = self._signature()
            raise
        assert found.snapshot
        # Handed out once: kept, it would take more memory than everything else.
        self._known = found._replace(snapshot=None, told=True)
        return found.snapshot

    def _is_unchanged(self, known: _Known) -> bool:
        return known.signature == self._signature()

    def _signature(self) -> Signature | None:
        """Of the file as it is now; None if there is none."""
        try:
            return Signature.of(os.stat(self._file))
        except FileNotFoundError:
            return None

    def _look(self) -> _Known:
        """What the file holds now; from memory if it is still the one last seen."""
        if self._known is None or not self._is_unchanged(self._known):
            self._known = self._read()
        return self._known

    def _read(self) -> _Known:
        try:
            signature, text = read_regular(self._file)
        except TextError as error:
            raise self._corrupt(b"", error) from error
        except FileNotFoundError:
            if self._claim and not self._file.parent.is_dir():
                raise  # that was there: moved away, or not mounted, with all routes
            return _Known(None, Content(), Snapshot({}, 0), told=False)
        try:
            with paused_gc():
                return _Known(signature, *read(text), told=False)
        except TextError as error:
            raise self._corrupt(text, error) from error

    def _corrupt(self, text: bytes, error: TextError) -> StoreCorrupt:
        kept = f"; {self._keep_aside(text, self._claim.directory)}" if self._claim else ""
        if isinstance(error, ForeignText):
            return StoreCorrupt(
                f"{self._file} was not written by traefikhub: {error}. Nothing was overwritten"
                f"{kept}. The routes need a file of their own: set {_SETTING} to another one, or "
                f"move {self._file} away. What that tells Traefik beside routes belongs into "
                "c.TraefikProxy.extra_dynamic_config; routes needn't be taken along, the Hub adds "
                "those of running servers again."
            )
        return StoreCorrupt(
            f"{self._file}, line {error.line}: {error}. Nothing was overwritten{kept}. Mend that "
            f"line, or remove {self._file} to begin with an empty table: the Hub adds the routes "
            "of running servers again."
        )

    def _keep_aside(self, text: bytes, directory: Directory) -> str:
        """Keep a copy of an unreadable file; it may be replaced later on."""
        digest = hashlib.sha256(text).hexdigest()[:8]
        aside = self._file.with_name(f"{self._file.name}.broken-{digest}")
        try:
            if not aside.exists():
                directory.replace(aside, [text])
        except OSError as error:
            return f"no copy could be kept ({error.strerror})"
        return f"a copy is kept as {aside}"

    def _apply(self, batch: Batch, claim: _Claim) -> None:
        rendered = {key: render(key, document) for key, document in batch.puts.items()}
        with claim.ownership.held():
            known = self._to_change()
            content = known.content.after(batch.generation, rendered, batch.deletes)
            content.require_room()
            signature = claim.directory.replace(self._file, content.pieces())
        self._known = _Known(signature, content, None, known.told)

    def _to_change(self) -> _Known:
        """The records to change: those that this owner knows, whatever others did to the file.

        A batch says what changed since the last one; laid upon a file that somebody emptied, it
        would leave Traefik with little more than itself.
        """
        known = self._known
        if known is None:
            return self._look()
        try:
            if self._look().signature != known.signature:
                self.log.warning("%s was changed by another program; undoing that", self._file)
        except StoreCorrupt as error:
            level = logging.DEBUG if self._signature() == self._broken else logging.ERROR
            self.log.log(
                level, "Replacing a broken routes file with what it held before: %s", error
            )
        return known
