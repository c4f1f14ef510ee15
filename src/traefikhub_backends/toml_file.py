"""The toml-file store: one file that Traefik's file provider watches and that remembers the routes.

The text of every record is kept, so that a change renders only what changed; a batch joins the
texts and replaces the file atomically.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
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
)
from traefikhub_backends._ownership import Ownership
from traefikhub_backends._toml_text import TextError, Texts, join, parse, render

__all__ = ["TomlFileStore"]

_T = TypeVar("_T")

_SETTING: Final = "c.TomlFileStore.path"


class _Signature(NamedTuple):
    """What tells one version of the file from another without reading it."""

    inode: int
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> _Signature:
        return cls(status.st_ino, status.st_size, status.st_mtime_ns)


class _Content(NamedTuple):
    """One version of the file, read or written. Never changed: a load in one thread may meet a
    write in another."""

    signature: _Signature | None  # None: there is no file
    snapshot: Snapshot
    texts: Texts


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
        self._ownership: Ownership | None = None
        self._cached: _Content | None = None

    def provider_config(self) -> dict[str, Document]:
        """Watch the one file: nothing else in its directory is read or causes a reload."""
        return {"file": {"filename": str(self._file), "watch": True}}

    @property
    def _file(self) -> Path:
        return Path(self.path).absolute()

    @property
    def _scratch(self) -> Path:
        """Where files are written before they are renamed. On the same file system, but out of
        sight of a Traefik that watches the whole directory: each step would make it reload."""
        return self._file.with_name(f".{self._file.name}.tmp")

    async def open(self, *, read_only: bool = False) -> None:
        """Take over the file by leaving a new owner token beside it."""
        if not read_only:
            await self._in_thread(self._take_over)
        self._open = True

    async def close(self) -> None:
        """Remove the lock file if it is still this writer's."""
        ownership, self._ownership, self._open = self._ownership, None, False
        if ownership:
            with anyio.CancelScope(shield=True):
                await self._in_thread(partial(self._let_go, ownership))

    async def load(self) -> Snapshot:
        """The file's records; from memory if the file is still the one last seen."""
        self._require_open()
        return (await self._in_thread(self._load)).snapshot

    async def apply(self, batch: Batch) -> None:
        """Render what changed, join, and replace the file: temporary file, fsync, rename."""
        self._require_open()
        if not self._ownership:
            raise StoreError(f"{self._file} was opened for reading only")
        await self._in_thread(partial(self._apply, batch, self._ownership))

    def _require_open(self) -> None:
        if not self._open:
            raise StoreError(f"{type(self).__name__} for {self._file} is not open")

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        try:
            # A write that has begun is seen through: cancelling waits for it.
            return await in_thread(work)
        except OSError as error:
            where = error.filename or self._file
            raise StoreUnavailable(
                f"{where}: {error.strerror or error}. Routes are kept in {self._file}; its "
                f"directory must be writable by the Hub's user and have space ({_SETTING})."
            ) from error

    # --- in a thread -------------------------------------------------------------------------

    def _take_over(self) -> None:
        self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        ownership = Ownership(self._file, self.timeout)
        with ownership.taking_over():
            # Before the earlier owner is fenced off: a broken file must not cost it its place.
            self._ownership = ownership
            try:
                self._load()
            except BaseException:
                self._ownership = None
                self._remove_scratch()
                raise
            self._remove_scratch()

    def _let_go(self, ownership: Ownership) -> None:
        ownership.let_go()
        self._remove_scratch()

    def _remove_scratch(self) -> None:
        """And with it what a writer that was killed left there."""
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _load(self) -> _Content:
        known = self._cached
        try:
            with self._file.open("rb") as stream:
                signature = _Signature.of(os.fstat(stream.fileno()))
                if known and known.signature == signature:
                    return known
                content = stream.read()
        except FileNotFoundError:
            loaded = _Content(None, Snapshot({}, 0), {})
        else:
            try:
                loaded = _Content(signature, *parse(content))
            except TextError as error:
                raise self._corrupt(content, error) from error
        self._cached = loaded
        return loaded

    def _corrupt(self, content: bytes, error: TextError) -> StoreCorrupt:
        kept = f"; {self._keep_aside(content)}" if self._ownership else ""
        return StoreCorrupt(
            f"{self._file}, line {error.line}: {error}. Nothing was overwritten{kept}. Mend that "
            f"line, or remove {self._file} to begin with an empty table: the Hub adds the routes "
            "of running servers again."
        )

    def _keep_aside(self, content: bytes) -> str:
        """Keep a copy of an unreadable file; it may be replaced later on."""
        digest = hashlib.sha256(content).hexdigest()[:8]
        aside = self._file.with_name(f"{self._file.name}.broken-{digest}")
        try:
            if not aside.exists():
                self._write(aside, content)
        except OSError as error:
            return f"no copy could be kept ({error.strerror})"
        return f"a copy is kept as {aside}"

    def _apply(self, batch: Batch, ownership: Ownership) -> None:
        rendered = {key: render(key, document) for key, document in batch.puts.items()}
        with ownership.held():
            before = self._load_for_apply()
            texts = {section: dict(names) for section, names in before.texts.items()}
            for key in batch.deletes:
                texts.get(key.section, {}).pop(key.name, None)
            for key, text in rendered.items():
                texts.setdefault(key.section, {})[key.name] = text
            signature = self._write(self._file, join(texts, batch.generation))
        old = before.snapshot.records
        records = {key: doc for key, doc in old.items() if key not in batch.deletes}
        records.update(batch.puts)
        self._cached = _Content(signature, Snapshot(records, batch.generation), texts)

    def _load_for_apply(self) -> _Content:
        """The records to change: those that this owner knows, whatever others did to the file.

        A batch says what changed since the last one; laid upon a file that somebody emptied, it
        would leave Traefik with little more than itself.
        """
        known = self._cached
        if known is None:
            return self._load()
        try:
            if self._load().signature != known.signature:
                self.log.warning("%s was changed by another program; undoing that", self._file)
        except StoreCorrupt as error:
            self.log.error("Replacing a broken routes file with what it held before: %s", error)
        return known

    def _write(self, path: Path, content: bytes) -> _Signature:
        """Replace a file so that a reader, or a crash, sees the old content or the new."""
        self._scratch.mkdir(mode=0o700, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=self._scratch)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
                status = os.fstat(stream.fileno())
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
        return _Signature.of(status)
