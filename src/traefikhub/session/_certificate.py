"""The admin's own certificate, as Traefik is given it: copies whose names change with it.

A renewal replaces two files, one after the other; the copies are made when both fit.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from traefikhub.base import certificate_record
from traefikhub.stores import Records
from traefikhub.traefik import TraefikUnusable
from traefikhub.traefik.certificate import warn_before
from traefikhub.traefik.checks import check_certificate
from traefikhub.traefik.copies import keep_copies, remove_copies

__all__ = ["Pair", "forget_others", "keep", "read_pair", "record_of", "stamp"]

_SETTING: Final = "c.JupyterHub.ssl_cert"
_CLOCKS_DIFFER: Final = datetime.timedelta(minutes=5)
_DIRECTORY: Final = "certificate"
_CERTIFICATE: Final = "certificate.pem"
_KEY: Final = "private.key"


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate with its chain, and its key, as PEM.

    expires: when the certificate ends.
    warn_at: from when on somebody should be told of that.
    """

    certificate: str
    key: str = field(repr=False)
    expires: datetime.datetime
    warn_at: datetime.datetime


def stamp(*files: str) -> tuple[object, ...]:
    """What changes when one of the files does; missing ones count as a change, too. Blocks."""

    def of(file: str) -> object:
        try:
            found = Path(file).stat()
        except (OSError, ValueError):
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    return tuple(map(of, files))


def read_pair(certificate: str, key: str) -> Pair:
    """The admin's certificate, if Traefik can serve it today. Blocks.

    Raises:
        TraefikUnusable: a file can't be read, they are no pair, are just being replaced, or the
            certificate is not valid now, or of a kind that Traefik can't use.
    """
    before = stamp(certificate, key)
    check_certificate(certificate, key)
    try:
        texts = Path(certificate).read_text(), Path(key).read_text()
        leaf = x509.load_pem_x509_certificates(texts[0].encode())[0]
    except (OSError, ValueError) as error:
        raise TraefikUnusable(
            f"{_SETTING} = {certificate!r} and its key can't be read: {error}"
        ) from error
    if stamp(certificate, key) != before:
        raise TraefikUnusable(f"{_SETTING} = {certificate!r} was replaced while it was read")
    expires, begins = leaf.not_valid_after_utc, leaf.not_valid_before_utc
    now = datetime.datetime.now(datetime.timezone.utc)
    if expires <= now:
        raise TraefikUnusable(
            f"{_SETTING} = {certificate!r} has expired, on {expires:%Y-%m-%d %H:%M} UTC, and "
            "browsers refuse it; renew it"
        )
    if begins > now + _CLOCKS_DIFFER:
        raise TraefikUnusable(
            f"{_SETTING} = {certificate!r} begins to be valid on {begins:%Y-%m-%d %H:%M} UTC, and "
            "browsers refuse it until then; set this machine's clock, or use another until then"
        )
    if not _is_known_to_go(leaf):
        raise TraefikUnusable(
            f"{_SETTING} = {certificate!r} has a key of a kind that Traefik can't use; make one "
            "with RSA, with ECDSA on P-256, P-384 or P-521, or with Ed25519"
        )
    return Pair(*texts, expires, warn_before(leaf))


def _is_known_to_go(leaf: x509.Certificate) -> bool:
    """Traefik takes keys for which it has no certificate store, and answers nobody then."""
    match leaf.public_key():
        case rsa.RSAPublicKey() | ed25519.Ed25519PublicKey():
            return True
        case ec.EllipticCurvePublicKey() as key:
            return isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1 | ec.SECP521R1)
    return False


def keep(pair: Pair, run_dir: Path) -> Path:
    """Write the copies; the directory of both.

    Raises:
        TraefikUnusable: they can't be written.
    """
    return keep_copies(run_dir, _DIRECTORY, {_CERTIFICATE: pair.certificate, _KEY: pair.key})


def record_of(directory: Path) -> Records:
    """What tells Traefik of the copies."""
    return certificate_record(str(directory / _CERTIFICATE), str(directory / _KEY))


def forget_others(run_dir: Path, *but: Path | None) -> None:
    """Remove the copies that no Traefik is told of any more.

    Args:
        but: what ``keep`` returned.
    """
    remove_copies(run_dir, _DIRECTORY, *but)
