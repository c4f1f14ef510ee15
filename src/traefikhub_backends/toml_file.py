"""The toml-file store: one file that Traefik's file provider watches and that remembers the routes.

The text of every record is kept, so that a change renders only what changed; a batch joins the
texts and replaces the file atomically.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import secrets
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias, TypeVar

import anyio
import anyio.to_thread
import tomli_w
from traitlets import Unicode, default

from traefikhub.stores import (
    GENERATION_MARKER,
    Batch,
    Document,
    FencedError,
    Key,
    RecordRefused,
    RouteStore,
    Snapshot,
    StoreCorrupt,
    StoreError,
    StoreUnavailable,
    is_private,
)

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["TomlFileStore"]

_T = TypeVar("_T")

_HEADER: Final = "# Written by traefikhub, and rewritten with every change of a route.\n"
_END: Final = Key("jupyterhub/meta", "traefikhub__end")
"""The last table of the file. Its absence tells that the file was cut short or is not ours."""

_SETTING: Final = "c.TomlFileStore.path"
_INT64: Final = range(-(2**63), 2**63)


class _Signature(NamedTuple):
    """What tells one version of the file from another without reading it."""

    inode: int
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> _Signature:
        return cls(status.st_ino, status.st_size, status.st_mtime_ns)


_Texts: TypeAlias = "dict[str, dict[str, str]]"
"""Section, name, rendered record."""


class _Content(NamedTuple):
    """One version of the file, read or written. Never changed: a load in one thread may meet a
    write in another."""

    signature: _Signature | None  # None: there is no file
    snapshot: Snapshot
    texts: _Texts


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
        self._owner = ""  # the token that this writer left in the lock file; empty when not open
        self._open = False
        self._lock_seen: int | None = None  # holds on to the lock file that has the token
        self._cached: _Content | None = None

    def provider_config(self) -> dict[str, Document]:
        """Watch the one file: nothing else in its directory is read or causes a reload."""
        return {"file": {"filename": str(self._file), "watch": True}}

    @property
    def _file(self) -> Path:
        return Path(self.path).absolute()

    async def open(self, *, read_only: bool = False) -> None:
        """Take over the file by leaving a new owner token beside it."""
        if not read_only:
            await self._in_thread(self._take_over)
        self._open = True

    async def close(self) -> None:
        """Remove the lock file if it is still this writer's."""
        owner, self._owner, self._open = self._owner, "", False
        seen, self._lock_seen = self._lock_seen, None
        if seen is not None:
            os.close(seen)
        if owner:
            with anyio.CancelScope(shield=True):
                await self._in_thread(partial(self._let_go, owner))

    async def load(self) -> Snapshot:
        """The file's records; from memory if the file is still the one last seen."""
        self._require_open()
        return (await self._in_thread(self._load)).snapshot

    async def apply(self, batch: Batch) -> None:
        """Render what changed, join, and replace the file: temporary file, fsync, rename."""
        self._require_open()
        if not self._owner:
            raise StoreError(f"{self._file} was opened for reading only")
        await self._in_thread(partial(self._apply, batch))

    def _require_open(self) -> None:
        if not self._open:
            raise StoreError(f"{type(self).__name__} for {self._file} is not open")

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        try:
            # A write that has begun is seen through: cancelling waits for it.
            return await anyio.to_thread.run_sync(work)
        except OSError as error:
            where = error.filename or self._file
            raise StoreUnavailable(
                f"{where}: {error.strerror or error}. Routes are kept in {self._file}; its "
                f"directory must be writable by the Hub's user and have space ({_SETTING})."
            ) from error

    # --- ownership ---------------------------------------------------------------------------

    @property
    def _lock_file(self) -> Path:
        return self._file.with_name(self._file.name + ".lock")

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """Hold the exclusive lock; yields the descriptor of the lock file."""
        deadline = time.monotonic() + self.timeout
        while True:
            descriptor = os.open(self._lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                if self._try_lock(descriptor):
                    yield descriptor
                    return
            finally:
                os.close(descriptor)
            if time.monotonic() > deadline:
                raise StoreUnavailable(
                    f"{self._lock_file} has been locked by another process for {self.timeout:g} s"
                    f" (c.TomlFileStore.timeout); is it stuck?"
                )
            time.sleep(0.005)

    def _try_lock(self, descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Its owner may have removed the file since it was opened here.
            return os.fstat(descriptor).st_ino == os.stat(self._lock_file).st_ino
        except (BlockingIOError, FileNotFoundError):
            return False

    def _take_over(self) -> None:
        self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        token = f"{secrets.token_hex(16)} pid {os.getpid()}"
        with self._locked() as descriptor:
            # Read before the earlier owner is fenced off: a broken file must not cost it its place.
            try:
                self._load()
            except BaseException:
                if not os.pread(descriptor, 1, 0):
                    os.unlink(self._lock_file)  # it is of this call's making
                raise
            os.truncate(descriptor, 0)
            os.pwrite(descriptor, token.encode(), 0)
            self._hold_on_to_lock_file()
            self._remove_leftovers()
        self._owner = token

    def _let_go(self, owner: str) -> None:
        with suppress(FileNotFoundError), self._locked() as descriptor:
            if os.pread(descriptor, 200, 0).decode() in (owner, ""):
                os.unlink(self._lock_file)

    def _hold_on_to_lock_file(self) -> None:
        """Keep the file readable after its removal: who takes over writes a token into it, and
        removes it at the end."""
        if self._lock_seen is not None:
            os.close(self._lock_seen)
        # Not a duplicate of the locked descriptor, which would keep the lock.
        self._lock_seen = os.open(self._lock_file, os.O_RDONLY | os.O_CLOEXEC)

    def _check_owner(self, descriptor: int) -> None:
        found = _owner_in(descriptor)
        if found == self._owner:
            return
        if not found and self._lock_seen is not None:
            found = _owner_in(self._lock_seen)
        if found not in ("", self._owner):
            raise FencedError(
                f"another writer ({found.partition(' ')[2] or 'unknown'}) has taken over "
                f"{self._file}; this one writes no more. Run one Hub for each file ({_SETTING})."
            )
        os.pwrite(descriptor, self._owner.encode(), 0)  # removed by hand: nobody took over
        self._hold_on_to_lock_file()

    def _remove_leftovers(self) -> None:
        """Temporary files of a writer that was killed. Only an owner writes any."""
        # Exactly those: routes.toml.b beside routes.toml is another store's file.
        ours = re.compile(
            rf"\.{re.escape(self._file.name)}(\.broken-[0-9a-f]{{8}})?\.[a-z0-9_]{{8}}\.tmp"
        )
        for file in self._file.parent.iterdir():
            if ours.fullmatch(file.name):
                file.unlink(missing_ok=True)

    # --- reading -----------------------------------------------------------------------------

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
            snapshot = self._parse(content)
            loaded = _Content(signature, snapshot, self._texts_of(snapshot, content))
        self._cached = loaded
        return loaded

    def _texts_of(self, snapshot: Snapshot, content: bytes) -> _Texts:
        texts: _Texts = {}
        for key, document in snapshot.records.items():
            try:
                Batch(1, {key: document})  # somebody may have added what JSON lacks, or no record
                texts.setdefault(key.section, {})[key.name] = _render(key, document)
            except (ValueError, RecordRefused) as error:
                line = _line_holding(content, key)
                self._refuse(content, line, f"[{key.section}] {key.name}: {error}")
        return texts

    def _parse(self, content: bytes) -> Snapshot:
        try:
            tree = tomllib.loads(content.decode("utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
            self._refuse(content, _line_of(error, content), str(error))
        records = {
            Key(section, name): document
            for section, table in _sections(tree)
            for name, document in table.items()
        }
        end = records.pop(_END, None)
        marker = records.pop(GENERATION_MARKER, None)
        # The number, too, may have lost its last digits.
        if type(end) is not int or end < 1 or marker != Batch(end).marker[1]:
            self._refuse(
                content,
                content.count(b"\n") + 1,
                "the end mark is missing: the file was cut short, or traefikhub did not write it",
            )
        for key, document in records.items():
            if is_private(key.section):
                try:
                    records[key] = json.loads(document)
                except (TypeError, ValueError) as error:
                    line = _line_holding(content, key)
                    self._refuse(content, line, f"[{key.section}] {key.name}: {error}")
        return Snapshot(records, end)

    def _refuse(self, content: bytes, line: int, why: str) -> Any:
        """Keep a copy of the unreadable file aside, and say where it is broken."""
        digest = hashlib.sha256(content).hexdigest()[:8]
        aside = self._file.with_name(f"{self._file.name}.broken-{digest}")
        kept = f"a copy is kept as {aside}"
        try:
            if not aside.exists():
                _write_durably(aside, content)
        except OSError as error:
            kept = f"no copy could be kept ({error.strerror})"
        raise StoreCorrupt(
            f"{self._file}, line {line}: {why}. Nothing was overwritten; {kept}. Mend that line, "
            f"or remove {self._file} to begin with an empty table: the Hub adds the routes of "
            "running servers again."
        )

    # --- writing -----------------------------------------------------------------------------

    def _apply(self, batch: Batch) -> None:
        marker_key, marker = batch.marker
        rendered = {key: _render(key, document) for key, document in batch.puts.items()}
        with self._locked() as descriptor:
            self._check_owner(descriptor)
            before = self._load_for_apply()
            texts = {section: dict(names) for section, names in before.texts.items()}
            for key in batch.deletes:
                texts.get(key.section, {}).pop(key.name, None)
            for key, text in rendered.items():
                texts.setdefault(key.section, {})[key.name] = text
            _require_room(texts)
            content = _join(texts, _render(marker_key, marker), batch.generation)
            signature = _write_durably(self._file, content)
        old = before.snapshot.records
        records = {key: doc for key, doc in old.items() if key not in batch.deletes}
        records.update(batch.puts)
        self._cached = _Content(signature, Snapshot(records, batch.generation), texts)

    def _load_for_apply(self) -> _Content:
        """The records to change. What others did to the file since it was last seen counts."""
        known = self._cached
        try:
            content = self._load()
        except StoreCorrupt as error:
            if not known:
                raise
            self.log.error("Replacing a broken routes file with what it held before: %s", error)
            return known
        if known and content.signature != known.signature:
            self.log.warning("%s was changed by another program", self._file)
        return content


# --- text --------------------------------------------------------------------------------------


def _sections(tree: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Sections are two levels deep (``http/routers``); anything else belongs to its root."""
    for root, table in tree.items():
        if not isinstance(table, dict):
            yield root, {"": table}
            continue
        for name, value in table.items():
            if isinstance(value, dict):
                yield f"{root}/{name}", value
            else:
                yield root, {name: value}


def _render(key: Key, document: Document) -> str:
    """One record as TOML. Braces are escaped: Traefik runs the file through Go's templates first,
    and a stray ``{{`` would freeze the whole configuration."""
    try:
        if key == _END:
            raise ValueError("that name is this store's own")
        if is_private(key.section):
            # Compact, so that braces of JSON's own never stand together either.
            value = json.dumps(document, ensure_ascii=False)
            text = tomli_w.dumps({key.name: value})
        else:
            _require_toml(document)
            if "/" not in key.section and not isinstance(document, list):
                raise ValueError(f"only a list can stand in [{key.section}] itself")
            if "/" in key.section and not isinstance(document, dict):
                raise ValueError(f"only a table can stand in [{key.section}]")
            tree: dict[str, Any] = {key.name: document}
            for part in reversed(key.section.split("/")):
                tree = {part: tree}
            text = tomli_w.dumps(tree)
        text.encode("utf-8")
    except ValueError as error:
        raise RecordRefused(
            f"the toml-file store can't keep {key.section} {key.name!r}: {error}"
        ) from error
    return text.replace("{{", "{\\u007B")


def _require_toml(document: Document) -> None:
    """TOML has no null, and Traefik no integer beyond 64 bits."""
    match document:
        case None:
            raise ValueError("null has no form in Traefik's configuration")
        case int() if document not in _INT64:
            raise ValueError(f"{document} is no 64-bit integer")
        case dict():
            for value in document.values():
                _require_toml(value)
        case list():
            for value in document:
                _require_toml(value)


def _require_room(texts: _Texts) -> None:
    """Each name stands in one place of the file, or it would be no TOML."""
    for section, names in texts.items():
        if "/" in section:
            continue
        if len(names) > 1 and not is_private(section):
            raise RecordRefused(f"[{section}] holds one list, not {' and '.join(sorted(names))}")
        for name in names:
            if texts.get(f"{section}/{name}"):
                raise RecordRefused(f"{name!r} of [{section}] can't be a list and a table at once")


def _join(texts: _Texts, marker: str, generation: int) -> bytes:
    def parts() -> Iterable[str]:
        yield _HEADER
        for section, names in texts.items():
            if section != _END.section:  # whose records go into the last table
                yield f"\n[{section.replace('/', '.')}]\n" if is_private(section) else "\n"
                yield from names.values()
        yield "\n" + marker
        yield f"\n[{_END.section.replace('/', '.')}]\n"
        yield from texts.get(_END.section, {}).values()
        yield f"{_END.name} = {generation}\n"

    return "".join(parts()).encode("utf-8")


def _write_durably(path: Path, content: bytes) -> _Signature:
    """Replace a file so that a reader, or a crash, sees the old content or the new."""
    descriptor, temporary = tempfile.mkstemp(
        dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"
    )
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


def _line_of(error: Exception, content: bytes) -> int:
    if isinstance(error, UnicodeDecodeError):
        return content.count(b"\n", 0, error.start) + 1
    if found := re.search(r"at line (\d+)", str(error)):
        return int(found.group(1))
    return content.count(b"\n") + 1  # at the end of the document


def _owner_in(descriptor: int) -> str:
    return os.pread(descriptor, 200, 0).decode(errors="replace")


def _line_holding(content: bytes, key: Key) -> int:
    """The line of a record; of its section if that can't be told, as in an edited file."""
    name = re.escape(tomli_w.dumps({key.name: ""}).split(" =")[0])
    table = re.escape(key.section.replace("/", "."))
    text = content.decode("utf-8")
    section = text.find(f"\n[{key.section.replace('/', '.')}]\n") + 1
    found = re.compile(rf"^(?:\[+{table}\.{name}[].]|{name}\s*=)", re.MULTILINE).search(
        text, section
    )
    return text.count("\n", 0, found.start() if found else section) + 1
