"""Where the APIs of Traefiks are: URLs, and the addresses that their names have at the moment."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

import anyio

from traefikhub.threads import in_thread

__all__ = ["Endpoint", "find_endpoints"]

_SECONDS: Final = 2.0


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


async def find_endpoints(
    urls: Iterable[str], known: Sequence[Endpoint] = ()
) -> tuple[tuple[Endpoint, ...], tuple[str, ...]]:
    """Each address of each name is a Traefik of its own, as with a headless service of Kubernetes.
    ``localhost`` stays a name: it has addresses of two kinds everywhere. Takes two seconds at the
    most.

    Args:
        known: found before; what became of a name that can't be resolved now isn't known.

    Returns:
        The Traefiks, and of each name that can't be resolved why.
    """
    wanted = tuple(dict.fromkeys(urls))
    places: dict[str, list[Endpoint]] = {}
    problems: dict[str, str] = {}

    async def look(url: str) -> None:
        host = urlsplit(url).hostname or ""
        try:
            with anyio.fail_after(_SECONDS):
                addresses = await in_thread(_addresses, host, abandon=True)
        except TimeoutError:
            problems[url] = f"{host} can't be resolved: no answer within {_SECONDS:g} s"
        except (OSError, UnicodeError) as error:
            problems[url] = f"{host} can't be resolved: {error}"
        else:
            places[url] = [Endpoint(url, each) for each in addresses] or [Endpoint(url)]

    # At once: a name server that hangs must not hide the others' names.
    async with anyio.create_task_group() as group:
        for url in wanted:
            group.start_soon(look, url)
    found: dict[str, Endpoint] = {}
    for url in wanted:
        for endpoint in places.get(url) or [each for each in known if each.url == url]:
            # Two names may be one Traefik's.
            found.setdefault(endpoint.shown.rstrip("/"), endpoint)
    return tuple(found.values()), tuple(problems[url] for url in wanted if url in problems)


def _addresses(host: str) -> Sequence[str]:
    """Those of a name, in order; none if it is an address itself. Of IPv4, unless it has none:
    what has one of each kind is one Traefik, not two. Blocks.

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
