"""The consul store, put to the promises on a real consul."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from servers.consul import ConsulServer
from traefikhub.testing import ServerStoreConformance
from traefikhub_backends.consul import ConsulStore

TOKEN = "5d3f2a70-0000-4000-8000-c0ffee000001"
WRONG = "5d3f2a70-0000-4000-8000-c0ffee000002"


class TestConsul(ServerStoreConformance):
    """On a server that asks for a token."""

    secrets = (TOKEN, WRONG)

    @classmethod
    @contextmanager
    def run_server(cls) -> Iterator[ConsulServer]:
        """One agent, on loopback."""
        with (
            tempfile.TemporaryDirectory() as directory,
            ConsulServer(Path(directory), root_token=TOKEN) as server,
        ):
            yield server

    def place(self, server: ConsulServer) -> str:
        """Its address."""
        return server.url.partition("://")[2]

    def make_store(self, prefix: str, server: ConsulServer) -> ConsulStore:
        """With the token that may."""
        return ConsulStore(prefix=prefix, url=server.url, token=TOKEN)

    def make_refused_store(self, prefix: str, server: ConsulServer) -> ConsulStore:
        """With another token."""
        return ConsulStore(prefix=prefix, url=server.url, token=WRONG)
