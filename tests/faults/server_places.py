"""The stores with a server: etcd and consul."""

from __future__ import annotations

import base64
import json
import random
import time
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any

import requests

from faults.disk import SmallDisk
from faults.places import ALL_GONE, ByHand, Fails, Place, Strange, TomlFile
from faults.targets import STRANGER
from servers.consul import ConsulServer
from servers.etcd import EtcdServer

__all__ = ["PLACES", "Consul", "Etcd", "ServerPlace"]

_MEGABYTE = 2**20
_PATIENCE = 5.0


class ServerPlace(Place):
    """A store with a server, which can be killed and stopped."""

    server: EtcdServer | ConsulServer

    @abstractmethod
    def make_server(self) -> EtcdServer | ConsulServer:
        """Not started yet."""

    def open(self) -> None:
        super().open()
        self.server = self.make_server()
        self.server.start()

    def close(self) -> None:
        if hasattr(self, "server"):
            self.server.stop()

    @property
    @abstractmethod
    def url(self) -> str:
        """Of the server itself."""

    def strangers(self) -> Mapping[str, ByHand]:
        return {
            "a route's keys deleted": ByHand(self._delete_route, Fails.BELOW),
            "a target edited": ByHand(self._edit),
            "all keys deleted": ByHand(self._delete_all, Fails.ALL),
            "the generation deleted": ByHand(self._delete_generation),
            "a key added": ByHand(self._add_key),
        }

    def _name_of(self, spec: str) -> str:
        for key, value in self.server.dump().items():
            if "/jupyterhub/routes/" in key and json.loads(value)["routespec"] == spec:
                return key.rpartition("/")[2]
        raise LookupError(spec)

    def _delete(self, keys: Iterable[str]) -> None:
        """Rules first: without one, a router is none. With one but no middlewares, it would
        lead where nobody wants it."""
        for key in sorted(keys, key=lambda key: not key.endswith("/rule")):
            self.server.delete(key)

    def _delete_route(self, spec: str, _url: str, _rng: random.Random) -> Strange:
        name = self._name_of(spec)
        self._delete(key for key in self.server.dump() if name in key.split("/"))
        return {spec: [None]}

    def _edit(self, spec: str, url: str, _rng: random.Random) -> Strange:
        name = self._name_of(spec)
        self.server.put(f"traefik/http/services/{name}/loadBalancer/servers/0/url", url)
        return {spec: [STRANGER]}

    def _delete_all(self, _spec: str, _url: str, _rng: random.Random) -> Strange:
        self._delete(self.server.dump())
        return ALL_GONE

    def _delete_generation(self, _spec: str, _url: str, _rng: random.Random) -> Strange:
        self._delete(key for key in self.server.dump() if "traefikhub__generation" in key)
        return {}

    def _add_key(self, _spec: str, _url: str, _rng: random.Random) -> Strange:
        self.server.put(
            "traefik/http/services/by_hand/loadBalancer/servers/0/url", "http://[::1]:9"
        )
        return {}


class Etcd(ServerPlace):
    """One member, with a quota."""

    server: EtcdServer

    name = "etcd"
    options = "EtcdStore"
    can_fill = True
    _QUOTA = 48

    def make_server(self) -> EtcdServer:
        return EtcdServer(
            self.directory / "etcd",
            f"--quota-backend-bytes={self._QUOTA * _MEGABYTE}",
            "--auto-compaction-mode=periodic",
            "--auto-compaction-retention=1m",
        )

    @property
    def url(self) -> str:
        return self.server.url

    def config(self) -> dict[str, dict[str, Any]]:
        config = super().config()
        config[self.options]["endpoints"] = [self.address]
        return config

    def fill(self) -> None:
        """Until it takes no more: the alarm NOSPACE, by which it refuses all changes."""
        piece = "x" * _MEGABYTE
        for number in range(2 * self._QUOTA):
            try:
                self.server.put(f"ballast/{number}", piece)
            except AssertionError as error:
                if "database space exceeded" in str(error):
                    return
                raise
        raise AssertionError("etcd took more than its quota")

    def free(self) -> None:
        """Delete, compact, defragment, and put out the alarm, as etcd's manual says."""
        ballast = {"key": _base64("ballast/"), "range_end": _base64("ballast0")}
        self.server.ask("/v3/kv/deleterange", ballast)
        self.server.ask("/v3/kv/compaction", {"revision": str(self.server.revision())})
        self.server.ask("/v3/maintenance/defragment", {})
        alarms = self.server.ask("/v3/maintenance/alarm", {"action": "GET"}).get("alarms", [])
        for alarm in alarms:
            self.server.ask("/v3/maintenance/alarm", {"action": "DEACTIVATE"} | alarm)


class Consul(ServerPlace):
    """A single server, with its data on a small disk."""

    server: ConsulServer

    name = "consul"
    options = "ConsulStore"

    def open(self) -> None:
        self._disk = SmallDisk(self.directory / "consul", 128)
        super().open()

    def close(self) -> None:
        super().close()
        if hasattr(self, "_disk"):
            self._disk.close()

    def make_server(self) -> ConsulServer:
        return ConsulServer(self.directory / "consul")

    @property
    def url(self) -> str:
        return self.server.url

    def config(self) -> dict[str, dict[str, Any]]:
        config = super().config()
        config[self.options]["url"] = f"http://{self.address}"
        return config

    @property
    def can_fill(self) -> bool:
        return self._disk.mounted

    def fill(self) -> None:
        self._disk.fill()

    def free(self) -> None:
        """It gets over it, or has to be started again."""
        self._disk.free()
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            try:
                self.server.put("ballast", "none")
                return
            except (AssertionError, requests.RequestException):
                time.sleep(0.2)
        self.server.restart()


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


PLACES: dict[str, type[Place]] = {place.name: place for place in (TomlFile, Etcd, Consul)}
