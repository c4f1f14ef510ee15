"""The Hub's error pages for servers that can't be reached: which requests get one. Pure.

Traefik answers 502 or 504 itself if a server refuses the connection or never answers. Its
``errors`` middleware can replace such answers, but can't tell them from a server's own. So the
requests are parted before they reach a route, by three routers that stand above all others:

- a browser that opens a page gets the Hub's page with status 503, as with
  configurable-http-proxy;
- Jupyter's own API gets a plain 503, on which JupyterLab tries again (on 502 it calls the kernel
  dead);
- whatever else passes as it comes.

Facts and measurements: docs/error-pages.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from traefikhub.rules import parse_routespec, path_pattern, quoted
from traefikhub.stores import Document, Key, Records

__all__ = [
    "ERROR_PAGES_SINCE",
    "ROOTS",
    "HubPages",
    "error_page_records",
    "leads_to_pages",
    "root_routers",
]

ERROR_PAGES_SINCE: Final = (3, 7, 0)
"""The version of Traefik that first knows middlewares of services. An earlier one refuses a
configuration with them as a whole."""

ROOTS: Final = ("traefikhub__pages", "traefikhub__jupyter-api", "traefikhub__others")
"""The routers above all others, in the order in which they are tried."""

_MIDDLEWARES: Final = "http/middlewares"
_PAGE: Final = "traefikhub__error-page"
_PLAIN: Final = "traefikhub__plain-error"
_HEADERS: Final = "traefikhub__error-page-headers"
_PATIENCE: Final = "10s"

_NO_COOKIE: Final = " "
"""Becomes an empty ``Set-Cookie`` in the place of all; browsers ignore it. An empty text would
remove the header, but Traefik's redis provider passes over empty texts."""

# Sec-Fetch-Mode is there over https and on loopback only, so that Accept must tell most.
_OPENS_A_PAGE: Final = (
    'HeaderRegexp("Accept", "(?i)text/html")'
    ' && !HeaderRegexp("Sec-Fetch-Mode", "^(?:cors|no-cors|same-origin|websocket)$")'
    ' && !Header("X-Requested-With", "XMLHttpRequest")'
)
_NO_SOCKET: Final = '!HeaderRegexp("Upgrade", "(?i)^websocket$")'
"""For as long as a request lasts, the middleware keeps the whole tree of routers in which it
began: 2.4 MiB at 1,000 routes for each open kernel."""

_API_PARTS: Final = "contents|events|kernels|kernelspecs|me|sessions|status|terminals"
"""What jupyter_server has below ``/api/``; JupyterLab tells a lost kernel from a lost server by
the status of these."""


@dataclass(frozen=True, slots=True)
class HubPages:
    """Where the Hub's error pages are.

    url: of the Hub as Traefik reaches it, ``http[s]://host:port``.
    prefix: the path of the Hub's own pages, ``/hub/`` as a rule.
    """

    url: str
    prefix: str

    @property
    def base_url(self) -> str:
        """The path above everything of JupyterHub."""
        return self.prefix.removesuffix("hub/")


def error_page_records(pages: HubPages, tls: Mapping[str, Document] | None = None) -> Records:
    """What the routers above all others name.

    Args:
        tls: further fields of the transport to the Hub.
    """
    answered: dict[str, Document] = {
        "status": ["502", "504"],
        "statusRewrites": {"502-504": 503},
    }
    page: dict[str, Document] = {
        **answered,
        "service": _PAGE,
        # Without the URL that was asked for, which may hold a token: it would be in the Hub's log.
        "query": f"{pages.prefix}error/{{status}}",
        # Else all go to the Hub: cookies, tokens, ranges, upgrades.
        "errorRequestHeaders": ["Accept", "Accept-Encoding", "Accept-Language", "User-Agent"],
    }
    middlewares: dict[str, Document] = {
        _PAGE: {"errors": page},
        _PLAIN: {"errors": {**answered, "service": _PLAIN, "query": "/"}},
        # The page is nobody's in particular. Its cookie would take the place of one that belongs
        # to an open page of the Hub, whose next click would fail for a wrong _xsrf.
        _HEADERS: {
            "headers": {
                "customResponseHeaders": {"Set-Cookie": _NO_COOKIE, "Cache-Control": "no-store"}
            }
        },
    }
    services: dict[str, Document] = {
        _PAGE: {
            "middlewares": [_HEADERS],
            "loadBalancer": {
                "servers": [{"url": pages.url}],
                "passHostHeader": True,
                "serversTransport": _PAGE,
            },
        },
        # Without servers, Traefik answers in plain text.
        _PLAIN: {"loadBalancer": {"passHostHeader": True}},
    }
    # A Hub that hangs must not hold up whoever waits for the page.
    limits: dict[str, Document] = {"dialTimeout": _PATIENCE, "responseHeaderTimeout": _PATIENCE}
    records: dict[Key, Document] = {
        Key("http/serversTransports", _PAGE): {"forwardingTimeouts": limits, **(tls or {})}
    }
    for name, document in middlewares.items():
        records[Key(_MIDDLEWARES, name)] = document
    for name, document in services.items():
        records[Key("http/services", name)] = document
    return records


def leads_to_pages(records: Records) -> bool:
    """Whether these are in a store already, so that a Traefik that reads it can show them."""
    return Key(_MIDDLEWARES, _PAGE) in records


def root_routers(entry_point: str, pages: HubPages) -> Records:
    """The routers above all others. Traefik complains of them as long as there are no others."""
    rules: list[tuple[str, list[Document]]] = [
        (_OPENS_A_PAGE, [_PAGE]),
        (f"PathRegexp({quoted(_api_pattern(pages.base_url))}) && {_NO_SOCKET}", [_PLAIN]),
        ('PathPrefix("/")', []),
    ]
    records: dict[Key, Document] = {}
    for number, (name, (rule, named)) in enumerate(zip(ROOTS, rules, strict=True), 1):
        # Below every router of the admin's, as the routes themselves would mostly be.
        router: dict[str, Document] = {
            "rule": rule,
            "priority": -number,
            "entryPoints": [entry_point],
        }
        records[Key("http/routers", name)] = router | ({"middlewares": named} if named else {})
    return records


def _api_pattern(base_url: str) -> str:
    user = path_pattern(parse_routespec(f"{base_url}user/").key)
    return f"^{user}[^/]+/(?:[^/]+/)?api/(?:{_API_PARTS})(?:/|$)"
