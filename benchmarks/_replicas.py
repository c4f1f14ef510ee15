"""What it costs that a change must be live on several Traefiks, all on this machine.

``python -m benchmarks._replicas`` prints a table; docs/many-replicas.md has it. Takes a minute.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

import tomli_w
from traitlets.config import Config

from benchmarks._backend import free_ports
from benchmarks._routes import data_of, spec_of
from benchmarks._servers import opened_server
from traefikhub import TraefikProxy
from traefikhub.session import external_static
from traefikhub.traefik import find_traefik, version_of

_NUMBERS: Final = (1, 2, 4)
_SIZES: Final = (100, 1_000)
_ROUNDS: Final = 30
_BURST: Final = 100


@contextmanager
def _traefiks(proxy: TraefikProxy, number: int, directory: Path) -> Iterator[None]:
    """Traefiks for this proxy, on loopback addresses of their own."""
    program = find_traefik()
    static = external_static(proxy.session_settings(), version_of(program))
    with ExitStack() as stack:
        for each in range(number):
            text = tomli_w.dumps(static).replace("127.0.0.2:", f"127.0.0.{each + 2}:")
            config = directory / f"traefik-{each}.toml"
            config.write_text(text)
            process = stack.enter_context(
                subprocess.Popen(
                    [program, f"--configfile={config}"],
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
            )
            stack.callback(process.kill)
        yield


@asynccontextmanager
async def _proxy(number: int, endpoint: str, directory: Path) -> AsyncIterator[TraefikProxy]:
    users, api = free_ports(2)
    config = Config()
    config.EtcdStore.endpoints = [endpoint]
    config.EtcdStore.prefix = f"replicas-{number}"
    proxy = TraefikProxy(
        config=config,
        store="etcd",
        should_start=False,
        run_dir=str(directory / "run"),
        public_url=f"http://127.0.0.2:{users}",
        traefik_api_url=[f"http://127.0.0.{each + 2}:{api}" for each in range(number)],
        check_route_timeout=60,
    )
    with _traefiks(proxy, number, directory):
        try:
            yield proxy
        finally:
            await proxy.stop()


async def _changes(proxy: TraefikProxy, rounds: int) -> float:
    """Milliseconds of one change, the median."""
    found = []
    for number in range(rounds):
        started = time.perf_counter()
        await proxy.add_route("/user/changes/", f"http://127.0.0.1:{number + 1}", {})
        found.append(1e3 * (time.perf_counter() - started))
    return statistics.median(found)


async def _burst(proxy: TraefikProxy, first: int) -> float:
    started = time.perf_counter()
    await asyncio.gather(
        *(
            proxy.add_route(spec_of(each), "http://127.0.0.1:1", data_of(each))
            for each in range(first, first + _BURST)
        )
    )
    return 1e3 * (time.perf_counter() - started)


async def measure(endpoint: str, directory: Path) -> list[list[str]]:
    """Number of Traefiks, routes, and milliseconds: of one change, of a burst."""
    rows = []
    for number in _NUMBERS:
        place = directory / str(number)
        place.mkdir()
        async with _proxy(number, endpoint, place) as proxy:
            filled = 0
            for size in _SIZES:
                while filled < size:
                    burst = await _burst(proxy, filled)
                    filled += _BURST
                change = await _changes(proxy, _ROUNDS)
                rows.append([str(number), f"{size:,}", f"{change:.1f}", f"{burst:.0f}"])
    return rows


def main() -> None:
    """Print the table, in Markdown."""
    with tempfile.TemporaryDirectory() as directory, opened_server("etcd") as endpoint:
        rows = asyncio.run(measure(endpoint, Path(directory)))
    print(
        f"| Traefiks | routes | one change, ms | {_BURST} at once, ms |\n| --- | --- | --- | --- |"
    )
    for row in rows:
        print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
