"""The file in which Traefik keeps what it has got from ACME authorities."""

from __future__ import annotations

import base64
import binascii
import datetime
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cryptography import x509

from traefikhub.traefik._errors import TraefikUnusable
from traefikhub.traefik.certificate import names_of, warn_before
from traefikhub.traefik.https import AcmeSettings, resolver_name
from traefikhub.traefik.rundir import require_appendable

__all__ = ["Held", "covers", "held_for", "require_storage", "storage_of"]

_SETTING: Final = "c.TraefikProxy.acme_storage"


@dataclass(frozen=True, slots=True)
class Held:
    """What there is for the names that were asked for.

    expires: when the certificate ends, of several the one that ends first; None if there is none.
    warn_at: from when on somebody should be told of that.
    missing: names for which there is none.
    """

    expires: datetime.datetime | None
    warn_at: datetime.datetime | None
    missing: tuple[str, ...]


def storage_of(acme: AcmeSettings, run_dir: Path) -> Path:
    """Where the file is."""
    return run_dir / Path(acme.storage).expanduser()


def require_storage(path: Path) -> None:
    """Make the file, or see that Traefik will be able to use it, and nobody else. Blocks.

    Raises:
        TraefikUnusable: it can't be written or closed to others, or Traefik couldn't read it.
    """
    require_appendable(path, _SETTING)
    try:
        path.chmod(0o600)  # Traefik refuses one that others can read
        text = path.read_bytes()
    except OSError as error:
        raise TraefikUnusable(f"{path} can't be used: {error.strerror} ({_SETTING})") from error
    if text.strip() and _parsed(text) is None:
        raise TraefikUnusable(
            f"{path} is not what Traefik writes ({_SETTING}): it would ask nobody for a "
            "certificate. Restore it from a backup, or remove it; then a new one is asked for"
        )


def held_for(acme: AcmeSettings, storage: Path) -> Held | None:
    """What there is for the names; None if the file can't be read just now. Blocks.

    Its form is Traefik's own (seen on 3.6.7 to 3.7.15): by resolver, ``Certificates`` with
    ``certificate``, the chain as PEM in base64.
    """
    try:
        text = storage.read_bytes()
        parsed = _parsed(text) if text.strip() else {}
        if parsed is None:
            return None
        leaves = list(_leaves(parsed.get(resolver_name(acme.ca_server))))
    except (OSError, ValueError, binascii.Error):
        return None
    now = datetime.datetime.now(datetime.timezone.utc)
    best: dict[str, x509.Certificate] = {}
    for leaf in sorted(leaves, key=lambda each: each.not_valid_after_utc):
        names = names_of(leaf)
        best |= {domain: leaf for domain in acme.domains if covers(names, domain)}
    missing = tuple(
        domain
        for domain in acme.domains
        if domain not in best or best[domain].not_valid_after_utc <= now
    )
    first = min(best.values(), key=lambda each: each.not_valid_after_utc, default=None)
    if first is None:
        return Held(None, None, missing)
    return Held(first.not_valid_after_utc, warn_before(first), missing)


def covers(names: Iterable[str], domain: str) -> bool:
    """Whether a certificate for these names is for that one, which may be a wildcard itself."""
    found = {name.lower() for name in names}
    domain = domain.lower()
    return bool({domain, f"*.{domain.partition('.')[2]}"} & found)


def _parsed(text: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _leaves(resolver: object) -> Iterator[x509.Certificate]:
    match resolver:
        case {"Certificates": list(entries)}:
            for entry in entries:
                match entry:
                    case {"certificate": str(chain)}:
                        yield x509.load_pem_x509_certificates(base64.b64decode(chain))[0]
