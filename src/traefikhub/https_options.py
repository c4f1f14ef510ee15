"""The options of TraefikProxy about https, beside JupyterHub's ``ssl_cert`` and ``ssl_key``."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlsplit

from traitlets import Bool, CaselessStrEnum, HasTraits, Integer, List, Unicode, default

from traefikhub.traefik.https import CA_SERVERS, CHALLENGES, AcmeSettings, HttpsSettings

__all__ = ["HttpsOptions"]

_PORT: Final = ("bind_url", "port")
"""Either of these in ``c.JupyterHub`` says on which port the Hub is to be reached."""

_NEED_HTTPS: Final = ("tls_profile", "http3", "hsts_seconds", "hsts_include_subdomains")
_NEED_DOMAINS: Final = (
    "acme_ca_server",
    "acme_challenge",
    "acme_ca_certificates",
    "acme_storage",
)


class HttpsOptions(HasTraits):
    """Part of TraefikProxy, as whose options they are set."""

    http_port = Integer(
        min=0,
        max=65535,
        help="""A port for plain http that leads every request to https, e.g. 80. None if 0, the
        default; with ``acme_domains`` and https on port 443 it is 80.""",
    ).tag(config=True)

    tls_profile = CaselessStrEnum(
        ["intermediate", "modern"],
        default_value="intermediate",
        help="""Which versions and ciphers of TLS users may come with, as Mozilla names them:
        ``intermediate`` is TLS 1.2 with forward secrecy, and 1.3; ``modern`` is 1.3 alone. For
        others, set ``tls.options.default`` in ``extra_dynamic_config``.""",
    ).tag(config=True)

    http3 = Bool(
        False,
        help="""Also offer HTTP/3, on the UDP port of the same number, which must be let through to
        Traefik. HTTP/2 is always offered with https.""",
    ).tag(config=True)

    hsts_seconds = Integer(
        0,
        min=0,
        help="""How long a browser that was here by https shall not come by http any more, e.g.
        31536000, a year (Strict-Transport-Security). It can't be taken back, so try a small number
        first. 0: nothing is said.""",
    ).tag(config=True)

    hsts_include_subdomains = Bool(
        False, help="Whether ``hsts_seconds`` is said of all hosts below the Hub's, too."
    ).tag(config=True)

    acme_domains = List(
        Unicode(),
        help="""The Hub's host names, for which Traefik gets a certificate from Let's Encrypt and
        renews it, e.g. ``["hub.example.org"]``. Unless ``c.JupyterHub.bind_url`` says otherwise,
        it listens on port 443, and on 80 for those who come by http. With
        ``c.JupyterHub.subdomain_host``, also all names below, ``"*.hub.example.org"``, which needs
        ``acme_dns_provider``.""",
    ).tag(config=True)

    acme_email = Unicode(
        "", help="An address that the authority may write to, for ``acme_domains``."
    ).tag(config=True)

    acme_ca_server = Unicode(
        "production",
        help="""Who gives the certificate: ``production`` or ``staging`` of Let's Encrypt, or the
        URL of another ACME directory. Try with ``staging``, which has no tight limits; browsers
        don't trust its certificates.""",
    ).tag(config=True)

    acme_challenge = CaselessStrEnum(
        CHALLENGES,
        help="""How the authority sees that the names are ours: ``tls-alpn-01``, the default, by
        asking on port 443; ``http-01``, on port 80; ``dns-01``, by a DNS record, the default if
        ``acme_dns_provider`` is set.""",
    ).tag(config=True)

    acme_dns_provider = Unicode(
        "",
        help="""Who has the DNS records, for ``dns-01``: Traefik's code for it, e.g. ``route53``.
        What that needs goes into ``traefik_env``.""",
    ).tag(config=True)

    acme_ca_certificates = List(
        Unicode(),
        help="""Files with certificates by which an ACME server of your own is believed, instead of
        the system's.""",
    ).tag(config=True)

    acme_storage = Unicode(
        "acme.json",
        help="""Where Traefik keeps account, keys and certificates, readable for the Hub's user
        only; relative to ``run_dir``. It must survive restarts: who asks for a new certificate at
        each start soon gets none.""",
    ).tag(config=True)

    @default("acme_challenge")
    def _default_challenge(self) -> str:
        return "dns-01" if self.acme_dns_provider else "tls-alpn-01"

    @default("http_port")
    def _default_http_port(self) -> int:
        if not self.acme_domains:
            return 0
        url = urlsplit(str(getattr(self, "public_url", "")))
        return 80 if url.scheme == "https" and (url.port or 443) == 443 else 0

    def settle_address(self) -> None:
        """With a certificate from Let's Encrypt users come by https, on port 443 unless another
        is configured. Changes ``public_url``."""
        app: Any = self.app  # type: ignore[attr-defined]
        if not self.acme_domains:
            return
        url = urlsplit(str(self.public_url))  # type: ignore[has-type]
        if app is None or any(name in app.config.get("JupyterHub", {}) for name in _PORT):
            # Without ssl_cert, JupyterHub makes http of an https bind_url.
            self.public_url = url._replace(scheme="https").geturl()
        else:
            host, _, _ = url.netloc.rpartition(":")
            self.public_url = f"https://{host}:443{url.path}"

    def https_settings(self, *, certificate: bool, url: str) -> HttpsSettings | None:
        """How users come by https; None if they don't.

        Args:
            certificate: whether there is one of the admin's own.
            url: where Traefik listens.
        """
        acme = self._acme()
        if not (certificate or acme or urlsplit(url).scheme == "https"):
            return None
        return HttpsSettings(
            profile=self.tls_profile,
            http_port=self.http_port,
            public_port=self._public_port(),
            hsts_seconds=self.hsts_seconds,
            hsts_include_subdomains=self.hsts_include_subdomains,
            http3=self.http3,
            acme=acme,
        )

    def https_warnings(self, https: HttpsSettings | None) -> list[str]:
        """What was asked for, and will not be."""
        own = self.config.get("TraefikProxy", {})  # type: ignore[attr-defined]
        texts = []
        if https is None:
            texts += [
                f"c.TraefikProxy.{name} has no effect: users come by http. Set "
                "c.JupyterHub.ssl_cert and ssl_key, or c.TraefikProxy.acme_domains"
                for name in _NEED_HTTPS
                if name in own
            ]
        if https is None or https.acme is None:
            texts += [
                f"c.TraefikProxy.{name} has no effect without c.TraefikProxy.acme_domains"
                for name in _NEED_DOMAINS
                if name in own
            ]
        app: Any = self.app  # type: ignore[attr-defined]
        asked = str(app.config.get("JupyterHub", {}).get("bind_url", "")) if app else ""
        if https is None and asked.lower().startswith("https:"):
            texts.append(
                f"c.JupyterHub.bind_url = {asked!r}, but there is no certificate: JupyterHub makes "
                "http of it, and users come by http. Set c.JupyterHub.ssl_cert and ssl_key, or "
                "c.TraefikProxy.acme_domains"
            )
        return texts

    def _acme(self) -> AcmeSettings | None:
        if not (self.acme_domains or self.acme_email or self.acme_dns_provider):
            return None
        return AcmeSettings(
            domains=tuple(self.acme_domains),
            email=self.acme_email,
            ca_server=CA_SERVERS.get(self.acme_ca_server.lower(), self.acme_ca_server),
            challenge=self.acme_challenge,
            dns_provider=self.acme_dns_provider,
            ca_certificates=tuple(self.acme_ca_certificates),
            storage=self.acme_storage,
        )

    def _public_port(self) -> int:
        """That of ``c.JupyterHub.public_url``, if the Hub says what users see."""
        url = urlsplit(str(getattr(getattr(self, "app", None), "public_url", "") or ""))
        return (url.port or 443) if url.scheme == "https" else 0
