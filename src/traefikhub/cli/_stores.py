"""``traefikhub stores``: what is installed, and what is missing."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import click
from rich.text import Text

from traefikhub.cli._screen import show_json, show_table, show_text
from traefikhub.stores import InstalledStore, StoreNotFound, installed_stores, resolve_store

__all__ = ["command"]


@dataclass(frozen=True, slots=True)
class _About:
    """A store that is installed, and whether it can be used.

    problem: what is missing, and what mends that; empty if nothing is.
    server: the one that it needs; empty if none.
    options: what can be set on its class, with the defaults as text.
    """

    name: str
    distribution: str
    version: str
    target: str
    server: str = ""
    problem: str = ""
    options: list[dict[str, str]] = field(default_factory=list)


@click.command(epilog="Example: traefikhub stores -v")
@click.option("-v", "--verbose", is_flag=True, help="With the options of each.")
@click.option("--json", "as_json", is_flag=True, help="A document, for scripts.")
def command(verbose: bool, as_json: bool) -> int:
    """Which stores are installed, from which package, and what they lack.

    Exit code 1 if one of them can't be used as it is.
    """
    found = [_about(each) for each in installed_stores()]
    if as_json:
        show_json([asdict(each) for each in found])
    else:
        _show(found, verbose)
    return 1 if any(each.problem for each in found) else 0


def _about(installed: InstalledStore) -> _About:
    package = (
        installed.name,
        installed.distribution,
        installed.version,
        installed.target,
    )
    try:
        store = resolve_store(installed.name)
        return _About(
            *package,
            server=store.server,
            problem=store.missing(),
            options=[
                {"name": f"c.{store.__name__}.{name}", "default": _default(trait)}
                | {"help": " ".join(trait.help.replace("``", "").split())}
                for name, trait in sorted(store.class_traits(config=True).items())
            ],
        )
    except StoreNotFound as error:
        return _About(*package, problem=str(error))
    except Exception as error:  # a store of others' that fails must not hide the rest
        return _About(*package, problem=f"{type(error).__name__}: {error}")


def _default(trait: Any) -> str:
    try:
        return str(trait.default_value_repr())
    except Exception:  # some can't be worked out without the rest of the configuration
        return "worked out"


def _show(found: list[_About], verbose: bool) -> None:
    show_table(
        ("store", "package", "needs", "state"),
        [
            (
                each.name,
                f"{each.distribution} {each.version}",
                each.server or "no server",
                Text(each.problem, style="red") if each.problem else Text("ready", style="green"),
            )
            for each in found
        ],
    )
    if not verbose:
        return
    for each in found:
        show_text(f"\n{each.name}: {each.target}", style="bold")
        rows = [(option["name"], option["default"], option["help"]) for option in each.options]
        show_table(("option", "default", ""), rows)
