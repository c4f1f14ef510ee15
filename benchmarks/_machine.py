"""What the numbers were measured on."""

from __future__ import annotations

import datetime
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable
from importlib.metadata import version

from benchmarks._backend import Missing
from benchmarks._fetch import NODE_PROXY, RIVAL_PYTHON
from benchmarks._servers import server_binary
from traefikhub.traefik import find_traefik, version_of

__all__ = ["describe"]

_RIVAL_VERSION = "import importlib.metadata as m; print(m.version('jupyterhub-traefik-proxy'))"


def describe() -> dict[str, str]:
    """Versions and machine, to stand beside every table. Nothing that names the machine."""
    found: dict[str, Callable[[], str]] = {
        "date": lambda: datetime.date.today().isoformat(),
        "traefikhub": lambda: version("traefikhub"),
        "traefik": lambda: str(version_of(find_traefik())),
        "jupyterhub": lambda: version("jupyterhub"),
        "configurable-http-proxy": lambda: _said([str(NODE_PROXY), "--version"]),
        "node": lambda: _said(["node", "--version"]),
        "jupyterhub-traefik-proxy": lambda: _said([str(RIVAL_PYTHON), "-c", _RIVAL_VERSION]),
        "etcd": lambda: _said([server_binary("etcd"), "--version"]),
        "consul": lambda: _said([server_binary("consul"), "version"]),
        "nginx": lambda: _said([shutil.which("nginx") or "/usr/sbin/nginx", "-v"]),
        "wrk": lambda: _said(["wrk", "-v"]),
        "python": platform.python_version,
        "system": lambda: f"{platform.system()} {platform.release().split('-')[0]}",
        "processor": _processor,
        "cores": lambda: str(os.cpu_count()),
    }
    return {name: _or_absent(ask) for name, ask in found.items()}


def _or_absent(ask: Callable[[], str]) -> str:
    try:
        return ask()
    except (OSError, Missing, subprocess.SubprocessError):
        return "absent"


def _said(command: list[str]) -> str:
    """The first version number in what a program says."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    found = re.search(r"\d+\.\d+(\.\d+)?", done.stdout + done.stderr)
    return found.group() if found else "absent"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as lines:
            return _model(lines)
    except OSError:
        return platform.machine()


def _model(lines: Iterable[str]) -> str:
    for line in lines:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
