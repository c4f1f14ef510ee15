"""The options of TraefikProxy as one value: all that a session is made of."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from traefikhub.error_pages import HubPages
from traefikhub.internal_ssl import InternalSsl
from traefikhub.stores import RouteStore
from traefikhub.traefik.https import AcmeSettings, HttpsSettings

__all__ = ["SessionSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSettings:
    """The options of TraefikProxy, whose help texts explain them.

    internal_ssl: None unless JupyterHub has it on.
    """

    store: RouteStore
    log: logging.Logger
    public_url: str
    https: HttpsSettings | None
    http_port: int
    ssl_cert: str
    ssl_key: str
    internal_ssl: InternalSsl | None
    run_dir: str
    traefik_command: str
    traefik_env: Mapping[str, str]
    log_level: str
    access_log: str
    entry_point: str
    api_entry_point: str
    api_urls: tuple[str, ...]
    api_validate_cert: bool
    api_ca: str
    api_username: str
    api_password: str
    api_hashed_password: str
    static_config_file: str
    extra_static_config: dict[str, Any]
    extra_dynamic_config: dict[str, Any]
    setup_dynamic_config: bool
    routing: str
    hub_prefix: str
    error_pages: HubPages | None
    throttle: str
    sanitize_path: bool
    trusted_proxies: tuple[str, ...]
    grace_seconds: int
    drain_seconds: int
    check_route_timeout: float
    replica_timeout: float
    store_check_interval: float
    keep_running: bool
    starts_traefik: bool
    last_activity: bool

    @property
    def api_url(self) -> str:
        """Where the API listens of a Traefik that is started here, or of the first of others."""
        return self.api_urls[0]

    @property
    def acme(self) -> AcmeSettings | None:
        """How Traefik gets its certificate, if it is to."""
        return self.https.acme if self.https else None
