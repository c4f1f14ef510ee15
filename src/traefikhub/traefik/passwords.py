"""Users of Traefik's basic authentication, as its ``users`` list wants them."""

from __future__ import annotations

import base64
import hashlib
import re
from contextlib import suppress
from typing import Final

import bcrypt

__all__ = ["admin_user", "polling_user"]

_BCRYPT_LONGEST: Final = 72
_BCRYPT_HASH: Final = re.compile(r"\$2[abxy]?\$(?:0[4-9]|[12]\d|3[01])\$[./A-Za-z0-9]{53}")


def polling_user(username: str, password: str) -> str:
    """A user with a long random password and a cheap hash.

    Traefik verifies the hash at every call: bcrypt at cost 10 takes 85 ms, SHA-1 0.4 ms. The
    password has 256 random bits, so that a slow hash would protect nothing.
    """
    digest = hashlib.sha1(password.encode(), usedforsecurity=False).digest()
    return f"{username}:{{SHA}}{base64.b64encode(digest).decode()}"


def admin_user(username: str, password: str, known: list[str]) -> str:
    """A user with a password that a person chose, hashed with bcrypt. Takes about 0.1 s.

    Args:
        known: users written before; if one still fits it is kept, as every new hash differs and
            would look like a change.

    Raises:
        ValueError: the password is longer than bcrypt can tell apart.
    """
    secret = password.encode()
    if len(secret) > _BCRYPT_LONGEST:
        raise ValueError(
            f"c.TraefikProxy.traefik_api_password is longer than {_BCRYPT_LONGEST} bytes, which "
            "is all that bcrypt looks at; shorten it"
        )
    for user in known:
        name, _, hashed = user.partition(":")
        # Somebody may have edited it. At what has not even the form of a hash, bcrypt before 4.3
        # raises what is no Exception, and would end the Hub.
        if name != username or not _BCRYPT_HASH.fullmatch(hashed):
            continue
        with suppress(ValueError):
            if bcrypt.checkpw(secret, hashed.encode()):
                return user
    return f"{username}:{bcrypt.hashpw(secret, bcrypt.gensalt(10)).decode()}"
