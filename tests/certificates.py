"""Certificates as an admin may have them, for the tests of https."""

from __future__ import annotations

import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

__all__ = ["write_certificate"]


def write_certificate(
    directory: Path,
    days: int,
    *names: str,
    what: str = "both",
    begins: int = -400,
    curve: ec.EllipticCurve | None = None,
) -> tuple[Path, Path]:
    """Files ``cert.pem`` and ``key.pem``, self-signed, that end in so many days and an hour.

    Args:
        names: the hosts it is for; ``example.org`` if none.
        what: ``cert`` or ``key`` to write that one only.
        begins: in how many days it is valid first.
    """
    key = ec.generate_private_key(curve or ec.SECP256R1())
    names = names or ("example.org",)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + datetime.timedelta(days=begins))
        .not_valid_after(now + datetime.timedelta(days=days, hours=1))
        .add_extension(x509.SubjectAlternativeName(list(map(x509.DNSName, names))), critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate, key_file = directory / "cert.pem", directory / "key.pem"
    if what in ("both", "cert"):
        certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    if what in ("both", "key"):
        key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
    return certificate, key_file
