"""Traefik's static configuration: what it is started with. Pure.

Facts behind the values: docs/traefik-facts.md. An unknown key makes Traefik exit at start, so
each key is given only to versions that know it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from traefikhub.traefik.binary import Version
from traefikhub.traefik.https import (
    HttpsSettings,
    redirecting_entry_point,
    resolvers,
    tls_of_entry_point,
)

__all__ = ["SERVERS_TRANSPORT", "StaticSettings", "static_config"]

Config: TypeAlias = "dict[str, Config] | list[Config] | str | int | float | bool | None"

# A server whose machine is gone never refuses: users wait as long for the error page, and that
# long again if the Hub is gone with it.
SERVERS_TRANSPORT: Final[dict[str, Config]] = {"forwardingTimeouts": {"dialTimeout": "10s"}}
"""How Traefik reaches servers, unless their services name a transport of their own."""

_ENCODED_CHARACTERS: Final = (
    "allowEncodedSlash",
    "allowEncodedBackSlash",
    "allowEncodedNullCharacter",
    "allowEncodedSemicolon",
    "allowEncodedPercent",
    "allowEncodedQuestionMark",
    "allowEncodedHash",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticSettings:
    """What the static configuration depends on.

    address, api_address: ``host:port``, the host possibly empty for all interfaces.
    entry_point, api_entry_point: their names.
    https: how users come by https; None if they don't.
    http_address: as ``address``, for the port that leads to https; empty if there is none.
    users_middlewares: what stands before every router of the users' entry point, by full names.
    providers: the store's fragment for ``providers``.
    sanitize_path: whether Traefik resolves dot segments and double slashes before routing.
    trusted_proxies: addresses and networks whose X-Forwarded headers are believed.
    counts_requests: whether Traefik counts the requests of each service.
    tells_ready: whether a load balancer stands before it, which asks a router of ours for its
        ``ping@internal``.
    drain_seconds: how long open connections may outlive a request to stop.
    access_log: the file for a line about each request; none if empty.
    """

    address: str
    entry_point: str
    https: HttpsSettings | None
    api_address: str
    api_entry_point: str
    providers: dict[str, Config] = field(default_factory=dict)
    log_level: str = "WARN"
    sanitize_path: bool = False
    trusted_proxies: Sequence[str] = ()
    drain_seconds: int = 60
    throttle: str = "0s"
    counts_requests: bool = False
    tells_ready: bool = False
    access_log: str = ""
    http_address: str = ""
    users_middlewares: Sequence[str] = ()


def static_config(settings: StaticSettings, version: Version) -> dict[str, Config]:
    """The whole static configuration for one version of Traefik, ready to be written as TOML."""
    return {
        "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
        "log": {"level": settings.log_level, "noColor": True},
        **_access_log(settings, version),
        "api": {"dashboard": True},
        "serversTransport": {**SERVERS_TRANSPORT},
        **({"metrics": {"prometheus": dict(_COUNTERS)}} if settings.counts_requests else {}),
        **({"ping": {"manualRouting": True}} if settings.tells_ready else {}),
        "providers": {"providersThrottleDuration": settings.throttle, **settings.providers},
        "entryPoints": {
            settings.entry_point: _users_entry_point(settings, version),
            settings.api_entry_point: {
                "address": settings.api_address,
                "transport": {"lifeCycle": {**_notice(settings), "graceTimeOut": "0s"}},
                # An empty table ends a Traefik before 3.7.9 at start.
                **({"http": aliases} if (aliases := _aliases(version)) else {}),
            },
            **_leading_to_https(settings, version),
        },
        **_certificates(settings),
    }


def redirect_entry_point(settings: StaticSettings) -> str:
    """The name of the entry point that leads to https."""
    taken = {settings.entry_point.lower(), settings.api_entry_point.lower()}
    return "http" if "http" not in taken else "http-redirect"


def _leading_to_https(settings: StaticSettings, version: Version) -> dict[str, Config]:
    if not (settings.https and settings.http_address):
        return {}
    point = redirecting_entry_point(
        settings.https, settings.http_address, settings.entry_point, _aliases(version)
    )
    return {redirect_entry_point(settings): point}


def _certificates(settings: StaticSettings) -> dict[str, Config]:
    if not (settings.https and settings.https.acme):
        return {}
    return {"certificatesResolvers": resolvers(settings.https.acme, redirect_entry_point(settings))}


# As little as tells services apart: router labels would count each level of the tree, and each
# bucket is a series for every method and status of a service.
_COUNTERS: Final[dict[str, Config]] = {
    "addEntryPointsLabels": False,
    "addRoutersLabels": False,
    "addServicesLabels": True,
    "manualRouting": True,
    "buckets": [1.0],
}


def _access_log(settings: StaticSettings, version: Version) -> dict[str, Config]:
    if not settings.access_log:
        return {}
    # Tokens stand in queries and in headers (Authorization, Cookie, Referer).
    fields: dict[str, Config] = {"headers": {"defaultMode": "drop"}}
    if version >= Version(3, 7, 3) or Version(3, 6, 19) <= version < Version(3, 7, 0):
        fields["queryParameters"] = {"defaultMode": "drop"}
    else:  # path and query are one
        fields["names"] = {"RequestPath": "drop"}
    return {"accessLog": {"filePath": settings.access_log, "format": "json", "fields": fields}}


def _users_entry_point(settings: StaticSettings, version: Version) -> dict[str, Config]:
    http: dict[str, Config] = {
        "sanitizePath": settings.sanitize_path,
        # Else Traefik makes an "&" of it, and "?x=1;y=2" is something else to the server.
        "encodeQuerySemicolons": True,
        # Jupyter puts file names in paths; the notebook server decides what it serves.
        "encodedCharacters": dict.fromkeys(_ENCODED_CHARACTERS, True),
        **_aliases(version),
    }
    if settings.users_middlewares:
        http["middlewares"] = [*settings.users_middlewares]
    if settings.https:
        http["tls"] = tls_of_entry_point(settings.https)
    forwarded: dict[str, Config] = {}
    if settings.trusted_proxies:
        forwarded["forwardedHeaders"] = {"trustedIPs": [*settings.trusted_proxies]}
    return {
        "address": settings.address,
        **forwarded,
        **({"http3": {}} if settings.https and settings.https.http3 else {}),
        # A read time-out cuts uploads short (the default at 60 s), a write time-out downloads.
        "transport": {
            "respondingTimeouts": {"readTimeout": "0s", "writeTimeout": "0s"},
            "lifeCycle": {**_notice(settings), "graceTimeOut": f"{settings.drain_seconds}s"},
        },
        "http": http,
    }


def _notice(settings: StaticSettings) -> dict[str, Config]:
    """Goes on for a while when it is told to end, so that a load balancer can find out."""
    return {"requestAcceptGraceTimeout": "5s"} if settings.tells_ready else {}


def _aliases(version: Version) -> dict[str, Config]:
    """Drop headers such as X_Forwarded_For, which some servers read as X-Forwarded-For."""
    if version >= Version(3, 7, 12):
        return {"aliasHeadersStrategy": "delete"}
    if version >= Version(3, 7, 9):
        return {"underscoreHeadersStrategy": "delete"}
    return {}
