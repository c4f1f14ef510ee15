"""What the numbers were measured on."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version

from traefikhub.traefik import find_traefik, version_of

__all__ = ["describe"]


def describe() -> dict[str, str]:
    """Versions and machine, to stand beside every table."""
    return {
        "traefikhub": version("traefikhub"),
        "traefik": str(version_of(find_traefik())),
        "jupyterhub": version("jupyterhub"),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "cores": str(os.cpu_count()),
    }
