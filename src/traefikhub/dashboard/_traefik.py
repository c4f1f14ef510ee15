"""Asks Traefik on behalf of the browser, and tells what is wrong if it can't be asked."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Final

from tornado.httpclient import AsyncHTTPClient, HTTPRequest, HTTPResponse
from tornado.simple_httpclient import HTTPTimeoutError

from traefikhub.traefik import Credentials

__all__ = ["NoAnswer", "Traefik"]

_SECONDS: Final = 20.0
_SETTING: Final = "c.TraefikProxy.traefik_api_url"
_BELOW: Final = (
    "In jupyterhub_config.py dashboard_service(c) has to stand below the options of c.TraefikProxy."
)


class NoAnswer(Exception):
    """Traefik can't be asked. The message is for an administrator, and holds no secret.

    status: for the browser.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class Traefik:
    """Where Traefik's API and dashboard are, and who may enter.

    url: of its entry point, without a path.
    password_file: read for each question, as the password may change.
    authority: a file with the certificates by which an https URL is verified; the system's if
        empty.
    verifies: whether it is.
    """

    url: str
    username: str
    password_file: Path
    authority: str = ""
    verifies: bool = True

    async def get(self, path: str) -> HTTPResponse:
        """Its answer, which is 200 or 404. Nothing of the browser's own request goes along.

        Raises:
            NoAnswer: it can't be reached, refuses the password, or doesn't know what to answer.
        """
        request = HTTPRequest(
            self.url.rstrip("/") + path,
            headers=self._headers(),
            follow_redirects=False,
            connect_timeout=_SECONDS,
            request_timeout=_SECONDS,
            validate_cert=self.verifies,
            ca_certs=self.authority or None,
        )
        try:
            answer = await AsyncHTTPClient().fetch(request, raise_error=False)
        except HTTPTimeoutError as error:
            raise NoAnswer(
                HTTPStatus.GATEWAY_TIMEOUT,
                f"Traefik's API at {self.url} ({_SETTING}) doesn't answer in {_SECONDS:.0f} s. "
                "Its log, traefik.log in c.TraefikProxy.run_dir, may tell why.",
            ) from error
        except Exception as error:  # what can go wrong on the way depends on tornado's version
            raise NoAnswer(
                HTTPStatus.BAD_GATEWAY,
                f"Traefik's API at {self.url} ({_SETTING}) can't be reached: {error}. Is Traefik "
                f"running? The Hub's log tells. {_BELOW}",
            ) from error
        if answer.code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            raise NoAnswer(
                HTTPStatus.BAD_GATEWAY,
                f"Traefik's API at {self.url} ({_SETTING}) refuses user {self.username!r} with the "
                f"password in {self.password_file}. {_BELOW} For a Traefik that others run, give "
                "it username=… and password_file=….",
            )
        if answer.code == HTTPStatus.BAD_REQUEST:
            raise NoAnswer(
                HTTPStatus.BAD_REQUEST,
                f"Traefik's API at {self.url} ({_SETTING}) doesn't take this question (400). Is "
                "there such a page?",
            )
        if 300 <= answer.code < 400:
            raise NoAnswer(
                HTTPStatus.NOT_FOUND,
                f"Traefik's API at {self.url} ({_SETTING}) has nothing here: it leads elsewhere "
                f"({answer.code}).",
            )
        if answer.code not in (HTTPStatus.OK, HTTPStatus.NOT_FOUND):
            raise NoAnswer(
                HTTPStatus.BAD_GATEWAY,
                f"Traefik's API at {self.url} ({_SETTING}) answers {answer.code}. Is that Traefik?",
            )
        return answer

    def _headers(self) -> dict[str, str]:
        try:
            password = self.password_file.read_text().strip()
        except (OSError, UnicodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no text"
            raise NoAnswer(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"The password of Traefik's API can't be read from {self.password_file}: {reason}. "
                f"It is in c.TraefikProxy.run_dir once the proxy has started. {_BELOW}",
            ) from error
        return {
            "Authorization": Credentials(self.username, password).header(),
            "Accept-Encoding": "identity",
        }
