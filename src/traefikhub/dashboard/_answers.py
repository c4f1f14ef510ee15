"""Traefik's answers as a browser gets them. Pure."""

from __future__ import annotations

import html
import json
import re
from typing import Final

from traefikhub.dashboard._withheld import withheld

__all__ = ["START_SCRIPT", "UnknownPage", "shown_api", "shown_page"]

START_SCRIPT: Final = """\
// Tells Traefik's dashboard where its API is, and the API that the question comes from this page.
(() => {
  const { api, xsrf } = document.currentScript.dataset;
  const original = window.fetch;
  window.APIUrl = api;
  window.fetch = (resource, options) => {
    const request = new Request(resource, options);
    if (new URL(request.url).origin === window.location.origin) {
      request.headers.set("X-XSRFToken", xsrf);
    }
    return original(request);
  };
})();
"""
"""Not in the page itself, so that the page can do without inline scripts."""

_API_URL: Final = re.compile(r'<script>\s*window\.APIUrl\s*=\s*"[^"<>]*"\s*;?\s*</script>')


class UnknownPage(ValueError):
    """Traefik's dashboard doesn't say where its API is as it did."""


def shown_page(page: str, *, script: str, api: str, xsrf: str) -> str:
    """The page of Traefik's dashboard, with the URL of another API.

    Args:
        script: URL of ``START_SCRIPT``.
        api: URL of the API.
        xsrf: what JupyterHub wants to see with each question to it.

    Raises:
        UnknownPage: it has no place for the URL of an API, or several.
    """
    script, api, xsrf = (html.escape(text) for text in (script, api, xsrf))
    element = f'<script src="{script}" data-api="{api}" data-xsrf="{xsrf}"></script>'
    shown, count = _API_URL.subn(lambda _: element, page)
    if count != 1:
        raise UnknownPage(f"it sets window.APIUrl {count} times, not once")
    return shown


def shown_api(path: str, body: bytes) -> bytes:
    """An answer of the API without what is secret: Traefik itself hides nothing there.

    Args:
        path: what was asked for.

    Raises:
        ValueError: it is no JSON.
    """
    answer = withheld(json.loads(body))
    if path == "/api/version" and isinstance(answer, dict):
        # The page would fetch a script from elsewhere.
        answer["disableDashboardAd"] = True
    return json.dumps(answer).encode()
