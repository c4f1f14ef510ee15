"""Where a store keeps its records, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from traefikhub.stores._interface import RouteStore

__all__ = ["place_of"]


def place_of(store: RouteStore) -> str:
    """By what Traefik is told of it: the provider, and its endpoints or file. Shows no secret.

    Raises:
        StoreError: the store's options make no sense.
    """
    name = store.provider_name
    match store.provider_config().get(name):
        case {"endpoints": [*endpoints]}:
            return f"{name} at {', '.join(_bare(str(each)) for each in endpoints)}"
        case {"endpoint": str(endpoint)}:
            return f"{name} at {_bare(endpoint)}"
        case {"filename": str(path)} | {"directory": str(path)}:
            return path
    return name


def _bare(endpoint: str) -> str:
    """Without a user's name and password, nor a query."""
    if "://" in endpoint:
        parts = urlsplit(endpoint)
        host = parts.netloc.rpartition("@")[2]
        return f"{parts.scheme}://{host}{parts.path}"
    return endpoint.rpartition("@")[2]
