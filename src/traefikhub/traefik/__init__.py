"""Traefik from outside: its program, static configuration, process and API."""

from __future__ import annotations

from traefikhub.traefik._errors import (
    ApiRejected,
    NotLive,
    TraefikError,
    TraefikExited,
    TraefikKilled,
    TraefikUnusable,
)
from traefikhub.traefik.api import Credentials, Marker, TraefikApi
from traefikhub.traefik.binary import (
    OLDEST,
    Version,
    find_traefik,
    require_supported,
    version_of,
)
from traefikhub.traefik.endpoints import Endpoint
from traefikhub.traefik.process import TraefikProcess
from traefikhub.traefik.static import SERVERS_TRANSPORT, StaticSettings, static_config

__all__ = [
    "OLDEST",
    "SERVERS_TRANSPORT",
    "ApiRejected",
    "Credentials",
    "Endpoint",
    "Marker",
    "NotLive",
    "StaticSettings",
    "TraefikApi",
    "TraefikError",
    "TraefikExited",
    "TraefikKilled",
    "TraefikProcess",
    "TraefikUnusable",
    "Version",
    "find_traefik",
    "require_supported",
    "static_config",
    "version_of",
]
