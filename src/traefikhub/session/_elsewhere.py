"""Where everything of a trial is instead of where the options have it: free ports, a temporary
directory, nobody's certificate authority. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from traefikhub.session._settings import SessionSettings
from traefikhub.stores import RouteStore
from traefikhub.table import merge
from traefikhub.traefik.https import resolver_name

__all__ = ["PROVIDER", "elsewhere", "why_not_beside"]

PROVIDER: Final = "file"
"""That of the trial's store."""

_API: Final = "traefikhub-check"
"""An entry point of the trial's own: the admin's may be changed by ``extra_static_config``, and a
store that is read as well brings a router for it, with other passwords."""

_ANYWHERE: Final = "127.0.0.1:0"
_NOWHERE: Final = "https://127.0.0.1:1/directory"
_SECONDS: Final = 10.0

_NAMES: Final = "*"
_KEYS: Final[dict[str, Any]] = {
    "accessLog": {"filePath": {}},
    "certificatesResolvers": {_NAMES: {"acme": {"caServer": {}, "storage": {}}}},
    "entryPoints": {_NAMES: {"address": {}}},
    "experimental": {"localPlugins": {}, "plugins": {}},
    "hub": {},
    "log": {"filePath": {}},
    "providers": {"file": {"directory": {}, "filename": {}}},
}
"""What a trial has to know of Traefik's keys."""


def elsewhere(
    settings: SessionSettings,
    directory: Path,
    store: RouteStore,
    *,
    users: int,
    api: int,
    http: int,
) -> SessionSettings:
    """The settings of a trial.

    Args:
        directory: for all that is written.
        store: an empty one there, which Traefik reads through ``PROVIDER``.
        users, api, http: free ports.
    """
    return replace(
        settings,
        store=store,
        https=replace(settings.https, http_port=http, http3=False) if settings.https else None,
        http_port=http if settings.http_port else 0,
        public_url=f"{'https' if settings.https else 'http'}://127.0.0.1:{users}",
        api_urls=(f"http://127.0.0.1:{api}",),
        api_entry_point=_API,
        run_dir=str(directory),
        static_config_file="",
        access_log="access.log" if settings.access_log else "",
        extra_static_config=_moved(settings, directory),
        extra_dynamic_config=_renamed(settings.extra_dynamic_config, settings),
        grace_seconds=1,
        check_route_timeout=min(settings.check_route_timeout, _SECONDS),
        store_check_interval=0,
        keep_running=False,
        starts_traefik=True,
        setup_dynamic_config=True,
    )


def why_not_beside(settings: SessionSettings) -> str:
    """Why Traefik can't be tried while one of this Hub runs; empty if it can."""
    match _spelled(settings.extra_static_config, _KEYS).get("experimental"):
        case {"plugins": _} | {"localPlugins": _}:
            return (
                "two Traefiks would unpack the plug-ins of c.TraefikProxy.extra_static_config in "
                "one place"
            )
    return ""


def _points(extra: Mapping[str, Any]) -> Mapping[str, Any]:
    found = extra.get("entryPoints")
    return found if isinstance(found, Mapping) else {}


def _moved(settings: SessionSettings, directory: Path) -> dict[str, Any]:
    """The admin's part of the static configuration, where it disturbs nobody."""
    extra = _spelled(_renamed(settings.extra_static_config, settings), _KEYS)
    points = {name: _elsewhere(point) for name, point in _points(extra).items()}
    for name in (settings.entry_point, _API):
        # Where they are to be is said by the settings.
        if isinstance(point := points.get(name), dict):
            point.pop("address", None)
    points.setdefault(settings.api_entry_point, {"address": _ANYWHERE})
    if "traefik" not in {name.lower() for name in (*points, settings.entry_point)}:
        # Traefik's own, which is on 8080 if anything asks for it.
        points["traefik"] = {"address": _ANYWHERE}
    extra["entryPoints"] = points
    for part in ("log", "accessLog"):
        if isinstance(extra.get(part), dict) and extra[part].pop("filePath", ""):
            extra[part] |= {} if part == "log" else {"filePath": str(directory / "access.log")}
    extra.pop("hub", None)  # it would tell others of this Traefik
    extra["providers"] = _providers(settings, extra.get("providers"))
    resolvers = dict(extra.get("certificatesResolvers") or {})
    if settings.https and settings.https.acme:
        resolvers.setdefault(resolver_name(settings.https.acme.ca_server), {"acme": {}})
    for name, resolver in resolvers.items():
        if isinstance(resolver, dict) and isinstance(resolver.get("acme"), dict):
            resolver["acme"] |= {
                "storage": str(directory / f"acme-{name}.json"),
                "caServer": _NOWHERE,
            }
    if resolvers:
        extra["certificatesResolvers"] = resolvers
    return extra


def _elsewhere(point: Any) -> Any:
    """An entry point on a port that is free."""
    if not isinstance(point, dict):
        return point
    _, slash, protocol = str(point.get("address", "")).partition("/")
    return {**point, "address": f"{_ANYWHERE}{slash}{protocol}"}


def _providers(settings: SessionSettings, extra: Any) -> dict[str, Any]:
    """The admin's providers and the store's, but for files, of which there is the scratch file."""
    own = {k: v for k, v in settings.store.provider_config().items() if k != PROVIDER}
    merged = merge(own, extra if isinstance(extra, dict) else {})
    assert isinstance(merged, dict)
    return {
        name: {k: v for k, v in value.items() if k not in ("filename", "directory")}
        if name == PROVIDER and isinstance(value, dict)
        else value
        for name, value in merged.items()
        if name != PROVIDER or isinstance(value, dict)
    }


def _spelled(table: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """A copy with known keys as they are spelled here: Traefik takes them in any case."""
    spelling = {name.lower(): name for name in known}
    found: dict[str, Any] = {}
    for given, value in table.items():
        name = given if _NAMES in known else spelling.get(str(given).lower(), given)
        below = known.get(_NAMES if _NAMES in known else name, {})
        copied = _spelled(value, below) if isinstance(value, Mapping) else value
        found[name] = merge(found[name], copied) if name in found else copied
    return found


def _renamed(value: Any, settings: SessionSettings) -> Any:
    """A copy in which names say the provider under which the trial finds them."""
    old = f"@{settings.store.provider_name}"
    if isinstance(value, Mapping):
        return {name: _renamed(item, settings) for name, item in value.items()}
    if isinstance(value, list):
        return [_renamed(item, settings) for item in value]
    if isinstance(value, str) and value.endswith(old):
        return value.removesuffix(old) + f"@{PROVIDER}"
    return value
