"""The etcd store, put to the promises on a real etcd."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from servers.etcd import EtcdServer
from traefikhub.testing import ServerStoreConformance
from traefikhub_backends.etcd import EtcdStore

PASSWORD = "correct-horse-battery"
WRONG = "wrong-donkey-battery"


class TestEtcd(ServerStoreConformance):
    """On a server that asks for a password."""

    secrets = (PASSWORD, WRONG)

    @classmethod
    @contextmanager
    def run_server(cls) -> Iterator[EtcdServer]:
        """One member, on loopback."""
        with (
            tempfile.TemporaryDirectory() as directory,
            EtcdServer(Path(directory), root_password=PASSWORD) as server,
        ):
            yield server

    @classmethod
    @contextmanager
    def run_full_server(cls) -> Iterator[EtcdServer]:
        """With a quota of two megabytes."""
        with (
            tempfile.TemporaryDirectory() as directory,
            EtcdServer(
                Path(directory), "--quota-backend-bytes=2000000", root_password=PASSWORD
            ) as server,
        ):
            yield server

    def place(self, server: EtcdServer) -> str:
        """Its address."""
        return server.endpoint

    def make_store(self, prefix: str, server: EtcdServer) -> EtcdStore:
        """As the user who may."""
        return EtcdStore(
            prefix=prefix, endpoints=[server.endpoint], username="root", password=PASSWORD
        )

    def make_refused_store(self, prefix: str, server: EtcdServer) -> EtcdStore:
        """With another password."""
        return EtcdStore(
            prefix=prefix, endpoints=[server.endpoint], username="root", password=WRONG
        )
