"""How etcd is reached, as the options say it: endpoints and files for TLS. Checked early, so that
a mistake names its option instead of ending as a failed handshake."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from traefikhub.stores import StoreError

__all__ = ["Endpoints", "check_tls_files", "parse_endpoints", "system_authorities"]


class Endpoints(NamedTuple):
    """``host:port`` each, and whether connections are encrypted."""

    targets: list[str]
    secure: bool


def parse_endpoints(endpoints: Sequence[str], *, tls_files: bool) -> Endpoints:
    """The endpoints of ``c.EtcdStore.endpoints``.

    Args:
        tls_files: whether files for TLS are set; then endpoints without a scheme are encrypted.

    Raises:
        StoreError: one makes no sense, or some are encrypted and others not.
    """
    if not endpoints:
        raise StoreError("c.EtcdStore.endpoints is empty; etcd listens on 127.0.0.1:2379 usually")
    parsed = [_parse(endpoint, tls_files) for endpoint in endpoints]
    if len({secure for _, secure in parsed}) > 1:
        # Traefik, too, takes the first one's word for all.
        raise StoreError("c.EtcdStore.endpoints: either all are https or none is")
    targets = list(dict.fromkeys(target for target, _ in parsed))
    return Endpoints(targets, parsed[0][1])


def _parse(endpoint: str, tls_files: bool) -> tuple[str, bool]:
    if "@" in endpoint:  # not repeated here: there may be a password before it
        raise StoreError(
            "c.EtcdStore.endpoints holds an '@'; user and password belong into "
            "c.EtcdStore.username and c.EtcdStore.password"
        )
    scheme, found, rest = endpoint.rpartition("://")
    try:
        parts = urlsplit(f"//{rest}")
        well_formed = parts.hostname and parts.port and f"{parts.path}?{parts.query}" in ("?", "/?")
    except ValueError:
        well_formed = False
    if not well_formed or scheme not in ("", "http", "https") or (found and not scheme):
        raise StoreError(
            f"c.EtcdStore.endpoints: {endpoint!r} is neither host:port nor http[s]://host:port"
        )
    if scheme == "http" and tls_files:
        raise StoreError(
            f"c.EtcdStore.endpoints: {endpoint} is not encrypted, but c.EtcdStore.ca_cert, "
            ".client_cert or .client_key is set; write https://"
        )
    return parts.netloc, scheme == "https" or tls_files


def check_tls_files(ca_cert: str, client_cert: str, client_key: str) -> None:
    """Read the files as Python's own TLS would; empty names are left out.

    Raises:
        StoreError: naming the option whose file is missing or no good.
    """
    if bool(client_cert) != bool(client_key):
        missing = "client_key" if client_cert else "client_cert"
        raise StoreError(f"c.EtcdStore.{missing} is not set: certificate and key go together")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        setting = "c.EtcdStore.ca_cert"
        if ca_cert:
            context.load_verify_locations(ca_cert)
        setting = "c.EtcdStore.client_cert, .client_key"
        if client_cert:
            # The password keeps OpenSSL from asking for one on the terminal.
            context.load_cert_chain(client_cert, client_key, password="")  # nosec B106
    except OSError as error:  # ssl.SSLError is one
        names = ca_cert if setting.endswith("ca_cert") else f"{client_cert}, {client_key}"
        raise StoreError(f"{setting}: {names}: {error.strerror or error}") from error


def system_authorities() -> bytes | None:
    """The certificate authorities that this machine trusts, as Traefik does."""
    file = ssl.get_default_verify_paths().cafile
    return Path(file).read_bytes() if file else None
