"""The records that stand beside the routes: the API's router, the default certificate, what is said
of https, and what the admin adds. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from traefikhub.stores import GENERATION_MARKER, Batch, Document, Key, Records
from traefikhub.traefik.https import HttpsSettings
from traefikhub.traefik.users_entry_point import GenerationQuestion

__all__ = [
    "API_USERS_KEY",
    "CERTIFICATE_KEY",
    "GENERATION_ROUTER_KEY",
    "HSTS_KEY",
    "READY_SERVICE",
    "api_records",
    "api_users",
    "certificate_record",
    "extra_records",
    "generation_records",
    "https_records",
    "metrics_records",
    "ready_records",
    "without_rule",
]

API_USERS_KEY: Final = Key("http/middlewares", "traefikhub__api-auth")
CERTIFICATE_KEY: Final = Key("tls/stores", "default")
GENERATION_ROUTER_KEY: Final = Key("http/routers", GENERATION_MARKER.name)
READY_SERVICE: Final = "ping@internal"
HSTS_KEY: Final = Key("http/middlewares", "traefikhub__hsts")

_ABOVE_ALL: Final = 2_000_000_000
_ROOTS: Final = ("http", "tcp", "tls", "udp")
_SETTING: Final = "c.TraefikProxy.extra_dynamic_config"


def api_records(entry_point: str, users: list[str]) -> Records:
    """The API and dashboard on their entry point, behind basic authentication.

    Args:
        users: ``name:hash`` each.
    """
    router: dict[str, Document] = {
        "rule": 'PathPrefix("/api") || PathPrefix("/dashboard")',
        # The lowest: an API router that an external Traefik has already goes first.
        "priority": 1,
        "entryPoints": [entry_point],
        "service": "api@internal",
        "middlewares": [API_USERS_KEY.name],
    }
    return {
        API_USERS_KEY: {"basicAuth": {"users": list(users)}},
        Key("http/routers", "traefikhub__api"): router,
    }


def metrics_records(entry_point: str) -> Records:
    """Traefik's metrics on the API's entry point, for the API's users."""
    router: dict[str, Document] = {
        "rule": 'Path("/metrics")',
        "priority": 2,
        "entryPoints": [entry_point],
        "service": "prometheus@internal",
        "middlewares": [API_USERS_KEY.name],
    }
    return {Key("http/routers", "traefikhub__metrics"): router}


def ready_records(entry_point: str) -> Records:
    """``/ping`` on the API's entry point, for everybody: 404 until Traefik has read the store, then
    200, and 503 as soon as it was told to end. For a load balancer to ask."""
    router: dict[str, Document] = {
        "rule": 'Path("/ping")',
        "priority": 2,
        "entryPoints": [entry_point],
        "service": READY_SERVICE,
    }
    return {Key("http/routers", "traefikhub__ready"): router}


def generation_records(entry_point: str, question: GenerationQuestion) -> Records:
    """Where the Hub, and nobody else, sees on the users' entry point which generation it serves."""
    rule = f'Path("{question.path}") && Header("{question.header}", "{question.key}")'
    router: dict[str, Document] = {
        "rule": rule,
        "priority": _ABOVE_ALL,
        "entryPoints": [entry_point],
        "service": "noop@internal",
        "middlewares": [GENERATION_MARKER.name],
        # It is none of the users' requests.
        "observability": {"accessLogs": False, "metrics": False, "tracing": False},
    }
    return {GENERATION_ROUTER_KEY: router}


def api_users(records: Records) -> list[str]:
    """The users of the API router that a store holds already."""
    match records.get(API_USERS_KEY):
        case {"basicAuth": {"users": list(users)}}:
            return [user for user in users if isinstance(user, str)]
        case _:
            return []


def certificate_record(certificate: str, key: str) -> Records:
    """The certificate shown where no other fits; both given as paths or as PEM texts."""
    return {CERTIFICATE_KEY: {"defaultCertificate": {"certFile": certificate, "keyFile": key}}}


def https_records(https: HttpsSettings) -> Records:
    """Which TLS users may come with, and what browsers shall remember of it."""
    records: dict[Key, Document] = {Key("tls/options", "default"): _tls_options(https.profile)}
    # Also if nothing is said: where the entry point names it, every page would be a 404 without.
    headers: dict[str, Document] = {"stsSeconds": https.hsts_seconds}
    if https.hsts_include_subdomains:
        headers["stsIncludeSubdomains"] = True
    records[HSTS_KEY] = {"headers": headers}
    return records


_INTERMEDIATE: Final = (
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
)
"""Mozilla's, but for DHE, which Go doesn't have (wiki.mozilla.org/Security/Server_Side_TLS). Those
of TLS 1.3 can't be chosen."""


def _tls_options(profile: str) -> Document:
    if profile == "modern":
        return {"minVersion": "VersionTLS13"}
    return {"minVersion": "VersionTLS12", "cipherSuites": [*_INTERMEDIATE]}


def extra_records(config: Mapping[str, Any]) -> Records:
    """The admin's additional dynamic configuration as records.

    Args:
        config: in the form of Traefik's own files, e.g.
            ``{"http": {"middlewares": {"slim": {"compress": {}}}}}``.

    Raises:
        ValueError: it hasn't that form.
    """
    records: dict[Key, Document] = {}
    for root, sections in config.items():
        if root not in _ROOTS:
            raise ValueError(
                f"{_SETTING} has {root!r} at its top; Traefik knows {', '.join(_ROOTS)}"
            )
        for section, value in _table(sections, root).items():
            if (root, section) == ("tls", "certificates"):
                # The one list among the tables.
                if not isinstance(value, list):
                    raise ValueError(
                        f"{_SETTING}: 'tls.certificates' must be a list, not {type(value).__name__}"
                    )
                records[Key(root, section)] = value
                continue
            for name, document in _table(value, f"{root}.{section}").items():
                _table(document, f"{root}.{section}.{name}")
                records[Key(f"{root}/{section}", name)] = document
    for key, document in records.items():
        try:
            if not isinstance(key.name, str):
                raise ValueError(f"the name {key.name!r} is {type(key.name).__name__}, not str")
            Batch(1, {key: document})  # checks section and document
        except ValueError as error:
            raise ValueError(f"{_SETTING}, {key.section} {key.name}: {error}") from error
    return records


def without_rule(extra: Records) -> Mapping[Key, Mapping[str, Document]]:
    """Those of the admin's records that can only be meant to be merged into the router of a
    route: a router of its own has a rule."""
    return {
        key: document
        for key, document in extra.items()
        if key.section == "http/routers" and isinstance(document, dict) and "rule" not in document
    }


def _table(value: object, name: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{_SETTING}: {name!r} must be a table, not {type(value).__name__}")
    return value
