"""Certificates: whose they are, and for how long. Pure but for reading files."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from cryptography import x509

from traefikhub.base import CERTIFICATE_KEY
from traefikhub.cli._findings import Finding, fault, fine, skipped, warning
from traefikhub.session import SessionSettings, read_internal_ssl
from traefikhub.stores import Records
from traefikhub.traefik import TraefikUnusable
from traefikhub.traefik.acme import expiry_of
from traefikhub.traefik.checks import check_certificate
from traefikhub.traefik.https import AcmeSettings
from traefikhub.traefik.rundir import RunDir

__all__ = ["look_at_certificates", "look_at_default", "look_at_internal", "names_of"]

_WARN_DAYS: Final = 30
_RENEWED_DAYS: Final = 14
"""Traefik renews one of 90 days 30 before its end."""
_OWN: Final = "c.JupyterHub.ssl_cert"


class _Pair(NamedTuple):
    setting: str
    certificate: str
    key: str


def look_at_certificates(
    settings: SessionSettings, *, host: str, now: datetime.datetime
) -> list[Finding]:
    """Those that the configuration names.

    Args:
        host: by which users reach the Hub's subdomains; empty if there are none.
    """
    found: list[Finding] = []
    pair = _Pair(_OWN, settings.ssl_cert, settings.ssl_key)
    if pair.certificate and not (settings.starts_traefik or Path(pair.certificate).exists()):
        found.append(skipped("certificate", f"{pair.setting}: {pair.certificate} is not here"))
    elif pair.certificate or pair.key:
        try:
            check_certificate(pair.certificate, pair.key)
        except TraefikUnusable as error:
            found.append(
                fault(
                    "certificate",
                    error,
                    "set c.JupyterHub.ssl_cert and c.JupyterHub.ssl_key to a certificate and its "
                    "key, as PEM files that the Hub's user can read",
                )
            )
        else:
            found.append(_look(pair, host, now))
    found += [_look(pair, "", now) for pair in _pairs_of(settings.extra_dynamic_config)]
    if found:
        return found
    if settings.acme:
        return [_from_authority(settings, settings.acme, now)]
    if not settings.https:
        return [fine("certificate", "none is needed: users come by http")]
    if "certificatesResolvers" in settings.extra_static_config or not settings.starts_traefik:
        return [fine("certificate", "Traefik gets its own")]
    return [
        warning(
            "certificate",
            "there is none, though users come by https: browsers will warn of the Hub's own",
            "set c.JupyterHub.ssl_cert and c.JupyterHub.ssl_key",
        )
    ]


def _from_authority(
    settings: SessionSettings, acme: AcmeSettings, now: datetime.datetime
) -> Finding:
    """What Traefik has got by itself."""
    about = f"for {', '.join(acme.domains)} from {acme.ca_server} ({acme.challenge})"
    expires = expiry_of(acme, RunDir(settings.run_dir).path / acme.storage)
    if expires is None:
        return fine("certificate", f"Traefik will get one {about}")
    days = (expires - now).days
    text = f"Traefik has one {about}, valid until {expires:%Y-%m-%d} ({days} days)"
    if days >= _RENEWED_DAYS:
        return fine("certificate", text)
    mend = f"Traefik should have renewed it: see {settings.run_dir}/traefik.log"
    return (fault if days < 0 else warning)("certificate", text, mend)


def look_at_default(records: Records, now: datetime.datetime) -> Finding | None:
    """The certificate that Traefik shows where no other fits, if the Hub made one already."""
    match records.get(CERTIFICATE_KEY):
        case {"defaultCertificate": {"certFile": str(certificate)}} if _is_pem(certificate):
            pair = _Pair("default certificate", certificate, "")
            try:
                leaf = _leaf(pair)
            except ValueError:
                return None  # the next start makes another one
            days = _days_left(leaf, now)
            return fine("default certificate", f"self-signed by the Hub, {_until(leaf, days)}")
    return None


def look_at_internal(
    settings: SessionSettings, *, anew: bool, now: datetime.datetime
) -> Finding | None:
    """That with which Traefik comes to servers and to the Hub; None without ``internal_ssl``.

    Args:
        anew: whether the Hub is about to make another one.
    """
    check, files = "internal_ssl", settings.internal_ssl
    if files is None:
        return None
    if anew or not Path(files.certificate).exists():
        return skipped(check, f"the Hub makes {files.certificate} when it starts")
    try:
        leaf = _leaf(_Pair(check, read_internal_ssl(files).certificate, ""))
    except TraefikUnusable as error:
        return fault(check, error, "mend what it names, as the Hub's user")
    days = _days_left(leaf, now)
    about = f"{files.certificate}: {_until(leaf, days)}"
    if days < _WARN_DAYS:
        return warning(
            check,
            about,
            "have the Hub make all anew: c.JupyterHub.recreate_internal_certs = True for one start",
        )
    return fine(check, about)


def _pairs_of(config: Mapping[str, Any]) -> Iterator[_Pair]:
    """Those in ``extra_dynamic_config``."""
    place = "c.TraefikProxy.extra_dynamic_config"
    match config.get("tls"):
        case {"certificates": list(entries)}:
            for index, entry in enumerate(entries):
                match entry:
                    case {"certFile": str(certificate), "keyFile": str(key)}:
                        yield _Pair(f"{place}, tls.certificates {index}", certificate, key)
    match config.get("tls"):
        case {"stores": {**stores}}:
            for name, entry in stores.items():
                match entry:
                    case {"defaultCertificate": {"certFile": str(found), "keyFile": str(key)}}:
                        yield _Pair(f"{place}, tls.stores.{name}", found, key)


def _look(pair: _Pair, host: str, now: datetime.datetime) -> Finding:
    try:
        leaf = _leaf(pair)
        if pair.key and not _is_pem(pair.certificate) and not _is_pem(pair.key):
            check_certificate(pair.certificate, pair.key)
    except OSError as error:
        return fault(
            "certificate",
            f"{pair.setting}: {pair.certificate} can't be read: {error.strerror}",
            f"mend {pair.setting}, or let the Hub's user read the file",
        )
    except (ValueError, TraefikUnusable) as error:
        return fault(
            "certificate",
            f"{pair.setting}: {error}",
            "name a PEM certificate there, and the key that belongs to it",
        )
    names, days = names_of(leaf), _days_left(leaf, now)
    about = f"{pair.setting}: for {', '.join(names) or 'no name'}, {_until(leaf, days)}"
    if leaf.not_valid_before_utc > now:
        return fault(
            "certificate",
            f"{about}, and not before {leaf.not_valid_before_utc:%Y-%m-%d %H:%M} UTC",
            "set this machine's clock, or wait",
        )
    if leaf.not_valid_after_utc <= now:
        return fault("certificate", about, f"browsers refuse it: {_renew(pair)}")
    if days < _WARN_DAYS:
        return warning("certificate", about, _renew(pair))
    if host and not (_covers(names, host) and _covers(names, f"name.{host}")):
        return warning(
            "certificate",
            f"{about}; but not for {host} and *.{host} (c.JupyterHub.subdomain_host)",
            f"get one for both {host} and *.{host}",
        )
    return fine("certificate", about)


def _renew(pair: _Pair) -> str:
    if pair.setting == _OWN:
        return "renew it; a Hub that runs takes the new files without a restart"
    return "renew it, and restart the Hub"


def _leaf(pair: _Pair) -> x509.Certificate:
    """The first of a chain is the server's own.

    Raises:
        OSError: the file can't be read.
        ValueError: there is none in it.
    """
    text = pair.certificate if _is_pem(pair.certificate) else Path(pair.certificate).read_text()
    return x509.load_pem_x509_certificates(text.encode())[0]


def _is_pem(text: str) -> bool:
    return "-----BEGIN" in text


def names_of(certificate: x509.Certificate) -> list[str]:
    """The names and addresses that it is for."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    names = extension.value.get_values_for_type(x509.DNSName)
    addresses = extension.value.get_values_for_type(x509.IPAddress)
    return [*names, *map(str, addresses)]


def _covers(names: list[str], host: str) -> bool:
    host = host.lower()
    try:
        ipaddress.ip_address(host)
        return host in names
    except ValueError:
        pass
    wild = f"*.{host.partition('.')[2]}"
    return bool({host, wild} & {name.lower() for name in names})


def _days_left(certificate: x509.Certificate, now: datetime.datetime) -> int:
    return (certificate.not_valid_after_utc - now).days


def _until(certificate: x509.Certificate, days: int) -> str:
    end = f"{certificate.not_valid_after_utc:%Y-%m-%d}"
    return f"expired on {end}" if days < 0 else f"valid until {end} ({days} days)"
