"""Who is measured, and how each is set up: as its own documentation says, with nothing tuned but
what its name says."""

from __future__ import annotations

import base64
import hashlib
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks._backend import Missing
from benchmarks._fetch import NODE_PROXY, RIVAL_PYTHON
from benchmarks._servers import server_binary
from traefikhub.traefik import find_traefik

__all__ = ["CHEAP", "CHP", "CONTESTANTS", "OURS", "OWN", "RIVAL", "Contestant", "Place"]

OWN: Final = "traefikhub"
CHP: Final = "configurable-http-proxy"
RIVAL: Final = "jupyterhub-traefik-proxy"
CHEAP: Final = "cheap hash"

_Config = dict[str, dict[str, Any]]

_FETCH: Final = "python -m benchmarks._fetch"
_PASSWORD: Final = "benchmark"
_PATIENCE: Final = 120
"""Seconds to wait for a route: with ten thousand, a reload may take longer than the default."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a contestant runs.

    server: the address of the store's server, if the store has one.
    """

    directory: Path
    public_url: str
    api_url: str
    server: str


@dataclass(frozen=True, slots=True)
class Contestant:
    """One proxy in one form.

    path: its class.
    config: its options at a place, by class.
    server: the kind of the store's server, if any.
    load_only: only requests/s are measured.
    """

    name: str
    path: str
    config: Callable[[Place], _Config]
    python: Path = field(default_factory=lambda: Path(sys.executable))
    server: str = ""
    load_only: bool = False

    @property
    def programs(self) -> list[Path]:
        """Directories of the programs that it starts by name."""
        return [Path(find_traefik()).parent]

    def check(self) -> None:
        """
        Raises:
            Missing: something isn't installed.
        """
        server_binary(self.server)
        if not self.python.exists():
            raise Missing(f"{RIVAL}; get it with: {_FETCH}")
        if self.name == CHP and not NODE_PROXY.exists():
            raise Missing(f"{CHP}; get it with: {_FETCH}")


def _ours(place: Place, **options: Any) -> _Config:
    return {
        "TraefikProxy": {
            "traefik_api_url": place.api_url,
            "run_dir": str(place.directory / "run"),
            "check_route_timeout": _PATIENCE,
            **options,
        }
    }


def _ours_etcd(place: Place) -> _Config:
    return _ours(place, store="etcd") | {"EtcdStore": {"endpoints": [place.server]}}


def _ours_consul(place: Place) -> _Config:
    return _ours(place, store="consul") | {"ConsulStore": {"url": place.server}}


def _chp(place: Place) -> _Config:
    return {"ConfigurableHTTPProxy": {"command": [str(NODE_PROXY)], "api_url": place.api_url}}


def _rival(place: Place) -> _Config:
    return {
        "TraefikProxy": {
            "traefik_api_url": place.api_url,
            # Without one it makes a new one at each start, which its kept routes file contradicts.
            "traefik_api_password": _PASSWORD,
            "static_config_file": str(place.directory / "traefik.toml"),
            "check_route_timeout": _PATIENCE,
        }
    }


def _cheap(config: _Config) -> _Config:
    """Its default hash is bcrypt, which Traefik computes anew on each request to its API."""
    digest = base64.b64encode(hashlib.sha1(_PASSWORD.encode()).digest()).decode()
    config["TraefikProxy"]["traefik_api_hashed_password"] = f"{{SHA}}{digest}"
    return config


def _rival_file(place: Place) -> _Config:
    file = str(place.directory / "rules.toml")
    return _rival(place) | {"TraefikFileProviderProxy": {"dynamic_config_file": file}}


def _rival_etcd(place: Place) -> _Config:
    return _rival(place) | {"TraefikEtcdProxy": {"etcd_url": f"http://{place.server}"}}


_OUR_CLASS: Final = "traefikhub.proxy.TraefikProxy"
_FILE_CLASS: Final = "jupyterhub_traefik_proxy.fileprovider.TraefikFileProviderProxy"
_ETCD_CLASS: Final = "jupyterhub_traefik_proxy.etcd.TraefikEtcdProxy"

CONTESTANTS: Final = (
    Contestant(f"{OWN}, toml-file", _OUR_CLASS, _ours),
    Contestant(f"{OWN}, etcd", _OUR_CLASS, _ours_etcd, server="etcd"),
    Contestant(f"{OWN}, consul", _OUR_CLASS, _ours_consul, server="consul"),
    Contestant(
        f"{OWN}, toml-file, flat",
        _OUR_CLASS,
        lambda place: _ours(place, routing="flat"),
        load_only=True,
    ),
    Contestant(CHP, "jupyterhub.proxy.ConfigurableHTTPProxy", _chp),
    Contestant(f"{RIVAL}, file", _FILE_CLASS, _rival_file, RIVAL_PYTHON),
    Contestant(
        f"{RIVAL}, file, {CHEAP}",
        _FILE_CLASS,
        lambda place: _cheap(_rival_file(place)),
        RIVAL_PYTHON,
    ),
    Contestant(f"{RIVAL}, etcd", _ETCD_CLASS, _rival_etcd, RIVAL_PYTHON, "etcd"),
    Contestant(
        f"{RIVAL}, etcd, {CHEAP}",
        _ETCD_CLASS,
        lambda place: _cheap(_rival_etcd(place)),
        RIVAL_PYTHON,
        "etcd",
    ),
)

OURS: Final = CONTESTANTS[:3]
"""traefikhub as it comes, with each store."""
