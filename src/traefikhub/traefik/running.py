"""Which Traefik runs for a run directory: kept in a file, so that the next Hub finds it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import psutil

from traefikhub.traefik.handles import birth_of
from traefikhub.traefik.rundir import write_private

__all__ = ["Known", "fingerprint", "forget", "is_noted", "known", "remember", "strays"]

_NAME: Final = "traefik.pid.json"
_NO_PID: Final = 1 << 31


@dataclass(frozen=True, slots=True)
class Known:
    """A Traefik that was started for this directory.

    birth: tells it from a later process with its id.
    fingerprint: of all that it was started with; "" if it was told to stop, or nobody knows.
    ports: where it listens, as far as is known.
    """

    pid: int
    birth: str
    fingerprint: str
    ports: tuple[int, ...] = ()


def fingerprint(*parts: str, env: Mapping[str, str]) -> str:
    """What differs if a Traefik that runs can't stand for one that would be started now."""
    text = json.dumps([parts, sorted(env.items())])
    return hashlib.sha256(text.encode()).hexdigest()


def remember(run_dir: Path, processes: Sequence[Known]) -> None:
    """Keep these, and only these. Blocks for a millisecond.

    Raises:
        TraefikUnusable: they can't be written.
    """
    write_private(run_dir / _NAME, json.dumps([asdict(each) for each in processes]))


def forget(run_dir: Path) -> None:
    """There is none. Idempotent."""
    (run_dir / _NAME).unlink(missing_ok=True)


def known(run_dir: Path) -> list[Known]:
    """What was kept; some may have ended since. A file that was edited holds none."""
    found: list[Known] = []
    with suppress(OSError, ValueError, RecursionError):
        entries = json.loads((run_dir / _NAME).read_text())
        for entry in entries if isinstance(entries, list) else []:
            match entry:
                case {
                    "pid": int(pid),
                    "birth": str(birth),
                    "fingerprint": str(mark),
                    "ports": list(ports),
                } if birth and 1 < pid < _NO_PID:
                    numbers = tuple(port for port in ports if isinstance(port, int))
                    found.append(Known(pid, birth, mark, numbers))
    return found


def is_noted(run_dir: Path) -> bool:
    """Whether anything was kept, and nobody removed it."""
    return (run_dir / _NAME).exists()


def strays(config_file: Path) -> list[Known]:
    """Processes of this user that were started with this static configuration, and that nobody
    kept: the Hub was killed in the millisecond before. Blocks, for as long as it takes to look at
    all processes."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        if command[1:] != [f"--configfile={config_file}"] or not _is_ours(process):
            continue
        if birth := birth_of(process.pid):
            found.append(Known(process.pid, birth, "", _ports(process)))
    return found


def _ports(process: psutil.Process) -> tuple[int, ...]:
    try:
        sockets = process.net_connections("tcp")
    except (psutil.Error, OSError, RuntimeError, ValueError):  # the last two: lines it can't read
        return ()
    return tuple({each.laddr.port for each in sockets if each.status == psutil.CONN_LISTEN})


def _is_ours(process: psutil.Process) -> bool:
    try:
        return bool(process.uids().effective == os.geteuid())
    except psutil.Error:
        return False
