"""The command: its subcommands, each imported when it is asked for, and how it ends."""

from __future__ import annotations

import sys
from functools import partial
from typing import Final, NoReturn

import click

from traefikhub import __version__
from traefikhub._ending import end_with
from traefikhub.cli._commands import HELP, Commands
from traefikhub.cli._screen import printable
from traefikhub.stores import StoreError
from traefikhub.traefik import TraefikError

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup

__all__ = ["cli", "main"]

_MODULES: Final = {
    "demo": "_demo",
    "stores": "_stores",
    "check": "_check",
    "routes": "_routes",
    "static-config": "_static_config",
    "bench": "_bench",
    "install": "_install",
    "new-store": "_new_store",
    "completion": "_completion",
    "manual": "_manual",
}
"""Of each subcommand, the module here that holds it under the name ``command``."""


@click.command(
    cls=Commands,
    modules=_MODULES,
    context_settings={**HELP, "max_content_width": 100},
    epilog="Example: traefikhub check --TraefikProxy.store=etcd",
)
@click.version_option(__version__, "-V", "--version", message="%(prog)s %(version)s")
def cli() -> None:
    """Routes of JupyterHub in a store, served by Traefik.

    Commands that look at a hub read its configuration as JupyterHub does: jupyterhub_config.py of
    this directory, or that of -f, and options such as --TraefikProxy.store=etcd. Run them where the
    Hub is started, as the Hub's user.

    Exit codes: 0 all is well; 1 it isn't, or something failed; 2 the command line makes no sense.
    """


def main(argv: list[str] | None = None) -> NoReturn:
    """Entry point of the console script."""
    run = partial(cli.main, argv, prog_name="traefikhub", standalone_mode=False)
    end_with(run, translate=_of_click)


def _of_click(error: BaseException) -> BaseException:
    """The error itself, if a task group wraps it; one that click shows, if it is explained."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    if isinstance(error, (StoreError, TraefikError)):
        return click.ClickException(printable(error))
    return error
