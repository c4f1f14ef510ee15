"""What jupyterhub-traefik-proxy has left, in its file or in a server."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import anyio
import click
import yaml
from traitlets import TraitError

from traefikhub.cli._hub import Hub
from traefikhub.cli._route_words import another_store
from traefikhub.route_files import NoRoutes, routes_of_old_file, routes_of_old_keys
from traefikhub.session import SessionSettings
from traefikhub.stores import KeyValueStore
from traefikhub.table import Route

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["OLD_PREFIX", "OLD_SOURCES", "read_old_routes"]

OLD_SOURCES: Final = ("file", "etcd", "consul", "redis")

OLD_PREFIX: Final = "jupyterhub"
"""The default of its ``kv_jupyterhub_prefix``."""


def read_old_routes(
    hub: Hub, settings: SessionSettings, source: str, file: str, prefix: str
) -> dict[str, Route]:
    """Its routes, by routespec. Writes nothing.

    Args:
        source: one of ``OLD_SOURCES``.

    Raises:
        ClickException: there are none that can be used.
        StoreError: the server can't be reached, or no store for such a server is installed.
    """
    place = file if source == "file" else f"{prefix}/ in {source}"
    try:
        if source == "file":
            routes = routes_of_old_file(_document(Path(file)))
        else:
            store = _store(hub, settings, source, prefix.strip("/"))
            routes = routes_of_old_keys(anyio.run(_keys, store))
    except (NoRoutes, OSError) as error:
        raise click.ClickException(f"{place}: {error}") from error
    if not routes:
        setting = (
            "dynamic_config_file another (--old-file)"
            if source == "file"
            else "kv_jupyterhub_prefix another (--old-prefix)"
        )
        raise click.ClickException(
            f"{place} holds no routes of jupyterhub-traefik-proxy; was its {setting}?"
        )
    return routes


def _document(path: Path) -> dict[str, object]:
    text = path.read_text(encoding="utf-8")
    try:
        found = tomllib.loads(text) if path.suffix == ".toml" else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise NoRoutes(f"it can't be read: {error}") from error
    if not isinstance(found, dict):
        raise NoRoutes("it holds no tables")
    return found


def _store(hub: Hub, settings: SessionSettings, source: str, prefix: str) -> KeyValueStore:
    """By its own options, but for the prefix."""
    store = another_store(hub, settings, "--from-old", source).store
    if not isinstance(store, KeyValueStore):
        raise NoRoutes(f"the store {source!r} that is installed is for no key-value server")
    try:
        store.prefix = prefix
    except TraitError as error:
        raise click.UsageError(f"--old-prefix: {error}") from error
    return store


async def _keys(store: KeyValueStore) -> dict[str, str]:
    try:
        await store.open(read_only=True)
        return await store.read_all()
    finally:
        await store.close()
