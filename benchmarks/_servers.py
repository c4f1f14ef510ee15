"""The stores' servers, started by the same code as in the tests."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks._backend import Missing
from servers.consul import ConsulServer, consul_binary
from servers.etcd import EtcdServer, etcd_binary

__all__ = ["opened_server", "server_binary"]


def server_binary(kind: str) -> str:
    """The program of the server, or nothing for a store that needs none.

    Raises:
        Missing: it isn't installed.
    """
    try:
        match kind:
            case "etcd":
                return etcd_binary()
            case "consul":
                return consul_binary()
    except pytest.skip.Exception as error:
        raise Missing(str(error)) from error
    return ""


@contextmanager
def opened_server(kind: str) -> Iterator[str]:
    """The address of a new, empty server, or nothing for a store that needs none.

    Raises:
        Missing: the server isn't installed.
    """
    server_binary(kind)
    with tempfile.TemporaryDirectory(prefix="traefikhub-bench-") as directory:
        match kind:
            case "etcd":
                with EtcdServer(Path(directory)) as etcd:
                    yield etcd.endpoint
            case "consul":
                with ConsulServer(Path(directory)) as consul:
                    yield consul.url
            case _:
                yield ""
