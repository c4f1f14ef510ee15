"""What of a server's settings is fit for routes, and what mends the rest. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

__all__ = ["SETTINGS", "Facts", "refusals", "unchecked", "warnings"]

SETTINGS: Final = ("appendonly", "appendfsync")
"""What is asked by ``CONFIG GET``."""


_LOST: Final = {"everysec": "the last second or two", "no": "half a minute"}
"""By ``appendfsync``."""

_NO_EVICTION: Final = (
    'Mend it by "redis-cli CONFIG SET maxmemory-policy noeviction" and the line '
    '"maxmemory-policy noeviction" in redis.conf'
)


@dataclass(frozen=True, slots=True)
class Facts:
    """What a server tells of itself.

    info: of ``INFO``; None if this user may not ask.
    settings: those of ``SETTINGS``, by ``CONFIG GET``; None if this user may not ask.
    """

    info: Mapping[str, str] | None
    settings: Mapping[str, str] | None

    def has(self, name: str, *values: str) -> bool:
        """Whether ``INFO`` is known to say one of these."""
        return self.info is not None and self.info.get(name) in values


def refusals(facts: Facts) -> Iterator[str]:
    """Why routes can't be written here."""
    if facts.has("cluster_enabled", "1"):
        yield (
            "it is a Redis Cluster, which spreads keys over servers; Traefik's redis provider "
            "reads one. Use one server that is no cluster (cluster-enabled no)"
        )
    if facts.has("role", "slave"):
        yield (
            "it is a replica; c.RedisStore.url must name its primary "
            f"({facts.info and facts.info.get('master_host')}:"
            f"{facts.info and facts.info.get('master_port')})"
        )
    if (policy := _cache_policy(facts)) and not facts.has("maxmemory", "0"):
        yield (
            f"when its memory is full it removes any key, routes too (maxmemory-policy {policy}). "
            f"{_NO_EVICTION}; or use a server that is no cache"
        )


def warnings(facts: Facts) -> Iterator[str]:
    """What is not as it should be; each with what mends it."""
    if (policy := _cache_policy(facts)) and facts.has("maxmemory", "0"):
        yield (
            "should its memory ever be limited (maxmemory), it would remove any key, routes too "
            f"(maxmemory-policy {policy}). {_NO_EVICTION}"
        )
    if facts.has("aof_enabled", "0"):
        yield (
            "it keeps no log of its writes (appendonly no): if it crashes, the routes of the last "
            'minutes, or all, are lost. Mend it by "redis-cli CONFIG SET appendonly yes" and the '
            'lines "appendonly yes" and "appendfsync always" in redis.conf'
        )
    elif facts.settings and (how := facts.settings.get("appendfsync", "")) in _LOST:
        yield (
            f"it doesn't wait until its log of writes is on the disk (appendfsync {how}): if its "
            f"machine fails, the routes of {_LOST[how]} are lost. Mend it by "
            '"redis-cli CONFIG SET appendfsync always" and the line "appendfsync always" in '
            "redis.conf"
        )


def _cache_policy(facts: Facts) -> str:
    """By which redis removes any key when its memory is full; empty if it doesn't, or nobody
    knows."""
    policy = facts.info.get("maxmemory_policy", "") if facts.info else ""
    return policy if policy.startswith("allkeys-") else ""


def unchecked(facts: Facts) -> Iterator[str]:
    """What this user may not ask for."""
    if facts.info is None:
        yield (
            "whether it is a primary, no cluster, keeps a log of its writes, and never evicts keys "
            "(no right to INFO)"
        )
    if facts.settings is None:
        yield (
            "how soon its log of writes reaches the disk (appendfsync, which should be always; no "
            "right to CONFIG GET)"
        )
