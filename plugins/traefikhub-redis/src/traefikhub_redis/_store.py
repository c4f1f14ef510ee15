"""The redis store: routes in a Redis or Valkey server, for hubs with Traefik on many machines."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Sequence
from typing import Any, Final

from traefikhub.stores import (
    Change,
    Changed,
    Document,
    Guard,
    KeyValueStore,
    RecordRefused,
    StoreError,
    StoreUnavailable,
    in_thread,
    is_private,
)
from traitlets import Bool, Unicode

from traefikhub_redis._access import Access, check_prefix, check_tls_files, parse_access
from traefikhub_redis._checks import refusals, unchecked, warnings
from traefikhub_redis._client import Client
from traefikhub_redis._errors import LacksRight
from traefikhub_redis._events import MESSAGE, channel, keep_quiet, require_quiet
from traefikhub_redis._scripts import READ, STATE, WRITE

__all__ = ["RedisStore"]

_LAST: Final = "jupyterhub/transaction"
"""The key below the prefix that holds the name of the newest transaction."""

_NO_TEXT: Final = "surrogateescape"
"""How bytes that are no UTF-8 are read, and written again."""

_MOST_CHANGES: Final = 200_000
"""In one script: a quarter of a second, in which redis does nothing else."""

_MOST_BYTES: Final = 64_000_000

_SCRATCH: Final = ("scratch", "try")
"""What a scratch prefix begins with: the first one that begins with another letter than the prefix.
"""


class RedisStore(KeyValueStore):
    """Routes and Traefik's dynamic configuration in Redis 6.2 or Valkey 7.2, or later."""

    provider_name = "redis"
    server = "Redis 6.2 or Valkey 7.2, or later"

    url = Unicode(
        "redis://127.0.0.1:6379/0",
        help="""The server, as ``redis://host:port/database``, or ``rediss://`` for TLS. One only,
        for Traefik's redis provider takes no more, and no cluster. Give routes a database, better
        a server, of their own: Traefik looks at every key of the database at every change.""",
    ).tag(config=True)

    username = Unicode(
        help="""The ACL user, for the Hub and for Traefik; empty for redis' user ``default``. The
        rules that it needs are in the README of traefikhub-redis. It should not have the right to
        ``CONFIG SET``: Traefik would use it, and be slow.""",
    ).tag(config=True)

    password = Unicode(help="The password of ``username``.").tag(config=True)

    ca_cert = Unicode(
        help="""A PEM file with the certificate authorities that vouch for redis, for a ``rediss``
        URL. By default those that this machine trusts.""",
    ).tag(config=True)

    client_cert = Unicode(
        help="A PEM file with the certificate that redis asks of its clients, if it does.",
    ).tag(config=True)

    client_key = Unicode(help="The PEM file with the key of ``client_cert``.").tag(config=True)

    turn_off_events = Bool(
        False,
        help="""Whether to set redis' ``notify-keyspace-events`` to none, for all who use the
        server, whenever Traefik has turned them on. For a server without ACL users, of which
        nobody else needs them. A user without the right to ``CONFIG SET`` is better: Traefik
        can't turn them on then.""",
    ).tag(config=True)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._client: Client | None = None
        self._where = "redis"
        self._last = ""  # the newest transaction as of the newest answer
        self._seen_state = ""  # of the server, when it held what was read or written last

    @property
    def unguarded(self) -> str:
        """Without a password or a certificate redis can only have let everybody in."""
        return "" if self.password or self.client_cert else "c.RedisStore.password is not set"

    def provider_config(self) -> dict[str, Document]:
        """The same server, user and files for Traefik's redis provider."""
        options: dict[str, Any] = self._access().traefik()
        return {"redis": {"rootKey": self.prefix, **options}}

    def check_value(self, path: str, value: str) -> None:
        """Traefik's redis provider passes over empty values."""
        if not value and not is_private(path.partition("/")[0]):
            raise RecordRefused(
                f"{path}: Traefik's redis provider takes an empty value for an absent key (to hide "
                "a header of an answer, let its value be one blank)"
            )

    @property
    def transaction_limit(self) -> int:
        """Redis has none; but it does nothing else meanwhile."""
        return _MOST_CHANGES

    @property
    def transaction_bytes(self) -> int:
        """Redis takes a gigabyte, for a moment twice in its memory."""
        return _MOST_BYTES

    async def connect(self, *, read_only: bool) -> None:
        """Prove that the server answers, and look at its settings unless ``read_only``."""
        await self.disconnect()
        self._last = self._seen_state = ""
        check_prefix(self.prefix)
        access = self._access()
        self._where = access.where
        # In a thread: files are read.
        await in_thread(check_tls_files, access)
        self._client = Client(access, self.timeout)
        await in_thread(self._prove, self._client, read_only)

    async def disconnect(self) -> None:
        """Close the connection."""
        client, self._client = self._client, None
        if client:
            await in_thread(client.close)

    def scratch_prefix(self, name: str) -> str:
        """One and the same each time, for a user's rights can name nothing else: Traefik listens by
        a pattern that they must hold literally. It doesn't begin with the prefix: all that does is
        heard by the Hub's own Traefik, which would read everything."""
        word = next(each for each in _SCRATCH if each[0] != self.prefix[0])
        return f"{word}-{self.prefix}"

    async def erase(self) -> None:
        """The name of the newest transaction, too."""
        await super().erase()
        await self.connect(read_only=True)
        try:
            await in_thread(self._connected().delete, self._key(_LAST))
        finally:
            await self.disconnect()

    async def read_all(self) -> dict[str, str]:
        """Everything below the prefix, by one script."""
        return await in_thread(self._read_all, self._connected())

    async def read_changed(self) -> Changed | None:
        """Nothing, if nobody has changed any key on the server; else nobody can tell."""
        return await in_thread(self._read_changed, self._connected())

    async def read_value(self, path: str) -> str | None:
        """By one read."""
        return await in_thread(self._read_value, self._connected(), path)

    async def transact(self, changes: Sequence[Change], guard: Guard | None) -> bool:
        """One script, sent again if there is no answer."""
        # A write that has begun is seen through: cancelling waits for it.
        return await in_thread(self._transact, self._connected(), changes, guard)

    def _access(self) -> Access:
        return parse_access(
            self.url,
            username=self.username,
            password=self.password,
            ca_cert=self.ca_cert,
            client_cert=self.client_cert,
            client_key=self.client_key,
        )

    def _connected(self) -> Client:
        if self._client is None:
            raise StoreError("RedisStore is not open")
        return self._client

    def _key(self, path: str) -> bytes:
        return _bytes(f"{self.prefix}/{path}")

    # --- in a thread -------------------------------------------------------------------------

    def _prove(self, client: Client, read_only: bool) -> None:
        try:
            self._look(client, read_only)
        except LacksRight as error:
            raise LacksRight(
                f"{error}. Those to keys and channels: redis-cli ACL SETUSER "
                f"{self.username or 'default'} '~{self.prefix}*' '&__keyspace*:{self.prefix}*'"
            ) from error

    def _look(self, client: Client, read_only: bool) -> None:
        client.get(self._key(_LAST))
        if read_only:
            return
        facts = client.facts()
        if why := next(refusals(facts), None):
            raise StoreError(f"{self._where}: {why}")
        require_quiet(client, self.prefix, turn_off=self.turn_off_events)
        for text in unchecked(facts):
            self.log.info("%s: can't see %s", self._where, text)
        for text in warnings(facts):
            self.log.warning("%s: %s", self._where, text)

    def _read_value(self, client: Client, path: str) -> str | None:
        found = client.get(self._key(path))
        return None if found is None else found.decode(errors=_NO_TEXT)

    def _read_all(self, client: Client) -> dict[str, str]:
        state, pages = client.run(READ, [], [self._key("*")])
        start = len(self.prefix) + 1
        flat: dict[str, str] = {}
        for page in pages:
            # What is no text (a list, a hash) is nothing to Traefik, too.
            for key, value in zip(*json.loads(page.decode(errors=_NO_TEXT)), strict=True):
                if value is not False:
                    flat[key[start:]] = value
        self._last = flat.pop(_LAST, "")
        self._seen_state = state.decode()
        return flat

    def _read_changed(self, client: Client) -> Changed | None:
        state = client.run(STATE, [], []).decode()
        return Changed({}, None) if state and state == self._seen_state else None

    def _transact(self, client: Client, changes: Sequence[Change], guard: Guard | None) -> bool:
        """Make the changes once, however often they are sent.

        A server that was frozen carries out what it had got before, after newer ones that came by
        another connection; the guard would let that pass, for the owner is the same. So each
        transaction writes its name, and happens only while the name of the one before it stands
        there. That is also how a repeated one finds that it has happened.
        """
        puts = [(path, value) for path, value in changes if value is not None]
        deletes = [path for path, value in changes if value is None]
        paths = [_LAST, guard.path if guard else _LAST, *(path for path, _ in puts), *deletes]
        keys = [self._key(path) for path in paths]
        values = [_bytes(value) for _, value in puts]
        message = [channel(self._access().db, f"{self.prefix}/{_LAST}"), MESSAGE]
        if self.turn_off_events:
            keep_quiet(client)
        name = secrets.token_hex(8)
        deadline = time.monotonic() + self.timeout
        while True:
            guarded = [guard.value, "1"] if guard else ["", "0"]
            others = [name, *guarded, *message, str(len(puts))]
            told = [_bytes(each) for each in (self._last, *others)]
            done, last, found, before, after = client.run(WRITE, keys, [*told, *values])
            expected, self._last = self._last, last.decode(errors=_NO_TEXT)
            if done:
                # What others did before it is not in what was read.
                known = before.decode() == self._seen_state
                self._seen_state = after.decode() if known else ""
                return True
            if guard and found != _bytes(guard.value):
                return False
            if guard or time.monotonic() > deadline:
                raise StoreUnavailable(
                    f"{self._where}: {self.prefix}/ was changed by transaction "
                    f"{self._last!r} after {expected!r}, probably an earlier "
                    "one of this store whose answer was lost. This one was not made; load, and "
                    "try again."
                )
            # Who takes over does so whatever was last.


def _bytes(text: str) -> bytes:
    return text.encode(errors=_NO_TEXT)
