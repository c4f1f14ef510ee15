"""Certificates: whose they are, and for how long. Pure but for reading files."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from cryptography import x509

from traefikhub.base import CERTIFICATE_KEY
from traefikhub.cli._findings import Finding, Status, fault, fine, skipped, warning
from traefikhub.session import SessionSettings, read_internal_ssl, read_pair
from traefikhub.stores import Records
from traefikhub.traefik import TraefikUnusable
from traefikhub.traefik.acme import covers, held_for, storage_of
from traefikhub.traefik.certificate import names_of
from traefikhub.traefik.checks import check_certificate
from traefikhub.traefik.https import AcmeSettings
from traefikhub.traefik.https_checks import explain_ports
from traefikhub.traefik.rundir import RunDir

__all__ = ["look_at_certificates", "look_at_default", "look_at_internal"]

_WARN_BEFORE: Final = datetime.timedelta(days=30)
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
            found.append(_look_at_own(settings, pair, host, now))
    found += [_look(pair, "", now) for pair in _pairs_of(settings.extra_dynamic_config)]
    if found:
        return found
    if settings.acme:
        return [_from_authority(settings, settings.acme, host, now)]
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


def _look_at_own(
    settings: SessionSettings, pair: _Pair, host: str, now: datetime.datetime
) -> Finding:
    """As ``_look``, and whether a start would take it."""
    found = _look(pair, host, now)
    if found.status is not Status.FAULT and settings.starts_traefik:
        try:
            read_pair(pair.certificate, pair.key)
        except TraefikUnusable as error:
            return fault("certificate", error, "name another one there")
    return found


def _from_authority(
    settings: SessionSettings, acme: AcmeSettings, host: str, now: datetime.datetime
) -> Finding:
    """What Traefik has got by itself."""
    about = f"for {', '.join(acme.domains)} from {acme.ca_server} ({acme.challenge})"
    path = storage_of(acme, RunDir(settings.run_dir).path)
    held = held_for(acme, path)
    if held is None and path.exists():
        return fault(
            "certificate",
            f"{path} is not what Traefik writes (c.TraefikProxy.acme_storage)",
            "restore it from a backup, or remove it; then a new certificate is asked for",
        )
    if held and held.expires and held.warn_at and held.warn_at <= now:
        ends = f"ends on {held.expires:%Y-%m-%d}, and Traefik should have renewed it"
        mend = f"see {settings.run_dir}/traefik.log"
        status = fault if held.expires <= now else warning
        return status("certificate", f"the one {about} {ends}", mend)
    if host and not (covers(acme.domains, host) and covers(acme.domains, f"name.{host}")):
        return warning(
            "certificate",
            f"{about}; but not for {host} and *.{host} (c.JupyterHub.subdomain_host)",
            f"set c.TraefikProxy.acme_domains = ['{host}', '*.{host}']",
        )
    https = int(urlsplit(settings.public_url).port or 443)
    if told := explain_ports(acme, https_port=https, http_port=settings.http_port):
        return warning("certificate", f"{about}: {told}", "none is needed if it does")
    if held and held.expires and not held.missing:
        days = (held.expires - now).days
        until = f"{held.expires:%Y-%m-%d} ({days} days)"
        return fine("certificate", f"Traefik has one {about}, valid until {until}")
    return fine("certificate", f"Traefik will get one {about}")


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
    lives = leaf.not_valid_after_utc - leaf.not_valid_before_utc
    if leaf.not_valid_after_utc - now < min(_WARN_BEFORE, lives / 3):
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
    lives = leaf.not_valid_after_utc - leaf.not_valid_before_utc
    if leaf.not_valid_after_utc - now < min(_WARN_BEFORE, lives / 3):
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
        return "renew it; a Traefik that the Hub started takes the new files without a restart"
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


def _covers(names: list[str], host: str) -> bool:
    try:
        ipaddress.ip_address(host)
        return host.lower() in names
    except ValueError:
        return covers(names, host)


def _days_left(certificate: x509.Certificate, now: datetime.datetime) -> int:
    return (certificate.not_valid_after_utc - now).days


def _until(certificate: x509.Certificate, days: int) -> str:
    end = f"{certificate.not_valid_after_utc:%Y-%m-%d}"
    return f"expired on {end}" if days < 0 else f"valid until {end} ({days} days)"
