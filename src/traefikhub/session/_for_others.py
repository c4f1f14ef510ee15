"""The static configuration for a Traefik that others run. Pure but for name resolution."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from traefikhub.session._plan import http_address_of, listeners
from traefikhub.session._settings import SessionSettings
from traefikhub.session._static import own_static
from traefikhub.stores import Document
from traefikhub.table import merge
from traefikhub.traefik import Version
from traefikhub.traefik.https import HttpsSettings

__all__ = ["external_static", "is_loopback"]


def external_static(settings: SessionSettings, version: Version) -> dict[str, Document]:
    """The static configuration for a Traefik that others run, perhaps in another container.

    Unlike our own, it keeps no access log, for that is theirs to say.
    Its API listens on every interface, unless the Hub asks for it on this very machine.

    Raises:
        TraefikUnusable: where it is to listen can't be told.
    """
    if settings.acme and not settings.starts_traefik:  # which the Hub refuses
        settings = replace(settings, https=replace(settings.https or HttpsSettings(), acme=None))
    found = listeners(settings)
    users, api = found[:2]
    host, _, port = api.address.rpartition(":")
    extra = dict(settings.extra_static_config)
    if urlsplit(settings.api_url).scheme == "https":
        tls: Document = {"entryPoints": {settings.api_entry_point: {"http": {"tls": {}}}}}
        merged = merge(tls, extra)
        assert isinstance(merged, dict)
        extra = dict(merged)
    config = own_static(
        replace(settings, starts_traefik=False, access_log="", extra_static_config=extra),
        version,
        address=users.address,
        http_address=http_address_of(found),
        api_address=f"{host if is_loopback(host) else ''}:{port}",
        run_dir=Path(settings.run_dir),
    )
    assert isinstance(config, dict)
    return dict(config)


def is_loopback(host: str) -> bool:
    """Whether only programs of the same machine, or container, reach it there."""
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
