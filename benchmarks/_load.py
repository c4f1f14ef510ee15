"""Requests through a proxy, as many as it takes: wrk."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks._backend import Missing

__all__ = ["Load", "put_load_on", "wrk_binary"]

_SCRIPT: Final = Path(__file__).parent / "users.lua"
_CONNECTIONS: Final = 50


@dataclass(frozen=True, slots=True)
class Load:
    """What wrk saw.

    per_second: requests.
    p50, p99: milliseconds.
    errors: of connections, and answers other than 2xx and 3xx.
    """

    per_second: float
    p50: float
    p99: float
    errors: int


def wrk_binary() -> str:
    """The program.

    Raises:
        Missing: it isn't installed.
    """
    if found := shutil.which("wrk"):
        return found
    raise Missing("wrk, for requests/s; on Debian: apt-get install wrk")


def put_load_on(port: int, paths: list[str], seconds: int, directory: Path) -> Load:
    """Ask for these paths in random order, on 50 connections.

    Args:
        port: where the proxy listens.
        seconds: for how long.
        directory: for wrk's list of paths.

    Raises:
        Missing: there is no wrk.
    """
    wrk = wrk_binary()
    file = directory / "paths.txt"
    file.write_text("\n".join(paths) + "\n")
    url = f"http://127.0.0.1:{port}"
    command = [wrk, "-t1", f"-c{_CONNECTIONS}", f"-d{seconds}s", "--timeout=10s"]
    command += ["-s", str(_SCRIPT), url, "--", str(file)]
    output = subprocess.run(
        command, check=True, capture_output=True, text=True, timeout=seconds + 60
    ).stdout
    seen = json.loads(output.strip().splitlines()[-1])
    return Load(
        per_second=seen["requests"] / seen["seconds"],
        p50=seen["p50"],
        p99=seen["p99"],
        errors=seen["errors"],
    )
