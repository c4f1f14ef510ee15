"""Where Traefik shall listen, and whether it will be able to, told before it starts."""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
from typing import Final
from urllib.parse import urlsplit

from traefikhub.traefik._errors import TraefikUnusable

__all__ = ["listen_address", "require_apart", "require_free"]


_NET_BIND_SERVICE: Final = 1 << 10
"""The capability to listen on low ports, by the kernel's number of it."""


def listen_address(url: str, setting: str) -> str:
    """``host:port`` of a URL such as ``http://:8000/base/``, the port from the scheme if absent.

    Raises:
        TraefikUnusable: it is no http or https URL, or names a unix socket.
    """
    problem = "is not a URL such as http://127.0.0.1:8000"
    try:
        parts = urlsplit(url)
        port = parts.port  # reading it checks it
        if parts.scheme == "http+unix":
            problem = "is a unix socket, on which Traefik can't listen"
        elif port == 0:
            problem = "names port 0; choose one"
        elif parts.scheme in ("http", "https") and parts.netloc and not parts.username:
            host = parts.hostname or ""
            if host == "*":
                host = ""
            if ":" in host:
                host = f"[{host}]"
            if port is None:
                port = 443 if parts.scheme == "https" else 80
            return f"{host}:{port}"
    except ValueError as error:
        problem = f"is not a URL such as http://127.0.0.1:8000 ({error})"
    raise TraefikUnusable(f"{setting} = {url!r} {problem}")


def require_free(address: str, setting: str, program: str = "", protocol: str = "tcp") -> None:
    """Refuse an address on which no program could listen now. May block on name resolution.

    Args:
        address: ``host:port``; an empty host means every interface.
        setting: the option that decides the address, for the message.
        program: the Traefik that is to listen there. It may have the right to a low port by
            itself, while this process hasn't; then the port can't be tried.
        protocol: ``tcp`` or ``udp``.

    Raises:
        TraefikUnusable: the port is taken or not permitted, or the host is not this machine.
    """
    host, _, port = address.rpartition(":")
    tcp = protocol == "tcp"
    wanted = socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM
    try:
        found = socket.getaddrinfo(
            host.strip("[]") or None, int(port), type=wanted, flags=socket.AI_PASSIVE
        )
    except (OSError, UnicodeError) as error:  # the second: no host could have that name
        raise TraefikUnusable(f"{setting}: {host!r} has no address: {error}") from error
    for family, kind, number, _, target in found:
        try:
            probe = socket.socket(family, kind, number)
        except OSError:
            continue  # the kernel lacks this family; Go skips it too
        with probe:
            if tcp:  # of UDP, it would let two programs share the port
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                probe.bind(target)
                if tcp:
                    probe.listen(1)
            except OSError as error:
                if host == "" and error.errno == errno.EADDRNOTAVAIL:
                    continue  # no IPv6 here
                if error.errno == errno.EACCES and _may_bind(program):
                    continue
                raise TraefikUnusable(_reason(error, address, setting, program)) from error


def require_apart(address: str, setting: str, other: str, other_setting: str) -> None:
    """Refuse two addresses on which one program can't listen at once. May block on name
    resolution.

    Raises:
        TraefikUnusable: they share the port and a host.
    """
    if _overlap(*address.rpartition(":")[::2], *other.rpartition(":")[::2]):
        raise TraefikUnusable(
            f"{setting} and {other_setting} are the same address, {address} and {other}; choose "
            "another port for one of them"
        )


def _overlap(host: str, port: str, other: str, other_port: str) -> bool:
    if int(port) != int(other_port):
        return False
    found, others = _addresses(host), _addresses(other)
    for some, rest in ((found, others), (others, found)):
        if some & {"", "::"}:
            return True
        if "0.0.0.0" in some and any("." in each for each in rest):  # nosec B104 # only compared
            return True
    return bool(found & others)


def _addresses(host: str) -> set[str]:
    host = host.strip("[]")
    if not host:
        return {""}
    try:
        return {str(found[4][0]) for found in socket.getaddrinfo(host, None)}
    except (OSError, UnicodeError):  # ``require_free`` says so
        return {host}


def _may_bind(program: str) -> bool:
    """Whether a program file carries the capability to listen on low ports (``setcap``)."""
    if sys.platform != "linux":
        return False
    try:
        # The kernel's vfs_cap_data: version and "effective" flag, then what is permitted.
        flags, permitted = struct.unpack_from("<II", os.getxattr(program, "security.capability"))
    except (OSError, struct.error):
        return False
    return bool(flags & 1 and permitted & _NET_BIND_SERVICE)


def _reason(error: OSError, address: str, setting: str, program: str) -> str:
    port = address.rpartition(":")[2]
    match error.errno:
        case errno.EADDRINUSE:
            why = "the port is taken by another program; stop it, or choose another port"
        case errno.EACCES:
            why = (
                "this user may not listen on so low a port. Give the Hub the right to "
                "(AmbientCapabilities=CAP_NET_BIND_SERVICE in its systemd unit), or the program "
                f"(setcap cap_net_bind_service=+ep {program or 'TRAEFIK'}), or every user (sysctl "
                f"net.ipv4.ip_unprivileged_port_start={port}); or choose a port of 1024 or above"
            )
        case errno.EADDRNOTAVAIL:
            why = "this machine has no such address"
        case _:
            why = error.strerror or str(error)
    return f"Traefik can't listen on {address} ({setting}): {why}"
