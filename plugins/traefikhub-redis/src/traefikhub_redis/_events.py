"""Keep redis from telling Traefik of every key that changes.

Traefik listens to redis' keyspace events. At each it reads all keys, twice; in pieces, so that it
may show a new generation marker without the routes that came with it (see the README). This store
publishes one message for each transaction instead, on a channel to which Traefik listens, and sees
to it that redis publishes none.
"""

from __future__ import annotations

import secrets
import time
from typing import Any, Final

import redis.exceptions
from traefikhub.stores import StoreError

from traefikhub_redis._client import Client, if_permitted

__all__ = ["MESSAGE", "are_loud", "channel", "keep_quiet", "require_quiet"]

MESSAGE: Final = "routes"
"""What is published. Traefik reads no matter what, unless it is the name of certain events."""

_END: Final = "end"

_PATIENCE: Final = 5.0
"""Seconds in which a message arrives."""

_SETTING: Final = "notify-keyspace-events"

_TURN_OFF: Final = (
    f"\"redis-cli CONFIG SET {_SETTING} ''\", and the line \"{_SETTING} ''\" in redis.conf"
)

_WHY: Final = (
    "At each event Traefik reads all keys twice, for seconds if there are many, and may show "
    "routes as live that are not; this store tells it once for each change."
)


def channel(db: int, key: str) -> str:
    """Where events of a key are published."""
    return f"__keyspace@{db}__:{key}"


def are_loud(events: str) -> bool:
    """Whether these ``notify-keyspace-events`` reach Traefik when a route's key is put or deleted:
    by the key's name (K), of texts ($) or of deletes (g), or of all (A)."""
    return "K" in events and bool(set(events) & set("Ag$"))


def require_quiet(client: Client, prefix: str, *, turn_off: bool) -> None:
    """See to it that redis publishes nothing when keys below the prefix change, and that Traefik,
    which gets the same user, may not change that.

    Raises:
        StoreError: it is otherwise, and ``turn_off`` doesn't allow to change it.
        StoreUnavailable: the server can't be reached, or refuses this user.
    """
    events = events_of(client)
    # The same value again: nothing changes, but it shows whether Traefik may.
    may_set = events is not None and _set(client, events)
    if turn_off:
        if not may_set:
            raise StoreError(
                f"{client.where}: {client.user} may not CONFIG SET {_SETTING}. Set "
                "c.RedisStore.turn_off_events = False: then that is just right"
            )
        keep_quiet(client)
    elif may_set:
        raise StoreError(
            f"{client.where}: {client.user}, which Traefik gets as well, may CONFIG SET "
            f"{_SETTING}; Traefik would, and turn all events on. {_WHY} Give c.RedisStore.username "
            "and .password of a user with the rights in the README of traefikhub-redis (ACL "
            "SETUSER). Or, if nobody on this server needs such events, let the store turn them "
            "off: c.RedisStore.turn_off_events = True"
        )
    if client.call(lambda redis: _hears(redis, prefix)):
        raise StoreError(
            f"{client.where} publishes an event for every key that changes ({_SETTING}"
            f"{f' {events}' if events else ''}). {_WHY} Turn them off by {_TURN_OFF}"
        )


def keep_quiet(client: Client) -> None:
    """Turn events off if Traefik has turned them on."""
    if are_loud(events_of(client) or ""):
        _set(client, "")


def events_of(client: Client) -> str | None:
    """What is set; None if this user may not ask.

    Raises:
        as ``Client.call``.
    """

    def ask(client: Any) -> str | None:
        found = if_permitted(lambda: client.config_get(_SETTING))
        return None if found is None else str(dict(found).get(_SETTING, ""))

    return client.call(ask)


def _set(client: Client, events: str) -> bool:
    return client.call(lambda it: if_permitted(lambda: it.config_set(_SETTING, events))) is not None


def _hears(client: Any, prefix: str) -> bool:
    """Whether events reach one who listens as Traefik does. Tried, for who may not ask for redis'
    settings, as a user of Traefik should not, can find out no other way."""
    key = f"{prefix}/jupyterhub/probe-{secrets.token_hex(8)}"
    with client.pubsub() as listener:
        listener.psubscribe(f"__keyspace*:{prefix}*")
        _next(listener, "psubscribe", b"")
        client.set(key, "", ex=60)
        client.delete(key)
        client.publish(channel(0, key), _END)  # comes after all that was published before
        first: bytes = _next(listener, "pmessage", key.encode())["data"]
        return first != _END.encode()


def _next(listener: Any, kind: str, key: bytes) -> Any:
    """The next message of this kind that is about this key."""
    deadline = time.monotonic() + _PATIENCE
    while (left := deadline - time.monotonic()) > 0:
        message = listener.get_message(timeout=left)
        if message and message["type"] == kind and bytes(message["channel"]).endswith(key):
            return message
    raise redis.exceptions.TimeoutError("no answer")
