"""How wide the routing tree should be, and what a change costs Traefik at each size.

``python -m benchmarks._tree`` prints two tables; docs/benchmarks.md has them. Takes ten minutes.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Final
from unittest.mock import patch

from traitlets.config import Config

from benchmarks._backend import Backend, free_ports, opened_backend
from benchmarks._load import put_load_on
from benchmarks._routes import data_of, path_of, spec_of
from benchmarks._servers import opened_server
from traefikhub import TraefikProxy
from traefikhub.tree import RouteTree

__all__ = ["fan_outs", "reloads"]

_FAN_OUTS: Final = (8, 16, 32, 64, 128)
_SIZES: Final = (100, 1_000, 5_000, 10_000)
_SECONDS: Final = 5
_ROUNDS: Final = 5
_SETTINGS: Final = {"etcd": ("EtcdStore", "endpoints"), "consul": ("ConsulStore", "url")}


@contextmanager
def _config(store: str) -> Iterator[Config]:
    config = Config()
    with opened_server("" if store == "toml-file" else store) as server:
        if store in _SETTINGS:
            owner, option = _SETTINGS[store]
            config[owner][option] = [server] if option == "endpoints" else server
        yield config


@asynccontextmanager
async def _proxy(store: str, directory: Path) -> AsyncIterator[TraefikProxy]:
    port, api_port = free_ports(2)
    with _config(store) as config:
        proxy = TraefikProxy(
            config=config,
            store=store,
            run_dir=str(directory / "run"),
            public_url=f"http://127.0.0.1:{port}",
            traefik_api_url=f"http://127.0.0.1:{api_port}",
            check_route_timeout=300,
        )
        await proxy.start()
        try:
            yield proxy
        finally:
            await proxy.stop()


async def _fill(proxy: TraefikProxy, backend: Backend, numbers: range) -> None:
    target = backend.url(backend.user)
    await asyncio.gather(
        *(proxy.add_route(spec_of(number), target, data_of(number)) for number in numbers)
    )


async def _change(proxy: TraefikProxy) -> list[float]:
    """Milliseconds of some changes, one after another."""
    found = []
    for number in range(_ROUNDS):
        started = time.perf_counter()
        await proxy.add_route("/user/changes/", f"http://127.0.0.1:{number + 1}", {})
        found.append(1e3 * (time.perf_counter() - started))
    return found


async def fan_outs(backend: Backend, directory: Path, routes: int = 10_000) -> list[list[str]]:
    """For each fan-out: parents, requests/s to users and the Hub, and a change."""
    rows = []
    for width in _FAN_OUTS:
        tree = partial(RouteTree, fan_out=width)
        place = directory / f"f{width}"
        with patch("traefikhub.session._parts.RouteTree", tree):
            async with _proxy("toml-file", place) as proxy:
                await proxy.add_route("/", backend.url(backend.hub), {})
                await _fill(proxy, backend, range(routes))
                port = int(proxy.public_url.rpartition(":")[2])
                users = [path_of(number) for number in range(routes)]
                load = partial(put_load_on, port, seconds=_SECONDS, directory=place)
                await asyncio.to_thread(partial(load, paths=users))  # warm
                user = await asyncio.to_thread(partial(load, paths=users))
                hub = await asyncio.to_thread(partial(load, paths=["/hub/login"]))
                other = await asyncio.to_thread(partial(load, paths=["/user/nobody/lab"]))
                change = statistics.median(await _change(proxy))
                text = (place / "run" / "routes.toml").read_text()
        rates = [f"{each.per_second:,.0f}" for each in (user, hub, other)]
        rows.append([str(width), str(text.count("_rest]")), *rates, f"{change:,.0f}"])
        print(rows[-1], flush=True)
    return rows


async def reloads(backend: Backend, directory: Path) -> list[list[str]]:
    """For each store and size: the median of a change, from call to live, in milliseconds."""
    rows = []
    for store in ("toml-file", "etcd", "consul"):
        async with _proxy(store, directory / store) as proxy:
            row, size = [store], 0
            for wanted in _SIZES:
                await _fill(proxy, backend, range(size, wanted))
                size = wanted
                row.append(f"{statistics.median(await _change(proxy)):,.0f}")
        rows.append(row)
        print(row, flush=True)
    return rows


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Measure and print both."""
    with tempfile.TemporaryDirectory(prefix="traefikhub-bench-") as name:
        directory = Path(name)
        with opened_backend(directory) as backend:
            widths = asyncio.run(fan_outs(backend, directory))
            sizes = asyncio.run(reloads(backend, directory))
    rates = ["users", "the Hub", "no server"]
    print(
        _table(["fan-out", "parents", *(f"{x}, requests/s" for x in rates), "a change, ms"], widths)
    )
    print(_table(["store", *(f"{size:,} routes, ms" for size in _SIZES)], sizes))


if __name__ == "__main__":
    main()
