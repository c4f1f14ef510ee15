"""Where the APIs of Traefiks are: URLs, and the addresses that their names have at the moment."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

__all__ = ["Endpoint", "find_endpoints"]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the API of one Traefik listens.

    url: ``http[s]://host[:port][/path]``, as it is configured.
    address: which of the host's addresses it has; empty if the host has just one, or whichever
        answers will do.
    """

    url: str
    address: str = ""

    @property
    def shown(self) -> str:
        """The URL by which people know it, with the address in the place of the name. Without a
        password, should it have one."""
        parts = urlsplit(self.url)
        netloc = parts.netloc.rpartition("@")[2]
        if self.address:
            host = f"[{self.address}]" if ":" in self.address else self.address
            netloc = host if parts.port is None else f"{host}:{parts.port}"
        return parts._replace(netloc=netloc).geturl()


def find_endpoints(
    urls: Iterable[str], known: Sequence[Endpoint] = ()
) -> tuple[tuple[Endpoint, ...], tuple[str, ...]]:
    """Each address of each name is a Traefik of its own, as with a headless service of Kubernetes.
    Blocks while names are resolved. ``localhost`` stays a name: it has addresses of two kinds
    everywhere.

    Args:
        known: found before; what became of a name that can't be resolved now isn't known.

    Returns:
        The Traefiks, and of each name that can't be resolved why.
    """
    found: dict[str, Endpoint] = {}
    problems = []
    for url in urls:
        host = urlsplit(url).hostname or ""
        try:
            endpoints = [Endpoint(url, each) for each in _addresses(host)] or [Endpoint(url)]
        except (OSError, UnicodeError) as error:
            problems.append(f"{host} can't be resolved: {error}")
            endpoints = [each for each in known if each.url == url]
        for endpoint in endpoints:
            # Two names may be one Traefik's.
            found.setdefault(endpoint.shown.rstrip("/"), endpoint)
    return tuple(found.values()), tuple(problems)


def _addresses(host: str) -> Sequence[str]:
    """Those of a name, in order; none if it is an address itself. Of IPv4, unless it has none:
    what has one of each kind is one Traefik, not two.

    Raises:
        OSError, UnicodeError: it can't be resolved.
    """
    if not host or host == "localhost" or host.endswith(".localhost"):
        return ()
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        pass
    else:
        return ()
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    kind = min(family for family, *_ in found)  # AF_INET before AF_INET6
    return sorted({str(each[4][0]) for each in found if each[0] == kind})
