"""The web application: who may enter, and what they see."""

from __future__ import annotations

import html
import json
import os
import re
from http import HTTPStatus
from typing import Any, Final

from jupyterhub.log import log_request
from jupyterhub.services.auth import (
    HubOAuthCallbackHandler,
    HubOAuthenticated,
    UserNotAllowed,
)
from tornado.web import Application, HTTPError, RequestHandler

from traefikhub.dashboard._answers import START_SCRIPT, UnknownPage, shown_api, shown_page
from traefikhub.dashboard._paths import api_path, asset_path
from traefikhub.dashboard._traefik import NoAnswer, Traefik

__all__ = ["make_app"]

_HEADERS: Final = {
    # Styles: Traefik's dashboard makes them in the page. Nothing comes from elsewhere.
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data:",
            "font-src 'self' data:",
            "connect-src 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
            "form-action 'none'",
        )
    ),
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}

_ERROR_PAGE: Final = """\
<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 1rem/1.5 sans-serif; max-width: 42rem; margin: 4rem auto; padding: 0 1rem; }}
</style></head>
<body><h1>{title}</h1><p>{message}</p><p><a href="{home}">JupyterHub</a></p></body>
</html>
"""


class _Common(RequestHandler):
    """Headers and errors of every answer."""

    SUPPORTED_METHODS = ("GET", "HEAD")

    def set_default_headers(self) -> None:
        self.clear_header("Server")
        for name, value in _HEADERS.items():
            self.set_header(name, value)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = kwargs.get("exc_info", (None, None, None))[1]
        message = (error.log_message or "") if isinstance(error, HTTPError) else ""
        if isinstance(error, HTTPError) and error.args:
            message = message % error.args
        if status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            self.set_header("Allow", "GET, HEAD")
            message = "This page is for reading only."
        self.finish_error(status_code, message or self._reason)

    def finish_error(self, status: int, message: str) -> None:
        page = _ERROR_PAGE.format(
            title=f"{status} {html.escape(self._reason)}",
            message=html.escape(message),
            home=html.escape(os.environ.get("JUPYTERHUB_BASE_URL", "/") + "hub/home"),
        )
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.finish(page)


class _NotFound(_Common):
    def prepare(self) -> None:
        raise HTTPError(HTTPStatus.NOT_FOUND)


class _Callback(_Common, HubOAuthCallbackHandler):  # type: ignore[misc]
    """The way back from the Hub's login."""


class _ForAdmins(HubOAuthenticated, _Common):  # type: ignore[misc]
    """Lets in users who are administrators of the Hub, and nobody else."""

    async def prepare(self) -> None:
        # Asks the Hub; what asks again, ``current_user``, has the answer without blocking the loop.
        await self.hub_auth.get_user(self, sync=False)
        if not self.current_user:
            self.not_logged_in()

    def not_logged_in(self) -> None:
        raise HTTPError(
            HTTPStatus.FORBIDDEN, "You aren't logged in any longer. Load the dashboard again."
        )

    def check_hub_user(self, model: dict[str, Any]) -> dict[str, Any]:
        """Only an administrator passes. Scopes alone don't do: many hubs give everybody all
        services, and the token doesn't show who was given this one."""
        kind, name = model.get("kind", "user"), model.get("name")
        try:
            super().check_hub_user(model)
        except UserNotAllowed:
            raise HTTPError(
                HTTPStatus.FORBIDDEN,
                "This needs the scope access:services!service=%s, which the token of %s %s hasn't.",
                os.environ.get("JUPYTERHUB_SERVICE_NAME", ""),
                kind,
                name,
            ) from None
        if kind == "user" and model.get("admin") is True:
            return model
        raise HTTPError(
            HTTPStatus.FORBIDDEN,
            "Traefik's dashboard is for administrators of this JupyterHub. %s is none "
            "(c.Authenticator.admin_users).",
            name,
        )

    @property
    def traefik(self) -> Traefik:
        found = self.settings["traefik"]
        assert isinstance(found, Traefik)
        return found

    def below(self, prefix: str) -> str:
        """The path of the request below that of the service, as the browser sent it."""
        path: str = self.request.path
        return path.removeprefix(self.hub_auth.base_url + prefix)


class _Page(_ForAdmins):
    """The dashboard's one page."""

    def not_logged_in(self) -> None:
        # Each redirect costs the Hub a token, so a script that asks again and again gets none.
        if self.request.headers.get("Sec-Fetch-Mode", "navigate") == "navigate":
            self.redirect(self.get_login_url())
            return
        raise HTTPError(
            HTTPStatus.FORBIDDEN, "This page is to be opened, not to be fetched by a script."
        )

    async def get(self) -> None:
        base = self.hub_auth.base_url
        try:
            answer = await self.traefik.get("/dashboard/")
            page = shown_page(
                answer.body.decode(errors="replace"),
                script=f"{base}start.js",
                api=f"{base}api/",
                xsrf=self.xsrf_token.decode(),
            )
        except NoAnswer as error:
            status, message = error.status, str(error)
            if status < HTTPStatus.INTERNAL_SERVER_ERROR:  # Traefik has this page
                status, message = HTTPStatus.BAD_GATEWAY, f"{message} Is that Traefik?"
            self.set_status(status)
            self.finish_error(status, message)
        except UnknownPage as error:
            self.set_status(HTTPStatus.BAD_GATEWAY)
            self.finish_error(
                HTTPStatus.BAD_GATEWAY,
                f"At {self.traefik.url}/dashboard/ (c.TraefikProxy.traefik_api_url) isn't the "
                f"dashboard that is known here: {error}. Has that Traefik api.dashboard = true?",
            )
        else:
            self.finish(page)

    head = get


class _Asset(_ForAdmins):
    """A file that the page needs. There is nothing of this hub in it."""

    def check_xsrf_cookie(self) -> None:
        """The page loads its script in a way in which it can't name a token."""

    async def get(self) -> None:
        name = self.below("")
        if name == "start.js":
            self.set_header("Content-Type", "text/javascript; charset=utf-8")
            self.finish(START_SCRIPT)
            return
        path = asset_path(name)
        if path is None:
            raise HTTPError(HTTPStatus.NOT_FOUND)
        try:
            answer = await self.traefik.get(path)
        except NoAnswer as error:
            self.set_status(error.status)
            self.finish_error(error.status, str(error))
            return
        self.set_status(answer.code)
        self.set_header("Content-Type", answer.headers.get("Content-Type", "text/plain"))
        self.finish(answer.body)

    head = get


class _Api(_ForAdmins):
    """What the page asks Traefik's API for."""

    def finish_error(self, status: int, message: str) -> None:
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps({"message": message}))

    async def get(self) -> None:
        path = api_path(self.below("api/"), self.request.query)
        if path is None:
            raise HTTPError(HTTPStatus.NOT_FOUND, "This part of Traefik's API isn't passed on.")
        try:
            answer = await self.traefik.get(path)
            if answer.code == HTTPStatus.NOT_FOUND:
                raise HTTPError(HTTPStatus.NOT_FOUND, "Traefik doesn't know that.")
            body = shown_api(path, answer.body)
        except NoAnswer as error:
            self.set_status(error.status)
            self.finish_error(error.status, str(error))
            return
        except ValueError as error:
            raise HTTPError(
                HTTPStatus.BAD_GATEWAY,
                "What answers at %s (c.TraefikProxy.traefik_api_url) isn't Traefik's API.",
                self.traefik.url,
            ) from error
        if following := answer.headers.get("X-Next-Page", ""):
            self.set_header("X-Next-Page", following)
        self.set_header("Content-Type", "application/json")
        self.finish(body)

    head = get


def make_app(prefix: str, traefik: Traefik) -> Application:
    """The application.

    Args:
        prefix: the path of the service, with a slash at both ends.
    """
    base = re.escape(prefix)
    return Application(
        [
            (base, _Page),
            (f"{base}oauth_callback", _Callback),
            (f"{base}api/.*", _Api),
            (f"{base}.*", _Asset),
        ],
        traefik=traefik,
        # Cookies needn't outlive the process: the Hub lets a known browser in again by itself.
        cookie_secret=os.urandom(32),
        default_handler_class=_NotFound,
        log_function=log_request,
    )
