"""The stores that the suite can run with. A server is started once, for all Hubs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final

from traitlets.config import Config

__all__ = ["STORES"]

ConfigOf = Callable[[str], Config]
"""Takes a name that no other Hub has; gives the configuration of that Hub's store."""


@contextmanager
def _toml_file(directory: Path) -> Iterator[ConfigOf]:
    def configure(name: str) -> Config:
        return Config({"TraefikProxy": {"store": "toml-file"}})

    yield configure


@contextmanager
def _etcd(directory: Path) -> Iterator[ConfigOf]:
    from servers.etcd import EtcdServer  # not needed, nor what it imports, for toml-file

    with EtcdServer(directory) as server:

        def configure(name: str) -> Config:
            store = {"endpoints": [server.endpoint], "prefix": name}
            return Config({"TraefikProxy": {"store": "etcd"}, "EtcdStore": store})

        yield configure


@contextmanager
def _consul(directory: Path) -> Iterator[ConfigOf]:
    from servers.consul import ConsulServer

    with ConsulServer(directory) as server:

        def configure(name: str) -> Config:
            store = {"url": server.url, "prefix": name}
            return Config({"TraefikProxy": {"store": "consul"}, "ConsulStore": store})

        yield configure


STORES: Final[dict[str, Callable[[Path], AbstractContextManager[ConfigOf]]]] = {
    "consul": _consul,
    "etcd": _etcd,
    "toml-file": _toml_file,
}
