"""Questions answered side by side in one run.

How long is one add_route, against a bare file write plus Traefik's own reload? How many reloads
does a burst of 500 cost? What does each store cost at ten thousand routes?
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import re
import socket
import statistics
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from benchmarks._floor import floor_beside
from benchmarks._machine import describe
from benchmarks._stores import STORES, LoopWatch, measure_store
from traefikhub import TraefikProxy

TARGET = "http://127.0.0.1:1"


def free_ports(count: int) -> list[int]:
    """Ports on which nothing listens, all different."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


@asynccontextmanager
async def started_proxy(
    directory: Path, routes: int, **options: Any
) -> AsyncIterator[TraefikProxy]:
    """A proxy with so many routes."""
    port, api_port = free_ports(2)
    proxy = TraefikProxy(
        app=SimpleNamespace(subdomain_host="", internal_ssl=False, cleanup_proxy=True),
        public_url=f"http://127.0.0.1:{port}",
        traefik_api_url=f"http://127.0.0.1:{api_port}",
        run_dir=str(directory / "run"),
        log=logging.getLogger("benchmarks"),
        **options,
    )
    await proxy.start()
    try:
        await asyncio.gather(
            *(proxy.add_route(f"/user/u{n}/", TARGET, {"user": f"u{n}"}) for n in range(routes))
        )
        yield proxy
    finally:
        await proxy.stop()


async def one_route(directory: Path, routes: int, rounds: int) -> dict[str, Any]:
    """Milliseconds from call to live, and of the floor, taken in turns."""
    ours, floors = [], []
    async with started_proxy(directory, routes) as proxy:
        ports = free_ports(2)
        with floor_beside(Path(proxy.run_dir), (ports[0], ports[1])) as floor:
            for number in range(rounds + 5):
                floors.append(await asyncio.to_thread(floor.change, number))
                started = time.perf_counter()
                await proxy.add_route("/user/new/", TARGET, {"user": "new", "n": number})
                ours.append(time.perf_counter() - started)
                await proxy.delete_route("/user/new/")
    mine, least = ours[5:], floors[5:]  # both warm up
    return {
        "routes": routes,
        "rounds": rounds,
        "add_route p50 ms": 1e3 * statistics.median(mine),
        "add_route p95 ms": 1e3 * statistics.quantiles(mine, n=20)[-1],
        "floor p50 ms": 1e3 * statistics.median(least),
        "floor p95 ms": 1e3 * statistics.quantiles(least, n=20)[-1],
        "ratio p50": statistics.median(mine) / statistics.median(least),
    }


def reloads(proxy: TraefikProxy) -> int:
    """How often Traefik has reloaded, by its own count."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{proxy.traefik_api_url}/metrics", timeout=10) as answer:
        found = re.search(r"^traefik_config_reloads_total (\d+)", answer.read().decode(), re.M)
    assert found, "Traefik has no metric for reloads"
    return int(found.group(1))


async def burst(directory: Path, count: int) -> dict[str, Any]:
    """Seconds and reloads of many routes at once, and what the event loop felt of it."""
    metrics = {"metrics": {"prometheus": {"entryPoint": "auth_api"}}}
    async with started_proxy(directory, 10, extra_static_config=metrics) as proxy:
        before = reloads(proxy)
        watch = LoopWatch()
        async with watch.watching():
            started = time.perf_counter()
            await asyncio.gather(
                *(proxy.add_route(f"/user/b{n}/", TARGET, {"user": f"b{n}"}) for n in range(count))
            )
            seconds = time.perf_counter() - started
        return {
            "routes added at once": count,
            "seconds": seconds,
            "reloads": reloads(proxy) - before,
            "longest stall of the event loop ms": 1e3 * watch.worst,
        }


def table(rows: list[dict[str, Any]]) -> str:
    """Measurements of one kind as a Markdown table."""
    lines = ["| " + " | ".join(rows[0]) + " |", "|" + " --- |" * len(rows[0])]
    for row in rows:
        values = row.values()
        cells = [f"{value:.2f}" if isinstance(value, float) else str(value) for value in values]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


async def measure(rounds: int) -> dict[str, Any]:
    """Everything, one after the other."""
    results: dict[str, Any] = {"machine": describe()}
    with tempfile.TemporaryDirectory(prefix="traefikhub-bench-") as directory:
        results["one_route"] = await one_route(Path(directory), 10, rounds)
    with tempfile.TemporaryDirectory(prefix="traefikhub-bench-") as directory:
        results["burst"] = await burst(Path(directory), 500)
    results["stores"] = [await measure_store(name, 10_000) for name in STORES]
    return results


def main() -> None:
    """Print tables; write JSON if asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=200, help="changes measured (default 200)")
    parser.add_argument("--json", type=Path, help="also write the results to this file")
    arguments = parser.parse_args()
    results = asyncio.run(measure(arguments.rounds))
    print(", ".join(f"{name} {value}" for name, value in results["machine"].items()))
    for rows in ([results["one_route"]], [results["burst"]], results["stores"]):
        print(f"\n{table(rows)}")
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
