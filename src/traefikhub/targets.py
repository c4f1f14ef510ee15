"""Which targets Traefik can route to. Pure."""

from __future__ import annotations

import ipaddress
import re
from typing import Final
from urllib.parse import unquote, urlsplit

__all__ = ["check_target", "problem_of_target"]

_AUTHORITY: Final = re.compile(
    r"(?:[A-Za-z0-9._-]+|\[(?P<ipv6>[0-9A-Fa-f:.]+)\])(?::(?P<port>[0-9]{1,5}))?", re.ASCII
)
_PASSWORD: Final = re.compile(r"^(b?['\"](?:[A-Za-z0-9+.-]*://)?).*@")
_BARE_PERCENT: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")


def check_target(routespec: str, target: object) -> None:
    """Refuse what Traefik would refuse later, when the route seems live already.

    Raises:
        ValueError: it is no ``http[s]://host[:port][/path]`` that Traefik can route to.
    """
    if problem := problem_of_target(target):
        shown = _PASSWORD.sub(r"\1***@", repr(target))
        raise ValueError(f"can't route {routespec!r} to {shown}: {problem}")


def problem_of_target(target: object) -> str:
    """Why nothing can be routed there; empty if it can."""
    no_url = "it is no URL of the form http[s]://host:port"
    if not isinstance(target, str):
        return no_url
    try:
        parts = urlsplit(target)
        target.encode()
    except ValueError:
        return no_url
    if parts.scheme == "http+unix":
        return "Traefik can't reach a unix socket; let the server listen on a port"
    if parts.scheme not in ("http", "https") or re.search(r"[\x00-\x20\x7f?#]", target):
        return no_url
    if "@" in parts.netloc:
        return "it holds a user name or password"
    authority = _AUTHORITY.fullmatch(parts.netloc)
    if not authority:
        return f"{no_url}, the host of A-Z a-z 0-9 . _ - or an IPv6 address in brackets"
    if authority["port"] and not 1 <= int(authority["port"]) <= 65535:
        return "a port is a number from 1 to 65535"
    if address := authority["ipv6"]:
        try:
            ipaddress.IPv6Address(address)
        except ValueError:
            return f"{address!r} is no IPv6 address"
    if _BARE_PERCENT.search(parts.path):
        return "a '%' in its path begins no escape; write it as %25"
    try:
        path = unquote(parts.path.rstrip("/"), errors="strict")
    except UnicodeError:
        return "its path is not UTF-8 when decoded"
    if "//" in path or {".", ".."} & set(path.split("/")):
        return "its path holds double slashes or dot segments, which Traefik can't keep"
    return ""
