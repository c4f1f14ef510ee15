"""Calls to one redis server, from a thread: repeated while there is time, and ended by ``close``.

redis-py has an asyncio client, too. But a load of ten thousand routes takes it tenths of a second
in which nothing else of the Hub would run, and so does a large batch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import redis
import redis.backoff
import redis.exceptions
import redis.retry
from traefikhub.stores import StoreError, StoreUnavailable

from traefikhub_redis._access import Access
from traefikhub_redis._checks import SETTINGS, Facts
from traefikhub_redis._errors import error_of, is_known
from traefikhub_redis._scripts import Script

__all__ = ["Client", "if_permitted"]

_T = TypeVar("_T")

_PAUSE: Final = 0.1
"""Seconds between two attempts to reach a server."""

_CODES: Final = {
    redis.exceptions.AskError: "ASK",
    redis.exceptions.BusyLoadingError: "LOADING",
    redis.exceptions.ClusterCrossSlotError: "CROSSSLOT",
    redis.exceptions.ClusterDownError: "CLUSTERDOWN",
    redis.exceptions.MasterDownError: "MASTERDOWN",
    redis.exceptions.MovedError: "MOVED",
    redis.exceptions.NoPermissionError: "NOPERM",
    redis.exceptions.OutOfMemoryError: "OOM",
    redis.exceptions.ReadOnlyError: "READONLY",
}
"""What redis-py cuts off from what redis said."""

_TO_BE_REPEATED: Final = (
    redis.exceptions.ConnectionError,
    redis.exceptions.BusyLoadingError,
)


class Client:
    """A client of one server.

    Args:
        access: where it is, and who asks.
        timeout: seconds after which an answer is waited for no longer, and the time in which
            calls are repeated.
    """

    def __init__(self, access: Access, timeout: float) -> None:
        self._access = access
        self._timeout = timeout
        self._closed = False
        options: dict[str, Any] = {}
        if access.secure:
            options = {
                "ssl": True,
                "ssl_ca_certs": access.ca_cert or None,
                "ssl_certfile": access.client_cert or None,
                "ssl_keyfile": access.client_key or None,
                "ssl_check_hostname": True,
            }
        self._redis = redis.Redis(
            host=access.host,
            port=access.port,
            db=access.db,
            username=access.username or None,
            password=access.password or None,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            socket_keepalive=True,
            # It would send again, and wait in between, for longer than its caller may.
            retry=redis.retry.Retry(redis.backoff.NoBackoff(), 0),
            protocol=2,
            **options,
        )

    @property
    def where(self) -> str:
        """For messages."""
        return self._access.where

    @property
    def user(self) -> str:
        """For messages."""
        return self._access.user

    def close(self) -> None:
        """Close the connection; a call that is on its way fails. Idempotent."""
        self._closed = True
        self._redis.connection_pool.disconnect(inuse_connections=True)

    def run(self, script: Script, keys: Sequence[bytes], arguments: Sequence[bytes]) -> Any:
        """What a script returns. It may be sent, and happen, more than once.

        Raises:
            StoreUnavailable: the server didn't answer in time, or refused.
            StoreError: it is none that can hold routes.
        """

        def call(client: Any) -> Any:
            try:
                return client.evalsha(script.sha, len(keys), *keys, *arguments)
            except redis.exceptions.NoScriptError:
                # It forgets them when it is restarted, and by SCRIPT FLUSH.
                return client.eval(script.text, len(keys), *keys, *arguments)

        return self.call(call)

    def get(self, key: bytes) -> bytes | None:
        """The value of a key; None if it is absent, or no text but a list or so.

        Raises:
            as ``run``.
        """
        found: list[bytes | None] = self.call(lambda client: client.mget([key]))
        return found[0]

    def delete(self, key: bytes) -> None:
        """Delete a key; an absent one is no error.

        Raises:
            as ``run``.
        """
        self.call(lambda client: client.delete(key))

    def facts(self) -> Facts:
        """What the server tells of itself.

        Raises:
            as ``run``.
        """

        def ask(client: Any) -> Facts:
            return Facts(
                if_permitted(lambda: _info(client)), if_permitted(lambda: _settings(client))
            )

        return self.call(ask)

    def call(self, work: Callable[[Any], _T]) -> _T:
        """What ``work`` returns, given redis-py's client, whose types differ between versions.

        It may happen more than once, unless it ends by an error that redis told.

        Raises:
            as ``run``.
        """
        begun = time.monotonic()
        deadline = begun + self._timeout
        while not self._closed:
            try:
                return work(self._redis)
            except redis.exceptions.AuthenticationError as error:  # a ConnectionError, to redis-py
                raise error_of(_answer(error), self._access) from error
            except _TO_BE_REPEATED as error:
                if not self._closed and time.monotonic() + _PAUSE > deadline:
                    raise self._unreachable(error, begun) from error
            except redis.exceptions.TimeoutError as error:
                if not self._closed:
                    raise self._unreachable("no answer", begun) from error
            except redis.exceptions.RedisError as error:
                raise error_of(_answer(error), self._access) from error
            except Exception:
                # redis-py's own confusion at a connection that ``close`` took from under it.
                if not self._closed:
                    raise
            if not self._closed:
                time.sleep(_PAUSE)
        raise StoreUnavailable(f"{self._access.where}: the store was closed")

    def _unreachable(self, why: object, begun: float) -> StoreError:
        if isinstance(why, redis.exceptions.RedisError) and is_known(_answer(why)):
            return error_of(_answer(why), self._access)
        tls = ", .ca_cert, .client_cert" if self._access.secure else ""
        return StoreUnavailable(
            f"{self._access.where} could not be used within {time.monotonic() - begun:.1f} s "
            f"(c.RedisStore.url, .timeout{tls}): {why}"
        )


def _answer(error: redis.exceptions.RedisError) -> str:
    """What redis said, with its code."""
    code, text = _CODES.get(type(error)), str(error)
    return text if code is None or text.startswith(code) else f"{code} {text}"


def if_permitted(ask: Callable[[], _T]) -> _T | None:
    """What redis answers; None if this user may not ask."""
    try:
        return ask()
    except redis.exceptions.NoPermissionError:
        return None
    except redis.exceptions.ResponseError as error:
        # Some who run redis for others take CONFIG away altogether.
        if "unknown command" in str(error).lower():
            return None
        raise


def _info(client: Any) -> dict[str, str]:
    return {str(name): str(value) for name, value in dict(client.info()).items()}


def _settings(client: Any) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in SETTINGS:  # several at once only since version 7
        for key, value in dict(client.config_get(name)).items():
            found[_text(key)] = _text(value)
    return found


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
