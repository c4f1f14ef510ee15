"""What can go wrong with Traefik: one root, messages that name the setting to change."""

from __future__ import annotations

__all__ = [
    "ApiRejected",
    "NotLive",
    "TraefikError",
    "TraefikExited",
    "TraefikKilled",
    "TraefikUnusable",
]


class TraefikError(Exception):
    """Root of the errors about Traefik."""


class TraefikUnusable(TraefikError):
    """Traefik can't be used as configured: not found, too old, a port is taken, …"""


class TraefikExited(TraefikError):
    """Traefik ended by itself; the message holds its last log lines."""


class TraefikKilled(TraefikExited):
    """A signal ended it."""


class ApiRejected(TraefikError):
    """Traefik's API refuses the credentials."""


class NotLive(TraefikError, TimeoutError):
    """Traefik did not show a generation in time. The change is in the store all the same."""
