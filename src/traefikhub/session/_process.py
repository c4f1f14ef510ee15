"""Have a Traefik running: one that an earlier Hub left, or a new one."""

from __future__ import annotations

from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Final

import anyio

from traefikhub.session._plan import Plan
from traefikhub.session._settings import SessionSettings
from traefikhub.threads import in_thread
from traefikhub.traefik import TraefikError, TraefikExited, TraefikKilled, TraefikProcess
from traefikhub.traefik.acme import require_storage, storage_of
from traefikhub.traefik.adoption import Leftovers, find_leftovers, is_well, make_room
from traefikhub.traefik.api import Sign, sign_of_life
from traefikhub.traefik.endpoints import Endpoint
from traefikhub.traefik.rundir import RunDir, require_appendable
from traefikhub.traefik.supervisor import Supervisor
from traefikhub.writer import RouteWriter

__all__ = ["begin", "config_file_of", "first_live", "hears_of_changes", "take_run_dir"]

_HEARS_SECONDS: Final = 5.0


def config_file_of(settings: SessionSettings, run_dir: RunDir) -> Path:
    """Where Traefik, or the admin, looks for the static configuration."""
    if settings.static_config_file:
        return Path.cwd() / settings.static_config_file
    return run_dir.path / "traefik.toml"


async def take_run_dir(
    settings: SessionSettings, plan: Plan, stack: AsyncExitStack
) -> tuple[RunDir, Leftovers]:
    """The run directory, ours alone until the stack is closed, and what still runs for it. Ports
    that none of those has are free."""
    run_dir = RunDir(settings.run_dir)
    stack.callback(run_dir.unlock)
    await in_thread(run_dir.acquire)
    if open_to_others := await in_thread(run_dir.close_to_others):
        settings.log.warning("%s", open_to_others)
    config_file = config_file_of(settings, run_dir)
    leftovers = await in_thread(
        lambda: find_leftovers(run_dir.path, config_file, grace=settings.grace_seconds)
    )
    await in_thread(plan.require_free, leftovers.ports)
    if settings.access_log:
        path = run_dir.path / settings.access_log
        await in_thread(require_appendable, path, "c.TraefikProxy.access_log")
    if settings.acme:
        await in_thread(require_storage, storage_of(settings.acme, run_dir.path))
    return run_dir, leftovers


async def hears_of_changes(writer: RouteWriter) -> bool:
    """Whether a Traefik that runs soon serves what the store holds. One that waits for revisions of
    etcd which were lost with a newer state of it would not, for long."""
    with anyio.move_on_after(_HEARS_SECONDS):
        try:
            await writer.wait_live()
        except TraefikError:
            return False
        return True
    return False


async def begin(
    settings: SessionSettings,
    plan: Plan,
    run_dir: RunDir,
    supervisor: Supervisor,
    leftovers: Leftovers,
    mark: str,
) -> None:
    """Have a Traefik running: one that an earlier Hub left, if it is what we would start."""
    sign = partial(sign_of_life, Endpoint(settings.api_url))
    found = leftovers.like(mark)
    adopted = found if found and await is_well(found, sign, plan.ports[1]) else None
    others = leftovers.but(adopted)
    if adopted:
        settings.log.info(
            "Traefik %d, left running by an earlier Hub, goes on; connections stay open",
            adopted.pid,
        )
        for process in others:
            process.drain()
        supervisor.begin(adopted, others)
        return
    for process in others:
        settings.log.warning(
            "Traefik %d, left running by an earlier Hub, %s; it makes room",
            process.pid,
            "doesn't answer" if process is found else "is not what this Hub starts",
        )
    if found and await sign() is Sign.SILENT:
        await found.kill()  # one that hangs would not close its ports
    supervisor.begin(None, await make_room(others, run_dir.path, plan.require_free))


async def first_live(writer: RouteWriter, supervisor: Supervisor) -> None:
    """Wait until Traefik serves the routes.

    Raises:
        TraefikExited: it ended instead.
        NotLive, ApiRejected: it runs, but doesn't serve them in time. If an earlier Hub has started
            it, it is left running: users still have what it serves.
    """
    process = supervisor.process
    if not process.adopted:
        try:
            await _live_unless_ended(writer, process)
        except TraefikKilled:  # not to be blamed on its configuration
            supervisor.begin()
            await _live_unless_ended(writer, supervisor.process)
        return
    try:
        await _live_unless_ended(writer, process)
    except TraefikExited:
        supervisor.begin()
        await _live_unless_ended(writer, supervisor.process)
    except TraefikError as error:
        supervisor.disown()
        raise type(error)(
            f"{error}\nTraefik {process.pid}, left running by an earlier Hub, goes on with what it "
            f"had. If it is to blame, end it (kill {process.pid}) and start the Hub again."
        ) from error


async def _live_unless_ended(writer: RouteWriter, process: TraefikProcess) -> None:
    failure: TraefikError | None = None
    async with anyio.create_task_group() as group:

        async def watch() -> None:
            await process.exited()
            group.cancel_scope.cancel()

        group.start_soon(watch)
        try:
            await writer.wait_live()
        except TraefikError as error:
            failure = error
        group.cancel_scope.cancel()
    process.check()
    if failure:
        raise failure
