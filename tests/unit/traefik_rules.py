"""How Traefik reads a rule and a request path, written anew from docs/traefik-facts.md so that the
tests don't believe the code they test."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import unquote_to_bytes

KEPT_ENCODED = frozenset(b":/?#[]@!$&'()*+,;=%")
"""The bytes whose escapes Traefik doesn't decode before it compares."""

_GO_STRING = r'"((?:[^"\\\n\x00\ufeff]|\\.)*)"'
_RULE = re.compile(
    rf"(?:(Host|HostRegexp)\({_GO_STRING}\))?( && )?"
    rf"(?:(PathRegexp|PathPrefix)\({_GO_STRING}\)"
    rf"|\(PathPrefix\({_GO_STRING}\) \|\| Path\({_GO_STRING}\)\))?",
    re.DOTALL,
)
_SIMPLE_ESCAPES = {'"': '"', "\\": "\\", "n": "\n", "t": "\t", "r": "\r"}


def seen_path(wire: str) -> str:
    """The path that rules are compared with, of one as it comes over the wire."""

    def decode(match: re.Match[str]) -> str:
        escapes = match.group().upper()
        kept = "".join(
            f"%{byte:02X}" if byte in KEPT_ENCODED else f"\0{byte:02x}"
            for byte in unquote_to_bytes(escapes)
        )
        return re.sub(
            "(?:\0[0-9a-f]{2})+",
            lambda run: bytes.fromhex(run.group().replace("\0", "")).decode("utf-8"),
            kept,
        )

    return re.sub("(?:%[0-9A-Fa-f]{2})+", decode, wire)


@dataclass(frozen=True)
class Rule:
    """A rule, lexed: at most one host call and one path call, or the two for a path and what is
    below it, whatever their texts hold."""

    host_function: str | None
    host: str
    function: str | None
    text: str

    @classmethod
    @lru_cache(maxsize=10_000)
    def lex(cls, rule: str) -> Rule:
        """Fails unless the rule is those calls with double-quoted texts and nothing else."""
        found = _RULE.fullmatch(rule)
        assert found, f"not the calls that were meant: {rule}"
        host_function, host, joint, function, text, below, exactly = found.groups()
        if below is not None:
            assert below == f"{exactly}/", rule
            function, text = "PathPrefix or Path", exactly
        assert (joint is not None) == (host is not None and function is not None), rule
        return cls(
            host_function,
            "" if host is None else _go_unquote(host),
            function,
            "" if text is None else _go_unquote(text),
        )

    def matches(self, path: str, host: str = "hub.example") -> bool:
        """Whether a request of this wire path, to this host, is matched."""
        if self.host_function == "Host" and self.host != host.lower():
            return False
        if self.host_function == "HostRegexp" and not re.search(self.host, host.lower()):
            return False
        if self.function == "PathPrefix or Path":
            seen = seen_path(path)
            return seen == self.text or seen.startswith(f"{self.text}/")
        if self.function == "PathPrefix":
            return seen_path(path).startswith(self.text)
        if self.function == "PathRegexp":
            return _python_regexp(self.text).search(seen_path(path)) is not None
        return True


def _go_unquote(text: str) -> str:
    return re.sub(r"\\(.)", lambda escape: _SIMPLE_ESCAPES[escape.group(1)], text, flags=re.DOTALL)


@lru_cache(maxsize=10_000)
def _python_regexp(go: str) -> re.Pattern[str]:
    r"""Python lacks ``\x{...}``, and its ``$`` also matches before a last newline."""
    text = re.sub(r"\\x\{([0-9a-f]+)\}", lambda match: re.escape(chr(int(match.group(1), 16))), go)
    return re.compile(text.replace("$", r"\Z"))


def answering_service(
    routers: Mapping[str, dict[str, Any]], path: str, host: str = "hub.example"
) -> str | None:
    """The service that Traefik hands a request to, level by level; None is its 404.

    Fails if two routers of one level match with equal priority: either could be taken.
    """
    children: dict[str, list[dict[str, Any]]] = {"": []}
    for router in routers.values():
        assert ("parentRefs" in router) != ("entryPoints" in router)
        for parent in router.get("parentRefs", [""]):
            children.setdefault(parent, []).append(router)
    names = {id(router): name for name, router in routers.items()}
    level = ""
    while True:
        found = [each for each in children[level] if Rule.lex(each["rule"]).matches(path, host)]
        if not found:
            return None
        found.sort(key=lambda router: -int(router["priority"]))
        assert len(found) == 1 or found[0]["priority"] > found[1]["priority"], found[:2]
        if "service" in found[0]:
            return str(found[0]["service"])
        level = names[id(found[0])]
