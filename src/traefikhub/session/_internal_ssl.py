"""The files of JupyterHub's internal TLS, for Traefik. All of this blocks, for a millisecond."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

from traefikhub.internal_ssl import InternalSsl, TransportTls
from traefikhub.traefik import TraefikUnusable
from traefikhub.traefik.copies import keep_copies, remove_copies

__all__ = ["forget_others", "keep", "read_internal_ssl"]

_SETTING: Final = "c.JupyterHub.internal_ssl"
_PLACE: Final = "c.JupyterHub.internal_certs_location"
_ANEW: Final = (
    "c.JupyterHub.recreate_internal_certs = True makes all anew at one start of the Hub, after "
    "which users' servers must be started again"
)
_DIRECTORY: Final = "internal-ssl"
_NAMES: Final = ("proxy-client.crt", "proxy-client.key", "trusted.crt")


def read_internal_ssl(files: InternalSsl) -> TransportTls:
    """The certificate that the proxy shows to servers, its key, and whom it trusts, as PEM texts.

    Raises:
        TraefikUnusable: with these Traefik could reach no server.
    """
    own = _certificates(files.certificate)
    key = _text(files.key)
    try:
        private = serialization.load_pem_private_key(key.encode(), None)
    except (TypeError, ValueError, UnsupportedAlgorithm) as error:
        raise TraefikUnusable(
            f"{_SETTING}: {files.key} is no private key without a password, as PEM. {_ANEW}"
        ) from error
    if _public(private.public_key()) != _public(own[0].public_key()):
        raise TraefikUnusable(
            f"{_SETTING}: {files.key} is not the key of {files.certificate}. {_ANEW}"
        )
    now = datetime.datetime.now(datetime.timezone.utc)
    if own[0].not_valid_after_utc <= now:
        raise TraefikUnusable(
            f"{_SETTING}: {files.certificate} expired on {own[0].not_valid_after_utc:%Y-%m-%d}, "
            f"and users' servers refuse it. {_ANEW}"
        )
    # What they are decides the text, and not in which of the files, which overlap.
    trusted = {_pem(each) for path in files.authorities for each in _certificates(path)}
    return TransportTls("".join(map(_pem, own)), key, "".join(sorted(trusted)))


def keep(tls: TransportTls, run_dir: Path) -> TransportTls:
    """The same in private files: JupyterHub gives new certificates the old names.

    Raises:
        TraefikUnusable: they can't be written.
    """
    texts = (tls.certificate, tls.key, tls.authorities)
    directory = keep_copies(run_dir, _DIRECTORY, dict(zip(_NAMES, texts, strict=True)))
    return TransportTls(*(str(directory / name) for name in _NAMES))


def forget_others(run_dir: Path, but: TransportTls | None) -> None:
    """Remove all that no Traefik is told of any more.

    Args:
        but: what ``keep`` returned; None if nothing is needed.
    """
    remove_copies(run_dir, _DIRECTORY, Path(but.key).parent if but else None)


def _text(path: str) -> str:
    try:
        return Path(path).read_text("ascii", "replace")
    except (OSError, ValueError) as error:  # the second: a null character
        why = getattr(error, "strerror", None) or error
        raise TraefikUnusable(
            f"{_SETTING}: {path} can't be read: {why}. JupyterHub keeps its certificates where "
            f"{_PLACE} says; let the Hub's user read and write there"
        ) from error


def _certificates(path: str) -> list[x509.Certificate]:
    """At least one."""
    text = _text(path)
    try:
        return x509.load_pem_x509_certificates(text.encode())
    except ValueError as error:
        raise TraefikUnusable(f"{_SETTING}: {path} holds no PEM certificate. {_ANEW}") from error


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _public(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
