"""Fetch a release of Traefik or etcd, verified."""

from traefikhub.install._command import command
from traefikhub.install._errors import InstallError
from traefikhub.install._install import Installed, Wish, install
from traefikhub.install._releases import ETCD, PROJECTS, TRAEFIK, Project

__all__ = [
    "ETCD",
    "PROJECTS",
    "TRAEFIK",
    "InstallError",
    "Installed",
    "Project",
    "Wish",
    "command",
    "install",
]
