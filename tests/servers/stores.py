"""Whichever server a store is kept on, for tests that hold for all of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from traitlets.config import Config

from servers.consul import ConsulServer
from servers.etcd import EtcdServer

__all__ = ["KEY_VALUE_STORES", "KeyValueServer", "key_value_server"]

KEY_VALUE_STORES = ("etcd", "consul")


@dataclass(frozen=True)
class KeyValueServer:
    """options: of a proxy whose store is on the server, with the default prefix."""

    options: dict[str, Any]
    server: EtcdServer | ConsulServer


@contextmanager
def key_value_server(store: str, directory: Path) -> Iterator[KeyValueServer]:
    """A server that runs."""
    config = Config()
    options = {"config": config, "store": store}
    directory.mkdir()
    if store == "etcd":
        with EtcdServer(directory) as etcd:
            config.EtcdStore.endpoints = [etcd.endpoint]
            yield KeyValueServer(options, etcd)
    else:
        with ConsulServer(directory) as consul:
            config.ConsulStore.url = consul.url
            yield KeyValueServer(options, consul)
