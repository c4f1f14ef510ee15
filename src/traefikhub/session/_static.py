"""Traefik's static configuration with the admin's part, and what that costs us. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import tomli_w

from traefikhub.base import HSTS_KEY
from traefikhub.session._settings import SessionSettings
from traefikhub.stores import Document
from traefikhub.table import merge
from traefikhub.traefik import StaticSettings, TraefikUnusable, Version, static_config
from traefikhub.traefik.acme import storage_of
from traefikhub.traefik.https import AcmeSettings

__all__ = [
    "as_toml",
    "entry_point_addresses",
    "http_proxy_of",
    "own_static",
    "why_blind",
    "with_extra",
]

_HTTP_PROXIES: Final = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")
"""With one of these, Traefik's connections don't lead to the targets."""


def own_static(
    settings: SessionSettings,
    version: Version,
    *,
    address: str,
    api_address: str,
    http_address: str = "",
    run_dir: Path,
) -> Document:
    """The static configuration for a Traefik, with the admin's part.

    Args:
        address, api_address: where it is to listen, ``host:port``.
        http_address: as these, to lead users to https; nowhere if empty.
        run_dir: what the names of files are relative to.
    """
    https = settings.https
    if https and https.acme:
        https = replace(https, acme=_placed(https.acme, run_dir))
    config = static_config(
        StaticSettings(
            address=address,
            entry_point=settings.entry_point,
            https=https,
            api_address=api_address,
            http_address=http_address,
            users_middlewares=[f"{HSTS_KEY.name}@{settings.store.provider_name}"]
            if https and https.hsts_seconds and settings.setup_dynamic_config
            else [],
            api_entry_point=settings.api_entry_point,
            providers=settings.store.provider_config(),
            log_level=settings.log_level,
            access_log=str(run_dir / settings.access_log) if settings.access_log else "",
            sanitize_path=settings.sanitize_path,
            trusted_proxies=settings.trusted_proxies,
            drain_seconds=max(settings.drain_seconds, settings.grace_seconds),
            throttle=settings.throttle,
            counts_requests=settings.last_activity,
            tells_ready=not settings.starts_traefik,
        ),
        version,
    )
    return with_extra(config, settings.extra_static_config)


def _placed(acme: AcmeSettings, run_dir: Path) -> AcmeSettings:
    """With names of files that hold wherever Traefik is started."""
    return replace(
        acme,
        storage=str(storage_of(acme, run_dir)),
        ca_certificates=tuple(str(Path(file).absolute()) for file in acme.ca_certificates),
    )


def with_extra(config: Document, extra: Mapping[str, Any]) -> Document:
    """Our static configuration, with ``extra_static_config`` laid upon it."""
    match config, extra.get("metrics"):
        case {"metrics": {"prometheus": {"manualRouting": True}}}, {
            "prometheus": {"entryPoint": _}
        }:
            # Else they would be nowhere but where we route them.
            config = merge(config, {"metrics": {"prometheus": {"manualRouting": False}}})
    return merge(config, dict(extra))


def entry_point_addresses(extra: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Names and addresses of the entry points in ``extra_static_config``; Traefik takes its keys in
    any case."""
    for key, points in extra.items():
        if str(key).lower() == "entrypoints" and isinstance(points, Mapping):
            for name, point in points.items():
                for word, address in point.items() if isinstance(point, Mapping) else ():
                    if str(word).lower() == "address" and isinstance(address, str):
                        yield str(name), address


def as_toml(config: Document) -> str:
    """As Traefik reads it.

    Raises:
        TraefikUnusable: the admin's part holds what can't be written.
    """
    try:
        return tomli_w.dumps(dict(config)) if isinstance(config, dict) else ""
    except (TypeError, ValueError) as error:
        raise TraefikUnusable(
            f"c.TraefikProxy.extra_static_config can't be written as TOML: {error}"
        ) from error


def http_proxy_of(env: Mapping[str, str]) -> str:
    """The variable by which Traefik sends requests for users' servers elsewhere; empty if none."""
    if "*" in (env.get("NO_PROXY") or env.get("no_proxy") or "").split(","):
        return ""
    return next((name for name in _HTTP_PROXIES if env.get(name)), "")


def why_blind(config: Document, entry_point: str, env: Mapping[str, str]) -> str:
    """Why Traefik's counters and connections don't tell what is used; empty if they do.

    Args:
        config: static, with the admin's part.
        env: Traefik's environment.
    """
    if proxied := http_proxy_of(env):
        return f"traefik_env has {proxied}"
    match config:
        case {"metrics": {"prometheus": {"addServicesLabels": True}}}:
            pass
        case _:
            return "metrics.prometheus.addServicesLabels is not True in extra_static_config"
    match config:
        case {"entryPoints": {**points}}:
            match points.get(entry_point):
                case {"observability": {"metrics": False}}:
                    return f"entryPoints.{entry_point}.observability.metrics is False"
    return ""
