"""The conformance suite can fail: a broken store is told which promise it breaks."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import broken_stores
from traefikhub.stores import RouteStore
from traefikhub.testing import (
    Promise,
    PromiseBroken,
    RouteStoreConformance,
    ServerStoreConformance,
)
from traefikhub_backends.toml_file import TomlFileStore


def put_to_the_promises(
    store_class: type[RouteStore], directory: Path
) -> dict[Promise, list[PromiseBroken]]:
    """Run every test of the suite on a store; what broke, by promise."""

    class Suite(RouteStoreConformance):
        shrink = False

        def make_store(self, prefix: str, server: Any) -> RouteStore:
            return store_class(path=str(directory / f"{prefix}.toml"))

    broken: dict[Promise, list[PromiseBroken]] = {}
    for name in dir(Suite):
        if name.startswith("test_"):
            test: Callable[..., None] = getattr(Suite(), name)
            try:
                test(server=None, prefix="t" + secrets.token_hex(4))
            except PromiseBroken as error:
                broken.setdefault(error.promise, []).append(error)
    return broken


@pytest.mark.parametrize(
    ("store_class", "promise", "consequences"),
    [
        (TomlFileStore, None, set()),
        (
            broken_stores.Forgetful,
            Promise.READ_YOUR_WRITES,
            # What is lost can't be whole, nor survive, nor be served.
            {Promise.ATOMIC, Promise.DURABLE, Promise.FENCED, Promise.QUIET, Promise.REAL},
        ),
        (broken_stores.Complacent, Promise.READ_YOUR_WRITES, set()),
        (broken_stores.Merging, Promise.READ_YOUR_WRITES, set()),
        (broken_stores.HalfHearted, Promise.ATOMIC, set(Promise)),
        (broken_stores.Straggling, Promise.ATOMIC, {Promise.DURABLE, Promise.REAL}),
        (broken_stores.Lazy, Promise.DURABLE, set(Promise)),  # acknowledged too early
        (broken_stores.Unfenced, Promise.FENCED, set()),
        (broken_stores.Swallowing, Promise.FENCED, set()),
        (broken_stores.Intrusive, Promise.QUIET, {Promise.FENCED}),
        (broken_stores.Misleading, Promise.REAL, set()),
    ],
)
def test_the_suite_names_the_promise(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    store_class: type[RouteStore],
    promise: Promise | None,
    consequences: set[Promise],
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.path.dirname(__file__))  # for the writer that is killed
    monkeypatch.setattr("traefikhub.testing._traefik._WAIT_SECONDS", 3)
    broken = put_to_the_promises(store_class, tmp_path)
    told = "\n".join(str(error) for errors in broken.values() for error in errors)
    if promise is None:
        assert not broken, told
        return
    assert promise in broken, f"{promise} should have been found broken; found: {told}"
    assert broken.keys() <= {promise} | consequences, told
    for error in broken[promise]:
        assert str(error).startswith(f"promise {promise.number} (")
        assert " is broken: " in str(error)


def test_a_missing_server_is_told_when_the_class_is_made() -> None:
    with pytest.raises(TypeError, match="TestIncomplete must define run_server"):
        type("TestIncomplete", (ServerStoreConformance,), {"make_store": lambda *_: None})


def test_a_missing_hook_is_told_when_the_class_is_made() -> None:
    with pytest.raises(TypeError, match="TestIncomplete must define make_store"):
        type("TestIncomplete", (RouteStoreConformance,), {})


def test_each_place_is_prepared_once_before_its_first_store(tmp_path: Path) -> None:
    """And what must be prepared may be relied upon."""
    prepared: list[tuple[str, Any]] = []

    class Suite(RouteStoreConformance):
        def prepare(self, prefix: str, server: Any) -> None:
            prepared.append((prefix, server))

        def make_store(self, prefix: str, server: Any) -> RouteStore:
            assert (prefix, server) in prepared, f"{prefix} was not prepared"
            return TomlFileStore(path=str(tmp_path / f"{prefix}.toml"))

    Suite().test_two_prefixes_know_nothing_of_each_other(server="the server", prefix="one")
    assert sorted(prepared) == [("one", "the server"), ("one2", "the server")]
    prepared.clear()
    Suite().test_opening_takes_over(server="the server", prefix="one")
    assert prepared == [("one", "the server")]
