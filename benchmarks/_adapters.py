"""One way to drive every proxy from a Hub's process. Knows each proxy only by its dotted path, as
they are installed in environments of their own."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

from jupyterhub.proxy import Proxy
from traitlets.config import Config
from traitlets.utils.importstring import import_item

from benchmarks._routes import HUB_ROUTE, data_of, spec_of

__all__ = ["Adapter", "Unsupported", "make_adapter"]

_T = TypeVar("_T")


class Unsupported(Exception):
    """The installed proxy lacks what was asked for; the message says what."""


class Adapter:
    """A proxy with JupyterHub's interface, and a quick way to many routes.

    Args:
        path: the dotted path of the proxy's class.
        public_url: where users come in.
        hub_url: the target of the Hub's own route.
        config: options, by class.
    """

    remembers = True
    """Whether a stopped proxy has its routes when it starts again."""

    in_flight = 1000
    """How many routes to add at once when many are to come quickly."""

    def __init__(
        self, path: str, public_url: str, hub_url: str, config: dict[str, dict[str, Any]]
    ) -> None:
        proxy_class = import_item(path)
        name = proxy_class.__name__
        for option in config.get(name, {}):
            if option not in proxy_class.class_trait_names(config=True):
                raise Unsupported(f"this {name} has no option {option!r}")
        self.hub_url = hub_url
        self.proxy: Proxy = proxy_class(
            app=SimpleNamespace(subdomain_host="", internal_ssl=False, cleanup_proxy=True),
            hub=SimpleNamespace(url=f"{hub_url}/hub/", base_url="/hub/", routespec=HUB_ROUTE),
            public_url=public_url,
            config=Config(config),
            log=logging.getLogger("benchmarks"),
        )

    async def start(self) -> None:
        """Start the proxy, and see to it that the Hub has its own route, as JupyterHub does."""
        await self.proxy.start()
        if HUB_ROUTE not in await self.proxy.get_all_routes():
            await self.proxy.add_route(HUB_ROUTE, self.hub_url, {"hub": True})

    async def stop(self) -> None:
        """Stop it."""
        if inspect.isawaitable(stopping := self.proxy.stop()):
            await stopping

    async def fill(self, numbers: range, target: str) -> None:
        """Add many routes in a way that doesn't take long; not a measurement."""
        for some in _slices(numbers, self.in_flight):
            await asyncio.gather(
                *(self.proxy.add_route(spec_of(n), target, data_of(n)) for n in some)
            )


class _Forgetful(Adapter):
    """configurable-http-proxy: routes are in its memory only, and the Hub adds them again."""

    remembers = False


class _Bulky(Adapter):
    """jupyterhub-traefik-proxy. One by one its routes would take hours, so they are written the
    way it writes one, but many in one go; then it waits for the last one only."""

    many = 1_000_000

    async def fill(self, numbers: range, target: str) -> None:
        for some in _slices(numbers, self.many):
            dynamic: dict[str, Any] = {"http": {"routers": {}, "services": {}}}
            own: dict[str, Any] = {"routes": {}}
            for number in some:
                parts = self.proxy._dynamic_config_for_route(
                    spec_of(number), target, data_of(number)
                )
                for section in ("routers", "services"):
                    dynamic["http"][section].update(parts[0]["http"][section])
                own["routes"].update(parts[1]["routes"])
            await self.proxy._apply_dynamic_config(dynamic, own)
        await self.proxy._wait_for_route(spec_of(numbers[-1]))


class _BulkyFile(_Bulky):
    """It removes its routes file when it stops; an admin could keep that, and so does this."""

    async def stop(self) -> None:
        file = Path(self.proxy.dynamic_config_file)
        kept = await asyncio.to_thread(file.read_bytes)
        await super().stop()
        await asyncio.to_thread(file.write_bytes, kept)


class _BulkyKeys(_Bulky):
    many = 10  # of about 11 keys each; etcd takes 128 in one transaction


_ADAPTERS: dict[str, Callable[..., Adapter]] = {
    "jupyterhub.proxy.ConfigurableHTTPProxy": _Forgetful,
    "jupyterhub_traefik_proxy.fileprovider.TraefikFileProviderProxy": _BulkyFile,
    "jupyterhub_traefik_proxy.etcd.TraefikEtcdProxy": _BulkyKeys,
}


def make_adapter(path: str, **options: Any) -> Adapter:
    """The adapter for a proxy's class.

    Raises:
        Unsupported: the proxy lacks an option that the configuration sets.
    """
    return _ADAPTERS.get(path, Adapter)(path, **options)


def _slices(items: Iterable[_T], size: int) -> Iterator[list[_T]]:
    iterator = iter(items)
    while some := list(islice(iterator, size)):
        yield some
