"""Where Traefik has connections to, as the kernel of this host tells.

Traefik counts a request when its answer ends: an open websocket, or a stream that the client is
going to break off, is to be seen here alone. Everything blocks: call it in a thread.
"""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import psutil

__all__ = ["Address", "Resolver", "listens", "open_targets", "plain"]

Address = tuple[str, int]
"""IP address, as ``plain`` writes it, and port."""


def open_targets(pid: int, *, proof: int) -> frozenset[Address] | None:
    """The far ends of all TCP connections that a process holds; None if that can't be known.

    States are not told apart. What the process holds in any state but LISTEN may carry a request:
    one that connects (SYN_SENT) has one waiting, and after the server's end was closed
    (CLOSE_WAIT) there may be an answer that the client is still reading. What the process has
    closed (FIN_WAIT, TIME_WAIT, …) belongs to no process any more, and most of it is gone within
    a second: an answer that was broken off ends in a reset (verified with 3.7.15).

    The kernel's list is not a snapshot. Under much traffic it may lack a connection once, so a
    single look proves no idleness; the next look has it.

    Args:
        pid: of this host, and of this user unless we are root.
        proof: a port that the process listens on. Unless that is seen, its sockets aren't: a
            process of another user or network namespace has none, as far as we can see.
    """
    try:
        found = psutil.Process(pid).net_connections("tcp")
    except (psutil.Error, OSError, RuntimeError, ValueError):  # the last two: lines it can't read
        return None
    if not any(each.status == psutil.CONN_LISTEN and each.laddr.port == proof for each in found):
        return None
    return frozenset((plain(ip), port) for ip, port in {each.raddr for each in found if each.raddr})


def listens(pid: int, port: int) -> bool | None:
    """Whether a process listens on a TCP port; None if that can't be known."""
    try:
        found = psutil.Process(pid).net_connections("tcp")
    except (psutil.Error, OSError, RuntimeError, ValueError):
        return None
    if not found:
        return None  # a process of another network namespace has none, as far as we can see
    return any(each.status == psutil.CONN_LISTEN and each.laddr.port == port for each in found)


def plain(ip: str) -> str:
    """An IP address in one spelling: without brackets or zone, and IPv4 always as such, never as
    ``::ffff:1.2.3.4``.

    Raises:
        ValueError: it is none.
    """
    if ":" not in ip:
        return str(ipaddress.IPv4Address(ip))
    address = ipaddress.IPv6Address(ip.partition("%")[0])
    return str(address.ipv4_mapped or address)


class _Answer(NamedTuple):
    addresses: frozenset[str]
    at: float


class Resolver:
    """The addresses of names, each looked up at most once in ``keep`` seconds.

    For one thread at a time.

    Args:
        keep: seconds for which an answer holds, also the one that a name has no address.
        lookup: as ``socket.getaddrinfo``.
        clock: monotonic, in seconds.
    """

    def __init__(
        self,
        *,
        keep: float = 60.0,
        lookup: Callable[..., Any] = socket.getaddrinfo,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._keep = keep
        self._lookup = lookup
        self._clock = clock
        self._answers: dict[str, _Answer] = {}

    def resolve(self, hosts: Collection[str], *, timeout: float) -> dict[str, frozenset[str]]:
        """The addresses of these names. One that has none, as far as could be found out in time,
        is left out. Names that aren't asked for are forgotten.

        Args:
            hosts: names, no addresses.
            timeout: seconds after which no further lookup begins; a name not reached keeps its
                last answer. The lookup that has begun takes as long as the system allows.
        """
        begun = self._clock()
        self._answers = {name: self._answers[name] for name in hosts if name in self._answers}
        stale = [name for name in hosts if not self._holds(name, begun)]
        stale.sort(key=self._age)
        for name in stale:
            if self._clock() - begun >= timeout:
                break
            self._answers[name] = _Answer(self._ask(name), self._clock())
        return {name: found for name, (found, _) in self._answers.items() if found}

    def _holds(self, name: str, now: float) -> bool:
        answer = self._answers.get(name)
        return answer is not None and now - answer.at < self._keep

    def _age(self, name: str) -> float:
        answer = self._answers.get(name)
        return float("-inf") if answer is None else answer.at

    def _ask(self, name: str) -> frozenset[str]:
        try:
            found = self._lookup(name, None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):  # the second: no host could have that name
            return frozenset()
        return frozenset(plain(ip) for ip in {str(each[4][0]) for each in found})
