"""What redis answers, as an error that names what mends it."""

from __future__ import annotations

import re
from typing import Final

from traefikhub.stores import StoreError, StoreUnavailable

from traefikhub_redis._access import Access

__all__ = ["LacksRight", "error_of", "is_known"]

_LOGIN: Final = "(c.RedisStore.username, .password)"

_NO_RIGHT: Final = "NOPERM|ACL failure|user executing the script can't"

_MENDS: Final = {
    "NOAUTH|Authentication required": f"it asks for a password {_LOGIN}",
    "WRONGPASS|invalid (username-)?password": f"{{user}} is refused: wrong password, unknown, or "
    f"off {_LOGIN}",
    "without any password": "it has no password; set none (c.RedisStore.password), or set one in "
    "redis.conf (requirepass)",
    _NO_RIGHT: "{user} lacks a right; "
    "the ACL rules that suffice are in the README of traefikhub-redis (c.RedisStore.username, "
    ".prefix)",
    "READONLY": "it is a read-only replica; c.RedisStore.url must name its primary",
    "LOADING": "it is still reading its data from the disk; it will answer when it has",
    "MASTERDOWN": "it is a replica without its primary; c.RedisStore.url must name a primary",
    "MISCONF": "it takes no writes, because it can't write to its disk: see its log, and whether "
    "the disk is full",
    "OOM": "its memory is full: raise maxmemory (redis-cli CONFIG SET maxmemory ..., and the same "
    "in redis.conf), or remove keys",
    "NOREPLICAS": "it wants more replicas before it takes writes (min-replicas-to-write)",
    "BUSY": "another script keeps it busy (redis-cli SCRIPT KILL ends that)",
    "DENIED": "it is in protected mode and takes clients of its own machine only: set a password, "
    "or bind it to that address (see redis.conf: protected-mode, bind)",
    "max number of clients": "it has as many clients as it takes (maxclients in redis.conf)",
}
"""By what redis' answer begins with, or holds, as regular expressions. Within scripts, older
versions of redis put the code behind words of their own, or leave it out."""

_CLUSTER: Final = (
    "it is a Redis Cluster, which spreads keys over servers; Traefik's redis provider reads one. "
    "Use one server that is no cluster (cluster-enabled no)"
)


class LacksRight(StoreUnavailable):
    """The user may not do that."""


def is_known(answer: str) -> bool:
    """Whether there is more to say of an error than redis does."""
    return _mend(answer) is not None


def _mend(answer: str) -> str | None:
    for sign, mend in _MENDS.items():
        if re.search(rf"(^|\W)({sign})\b", answer):
            return mend
    return None


def error_of(answer: str, access: Access) -> StoreError:
    """The error to raise for an error of redis.

    Unavailable means that it may have happened, and that it may succeed later; only what is
    certain to have changed nothing is anything else.
    """
    told = f"{access.where}: {_without_script(answer)}"
    if re.search(r"\b(MOVED|ASK|CROSSSLOT|CLUSTERDOWN)\b", answer):
        return StoreError(f"{access.where}: {_CLUSTER}")
    if "DB index" in answer or "SELECT is not allowed" in answer:
        return StoreError(f"{told}: it has no such database (the number in c.RedisStore.url)")
    if mend := _mend(answer):
        kind = LacksRight if mend == _MENDS[_NO_RIGHT] else StoreUnavailable
        return kind(f"{told}: {mend.format(user=access.user)}")
    return StoreUnavailable(told)


def _without_script(answer: str) -> str:
    """Without what redis adds about the script, and without what was sent."""
    text = re.sub(
        r",? *(script: *)?([0-9a-f]{40},? *)?on @user_script.*", "", answer, flags=re.DOTALL
    )
    text = re.sub(r",? with args beginning with.*", "", text, flags=re.DOTALL)
    return text.strip().rstrip(".")[:300]
