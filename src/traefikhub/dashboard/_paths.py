"""What of Traefik the service passes on, by path. Pure."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import parse_qsl, quote, unquote_to_bytes, urlencode

__all__ = ["api_path", "asset_path"]

_LISTS: Final = {
    *((kind, section) for kind in ("http", "tcp", "udp") for section in ("routers", "services")),
    *((kind, "middlewares") for kind in ("http", "tcp")),
    ("entrypoints",),
    ("certificates",),
}
"""What has items, each below its name. Not ``rawdata`` and ``support-dump``, which hold all at
once, nor ``debug``."""
_SINGLE: Final = {("version",), ("overview",)}

_QUERY: Final = {
    *("search", "status", "page", "per_page", "sortBy", "direction"),
    *("serviceName", "middlewareName"),
}
"""Not ``token`` or ``_xsrf``, which are for this service alone."""

_ASSET: Final = re.compile(r"(?:[A-Za-z0-9_-][A-Za-z0-9_.-]*/){0,3}[A-Za-z0-9_-][A-Za-z0-9_.-]*")


def api_path(path: str, query: str = "") -> str | None:
    """What to ask Traefik for, with its query; None if that isn't passed on.

    Args:
        path: below ``api/``, percent-encoded as the browser sent it.
    """
    words = tuple(path.split("/"))
    if words not in _LISTS | _SINGLE:
        *above, name = words
        item = _item(name) if tuple(above) in _LISTS else None
        if item is None:
            return None
        words = (*above, item)
    known = [(key, value) for key, value in parse_qsl(query) if key in _QUERY]
    return "/api/" + "/".join(words) + ("?" + urlencode(known) if known else "")


def _item(name: str) -> str | None:
    """The name of an item in the one encoding that can't be taken for another path."""
    try:
        decoded = unquote_to_bytes(name).decode()
    except UnicodeDecodeError:
        return None
    if "\\" in decoded or not decoded.isprintable():
        return None
    # A name may have slashes. Dots between them would lead elsewhere if Traefik decoded too early.
    if any(part.strip(".") == "" for part in decoded.split("/")):
        return None
    return quote(decoded, safe="@")


def asset_path(path: str) -> str | None:
    """A file of Traefik's dashboard, or None if that is none.

    Args:
        path: below the service's own, percent-encoded as the browser sent it.
    """
    return f"/dashboard/{path}" if _ASSET.fullmatch(path) else None
