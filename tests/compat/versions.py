"""``python -m compat.versions``: what there is in the environment of this Python, as JSON."""

from __future__ import annotations

import json
import platform
import re
import subprocess
import sys
from contextlib import suppress
from importlib import metadata

import pytest

from servers.consul import consul_binary
from servers.etcd import etcd_binary
from traefikhub.traefik import find_traefik

__all__ = ["main"]


def main() -> None:
    """Print the versions."""
    packages = {
        each.name.lower().replace("_", "-"): each.version for each in metadata.distributions()
    }
    servers = {
        "Python": platform.python_version(),
        "Traefik": _said(find_traefik(), "version"),
        "JupyterHub": packages["jupyterhub"],
        "etcd": _said(etcd_binary(), "--version"),
    }
    with suppress(pytest.skip.Exception):  # its tests are then skipped, too
        servers["consul"] = _said(consul_binary(), "version")
    sys.stdout.write(json.dumps({"servers": servers, "packages": packages}))


def _said(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = re.search(r"\d+\.\d+\.\d+", done.stdout)
    assert found, done.stdout
    return found[0]


if __name__ == "__main__":
    main()
