"""From JupyterHub's routespec to Traefik's matcher, priority and record name. Pure functions.

A routespec is data from users: nothing in it may change a rule's meaning. What Traefik compares
is the request path with its escapes upper-cased and decoded, except those of the reserved
characters, which stay as the client sent them (docs/traefik-facts.md, path matching).
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import json
import re
import zlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from urllib.parse import unquote, unquote_to_bytes

__all__ = [
    "ParsedSpec",
    "parent_name",
    "parse_routespec",
    "path_pattern",
    "prefix_rule_and_priority",
    "quoted",
    "record_name",
    "rule_and_priority",
]

_ALWAYS_ENCODED: Final = frozenset("?#%")
"""In a name these can only arrive as an escape: a literal one would end the segment, the path, or
be a bad request."""

_RESERVED: Final = frozenset(":[]@!$&'()*+,;=") | _ALWAYS_ENCODED
_BYTE_ORDER_MARK: Final = "\ufeff"
"""The one character that Go's scanner, which reads the rules, allows nowhere, quoted or not."""

INNER_SLASH: Final = "\udc2f"
"""In keys, a slash that separates nothing. A lone surrogate: no routespec holds it."""

_ILLEGAL: Final = re.compile(r"[\x00-\x20\x7f?#]")
_BARE_PERCENT: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_HOST: Final = re.compile(
    r"(?:[a-z0-9_-]+\.)*[a-z0-9_-]+|\[[0-9a-f:.]+\]", re.ASCII | re.IGNORECASE
)
_HOST_ABOVE: Final = 1_000_000
"""Any path with a host outranks any path without: longer than Traefik's largest request line."""


@dataclass(frozen=True, slots=True)
class ParsedSpec:
    """A routespec taken apart.

    host: lower-case, without port, an IPv6 address in brackets and as short as it can be; empty
        for a route of every host.
    segments: the decoded path segments between slashes; empty for ``/``. A segment may itself be
        empty (``//``) or hold any character, slashes included.
    """

    host: str
    segments: tuple[str, ...]

    @property
    def key(self) -> str:
        """Host and decoded path as one text: of two routes for one request, the key of one
        begins that of the other. A slash within a segment stands as ``INNER_SLASH``."""
        inner = (segment.replace("/", INNER_SLASH) for segment in self.segments)
        return f"{self.host}/" + "".join(f"{segment}/" for segment in inner)


def parse_routespec(routespec: str) -> ParsedSpec:
    """Take ``[host]/path/`` apart.

    Raises:
        ValueError: it is no percent-encoded path that starts and ends with a slash, or its host
            is no host name.
    """
    host, slash, path = routespec.partition("/")
    if not slash or not routespec.endswith("/"):
        raise ValueError(f"routespec {routespec!r} is not of the form [host]/path/")
    if found := _ILLEGAL.search(path):
        escape = "".join(f"%{byte:02X}" for byte in found.group().encode())
        raise ValueError(
            f"routespec {routespec!r} is no URL path: write {found.group()!r} as {escape}"
        )
    if _BARE_PERCENT.search(path):
        raise ValueError(
            f"routespec {routespec!r} is no URL path: a '%' begins no escape; write it as %25"
        )
    if host:
        host = _parse_host(host, routespec)
    try:
        unquote_to_bytes(path).decode("utf-8")
    except UnicodeError as error:
        raise ValueError(f"routespec {routespec!r} is not UTF-8 when decoded") from error
    segments = tuple(unquote(part) for part in path[:-1].split("/")) if path else ()
    return ParsedSpec(host, segments)


def _parse_host(host: str, routespec: str) -> str:
    if "*" in host:
        # Some releases of Traefik take them, others not, and none ranks them below exact hosts.
        raise ValueError(
            f"routespec {routespec!r} starts with {host!r}, but wildcards in hosts are not "
            "supported; add a route for each host"
        )
    name, colon, port = host.rpartition(":") if not host.endswith("]") else (host, "", "")
    if not colon:
        name, port = host, ""
    if not _HOST.fullmatch(name) or (colon and not port.isdecimal()):
        raise ValueError(f"routespec {routespec!r} starts with {host!r}, which is no host name")
    if name.startswith("["):
        try:
            # As browsers write it: Traefik compares texts.
            return f"[{ipaddress.IPv6Address(name[1:-1]).compressed}]"
        except ValueError as error:
            raise ValueError(
                f"routespec {routespec!r} starts with {host!r}, which is no IPv6 address"
            ) from error
    return name.lower()


def rule_and_priority(spec: ParsedSpec) -> tuple[str, int]:
    """The Traefik matcher of a route, and its rank: the longest path first, routes with a host
    above those without, the default route lowest."""
    return prefix_rule_and_priority(spec.key)


def prefix_rule_and_priority(prefix: str) -> tuple[str, int]:
    """The matcher of all requests whose key begins with ``prefix``, and its rank.

    A prefix may end anywhere: in the host, in a segment, or after a slash. Then it matches the
    path without that slash, too.
    """
    host, slash, below = prefix.partition("/")
    path = slash + below
    conditions = []
    if host and not path:
        conditions.append(f"HostRegexp({quoted('^' + path_pattern(host))})")
    elif host:
        # Traefik strips the brackets of an IPv6 address from the request before it compares.
        conditions.append(f"Host({quoted(host.strip('[]'))})")
    if below:
        conditions.append(_path_rule(path))
    elif not host:
        conditions.append('PathPrefix("/")')
    # The decoded length orders the prefixes of one request by depth.
    return " && ".join(conditions), len(path) + (_HOST_ABOVE if host else 0)


_PLAIN_PATH: Final = re.compile(r"[A-Za-z0-9/_~.-]+", re.ASCII)
"""What Traefik compares in one spelling, however the client has encoded it."""


def _path_rule(path: str) -> str:
    """The matcher of what begins with the path, in every legal encoding.

    Comparing texts takes a fraction of the time of a regular expression, and each request is
    compared with dozens.
    """
    if not _PLAIN_PATH.fullmatch(path):
        return f"PathRegexp({quoted(_path_regexp(path))})"
    if path.endswith("/") and not path.endswith("//"):
        return f"(PathPrefix({quoted(path)}) || Path({quoted(path[:-1])}))"
    return f"PathPrefix({quoted(path)})"


def _path_regexp(path: str) -> str:
    """A regular expression that matches what begins with the path, in every legal encoding."""
    if path.endswith("/") and not path.endswith("//"):
        return f"^{path_pattern(path[:-1])}(?:/|$)"
    # Below an empty segment the slash must be there: without it, it is the page one level up.
    return f"^{path_pattern(path)}"


def path_pattern(text: str) -> str:
    """A regular expression for a decoded path in every legal encoding, as keys have it."""
    return "".join(map(_piece, text))


@lru_cache(maxsize=1024)
def _piece(char: str) -> str:
    code = ord(char)
    if char == "/":
        return char
    if char == INNER_SLASH:
        return "%2F"
    if char in _ALWAYS_ENCODED:
        return f"%{code:02X}"
    if char in _RESERVED:
        return rf"(?:\x{code:02x}|%{code:02X})"
    if char == _BYTE_ORDER_MARK:
        return rf"\x{{{code:x}}}"
    if code > 127 or char.isalnum() or char in "-_~":
        return char
    return rf"\x{code:02x}"


def quoted(text: str) -> str:
    """A double-quoted Go string. A backtick-quoted one could be ended by the text itself."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


_PLAIN: Final = re.compile(r"/(?:[a-z0-9-]+/)+")
_PLAIN_LENGTH: Final = 80


def record_name(routespec: str) -> str:
    """The name of a route's records: distinct for distinct routespecs, even when lower-cased.

    Traefik's key-value providers compare names without regard to case, use ``/`` between parts
    of a key, and the API uses ``@`` before the provider. So ``/user/mary/`` is a letter
    and ``_user_mary``; whatever is not plain gets a readable part and 128 bits of a hash. A plain
    name never holds ``__``, so the two kinds can't meet, nor can either meet a name of the
    project's own.

    The letter comes first because those providers compare each key's name with all names before
    it: what differs at once is compared in half the time (docs/benchmarks.md, reloads).
    """
    if routespec == "/":
        return "root__"
    letter = chr(ord("a") + zlib.crc32(json.dumps(routespec).encode()) % 26)
    if len(routespec) <= _PLAIN_LENGTH and _PLAIN.fullmatch(routespec):
        return f"{letter}_{routespec[1:-1].replace('/', '_')}"
    return f"{letter}_{_readable(unquote(routespec))}__{_digest(routespec)}"


def parent_name(prefix: str) -> str:
    """The name of the router above all routes whose key begins with ``prefix``: distinct for
    distinct prefixes, even when lower-cased, and never that of a route."""
    return f"traefikhub__tree_{_readable(prefix)}_{_digest(prefix)}"


def _readable(text: str) -> str:
    return re.sub("[^a-z0-9]+", "-", text.lower()).strip("-")[:40]


def _digest(text: str) -> str:
    digest = hashlib.blake2b(json.dumps(text).encode(), digest_size=16).digest()
    return base64.b32encode(digest).decode().rstrip("=").lower()
