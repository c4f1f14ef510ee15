"""``traefikhub routes import | copy | repair``: what writes routes while no Hub does."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeVar

import anyio
import click

from traefikhub.cli._commands import HubCommand
from traefikhub.cli._hub import Hub, hub_options
from traefikhub.cli._old_routes import OLD_PREFIX, OLD_SOURCES, read_old_routes
from traefikhub.cli._route_words import (
    RouteTable,
    another_store,
    count,
    drifted_keys,
    routes_of_json,
    where,
)
from traefikhub.cli._screen import printable, tell
from traefikhub.session import SessionSettings, read_routes, write_routes

__all__ = ["copy_routes", "import_routes", "repair_routes"]

_NAMED: Final = 5

_F = TypeVar("_F", bound=Callable[..., Any])

_yes: Final = click.option(
    "-y", "--yes", is_flag=True, help="Don't ask; a Hub that still writes there is fenced off."
)


def _what_is_there(function: _F) -> _F:
    for name, destination, text in (
        ("--replace", "replaces", "Delete the routes that are there."),
        ("--merge", "merges", "Keep the routes that are there, but for those that come."),
    ):
        function = click.option(name, destination, is_flag=True, help=text)(function)
    return function


@click.command("import", cls=HubCommand, epilog="Example: traefikhub routes import routes.json")
@click.argument("file", type=click.File(encoding="utf-8"))
@_what_is_there
@_yes
@hub_options
def import_routes(hub: Hub, file: Any, merges: bool, replaces: bool, yes: bool) -> None:
    """Write the routes of a file into the store.

    The file comes from "export", or is what configurable-http-proxy answers to GET /api/routes.
    """
    _write(hub.settings(), routes_of_json(file), merges, replaces, yes)


@click.command("copy", cls=HubCommand, epilog="Example: traefikhub routes copy --to etcd")
@click.option(
    "--to",
    "target",
    metavar="STORE",
    required=True,
    help="Where to. Its own options in the configuration say where that is.",
)
@click.option(
    "--from", "source", metavar="STORE", help="Where from; by default c.TraefikProxy.store."
)
@click.option(
    "--from-old",
    type=click.Choice(OLD_SOURCES),
    help="Take what jupyterhub-traefik-proxy has left: in its file; or in a server, which the "
    "options of the store of that name say how to reach.",
)
@click.option(
    "--old-file",
    type=click.Path(),
    default="rules.toml",
    show_default=True,
    help="With --from-old file: its dynamic_config_file, TOML or YAML.",
)
@click.option(
    "--old-prefix",
    default=OLD_PREFIX,
    show_default=True,
    help="With --from-old and a server: its kv_jupyterhub_prefix.",
)
@_what_is_there
@_yes
@hub_options
def copy_routes(
    hub: Hub,
    target: str,
    source: str | None,
    from_old: str | None,
    old_file: str,
    old_prefix: str,
    merges: bool,
    replaces: bool,
    yes: bool,
) -> None:
    """Copy all routes into another store, as when a hub moves from toml-file to etcd.

    Where they come from, nothing is changed.
    """
    if source and from_old:
        raise click.UsageError("give --from or --from-old; not both")
    settings = hub.settings()
    goal = another_store(hub, settings, "--to", target)
    if from_old:
        routes: RouteTable = read_old_routes(hub, settings, from_old, old_file, old_prefix)
    else:
        origin = another_store(hub, settings, "--from", source) if source else settings
        if type(origin.store) is type(goal.store) and where(origin) == where(goal):
            raise click.UsageError(
                f"the routes of {where(goal)} can't be copied there; give another store with --to, "
                "or --from"
            )
        routes = anyio.run(read_routes, origin).routes
        if not routes:
            raise click.ClickException(f"{where(origin)} holds no routes; nothing was copied")
    _write(goal, routes, merges, replaces, yes)


@click.command("repair", cls=HubCommand, epilog="Example: traefikhub routes repair")
@_yes
@hub_options
def repair_routes(hub: Hub, yes: bool) -> None:
    """Put right what "diff" shows, where no Hub runs that would.

    What the Hub remembers counts; what Traefik is told is made from that.
    """
    settings = hub.settings()
    stored = anyio.run(read_routes, settings)
    if not stored.drift:
        tell(f"{where(settings)}: nothing to mend")
        return
    names = [f"{key.section} {key.name}" for key in sorted(stored.drift.deletes)]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    deleted = f", {len(names)} of them deleted ({', '.join(names[:_NAMED])}{more})" if names else ""
    number = count(len(drifted_keys(stored)), "record")
    _confirm(f"Mend {number} in {where(settings)}{deleted}", yes)
    batch = anyio.run(write_routes, settings, dict)
    tell(f"Mended: {count(len(batch.puts) + len(batch.deletes), 'record')}")


def _write(
    settings: SessionSettings, routes: RouteTable, merges: bool, replaces: bool, yes: bool
) -> None:
    if merges and replaces:
        raise click.UsageError("give --merge or --replace; not both")
    stored = anyio.run(read_routes, settings)
    there = stored.routes
    if there and not (merges or replaces):
        raise click.ClickException(
            f"{where(settings)} holds {count(len(there))} already; keep them with --merge, or "
            "delete them with --replace"
        )
    wanted = {**there, **routes} if merges else routes
    if wanted == there and not stored.drift:
        tell(f"{count(len(routes))} there already: {where(settings)}")
        return
    if stored.drift and not replaces:
        raise click.ClickException(
            f"{where(settings)} holds {count(len(drifted_keys(stored)), 'record')} otherwise than "
            "this configuration has them: of another hub, or written by hand. traefikhub routes "
            "diff shows them. Use another prefix or file, or have all put right with --replace"
        )
    gone = len(there.keys() - routes.keys()) if replaces else 0
    strange = len(stored.drift.deletes)
    lost = [count(gone)] if gone else []
    lost += [f"{count(strange, 'record')} of no route"] if strange else []
    deleting = f", and delete {' and '.join(lost)} there" if lost else ""
    _confirm(f"Write {count(len(routes))} into {where(settings)}{deleting}", yes)

    def change(before: RouteTable) -> RouteTable:
        if before.keys() - there.keys():
            raise ValueError(f"{where(settings)}: routes have come meanwhile; try again")
        return {**before, **routes} if merges else routes

    try:
        batch = anyio.run(partial(write_routes, settings, change))
    except ValueError as error:  # two spellings of one route
        raise click.ClickException(str(error)) from error
    deleted = f", {' and '.join(lost)} deleted" if lost else ""
    done = f"written{deleted}, and read again" if batch else "there already"
    tell(f"{count(len(routes))} {done}: {where(settings)}")


def _confirm(what: str, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(f"{what}? Nobody is there to be asked; add --yes")
    question = f"{printable(what)}? A Hub that still writes there is fenced off."
    if not click.confirm(question, err=True):
        tell("Nothing was changed")
        raise click.exceptions.Exit(1)
