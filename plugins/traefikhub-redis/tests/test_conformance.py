"""The redis store, put to the promises on real Redis and Valkey servers, as a user who has no
right but those of the README."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from traefikhub.testing import ServerStoreConformance

from servers import ADMIN, OLDEST, PASSWORD, WRONG, RedisServer, rules
from traefikhub_redis import RedisStore


class OnServer(ServerStoreConformance):
    """What is the same for both."""

    kind: ClassVar[str]
    secrets = (PASSWORD, WRONG, ADMIN)

    @classmethod
    @contextmanager
    def run_server(cls) -> Iterator[RedisServer]:
        """One server, on loopback."""
        with (
            tempfile.TemporaryDirectory() as directory,
            RedisServer(cls.kind, Path(directory), guarded=True) as server,
        ):
            yield server

    @classmethod
    @contextmanager
    def run_full_server(cls) -> Iterator[RedisServer]:
        """With hardly more memory than it needs when it is empty."""
        with (
            tempfile.TemporaryDirectory() as directory,
            RedisServer(cls.kind, Path(directory), guarded=True) as server,
        ):
            used = server.do("INFO", "memory").decode().partition("used_memory:")[2].split()[0]
            server.do("CONFIG", "SET", "maxmemory", str(int(used) + 1_000_000))
            yield server

    def place(self, server: RedisServer) -> str:
        """Its address."""
        return server.endpoint

    def prepare(self, prefix: str, server: RedisServer) -> None:
        """A user for this prefix alone."""
        server.add_user(prefix, *rules(prefix))

    def make_store(self, prefix: str, server: RedisServer) -> RedisStore:
        """As that user."""
        return RedisStore(prefix=prefix, url=server.url, username=prefix, password=PASSWORD)

    def make_refused_store(self, prefix: str, server: RedisServer) -> RedisStore:
        """With another password."""
        return RedisStore(prefix=prefix, url=server.url, username=prefix, password=WRONG)


class TestRedis(OnServer):
    """On Redis."""

    kind = "redis"


class TestValkey(OnServer):
    """On Valkey."""

    kind = "valkey"


class TestOldestRedis(OnServer):
    """On the oldest Redis that will do."""

    kind = OLDEST
