"""Options that Traefik would choke on later, or not at all, looked at before anything starts.

Each error names the setting; none shows a secret.
"""

from __future__ import annotations

import ipaddress
import os
import re
import ssl
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import urlsplit

from traefikhub.traefik._errors import TraefikUnusable

__all__ = [
    "check_api_ca",
    "check_api_url",
    "check_apis",
    "check_certificate",
    "check_duration",
    "check_entry_points",
    "check_environment",
    "check_hash",
    "check_one_api",
    "check_run_dir",
    "check_trusted_proxies",
    "require_both",
]

_CERTIFICATE: Final = "c.JupyterHub.ssl_cert"
_KEY: Final = "c.JupyterHub.ssl_key"


def require_both(certificate: str, key: str) -> None:
    """Refuse a certificate without a key, and the reverse.

    Raises:
        TraefikUnusable: only one of them is set.
    """
    if bool(certificate) != bool(key):
        there, file, absent = (
            (_CERTIFICATE, certificate, _KEY) if certificate else (_KEY, key, _CERTIFICATE)
        )
        raise TraefikUnusable(f"{there} = {file!r} is set, but {absent} is not; set both, or none")


def check_certificate(certificate: str, key: str) -> None:
    """Refuse files with which Traefik could not serve https. Reads them.

    Traefik itself would start, log the error, and show a certificate of its own.

    Raises:
        TraefikUnusable: one is missing, unreadable or encrypted, or they are no pair.
    """
    require_both(certificate, key)
    if not certificate:
        return
    for setting, file in ((_CERTIFICATE, certificate), (_KEY, key)):
        try:
            with open(file, "rb") as stream:
                stream.read(1)
        except (OSError, ValueError) as error:  # the second: a null character
            why = getattr(error, "strerror", None) or error
            raise TraefikUnusable(f"{setting} = {file!r} can't be read: {why}") from error
    asked = False

    def password() -> str:
        nonlocal asked
        asked = True
        return ""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")  # how strong a key must be is not ours to say
    try:
        context.load_cert_chain(certificate, key, password)
    except (OSError, ValueError) as error:
        if asked:
            raise TraefikUnusable(
                f"{_KEY} = {key!r} is encrypted, and Traefik can't be told its password; decrypt "
                "it (openssl pkey -in … -out …)"
            ) from None
        why = getattr(error, "reason", None) or error
        raise TraefikUnusable(
            f"{_CERTIFICATE} = {certificate!r} and {_KEY} = {key!r} are no certificate and its "
            f"key, both as PEM: {why}. The certificate of the Hub itself comes first in the file, "
            "before those that signed it"
        ) from error


_NAME: Final = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


def check_entry_points(users: str, api: str) -> None:
    """Refuse names of entry points that Traefik can't tell apart, or use in a key.

    Raises:
        TraefikUnusable: they are the same (case aside), empty, or hold other characters than
            letters, digits, ``_`` and ``-``.
    """
    problem = ""
    if not (_NAME.fullmatch(users) and _NAME.fullmatch(api)):
        problem = "a name is one or more of A-Z a-z 0-9 _ -"
    elif users.lower() == api.lower():
        problem = "they must differ: users and the API have an entry point each"
    if problem:
        raise TraefikUnusable(
            f"c.TraefikProxy.traefik_entrypoint = {users!r} and "
            f"c.TraefikProxy.traefik_api_entrypoint = {api!r} can't be used: {problem}"
        )


def check_apis(urls: Sequence[str]) -> None:
    """Refuse to ask nobody.

    Raises:
        TraefikUnusable: there is no URL.
    """
    if not urls:
        raise TraefikUnusable(
            "c.TraefikProxy.traefik_api_url = [] is empty: list the URL of each Traefik's API"
        )


def check_one_api(urls: Sequence[str]) -> None:
    """Refuse several addresses for the API of the one Traefik that is started here.

    Raises:
        TraefikUnusable: there is not exactly one URL.
    """
    check_apis(urls)
    if len(urls) > 1:
        raise TraefikUnusable(
            f"c.TraefikProxy.traefik_api_url lists {len(urls)} Traefiks, and the Hub starts one; "
            "if others run them, set c.TraefikProxy.should_start = False, else give one URL"
        )


def check_api_url(url: str) -> None:
    """Refuse an API address that a Traefik that is started here will not have.

    Raises:
        TraefikUnusable: it is an https URL, or one with a path.
    """
    parts = urlsplit(url)
    problem = ""
    if parts.scheme == "https":
        problem = "Traefik is started with its API on http; give an http:// URL"
    elif parts.path not in ("", "/") or parts.query or parts.fragment:
        problem = "the API has no path in front; leave all behind host and port away"
    if problem:
        raise TraefikUnusable(f"c.TraefikProxy.traefik_api_url = {url!r} can't be used: {problem}")


def check_api_ca(file: str) -> None:
    """Refuse a file of certificates that holds none. Reads it.

    Raises:
        TraefikUnusable: it can't be read, or there is none in it.
    """
    if not file:
        return
    try:
        ssl.create_default_context(cafile=file)
    except (OSError, ValueError) as error:  # an SSLError is the former
        why = "it holds no certificate as PEM"
        if not isinstance(error, ssl.SSLError):
            why = getattr(error, "strerror", None) or str(error)
        raise TraefikUnusable(
            f"c.TraefikProxy.traefik_api_ca = {file!r} can't be used: {why}"
        ) from error


def check_run_dir(path: str) -> None:
    """Refuse a directory without a name, which would be wherever the Hub starts.

    Raises:
        TraefikUnusable: it is empty or no path.
    """
    if not path.strip() or "\0" in path:
        raise TraefikUnusable(
            f"c.TraefikProxy.run_dir = {path!r} names no directory; it becomes private to the "
            "Hub's user, so give it one of its own"
        )


_DURATION: Final = re.compile(r"[0-9]+|(?:[0-9]+(?:\.[0-9]+)?(?:ns|us|µs|ms|s|m|h))+", re.ASCII)


def check_duration(text: str) -> None:
    """Refuse a throttle duration that Traefik can't read; a bare number is seconds to it.

    Raises:
        TraefikUnusable: it is none.
    """
    if not _DURATION.fullmatch(text):
        raise TraefikUnusable(
            f"c.TraefikProxy.traefik_providers_throttle_duration = {text!r} is no duration such "
            "as '0s', '1.5s', '200ms' or '1m30s'"
        )


def check_trusted_proxies(networks: Sequence[str]) -> None:
    """Refuse what is no address or network: Traefik would not start.

    Raises:
        TraefikUnusable: one of them is none.
    """
    for text in networks:
        try:
            ipaddress.ip_network(text, strict=False)
            # Python takes netmasks and zones as well, Traefik doesn't.
            is_one = bool(re.fullmatch(r"[0-9A-Fa-f:.]+(/[0-9]{1,3})?", text))
        except ValueError:
            is_one = False
        if not is_one:
            raise TraefikUnusable(
                f"c.TraefikProxy.trusted_proxies: {text!r} is no IP address or network such as "
                "'10.1.2.3', '10.0.0.0/8' or 'fd00::/8'"
            )


def check_environment(environment: Mapping[str, str]) -> None:
    """Refuse variables that no process can have.

    Raises:
        ValueError: a name or value is malformed; values are never shown.
    """
    for name, value in environment.items():
        problem = ""
        if not name or "=" in name or "\0" in name:
            problem = "no variable can have that name"
        elif "\0" in value:
            problem = "its value holds a null character"
        else:
            try:
                os.fsencode(name + value)
            except UnicodeError:
                problem = "name or value can't be encoded"
        if problem:
            raise ValueError(f"c.TraefikProxy.traefik_env has {name!r}: {problem}")


_HASHES: Final = re.compile(
    r"\$2[abxy]\$[0-9]{2}\$[./A-Za-z0-9]{53}"
    r"|\$(?:apr1|1)\$[^$\s:]{1,8}\$[./A-Za-z0-9]{22}"
    r"|\{SHA\}[+/A-Za-z0-9]{27}=",
    re.ASCII,
)


def check_hash(hashed: str) -> None:
    """Refuse what is no hash of a password: most likely it is the password itself.

    Raises:
        ValueError: it is none that Traefik takes; it isn't shown.
    """
    if hashed and not _HASHES.fullmatch(hashed):
        raise ValueError(
            "c.TraefikProxy.traefik_api_hashed_password is no hash that Traefik takes: bcrypt "
            "($2b$…), MD5 ($apr1$…) or SHA-1 ({SHA}…), without the user's name. Make one with: "
            "htpasswd -nB USER. A password in clear goes into traefik_api_password."
        )
