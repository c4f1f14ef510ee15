"""Fixtures for tests with real servers. Whatever a fixture starts, it ends."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from servers import KINDS, OLDEST, RedisServer


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """JupyterHub's event loop is asyncio's."""
    return "asyncio"


@pytest.fixture
def prefix() -> str:
    """One that nobody has used."""
    return f"hub-{uuid.uuid4().hex[:8]}"


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Each test runs on all of them."""
    return str(request.param)


@pytest.fixture
def newer_kind(kind: str) -> str:
    """For tests of what the oldest server doesn't have."""
    if kind == OLDEST:
        pytest.skip(f"{OLDEST} has no such thing")
    return kind


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, kind: str) -> Iterator[RedisServer]:
    """For tests that leave it as they found it. Each has a prefix of its own."""
    with RedisServer(kind, tmp_path_factory.mktemp(kind), guarded=True) as shared:
        yield shared


@pytest.fixture
def own_server(tmp_path: Path, kind: str) -> Iterator[RedisServer]:
    """To be ill-treated."""
    with RedisServer(kind, tmp_path / "own", guarded=True) as own:
        yield own
