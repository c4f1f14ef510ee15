"""What Traefik has got from an ACME authority: its storage, read."""

from __future__ import annotations

import base64
import binascii
import datetime
import json
from pathlib import Path

from cryptography import x509

from traefikhub.traefik.https import AcmeSettings, resolver_name

__all__ = ["expiry_of"]


def expiry_of(acme: AcmeSettings, storage: Path) -> datetime.datetime | None:
    """When the certificate for the main domain ends; None if there is none yet. Blocks.

    The storage's form is Traefik's own (seen on 3.6.7 to 3.7.15): by resolver, ``Certificates``
    with ``domain.main`` and ``certificate``, the chain as PEM in base64.
    """
    try:
        found = json.loads(storage.read_bytes() or b"{}")
        match found.get(resolver_name(acme.ca_server)):
            case {"Certificates": list(entries)}:
                ends = [
                    x509.load_pem_x509_certificates(base64.b64decode(text))[0].not_valid_after_utc
                    for text in (_chain_for(acme.domains[0], entry) for entry in entries)
                    if text
                ]
                return max(ends, default=None)
    except (OSError, ValueError, AttributeError, binascii.Error):
        pass  # being written, or not there yet
    return None


def _chain_for(domain: str, entry: object) -> str:
    match entry:
        case {"domain": {"main": str(main)}, "certificate": str(chain)}:
            return chain if main.lower() == domain.lower() else ""
    return ""
