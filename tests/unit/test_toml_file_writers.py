"""The toml-file store in trouble: second writers, locks, full and unwritable disks."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from traefikhub.stores import (
    Batch,
    Document,
    FencedError,
    Key,
    Snapshot,
    StoreError,
    StoreUnavailable,
)
from traefikhub_backends.toml_file import TomlFileStore

pytestmark = pytest.mark.anyio

ONE: dict[Key, Document] = {Key("jupyterhub/routes", "one"): 1}
TWO: dict[Key, Document] = {Key("jupyterhub/routes", "two"): 2}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "routes.toml"


def store_at(path: Path, **options: Any) -> TomlFileStore:
    return TomlFileStore(path=str(path), **options)


def files(path: Path) -> set[str]:
    return {file.name for file in path.parent.iterdir()}


# --- ownership ---------------------------------------------------------------------------------


async def test_a_second_writer_fences_off_the_first(path: Path) -> None:
    async with store_at(path) as first:
        await first.apply(Batch(1, ONE))
        async with store_at(path) as second:
            with pytest.raises(FencedError, match="another writer") as caught:
                await first.apply(Batch(2, TWO))
            assert str(path) in str(caught.value)
            assert f"pid {os.getpid()}" in str(caught.value)
            assert await second.load() == Snapshot(ONE, 1)
            await second.apply(Batch(2, TWO))
            assert await second.load() == Snapshot({**ONE, **TWO}, 2)


async def test_the_first_writer_can_take_the_file_back(path: Path) -> None:
    first, second = store_at(path), store_at(path)
    await first.open()
    await second.open()
    await first.close()
    await first.open()
    with pytest.raises(FencedError):
        await second.apply(Batch(1, TWO))
    await first.apply(Batch(1, ONE))
    await second.close()
    await first.apply(Batch(2))
    await first.close()
    assert files(path) == {"routes.toml"}


async def test_a_fenced_writer_stays_fenced_when_the_second_has_gone(path: Path) -> None:
    async with store_at(path) as first:
        await first.apply(Batch(1, ONE))
        async with store_at(path) as second:
            await second.apply(Batch(2, TWO))
        with pytest.raises(FencedError):
            await first.apply(Batch(2))
        assert await first.load() == Snapshot({**ONE, **TWO}, 2)
    assert files(path) == {"routes.toml"}


async def test_a_lock_file_removed_by_hand_fences_nobody(path: Path) -> None:
    async with store_at(path) as store:
        path.with_name("routes.toml.lock").unlink()
        await store.apply(Batch(1, ONE))
        async with store_at(path):
            with pytest.raises(FencedError):
                await store.apply(Batch(2, TWO))


async def test_a_reader_takes_over_nothing_and_creates_nothing(path: Path) -> None:
    async with store_at(path) as writer:
        await writer.apply(Batch(1, ONE))
        reader = store_at(path)
        await reader.open(read_only=True)
        assert await reader.load() == Snapshot(ONE, 1)
        with pytest.raises(StoreError, match="reading only"):
            await reader.apply(Batch(2, TWO))
        await reader.close()
        await writer.apply(Batch(2, TWO))


async def test_reading_what_is_not_there_creates_nothing(tmp_path: Path) -> None:
    reader = store_at(tmp_path / "no" / "such" / "routes.toml")
    await reader.open(read_only=True)
    assert await reader.load() == Snapshot({}, 0)
    await reader.close()
    assert list(tmp_path.iterdir()) == []


async def test_closing_leaves_the_routes_and_nothing_else(path: Path) -> None:
    store = store_at(path)
    await store.open()
    await store.apply(Batch(1, ONE))
    await store.close()
    await store.close()
    assert files(path) == {"routes.toml"}


async def test_closing_in_a_directory_that_is_gone_is_no_error(tmp_path: Path) -> None:
    store = store_at(tmp_path / "sub" / "routes.toml")
    await store.open()
    (tmp_path / "sub" / "routes.toml.lock").unlink()
    (tmp_path / "sub").rmdir()
    await store.close()


async def test_what_a_killed_writer_left_is_removed_and_no_other_file(path: Path) -> None:
    kept = {"routes.toml.bak", ".other.toml.tmp", ".routes.toml.b.tmp", "a.tmp"}
    for name in kept:
        (path.parent / name).write_text("x")
    left = path.with_name(".routes.toml.tmp")
    left.mkdir()
    (left / "tmpabcd1234").write_text("half a fi")
    async with store_at(path):
        assert not left.exists()
    assert files(path) == kept


async def test_a_fenced_writer_leaves_alone_what_the_second_is_writing(path: Path) -> None:
    first = store_at(path)
    await first.open()
    await first.apply(Batch(1, ONE))
    async with store_at(path) as second:
        await second.apply(Batch(2, TWO))
        half = path.with_name(".routes.toml.tmp") / "half a file"
        half.write_text("")
        await first.close()
        assert half.exists()
        half.unlink()


async def test_the_place_for_new_files_is_made_anew_when_it_is_gone(path: Path) -> None:
    async with store_at(path) as store:
        await store.apply(Batch(1, ONE))
        path.with_name(".routes.toml.tmp").rmdir()
        await store.apply(Batch(2, TWO))
        assert await store.load() == Snapshot({**ONE, **TWO}, 2)
    assert files(path) == {"routes.toml"}


# --- another process holds the lock ------------------------------------------------------------

HOLD = """
import fcntl, os, sys
lock = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.flock(lock, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def held_by_another_process(lock: Path) -> Iterator[None]:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == b"held\n"
        yield


async def test_a_stuck_process_makes_the_store_unavailable_not_hang(path: Path) -> None:
    lock = path.with_name("routes.toml.lock")
    async with store_at(path, timeout=0.05) as store:
        await store.apply(Batch(1, ONE))
        with held_by_another_process(lock):
            with pytest.raises(StoreUnavailable, match=r"locked by another process") as caught:
                await store.apply(Batch(2, TWO))
            assert str(lock) in str(caught.value)
            assert "c.TomlFileStore.timeout" in str(caught.value)
            with pytest.raises(StoreUnavailable):
                await store_at(path, timeout=0.05).open()
            assert await store.load() == Snapshot(ONE, 1)
        await store.apply(Batch(2, TWO))


async def test_a_store_holds_its_lock_only_while_it_writes(path: Path) -> None:
    async with store_at(path) as store:
        await store.apply(Batch(1, ONE))
        with path.with_name("routes.toml.lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


# --- the disk ----------------------------------------------------------------------------------


async def test_a_directory_that_cannot_be_made_is_named_with_the_setting(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "sub" / "routes.toml"
    with pytest.raises(StoreUnavailable) as caught:
        await store_at(path).open()
    assert str(path) in str(caught.value)
    assert "c.TomlFileStore.path" in str(caught.value)


async def test_a_path_that_is_a_directory_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match=r"c\.TomlFileStore\.path"):
        await store_at(tmp_path).open()
    assert not tmp_path.with_name(tmp_path.name + ".lock").exists()


@pytest.mark.parametrize("call", ["fsync", "replace"])
async def test_a_full_disk_changes_nothing_and_leaves_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    async with store_at(path) as store:
        await store.apply(Batch(1, ONE))
        before = path.read_bytes()
        with monkeypatch.context() as patch:
            patch.setattr(os, call, fail)
            with pytest.raises(StoreUnavailable, match="No space left on device") as caught:
                await store.apply(Batch(2, TWO))
        assert str(path) in str(caught.value)
        assert "c.TomlFileStore.path" in str(caught.value)
        assert path.read_bytes() == before
        assert files(path) == {"routes.toml", "routes.toml.lock", ".routes.toml.tmp"}
        assert list(path.with_name(".routes.toml.tmp").iterdir()) == []
        assert await store.load() == Snapshot(ONE, 1)
        await store.apply(Batch(2, TWO))
        assert await store.load() == Snapshot({**ONE, **TWO}, 2)


async def test_a_directory_that_goes_away_is_unavailable(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "routes.toml"
    store = store_at(path)
    await store.open()
    (tmp_path / "sub" / "routes.toml.lock").unlink()
    (tmp_path / "sub").rmdir()
    with pytest.raises(StoreUnavailable, match="No such file or directory"):
        await store.apply(Batch(1, ONE))
    await store.close()
