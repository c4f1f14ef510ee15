"""Bring a file over HTTP: going on where the connection broke off, and never from https to http."""

from __future__ import annotations

import errno
import io
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO, Final
from urllib.parse import urljoin, urlsplit

import requests
import urllib3.exceptions

from traefikhub.install._errors import InstallError

__all__ = ["Missing", "Patience", "Report", "download", "no_room", "read_text", "shown"]

Report = Callable[[str, int, "int | None"], None]
"""Gets what is done, how many bytes of it, and of how many, if that is known."""

_CHUNK: Final = 16 * 1024
"""Bytes read at once; of a connection that breaks off, what is left of the last ones is lost."""

_LONG_TEXT: Final = 1024 * 1024

_LONGEST = 1024**3
"""Bytes that no archive has."""

_NUMBER: Final = "[0-9]{1,18}"

_ENOUGH: Final = 1024 * 1024
"""Bytes after which a broken connection is worth as many tries as the first."""

_PAUSE = 0.5
"""Seconds before the second try; doubled before each further one."""

_PASSING: Final = {408, 429, 500, 502, 503, 504}
"""Answers after which a later try may do better."""

_FULL: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@dataclass(frozen=True)
class Patience:
    """How long to go on.

    silence: seconds without a byte after which a connection counts as dropped.
    tries: in a row that bring next to nothing.
    """

    silence: float = 30
    tries: int = 5


class Missing(InstallError):
    """There is no such file on the server."""


class _Dropped(Exception):
    """The connection, with what it was for; a further try goes on."""


class _Session(requests.Session):
    """Follows redirects, but never from https to http, nor to what is no web server."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        target = super().get_redirect_target(resp)
        if target and (why := _why_not(resp.url, target)):
            resp.close()
            raise InstallError(
                f"{shown(resp.url)} redirects to {why}; that was refused. Give another mirror with "
                "--base-url, or download the archive by other means and use --from FILE."
            )
        return target


def _why_not(url: str, target: str) -> str:
    """What is wrong with a redirect; nothing if it may be followed."""
    try:
        absolute = urljoin(url, target)
        parts = urlsplit(absolute)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
            return f"{shown(absolute)}, which is no web address"
    except ValueError:  # nor can it be shown without what may be secret
        return "something that is no web address"
    if urlsplit(url).scheme == "https" and parts.scheme != "https":
        return f"{shown(absolute)}, which is not encrypted"
    return ""


def download(
    url: str,
    file: BinaryIO,
    *,
    patience: Patience,
    report: Report | None = None,
    say: Callable[[str], None] | None = None,
) -> bool:
    """Fill a file, which may hold the beginning already.

    Args:
        file: open for reading and writing, without a buffer.
        report: is told of progress.
        say: is told of each connection that broke off.

    Returns:
        Whether the beginning comes from an earlier call. Then the whole may be of two pieces that
        don't belong together; its checksum tells.

    Raises:
        InstallError: the server doesn't have it or doesn't answer, or there is no room.
    """
    transfer = _Transfer(url, file, report or (lambda *_: None))
    with _Session() as session:
        # What comes is kept as it is, and counted.
        session.headers["Accept-Encoding"] = "identity"
        failures = 0
        while True:
            before = transfer.size()
            try:
                transfer.go_on(session, patience.silence)
                return transfer.earlier
            except _Dropped as error:
                failures = 1 if transfer.size() - before >= _ENOUGH else failures + 1
                if failures >= patience.tries:
                    later = "; it goes on where it broke off" if transfer.size() else ""
                    raise InstallError(
                        f"{shown(url)}: {error}, {failures} times in a row. Try again later"
                        f"{later}; give a mirror with --base-url, or an archive on disk with "
                        "--from FILE. A proxy is taken from HTTPS_PROXY."
                    ) from error
                if say:
                    say(f"{shown(url)}: {error}; trying again ({failures + 1} of {patience.tries})")
            time.sleep(_PAUSE * 2 ** (failures - 1))


def read_text(url: str, *, patience: Patience, say: Callable[[str], None] | None = None) -> str:
    """A short text.

    Raises:
        InstallError: as ``download``; or it is no text of a sensible length.
    """
    file = io.BytesIO()

    def report(what: str, done: int, total: int | None) -> None:
        if done > _LONG_TEXT:
            raise InstallError(f"{shown(url)} is far too long; check --base-url.")

    download(url, file, patience=patience, report=report, say=say)
    return file.getvalue().decode("utf-8", errors="replace")


def shown(url: str) -> str:
    """A URL without password and without its query, which may hold a signature."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def no_room(error: OSError, where: str) -> str:
    """What to say of a file that couldn't be written."""
    why = error.strerror or str(error)
    if error.errno in _FULL:
        return f"{where}: {why}. Free some space there, or choose a directory on another disk"
    return f"{where} can't be written: {why}"


class _Transfer:
    """One file on its way, over as many connections as it takes."""

    def __init__(self, url: str, file: BinaryIO, report: Report) -> None:
        self._url = url
        self._file = file
        self._report = report
        self._mark = ""
        self._end: int | None = None
        self.earlier = self.size() > 0

    def size(self) -> int:
        """Bytes that are there; the next are written behind them."""
        return self._file.seek(0, io.SEEK_END)

    def go_on(self, session: requests.Session, silence: float) -> None:
        """One connection.

        Raises:
            _Dropped: a further try may do better.
        """
        have = self.size()
        headers = {"Range": f"bytes={have}-"} if have else {}
        if have and self._mark:
            # So that the server begins anew if it has another file by now.
            headers["If-Range"] = self._mark
        end: int | None = None
        try:
            with session.get(
                self._url, headers=headers, stream=True, timeout=(silence, silence)
            ) as response:
                end = self._begin(response, have)
                if end is not None and end > _LONGEST:
                    raise self._endless()
                if end is not None and self.size() == end:
                    return
                # As it is: some servers call a .tar.gz a .tar with "Content-Encoding: gzip".
                for chunk in response.raw.stream(_CHUNK, decode_content=False):
                    self._write(chunk, end)
        except requests.exceptions.SSLError as error:
            if "CERTIFICATE_VERIFY_FAILED" not in str(error):
                raise _Dropped(_reason(error)) from error
            raise InstallError(
                f"{shown(self._url)}: the certificate is not to be trusted ({_reason(error)}). For "
                "a mirror with an authority of its own, set REQUESTS_CA_BUNDLE to its certificate."
            ) from error
        except (
            requests.Timeout,
            requests.ConnectionError,
            urllib3.exceptions.HTTPError,  # once the body has begun
        ) as error:
            if isinstance(error, requests.Timeout) or "timed out" in str(error):
                raise _Dropped(f"silent for {silence:g} s") from error
            raise _Dropped(self._broken(end) if end else _reason(error)) from error
        except requests.RequestException as error:
            raise InstallError(
                f"{shown(self._url)}: {_reason(error)}. Check --base-url."
            ) from error
        if end is not None and self.size() < end:
            raise _Dropped(self._broken(end))

    def _endless(self) -> InstallError:
        self._empty()
        return InstallError(
            f"{shown(self._url)} has more than {_LONGEST} bytes, as no archive of a release has. "
            "Check --base-url."
        )

    def _broken(self, end: int) -> str:
        return f"broke off after {self.size()} of {end} bytes"

    def _begin(self, response: requests.Response, have: int) -> int | None:
        """Look at the head of an answer; how long the file will be, if the server says so."""
        if response.status_code == 416 and have:
            if response.headers.get("Content-Range", "") == f"bytes */{have}":
                return have
            self._empty()
            raise _Dropped("has another file by now")
        if response.status_code == 206 and have:
            found = re.fullmatch(
                rf"bytes ({_NUMBER})-{_NUMBER}/({_NUMBER}|\*)",
                response.headers.get("Content-Range", ""),
            )
            if not found or int(found[1]) != have:
                self._empty()
                raise _Dropped("sent another part than the one asked for")
            end = None if found[2] == "*" else int(found[2])
            if self._end is not None and end is not None and end != self._end:
                self._empty()
                raise _Dropped("has another file by now")
            return end
        if response.status_code != 200:
            raise self._refused(response)
        self._empty()
        mark = response.headers.get("ETag", "")
        self._mark = "" if mark.startswith("W/") else mark
        length = response.headers.get("Content-Length", "")
        self._end = int(length) if re.fullmatch(_NUMBER, length) else None
        return self._end

    def _refused(self, response: requests.Response) -> Exception:
        status = f"answers {response.status_code} {response.reason or ''}".strip()
        if response.status_code in _PASSING:
            return _Dropped(status)
        if response.status_code in (404, 410):
            return Missing(f"{shown(self._url)}: the server {status}")
        if response.status_code in (401, 403, 407):
            status += "; a mirror may want a name and password (in ~/.netrc)"
        return InstallError(f"{shown(self._url)}: the server {status}. Check --base-url.")

    def _empty(self) -> None:
        self.earlier = False
        self._file.seek(0)
        self._file.truncate()

    def _write(self, chunk: bytes, end: int | None) -> None:
        try:
            # A file without a buffer, or else what doesn't fit would come up again on closing.
            rest = memoryview(chunk)
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            # What is there already would only keep the disk full.
            self._empty()
            where = str(getattr(self._file, "name", "the download"))
            raise InstallError(
                f"{no_room(error, where)} (XDG_CACHE_HOME says where downloads are kept)."
            ) from error
        if self._file.tell() > _LONGEST:
            raise self._endless()
        self._report("Download", self._file.tell(), end)


def _reason(error: BaseException) -> str:
    """The innermost word on what happened: those around it repeat the URL, signature and all."""
    seen: set[int] = set()
    while id(error) not in seen:
        seen.add(id(error))
        inner = [getattr(error, "reason", None), *error.args, error.__cause__]
        error = next((x for x in inner if isinstance(x, BaseException)), error)
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return re.sub(r"\w+://\S+", "the address", text).rstrip(".")
