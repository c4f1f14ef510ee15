"""``traefikhub routes``: the route table as people think of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import anyio
import click

from traefikhub.cli._commands import HubCommand
from traefikhub.cli._hub import Hub, hub_options
from traefikhub.cli._output import write_output
from traefikhub.cli._route_words import (
    another_store,
    count,
    drifted_keys,
    find_routes,
    is_about,
    routes_of_json,
    where,
    whose,
)
from traefikhub.cli._routes_write import copy_routes, import_routes, repair_routes
from traefikhub.cli._screen import show_json, show_table, tell
from traefikhub.route_files import as_document
from traefikhub.session import StoredRoutes, read_routes
from traefikhub.table import Route

__all__ = ["command"]

_json = click.option("--json", "as_json", is_flag=True, help="A document, for scripts.")

_ABSENT = object()


@click.group(epilog="Example: traefikhub routes list --TraefikProxy.store=etcd")
def command() -> None:
    """List, move and mend routes, straight in the store.

    Reading disturbs nobody. Writing takes the store over: stop the Hub before.
    """


@command.command("list", cls=HubCommand, epilog="Example: traefikhub routes list --json")
@_json
@hub_options
def list_routes(hub: Hub, as_json: bool) -> None:
    """All routes: whose they are, and where they lead."""
    settings = hub.settings()
    stored = anyio.run(read_routes, settings)
    if as_json:
        show_json(as_document(stored.routes.values()))
        return
    show_table(
        ("route", "of", "target"),
        [(spec, whose(route), route.target) for spec, route in sorted(stored.routes.items())],
    )
    drift = len(drifted_keys(stored))
    note = f". Changed by hand: {count(drift, 'record')}, see traefikhub routes diff"
    tell(f"{count(len(stored.routes))} in {where(settings)}{note if drift else ''}")


@command.command("show", cls=HubCommand, epilog="Example: traefikhub routes show /user/mary/")
@click.argument("route")
@_json
@hub_options
def show_route(hub: Hub, route: str, as_json: bool) -> None:
    """One route, by its routespec or the name of its user, and what Traefik is told of it."""
    settings = hub.settings()
    stored = anyio.run(read_routes, settings)
    found = find_routes(stored.routes, route)
    if not found:
        raise click.ClickException(
            f"there is no route {route} in {where(settings)}; traefikhub routes list shows all"
        )
    if as_json:
        show_json([_description(stored, each) for each in found])
        return
    for each in found:
        about = _description(stored, each)
        rows = [
            ("route", each.routespec),
            ("target", each.target),
            ("data", _text(each.data)),
            *((name, _text(document)) for name, document in about["records"].items()),
            *(("changed by hand", f"{name}: see routes diff") for name in about["drifted"]),
        ]
        show_table(("", ""), rows)


@command.command("export", cls=HubCommand, epilog="Example: traefikhub routes export > routes.json")
@click.option("-o", "--output", default="-", metavar="FILE", help="A file; by default the screen.")
@hub_options
def export_routes(hub: Hub, output: str) -> None:
    """All routes as JSON, for "import"."""
    stored = anyio.run(read_routes, hub.settings())
    write_output(output, json.dumps(as_document(stored.routes.values()), indent=2) + "\n")


@command.command("diff", cls=HubCommand, epilog="Example: traefikhub routes diff routes.json")
@click.argument("file", type=click.File(encoding="utf-8"), required=False)
@click.option("--with", "other", metavar="STORE", help="The routes of another store.")
@_json
@hub_options
def diff_routes(hub: Hub, file: Any, other: str | None, as_json: bool) -> int:
    """What was changed by hand; or how the routes differ from a file's, or another store's.

    By itself: what Traefik is told, against what the Hub remembers. A running Hub mends such
    differences; where none runs, "repair" does. Exit code 1 if there are any.
    """
    if file and other:
        raise click.UsageError("give a FILE, or --with STORE; not both")
    settings = hub.settings()
    stored = anyio.run(read_routes, settings)
    if file or other:
        if file:
            theirs: Mapping[str, Route] = routes_of_json(file)
        else:
            assert other
            theirs = anyio.run(read_routes, another_store(hub, settings, "--with", other)).routes
        what, name = "route", file.name if file else other
        changes = {
            spec: (_route(stored.routes.get(spec)), _route(theirs.get(spec)))
            for spec in sorted({*stored.routes, *theirs})
            if _alike(stored.routes.get(spec)) != _alike(theirs.get(spec))
        }
    else:
        what, name = "record", "as it should be"
        changes = {
            "/".join(key): (
                stored.records.get(key, _ABSENT),
                stored.drift.puts.get(key, _ABSENT),
            )
            for key in drifted_keys(stored)
        }
    _show_changes(what, where(settings), str(name), changes, as_json)
    return 1 if changes else 0


def _show_changes(
    what: str, ours: str, theirs: str, changes: Mapping[str, tuple[Any, Any]], as_json: bool
) -> None:
    if as_json:
        show_json(
            [
                {"what": what, "name": name}
                | ({} if now is _ABSENT else {"here": now})
                | ({} if wanted is _ABSENT else {"there": wanted})
                for name, (now, wanted) in changes.items()
            ]
        )
        return
    if changes:
        rows = [(name, _text(now), _text(wanted)) for name, (now, wanted) in changes.items()]
        show_table((what, ours, theirs), rows)
    tell(f"{count(len(changes), what)} of {ours} differ" if changes else f"{ours}: no difference")


def _description(stored: StoredRoutes, route: Route) -> dict[str, Any]:
    records = {"/".join(k): doc for k, doc in stored.records.items() if is_about(route, k, doc)}
    drift = {**stored.drift.puts, **{k: stored.records.get(k) for k in stored.drift.deletes}}
    drifted = ["/".join(k) for k, doc in drift.items() if is_about(route, k, doc)]
    return {**_route(route), "records": records, "drifted": sorted(drifted)}


def _route(route: Route | None) -> Any:
    if route is None:
        return _ABSENT
    return {"routespec": route.routespec, "target": route.target, "data": route.data}


def _alike(route: Route | None) -> str:
    """A text that is the same for routes which nobody tells apart, and for no others."""
    return json.dumps(route.to_document() if route else None, sort_keys=True)


def _text(value: object) -> str:
    return "absent" if value is _ABSENT else json.dumps(value, ensure_ascii=False)


for _command in (import_routes, copy_routes, repair_routes):
    command.add_command(_command)
