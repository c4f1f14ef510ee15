"""Bring the rivals, each into a folder of its own under ``.cache/bench``: ``python -m
benchmarks._fetch``. What can't be brought is said, and left out of the measurement."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Final

__all__ = ["NODE_PROXY", "RIVAL_PYTHON"]

_CACHE: Final = Path(__file__).parents[1] / ".cache" / "bench"
_RIVAL: Final = _CACHE / "jupyterhub-traefik-proxy"
_NODE: Final = _CACHE / "configurable-http-proxy"

RIVAL_PYTHON: Final = _RIVAL / "bin" / "python"
NODE_PROXY: Final = _NODE / "node_modules" / ".bin" / "configurable-http-proxy"


def main() -> int:
    """Bring both; 1 if one can't be brought."""
    return max(_bring("jupyterhub-traefik-proxy", _rival), _bring("configurable-http-proxy", _node))


def _bring(name: str, bring: object) -> int:
    try:
        assert callable(bring)
        bring()
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"{name} can't be installed: {error}", file=sys.stderr)
        return 1
    return 0


def _rival() -> None:
    """Its dependencies are not ours; only JupyterHub is the same."""
    if not RIVAL_PYTHON.exists():
        _run(sys.executable, "-m", "venv", "--clear", str(_RIVAL))
    _run(
        str(RIVAL_PYTHON),
        *("-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
        "jupyterhub-traefik-proxy[etcd]==2.1.*",
        f"jupyterhub=={version('jupyterhub')}",
    )


def _node() -> None:
    if not (npm := shutil.which("npm")):
        raise FileNotFoundError("there is no npm; on Debian: apt-get install npm")
    if not NODE_PROXY.exists():
        _NODE.mkdir(parents=True, exist_ok=True)
        quiet = ("--no-audit", "--no-fund", "--loglevel=error")
        _run(npm, "install", *quiet, f"--prefix={_NODE}", "configurable-http-proxy@5.3")


def _run(*command: str) -> None:
    subprocess.run(command, check=True)


if __name__ == "__main__":
    sys.exit(main())
