"""The environment in which Traefik is run."""

from __future__ import annotations

import os
from typing import Final

__all__ = ["passed_on"]

_PASSED_ON: Final = {
    *("PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR"),
    *("GODEBUG", "GOGC", "GOMAXPROCS", "GOMEMLIMIT"),
}
"""Of the Hub's environment, which may hold its secrets, Traefik gets these alone. Not HTTP_PROXY:
Traefik would send all that users ask through it, cookies and tokens included."""


def passed_on() -> dict[str, str]:
    """What Traefik gets of this process's environment."""
    return {name: os.environ[name] for name in _PASSED_ON & os.environ.keys()}
