"""An answer of Traefik's API without what is secret in it. Pure.

``masked`` finds secrets by the names of keys and the look of values, for configurations of which
the form isn't known. Here it is known, so much is told by its place.
"""

from __future__ import annotations

import re
from typing import Any, Final

from traefikhub.dashboard._words import PROVIDERS, WORDS
from traefikhub.traefik.masking import MASK, masked

__all__ = ["withheld"]

_SLASHES: Final = re.compile(r"//|\\/\\/")
"""In front of the user of a URL, or of a regular expression for URLs."""
_RULE_USERINFO: Final = re.compile(r"(//)[^/@\s`\"]*@")
_PAIR: Final = re.compile(r"(?<![\w.%-])([\w.%-]+)=([^&]*)")
_SECRET_NAME: Final = re.compile(
    r"passw|pwd|secret|token|credential|auth|key|sig(nature)?$|hmac|code", re.IGNORECASE
)
_PLACEHOLDER: Final = re.compile(r"\$\d+|\$\{\w+\}|")
"""What a regular expression found, in the new URL of a redirect."""
_PLAIN: Final = re.compile(r"[\w.-]*")
_AROUND: Final = "\"'`,.:;()[]{}"
_MASKS: Final = re.compile(r"\*\*\*(?:\s+\*\*\*)+")


def withheld(answer: Any) -> Any:
    """The answer with ``***`` in place of secrets."""
    return masked({"answer": _value(answer, ())}).config["answer"]


def _value(value: Any, above: tuple[str, ...]) -> Any:
    """above: the keys that lead here, in small letters."""
    if above[-3:-2] == ("plugin",):  # an option, of which nobody knows what it means
        return MASK
    match value:
        case dict():
            return {
                _text(name, ""): _value(item, (*above, name.lower()))
                for name, item in value.items()
            }
        case list():
            return [_value(item, above) for item in value]
        case str() if value:
            return _string(value, above)
    return value


def _string(value: str, above: tuple[str, ...]) -> str:
    key = above[-1] if above else ""
    if above[-2:] in (("basicauth", "users"), ("digestauth", "users")):
        user, colon, _ = value.partition(":")
        return f"{user}:{MASK}" if colon else MASK
    if above[-2:-1] == ("plugin",) or above[-2:] in (("tls", "key"), ("tls", "cert")):
        return MASK
    return _error(value) if key == "error" else _text(value, key)


def _text(text: str, key: str) -> str:
    if key == "rule":  # ``masked`` does the rest
        return _RULE_USERINFO.sub(rf"\g<1>{MASK}@", text)
    return _PAIR.sub(_pair, _without_userinfo(text))


def _without_userinfo(text: str) -> str:
    """Up to the last ``@``: a password may hold whatever should have been encoded."""
    head, at, tail = text.rpartition("@")
    slashes = _SLASHES.search(head)
    if slashes:
        before, info = head[: slashes.end()], head[slashes.end() :]
    elif ":" in head:
        before, info = "", head
    else:  # the name of a router, perhaps
        return text
    user, colon, _ = info.partition(":")
    shown = f"{user}:{MASK}" if colon and _PLAIN.fullmatch(user) else MASK
    return before + shown + at + tail


def _pair(found: re.Match[str]) -> str:
    """A parameter of a URL: the name tells enough, so that no secret needs to be known for one."""
    name, value = found.groups()
    in_query = found.string[: found.start()].endswith(("?", "&", ";"))
    if _PLACEHOLDER.fullmatch(value) or not (in_query or _SECRET_NAME.search(name)):
        return found[0]
    return f"{name}={MASK}"


def _error(text: str) -> str:
    """Traefik quotes what it can't read, and not always in quotation marks. So its own words are
    shown, and names of what is configured, and nothing else."""
    return _MASKS.sub(MASK, " ".join(map(_word, text.split())))


def _word(word: str) -> str:
    bare = word.strip(_AROUND)
    _, at, provider = bare.rpartition("@")
    if not bare or bare.lower() in WORDS:
        return word
    if at and provider in PROVIDERS and not re.search(r"[:=]|//", bare):
        return word
    return MASK
