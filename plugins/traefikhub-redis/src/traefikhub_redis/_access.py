"""How redis is reached, as the options say it. Checked early, so that a mistake names its option
instead of ending as a failed handshake."""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from traefikhub.stores import StoreError

__all__ = ["Access", "check_prefix", "check_tls_files", "parse_access"]

_PORT = 6379


@dataclass(frozen=True, slots=True)
class Access:
    """Where the server is, and who asks. ``repr`` holds no password."""

    host: str
    port: int
    db: int
    secure: bool
    username: str
    password: str
    ca_cert: str
    client_cert: str
    client_key: str

    def __repr__(self) -> str:
        return f"Access({self.endpoint})"

    @property
    def endpoint(self) -> str:
        """As Traefik takes it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def where(self) -> str:
        """For messages."""
        return f"redis at {self.endpoint}" + (f", database {self.db}" if self.db else "")

    @property
    def user(self) -> str:
        """For messages."""
        return f"the user {self.username!r}" if self.username else "the user 'default'"

    def traefik(self) -> dict[str, object]:
        """The options of Traefik's redis provider that say the same."""
        found: dict[str, object] = {"endpoints": [self.endpoint]}
        if self.db:
            found["db"] = self.db
        if self.username:
            found["username"] = self.username
        if self.password:
            found["password"] = self.password
        if self.secure:
            files = {"ca": self.ca_cert, "cert": self.client_cert, "key": self.client_key}
            # Traefik speaks TLS if there is anything in this table, and only then.
            found["tls"] = {
                "insecureSkipVerify": False,
                **{name: str(Path(file).absolute()) for name, file in files.items() if file},
            }
        return found


def parse_access(
    url: str,
    *,
    username: str = "",
    password: str = "",
    ca_cert: str = "",
    client_cert: str = "",
    client_key: str = "",
) -> Access:
    """What the options of ``c.RedisStore`` mean together.

    Raises:
        StoreError: they make no sense. The message never shows the URL, which may hold a password.
    """
    for option, value in {
        "url": url,
        "username": username,
        "password": password,
        "ca_cert": ca_cert,
        "client_cert": client_cert,
        "client_key": client_key,
    }.items():
        _check_text(option, value)
    form = "redis://host:port/database, or with rediss:// for TLS"
    if "," in url:
        raise StoreError(
            "c.RedisStore.url must be one server: Traefik's redis provider takes exactly one"
        )
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or _PORT
    except ValueError:
        raise StoreError(f"c.RedisStore.url must be {form}") from None
    if "@" in parts.netloc:
        raise StoreError(
            "c.RedisStore.url must hold no user and no password: these are "
            "c.RedisStore.username and c.RedisStore.password"
        )
    database = parts.path.strip("/") or "0"
    if (
        not host
        or parts.scheme not in ("redis", "rediss")
        or not re.fullmatch("[0-9]{1,9}", database)
        or parts.query
        or parts.fragment
    ):
        raise StoreError(f"c.RedisStore.url must be {form}")
    if username and not password:
        raise StoreError("c.RedisStore.username is set, but c.RedisStore.password is not")
    secure = parts.scheme == "rediss"
    if not secure and (ca_cert or client_cert or client_key):
        raise StoreError(
            "c.RedisStore.ca_cert, .client_cert and .client_key need a c.RedisStore.url that "
            "begins with rediss://"
        )
    if bool(client_cert) != bool(client_key):
        raise StoreError("c.RedisStore.client_cert and c.RedisStore.client_key need each other")
    return Access(
        host, port, int(database), secure, username, password, ca_cert, client_cert, client_key
    )


def _check_text(option: str, value: str) -> None:
    """Refuse what can't be sent, or written for Traefik, without showing it.

    Raises:
        StoreError: it holds half of a character, as Python makes of bytes that are no UTF-8.
    """
    if re.search("[\ud800-\udfff]", value):
        raise StoreError(
            f"c.RedisStore.{option} holds something that is no Unicode; is what it was read from "
            "no UTF-8?"
        )


def check_tls_files(access: Access) -> None:
    """See that they hold certificates and keys.

    Raises:
        StoreError: a file can't be read, or doesn't hold what it should.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if access.ca_cert:
        try:
            context.load_verify_locations(access.ca_cert)
        except OSError as error:  # SSLError is one
            raise StoreError(f"c.RedisStore.ca_cert: {_told(error, access.ca_cert)}") from error
    if access.client_cert:
        try:
            context.load_cert_chain(access.client_cert, access.client_key)
        except OSError as error:
            files = f"{access.client_cert}, {access.client_key}"
            raise StoreError(
                f"c.RedisStore.client_cert, .client_key: {_told(error, files)}"
            ) from error


def _told(error: OSError, files: str) -> str:
    return f"{files}: {error.strerror or error}"


def check_prefix(prefix: str) -> None:
    """Refuse what has a meaning to Redis.

    Traefik puts its ``rootKey`` into patterns, as it is. With such a character in it, it reads
    other keys, or none.

    Raises:
        StoreError: the prefix holds such a character, or something that is no Unicode.
    """
    _check_text("prefix", prefix)
    if found := sorted(set(prefix) & set("*?[]\\")):
        raise StoreError(
            f"c.RedisStore.prefix = {prefix!r} holds {' '.join(found)}, which Traefik's redis "
            "provider takes for patterns"
        )
