"""How users come by https: what Traefik's static configuration says of it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from traefikhub.traefik.static import Config

__all__ = [
    "CA_SERVERS",
    "CHALLENGES",
    "AcmeSettings",
    "HttpsSettings",
    "redirecting_entry_point",
    "resolver_name",
    "resolvers",
    "tls_of_entry_point",
]

CA_SERVERS: Final = {
    "production": "https://acme-v02.api.letsencrypt.org/directory",
    "staging": "https://acme-staging-v02.api.letsencrypt.org/directory",
}
"""Let's Encrypt's two, by what an admin calls them (letsencrypt.org/docs/staging-environment)."""

CHALLENGES: Final = ("tls-alpn-01", "http-01", "dns-01")

_RESOLVERS: Final = {
    CA_SERVERS["production"]: "letsencrypt",
    CA_SERVERS["staging"]: "letsencrypt-staging",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AcmeSettings:
    """Where Traefik gets the certificate, if it is to get one itself.

    domains: what it is for; the first is its main name.
    email: the account's; may be empty.
    ca_server: the URL of the authority's directory.
    challenge: one of ``CHALLENGES``.
    dns_provider: Traefik's name for who answers dns-01; empty for the others.
    ca_certificates: files of those by which the authority itself is believed; the system's if none.
    storage: the file in which Traefik keeps account and certificates.
    """

    domains: tuple[str, ...]
    email: str
    ca_server: str
    challenge: str
    dns_provider: str
    ca_certificates: tuple[str, ...]
    storage: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpsSettings:
    """How users come by https.

    profile: ``intermediate`` or ``modern``.
    http_port: the port that leads to https; none if 0.
    public_port: that of https in the URLs that users see; the entry point's own if 0.
    hsts_seconds: how long browsers shall not try http again; nothing is said of it if 0.
    """

    profile: str = "intermediate"
    http_port: int = 0
    public_port: int = 0
    hsts_seconds: int = 0
    hsts_include_subdomains: bool = False
    http3: bool = False
    acme: AcmeSettings | None = None


def resolver_name(ca_server: str) -> str:
    """What Traefik calls the authority.

    Another one has another name: certificates of the staging server must not go on being served
    when the real one is asked, and Traefik keeps them by this name.
    """
    if known := _RESOLVERS.get(ca_server):
        return known
    return f"acme-{sha256(ca_server.encode()).hexdigest()[:8]}"


def tls_of_entry_point(https: HttpsSettings) -> dict[str, Config]:
    """The ``http.tls`` of the users' entry point."""
    if https.acme is None:
        return {}
    main, *others = https.acme.domains
    domain: dict[str, Config] = {"main": main}
    if others:
        domain["sans"] = [*others]
    # With names given here, Traefik asks for no certificate of each user's own host.
    return {"certResolver": resolver_name(https.acme.ca_server), "domains": [domain]}


def redirecting_entry_point(
    https: HttpsSettings, address: str, to: str, http: dict[str, Config]
) -> dict[str, Config]:
    """The entry point on ``http_port``, which leads to https.

    Args:
        address: where it listens, ``host:port``.
        to: the name of the users' entry point.
        http: what else is said of http there.
    """
    target = f":{https.public_port}" if https.public_port else to
    return {
        "address": address,
        "transport": {"lifeCycle": {"graceTimeOut": "0s"}},
        "http": {
            **http,
            "redirections": {
                "entryPoint": {"to": target, "scheme": "https", "permanent": True},
            },
        },
    }


def resolvers(acme: AcmeSettings, http_entry_point: str) -> dict[str, Config]:
    """The ``certificatesResolvers``."""
    settings: dict[str, Config] = {
        "caServer": acme.ca_server,
        "storage": acme.storage,
        "keyType": "EC256",  # a third of the bytes of RSA in every handshake
    }
    if acme.email:
        settings["email"] = acme.email
    if acme.ca_certificates:
        settings["caCertificates"] = [*acme.ca_certificates]
    match acme.challenge:
        case "http-01":
            settings["httpChallenge"] = {"entryPoint": http_entry_point}
        case "dns-01":
            settings["dnsChallenge"] = {"provider": acme.dns_provider}
        case _:
            settings["tlsChallenge"] = {}
    return {resolver_name(acme.ca_server): {"acme": settings}}
