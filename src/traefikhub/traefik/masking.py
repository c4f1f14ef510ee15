"""A configuration of Traefik without what is secret in it. Pure.

What is secret is told by the names of keys and by the look of values. A secret under another name,
in the options of a plug-in perhaps, can't be known for one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

__all__ = ["MASK", "Masked", "masked"]


MASK: Final = "***"

_SECRET_KEY: Final = re.compile(
    r"passw|passphrase|secret|token|credential|hmac|api-?_?key|access-?_?key|private-?_?key"
    r"|^pwd$|^authorization$|^cookie$",
    re.IGNORECASE,
)
_NO_SECRET: Final = re.compile(r"(file|path|name)$", re.IGNORECASE)
"""``passwordFile`` names a file."""

_USERINFO: Final = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*://)(\S+)@")
"""Up to the last ``@``: a password may hold whatever should have been encoded."""
_BARE_USERINFO: Final = re.compile(r"^([^/@\s:]+):([^/@\s]+)@(?=[^/@\s]+$)")
_QUERY: Final = re.compile(r"([?&;]([^=&;#\s]+)=)([^&;#\s]+)")
_NAMED: Final = {
    ("certificatesresolvers",),
    ("entrypoints",),
    ("experimental", "localplugins"),
    ("experimental", "plugins"),
    ("providers", "plugin"),
}
"""Tables whose keys are names of the admin's choice; an entry point ``token`` is no secret."""
_PRIVATE_KEY: Final = re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----")


class Masked(NamedTuple):
    """config: the same, with ``***`` in place of secrets. keys: where they were."""

    config: dict[str, Any]
    keys: list[str]


def masked(config: Mapping[str, Any]) -> Masked:
    """Mask what is or may be secret: passwords, tokens, private keys, headers that are sent."""
    keys: list[str] = []
    found = _mask(config, (), False, keys)
    assert isinstance(found, dict)
    return Masked(found, keys)


def _mask(value: Any, path: tuple[str, ...], secret: bool, keys: list[str]) -> Any:
    match value:
        case Mapping():
            return {
                name: _mask(item, (*path, str(name)), secret or _is_secret(path, str(name)), keys)
                for name, item in value.items()
            }
        case list():
            return [
                _mask(item, (*path, str(index)), secret, keys) for index, item in enumerate(value)
            ]
        case str() if value:
            safe = MASK if secret else _mask_text(value)
            if safe != value:
                keys.append(".".join(path))
            return safe
        case int() if secret and not isinstance(value, bool):
            keys.append(".".join(path))
            return MASK
    return value


def _is_secret(above: tuple[str, ...], name: str) -> bool:
    parts = tuple(part.lower() for part in above)
    if parts in _NAMED or parts[:2] == ("accesslog", "fields"):
        return False
    if _SECRET_KEY.search(name):
        return not _NO_SECRET.search(name)
    # Headers that Traefik itself sends, to a collector or a provider, hold keys under any name.
    return name.lower() == "headers"


def _mask_text(text: str) -> str:
    if _PRIVATE_KEY.search(text):
        return MASK
    text = _USERINFO.sub(_without_password, text)
    text = _BARE_USERINFO.sub(rf"\1:{MASK}@", text)
    return _QUERY.sub(
        lambda found: found[1] + MASK if _SECRET_KEY.search(found[2]) else found[0], text
    )


def _without_password(found: re.Match[str]) -> str:
    user, colon, _ = found[2].partition(":")
    # Without a colon it is most likely a token.
    return f"{found[1]}{user}:{MASK}@" if colon else f"{found[1]}{MASK}@"
