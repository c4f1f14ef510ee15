"""JupyterHub's internal TLS: which certificate Traefik shows to servers and the Hub, and whom it
trusts there. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from traefikhub.stores import Document, Key, Records

__all__ = ["TRANSPORT_KEY", "InternalSsl", "TransportTls", "transport_records"]

TRANSPORT_KEY: Final = Key("http/serversTransports", "traefikhub__internal-ssl")
"""What the services of all https targets name."""

_COMMON: Final = ("forwardingTimeouts", "maxIdleConnsPerHost")
"""Not whom to trust: that is what JupyterHub says."""


@dataclass(frozen=True, slots=True)
class InternalSsl:
    """The files of JupyterHub's own that concern its proxy.

    certificate, key: the proxy's, as a client.
    authorities: files of those who sign for the Hub, its servers and its services.
    """

    certificate: str
    key: str
    authorities: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TransportTls:
    """What Traefik is told; each a path or a PEM text."""

    certificate: str
    key: str = field(repr=False)
    authorities: str

    @property
    def fields(self) -> dict[str, Document]:
        """Of a ``serversTransport``. Whom else this machine trusts, Traefik doesn't then."""
        return {
            "certificates": [{"certFile": self.certificate, "keyFile": self.key}],
            "rootCAs": [self.authorities.strip()],  # key-value stores split lists at blanks
        }


def transport_records(tls: TransportTls, common: Mapping[str, Document] | None = None) -> Records:
    """What the services name.

    Args:
        common: what of ``serversTransport`` in the static configuration shall hold here, too:
            Traefik doesn't look there for a transport that has a name.
    """
    limits = {name: value for name, value in (common or {}).items() if name in _COMMON}
    return {TRANSPORT_KEY: {**limits, **tls.fields}}
