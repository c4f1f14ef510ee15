"""Who uses a hub's directory now: a Hub that runs, a Traefik of its own. Changes nothing there."""

from __future__ import annotations

import fcntl
import os
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from traefikhub.session._process import config_file_of
from traefikhub.session._settings import SessionSettings
from traefikhub.traefik import TraefikUnusable
from traefikhub.traefik.handles import birth_of
from traefikhub.traefik.rundir import RunDir, require_appendable
from traefikhub.traefik.running import Known, known, strays

__all__ = ["Standing", "require_writable", "standing_of"]


@dataclass(frozen=True, slots=True)
class Standing:
    """What runs for a configuration.

    hub: the process id of the Hub that has the run directory, as a text; empty if none has it.
    traefik: its Traefik, or one that an earlier Hub left. The one that serves stands first.
    problem: why the run directory can't be used; empty if it can.
    """

    hub: str
    traefik: tuple[Known, ...]
    problem: str

    @property
    def ports(self) -> frozenset[int]:
        """Where its own Traefik listens."""
        return frozenset(port for each in self.traefik for port in each.ports)


def standing_of(settings: SessionSettings) -> Standing:
    """What runs, and whether the run directory can be used as a start uses it. Blocks for some
    milliseconds.

    If no Hub runs, the directory is locked and unlocked again, within a millisecond.
    """
    run_dir = RunDir(settings.run_dir)
    made = _absent(run_dir.path)
    hub = problem = ""
    try:
        run_dir.acquire()
    except TraefikUnusable as error:
        hub = _holder(run_dir.path / "lock")
        problem = "" if hub else str(error)
    finally:
        run_dir.unlock()
        _remove(made)
    processes = [each for each in known(run_dir.path) if birth_of(each.pid) == each.birth]
    found = processes or strays(config_file_of(settings, run_dir))
    return Standing(hub, tuple(found), problem)


def require_writable(settings: SessionSettings) -> None:
    """Refuse places for files in which nothing can be written. Leaves nothing there. Blocks.

    Raises:
        TraefikUnusable: naming the place and its setting.
    """
    run_dir = RunDir(settings.run_dir)
    _try_directory(run_dir.path, "c.TraefikProxy.run_dir")
    if settings.static_config_file:
        path = config_file_of(settings, run_dir)
        if not path.parent.is_dir():
            raise TraefikUnusable(
                f"{path} can't be written: there is no directory {path.parent} "
                "(c.TraefikProxy.static_config_file)"
            )
        _try_directory(path.parent, "c.TraefikProxy.static_config_file")
    if settings.access_log:
        log = run_dir.path / settings.access_log
        if log.exists():
            require_appendable(log, "c.TraefikProxy.access_log")
        else:
            _try_directory(log.parent, "c.TraefikProxy.access_log")


def _try_directory(path: Path, setting: str) -> None:
    """Make something in a directory, or where it is going to be made."""
    while not os.path.exists(path) and path != path.parent:
        path = path.parent
    try:
        os.rmdir(tempfile.mkdtemp(dir=path, prefix=".traefikhub-check-"))
    except OSError as error:
        raise TraefikUnusable(f"{path} can't be written: {error.strerror} ({setting})") from error


def _holder(lock: Path) -> str:
    """The process that holds a lock file; empty if none does, ``?`` if it doesn't say."""
    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return os.pread(descriptor, 40, 0).decode(errors="replace").strip() or "?"
    finally:
        os.close(descriptor)
    return ""


def _absent(path: Path) -> list[Path]:
    """Of a directory and those above, which aren't there; the lowest first."""
    found = []
    while not os.path.exists(path) and path != path.parent:
        found.append(path)
        path = path.parent
    return found


def _remove(made: list[Path]) -> None:
    for path in made:
        with suppress(OSError):
            os.rmdir(path)
