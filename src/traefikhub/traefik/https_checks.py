"""Options about https that Traefik would choke on, or pass over. Each error names the setting."""

from __future__ import annotations

import ipaddress
import re
from typing import Final
from urllib.parse import urlsplit

from traefikhub.traefik._errors import TraefikUnusable
from traefikhub.traefik.https import CA_SERVERS, AcmeSettings, HttpsSettings

__all__ = ["check_acme", "check_acme_here", "check_http_port", "explain_ports"]

_DOMAIN: Final = re.compile(
    r"(?:\*\.)?(?:(?!-)[a-z0-9-]{1,63}(?<!-)\.)+(?!-)[a-z0-9-]{2,63}(?<!-)", re.ASCII | re.I
)
_PROVIDER: Final = re.compile(r"[a-z0-9-]+", re.ASCII)
_EMAIL: Final = re.compile(r"[^@\s<>\"]+@[^@\s<>\"]+")

_ASKED_ON: Final = {"http-01": 80, "tls-alpn-01": 443}


def check_http_port(https: HttpsSettings | None, http_port: int) -> None:
    """Refuse a port that is to lead to an https that there is not.

    Raises:
        TraefikUnusable: users come by http.
    """
    if http_port and https is None:
        raise TraefikUnusable(
            f"c.TraefikProxy.http_port = {http_port} leads to https, but there is none; set "
            "c.JupyterHub.ssl_cert and ssl_key, or c.TraefikProxy.acme_domains; if something "
            "before Traefik ends TLS, let that lead to https"
        )


def check_acme(acme: AcmeSettings | None, *, http_port: int, ssl_cert: str) -> None:
    """Refuse what can get no certificate.

    Raises:
        TraefikUnusable: the options contradict each other, or one makes no sense.
    """
    if acme is None:
        return
    if ssl_cert:
        raise TraefikUnusable(
            f"c.JupyterHub.ssl_cert = {ssl_cert!r} and c.TraefikProxy.acme_domains are both set; "
            "set one of them: Traefik shows either your certificate, or one that it gets"
        )
    if not acme.domains:
        raise TraefikUnusable(
            "c.TraefikProxy.acme_domains is empty, but other acme options are set; name the hosts "
            "that the certificate is for, e.g. ['hub.example.org']"
        )
    for domain in acme.domains:
        _check_domain(domain, acme.challenge)
    if acme.email and not _EMAIL.fullmatch(acme.email):
        raise TraefikUnusable(
            f"c.TraefikProxy.acme_email = {acme.email!r} is no address such as 'it@example.org'"
        )
    parts = urlsplit(acme.ca_server)
    if parts.scheme != "https" or not parts.hostname:
        raise TraefikUnusable(
            f"c.TraefikProxy.acme_ca_server = {acme.ca_server!r} is none of "
            f"{', '.join(map(repr, CA_SERVERS))}, nor the https URL of an authority's directory"
        )
    if acme.challenge == "http-01" and not http_port:
        raise TraefikUnusable(
            "c.TraefikProxy.acme_challenge = 'http-01' is answered on plain http; set "
            "c.TraefikProxy.http_port = 80, or choose 'tls-alpn-01'"
        )
    if (acme.challenge == "dns-01") != bool(acme.dns_provider):
        raise TraefikUnusable(
            "c.TraefikProxy.acme_challenge = 'dns-01' and c.TraefikProxy.acme_dns_provider go "
            "together: set both, or none"
        )
    if acme.dns_provider and not _PROVIDER.fullmatch(acme.dns_provider):
        raise TraefikUnusable(
            f"c.TraefikProxy.acme_dns_provider = {acme.dns_provider!r} is no code of a provider "
            "such as 'route53' (Traefik's documentation lists them)"
        )
    for file in acme.ca_certificates:
        try:
            with open(file, "rb") as stream:
                text = stream.read()
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            raise TraefikUnusable(
                f"c.TraefikProxy.acme_ca_certificates: {file!r} can't be read: {why}"
            ) from error
        if b"-----BEGIN CERTIFICATE" not in text:
            raise TraefikUnusable(
                f"c.TraefikProxy.acme_ca_certificates: {file!r} holds no certificate as PEM"
            )


def _check_domain(domain: str, challenge: str) -> None:
    problem = ""
    try:
        ipaddress.ip_address(domain)
        problem = "is an address; the certificate is for names"
    except ValueError:
        if not _DOMAIN.fullmatch(domain):
            problem = (
                "is no host name such as 'hub.example.org' (without scheme, port and path; "
                "international ones as xn--…)"
            )
        elif domain.startswith("*.") and challenge != "dns-01":
            problem = (
                "stands for all names below: authorities give a certificate for that over DNS "
                "only. Set c.TraefikProxy.acme_dns_provider"
            )
    if problem:
        raise TraefikUnusable(f"c.TraefikProxy.acme_domains: {domain!r} {problem}")


def check_acme_here(acme: AcmeSettings | None) -> None:
    """Refuse ACME with a Traefik that others run, of which there may be several.

    Raises:
        TraefikUnusable: it is set.
    """
    if acme is not None:
        raise TraefikUnusable(
            "c.TraefikProxy.acme_domains is for a Traefik that this Hub starts. Of several "
            "Traefiks each would get a certificate of its own, and be asked the questions that "
            "another one has the answers to. Get one certificate outside of them (cert-manager, "
            "certbot or lego), give it to all of them (c.JupyterHub.ssl_cert, or "
            "tls.certificates in c.TraefikProxy.extra_dynamic_config), and leave acme_domains "
            "empty; or end TLS in the load balancer before them"
        )


def explain_ports(acme: AcmeSettings, *, https_port: int, http_port: int) -> str:
    """What an admin must know if the authority's question needs a port that isn't Traefik's own;
    empty if all is well."""
    asked = _ASKED_ON.get(acme.challenge)
    ours = http_port if acme.challenge == "http-01" else https_port
    if asked is None or ours == asked:
        return ""
    return (
        f"The authority asks {', '.join(acme.domains)} on port {asked} "
        f"(c.TraefikProxy.acme_challenge = {acme.challenge!r}), but Traefik listens on {ours}: "
        f"port {asked} must lead there"
    )
