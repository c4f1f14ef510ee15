"""The admin's own certificate, as Traefik is given it: a copy whose name changes with it.

Traefik reads a certificate when its configuration changes, not when the file does. And a renewal
replaces two files, one after the other. So Traefik gets copies in the run directory, made when both
fit, under names that say which they are.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from cryptography import x509

from traefikhub.base import certificate_record
from traefikhub.stores import Records
from traefikhub.traefik import TraefikUnusable
from traefikhub.traefik.checks import check_certificate
from traefikhub.traefik.rundir import write_private

__all__ = ["Pair", "forget_others", "keep", "read_pair", "stamp"]

_SETTING: Final = "c.JupyterHub.ssl_cert"
_PREFIX: Final = "certificate-"


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate with its chain, and its key, as PEM.

    expires: when the certificate ends.
    """

    certificate: str
    key: str
    expires: datetime.datetime

    @property
    def name(self) -> str:
        """A file name that no other pair has."""
        whole = f"{self.certificate}\0{self.key}"
        return f"{_PREFIX}{sha256(whole.encode()).hexdigest()[:16]}"


def stamp(certificate: str, key: str) -> tuple[object, ...]:
    """What changes when one of the files does; missing ones count as a change, too. Blocks."""

    def of(file: str) -> object:
        try:
            found = Path(file).stat()
        except (OSError, ValueError):
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    return of(certificate), of(key)


def read_pair(certificate: str, key: str) -> Pair:
    """The admin's certificate, if Traefik can serve it today. Blocks.

    Raises:
        TraefikUnusable: a file can't be read, they are no pair, are just being replaced, or the
            certificate has expired.
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
    expires = leaf.not_valid_after_utc
    if expires <= datetime.datetime.now(datetime.timezone.utc):
        raise TraefikUnusable(
            f"{_SETTING} = {certificate!r} has expired, on {expires:%Y-%m-%d %H:%M} UTC, and "
            "browsers refuse it; renew it"
        )
    return Pair(*texts, expires)


def keep(pair: Pair, run_dir: Path) -> Records:
    """Write the copies, if they aren't there; the record that names them. Blocks.

    Raises:
        TraefikUnusable: they can't be written.
    """
    files = run_dir / f"{pair.name}.pem", run_dir / f"{pair.name}.key"
    for path, text in zip(files, (pair.certificate, pair.key), strict=True):
        if not _holds(path, text):
            write_private(path, text)
    return certificate_record(str(files[0]), str(files[1]))


def _holds(path: Path, text: str) -> bool:
    try:
        return path.read_text() == text and not path.stat().st_mode & 0o077
    except (OSError, ValueError):
        return False


def forget_others(run_dir: Path, *names: str) -> None:
    """Remove the copies of all pairs but these. Blocks."""
    for path in _copies(run_dir):
        if path.stem not in names:
            with suppress(OSError):
                path.unlink()


def _copies(run_dir: Path) -> Iterator[Path]:
    for ending in ("pem", "key"):
        yield from run_dir.glob(f"{_PREFIX}*.{ending}")
