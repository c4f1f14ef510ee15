"""How Traefik reads a rule and a request path, written anew from docs/traefik-facts.md so that the
tests don't believe the code they test."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

KEPT_ENCODED = frozenset(b":/?#[]@!$&'()*+,;=%")
"""The bytes whose escapes Traefik doesn't decode before it compares."""

_GO_STRING = r'"((?:[^"\\\n\x00\ufeff]|\\.)*)"'
_RULE = re.compile(
    rf"(?:Host\({_GO_STRING}\))?( && )?(?:(PathRegexp|PathPrefix)\({_GO_STRING}\))?", re.DOTALL
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
    """A rule, lexed: at most one Host call and one path call, whatever their texts hold."""

    host: str | None
    function: str | None
    text: str

    @classmethod
    def lex(cls, rule: str) -> Rule:
        """Fails unless the rule is those calls with double-quoted texts and nothing else."""
        found = _RULE.fullmatch(rule)
        assert found, f"not the calls that were meant: {rule}"
        host, joint, function, text = found.groups()
        assert (joint is not None) == (host is not None and function is not None), rule
        return cls(
            None if host is None else _go_unquote(host),
            function,
            "" if text is None else _go_unquote(text),
        )

    def matches(self, path: str, host: str = "hub.example") -> bool:
        """Whether a request of this wire path, to this host, is matched."""
        if self.host is not None and self.host != host.lower():
            return False
        if self.function == "PathPrefix":
            return seen_path(path).startswith(self.text)
        if self.function == "PathRegexp":
            return re.search(_python_regexp(self.text), seen_path(path)) is not None
        return True


def _go_unquote(text: str) -> str:
    return re.sub(r"\\(.)", lambda escape: _SIMPLE_ESCAPES[escape.group(1)], text, flags=re.DOTALL)


def _python_regexp(go: str) -> str:
    r"""Python lacks ``\x{...}``, and its ``$`` also matches before a last newline."""
    text = re.sub(r"\\x\{([0-9a-f]+)\}", lambda match: re.escape(chr(int(match.group(1), 16))), go)
    assert text.endswith(("(?:/|$)", "/"))
    return text.replace("$", r"\Z")
