"""What limits how soon a route is live, and what to do about it. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any, Final

from traefikhub.cli._bench_values import Machine, Result, Table

__all__ = ["Finding", "Limit", "shown", "summary", "verdict"]

_NOTICED: Final = 0.1
"""Seconds below which nobody notices."""

_SHARE: Final = 0.3
"""A part that takes less of the whole isn't worth a word, beside the largest."""

_LITTLE_MEMORY: Final = 0.05
_SUPER_LINEAR: Final = 2_000
"""Routes from which Traefik's key-value providers grow with the square of their number."""


class Limit(str, Enum):
    """Who is to blame."""

    MACHINE = "machine"
    STORE = "store"
    RELOAD = "reload"
    THROTTLE = "throttle"
    HUB = "hub"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that limits.

    share: of the time to live of a route, from 0 to 1; None if it can't be told.
    why: with the numbers that show it.
    advice: what to do.
    """

    limit: Limit
    share: float | None
    why: str
    advice: str

    def as_json(self) -> dict[str, Any]:
        """For scripts."""
        return asdict(self) | {"limit": self.limit.value}


def shown(seconds: float) -> str:
    """A time for people."""
    if seconds >= 1:
        return f"{seconds:.2f} s"
    return f"{1e3 * seconds:.0f} ms" if seconds >= 0.1 else f"{1e3 * seconds:.1f} ms"


def verdict(result: Result) -> list[Finding]:
    """What limits, as the largest table shows it: a machine that had other work first, for it makes
    all else doubtful; then the parts of the whole, the largest first."""
    found = _of_machine(result.machine)
    if not result.tables:
        return found
    table = max(result.tables, key=lambda each: each.routes)
    waited = min(result.throttle, table.reload.median)
    parts = {
        Limit.STORE: table.store.median,
        Limit.THROTTLE: waited,
        Limit.RELOAD: table.reload.median - waited,
        Limit.HUB: table.hub.median,
    }
    ordered = sorted(parts, key=lambda each: parts[each], reverse=True)
    for limit in ordered:
        share = min(parts[limit] / table.live.median, 1.0)
        if limit is ordered[0] or share >= _SHARE:
            found.append(_finding(limit, share, result, table))
    return found


def summary(result: Result) -> str:
    """How soon a route is live, and whether anything needs to be done."""
    if not result.tables:
        return ""
    table = max(result.tables, key=lambda each: each.routes)
    told = (
        f"With {table.routes} routes, a new one is live after {shown(table.live.median)} "
        f"({shown(table.live.worst)} at worst), and {table.burst.routes} at once after "
        f"{shown(table.burst.all.median)}."
    )
    if max(table.live.median, table.burst.all.median) < _NOTICED:
        told += " Nobody notices that; nothing needs to be done. What limits it all the same:"
    return told


def _of_machine(machine: Machine) -> list[Finding]:
    found = []
    if machine.load > machine.cores:
        found.append(
            Finding(
                Limit.MACHINE,
                None,
                f"The machine was busy before anything was measured: a load of {machine.load:.1f} "
                f"on {_cores(machine.cores)}. All times here are longer than they could be.",
                "Measure again at a quiet hour. If the load is always like that, move other work "
                "away from the Hub's machine, or give it more cores.",
            )
        )
    if machine.memory_free < _LITTLE_MEMORY * machine.memory:
        found.append(
            Finding(
                Limit.MACHINE,
                None,
                f"The machine has little memory left: {machine.memory_free >> 20} of "
                f"{machine.memory >> 20} MiB.",
                "Give it more, or move other work away: what has to be fetched from the disk "
                "again is slow.",
            )
        )
    return found


def _finding(limit: Limit, share: float, result: Result, table: Table) -> Finding:
    why, advice = {
        Limit.STORE: _of_store,
        Limit.THROTTLE: _of_throttle,
        Limit.RELOAD: _of_reload,
        Limit.HUB: _of_hub,
    }[limit](result, table)
    return Finding(limit, share, why, advice)


def _of_store(result: Result, table: Table) -> tuple[str, str]:
    takes = (
        f"The store takes {shown(table.store.median)} of the {shown(table.live.median)} until a "
        f"route is live, with {table.routes} routes."
    )
    if result.round_trip and result.write:
        return _of_server(takes, result.round_trip.median, result.write.median, table)
    if result.fsync and result.write:
        return _of_disk(takes, result.fsync.median, result.write.median, table)
    return takes, "See what its server, or its disk, is busy with."


def _of_server(takes: str, trip: float, write: float, table: Table) -> tuple[str, str]:
    why = (
        f"{takes} While nothing else used its server, a write took {shown(write)}, and reading "
        f"a single key {shown(trip)}"
    )
    if trip > write / 2:
        why += ": most of it is the way there and back."
        advice = (
            "Have the store's server nearer to the Hub: in the same network, and the same zone. A "
            "server that is itself overloaded looks the same."
        )
    elif table.store.median < 3 * write:
        why += ": the difference is what the server needs to make it durable."
        advice = (
            "Give the store's server a faster disk, an SSD that it shares with nothing. etcd waits "
            "for an fsync on most of its members: 99 of 100 should take less than 10 ms (its "
            "metric etcd_disk_wal_fsync_duration_seconds)."
        )
    else:
        why += (
            ": the rest is its own work for so many routes, while Traefik reads all that is "
            "stored after each change."
        )
        advice = "Give the store's server processors that it needn't share."
    return why, advice


def _of_disk(takes: str, fsync: float, write: float, table: Table) -> tuple[str, str]:
    why = (
        f"{takes} While nothing else used the file, a write took {shown(write)}; to make 4 KiB "
        f"durable there (fsync) takes {shown(fsync)}"
    )
    if 2 * fsync > table.store.median / 2:
        why += ", and every write needs it twice."
        advice = (
            "Have the routes file on a local SSD (c.TomlFileStore.path); not on NFS, nor on a "
            "disk that other work keeps busy."
        )
    else:
        why += (
            ". The rest is the size of the file, and waiting for a processor: Traefik begins to "
            "read it before the write has ended."
        )
        advice = (
            "Give the machine more cores, and cull idle servers (jupyterhub-idle-culler), so that "
            "the file is smaller."
        )
    return why, advice


def _of_throttle(result: Result, table: Table) -> tuple[str, str]:
    why = (
        f"Traefik is told to wait {shown(result.throttle)} between two changes, and so takes "
        f"{shown(table.reload.median)} of the {shown(table.live.median)} until a route is live "
        "that soon follows another change."
    )
    advice = (
        "Set c.TraefikProxy.traefik_providers_throttle_duration (or providersThrottleDuration "
        "of your own static configuration) to '0s': changes come grouped already, so that it only "
        "delays logins."
    )
    return why, advice


def _of_reload(result: Result, table: Table) -> tuple[str, str]:
    small = min(result.tables, key=lambda each: each.routes)
    why = (
        f"Traefik's reload takes {shown(table.reload.median)} of the {shown(table.live.median)} "
        f"until a route is live, with {table.routes} routes"
    )
    if small is not table:
        why += f"; {shown(small.reload.median)} with {small.routes}"
    why += (
        f". For each it computes {shown(table.traefik_cpu)} (all cores together; the machine has "
        f"{_cores(result.machine.cores)})."
    )
    if table.traefik_cpu < (table.reload.median - result.throttle) / 2:
        why += " The rest it waits: for a processor that others have, or for the store."
    advice = (
        "Cull idle servers (jupyterhub-idle-culler), for it grows with the number of routes. More "
        "and faster cores for Traefik help as well."
    )
    if result.on_server and table.routes >= _SUPER_LINEAR:
        advice += (
            " With so many routes Traefik reads a file several times as fast as a key-value "
            'server: c.TraefikProxy.store = "toml-file" if Hub and Traefik share a machine.'
        )
    return why, advice


def _of_hub(result: Result, table: Table) -> tuple[str, str]:
    why = (
        f"The Hub's own process takes {shown(table.hub.median)} of the {shown(table.live.median)} "
        f"until a route is live, with {table.routes} routes."
    )
    advice = (
        "Give the Hub's machine a faster processor, and two cores at least, for Traefik computes "
        f"at the same time (here: {_cores(result.machine.cores)})."
    )
    return why, advice


def _cores(count: int) -> str:
    return f"{count} core" if count == 1 else f"{count} cores"
