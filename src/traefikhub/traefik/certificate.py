"""The certificate that Traefik shows where no other fits, and when one is about to end.

Without the first, Traefik makes a new RSA key at every reload: 67 ms instead of 3 ms at one route.
"""

from __future__ import annotations

import datetime
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

__all__ = ["make_default_certificate", "names_of", "still_good", "warn_before"]

_NAME: Final = "TRAEFIKHUB DEFAULT CERT"
_VALID: Final = datetime.timedelta(days=3650)
_RENEW_BEFORE: Final = datetime.timedelta(days=30)


def make_default_certificate() -> tuple[str, str]:
    """A new self-signed ECDSA certificate and its key, as PEM texts. Takes about a millisecond."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, _NAME)])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + _VALID)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    key_text = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode(), key_text.decode()


_WARN_BEFORE: Final = datetime.timedelta(days=14)
_LONG_LIVED: Final = datetime.timedelta(days=56)
_SHARE: Final = 10


def warn_before(certificate: x509.Certificate) -> datetime.datetime:
    """From when on somebody should be told that it ends: 14 days before; if it lives less than 56
    days, in the last tenth of its life, for it is renewed late."""
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    lives = ends - begins
    return ends - (_WARN_BEFORE if lives >= _LONG_LIVED else lives / _SHARE)


def names_of(certificate: x509.Certificate) -> list[str]:
    """The names and addresses that it is for."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    names = extension.value.get_values_for_type(x509.DNSName)
    addresses = extension.value.get_values_for_type(x509.IPAddress)
    return [*names, *map(str, addresses)]


def still_good(certificate: str) -> bool:
    """Whether a PEM certificate is one of ours and needs no renewal yet."""
    try:
        parsed = x509.load_pem_x509_certificate(certificate.encode())
    except ValueError:
        return False
    now = datetime.datetime.now(datetime.timezone.utc)
    return _NAME in parsed.subject.rfc4514_string() and now < (
        parsed.not_valid_after_utc - _RENEW_BEFORE
    )
