"""The command: its subcommands, each imported when it is asked for, and how it ends."""

from __future__ import annotations

import sys
from typing import Final, NoReturn

import click

from traefikhub import __version__
from traefikhub.cli._commands import HELP, Commands
from traefikhub.cli._screen import tell, without_passwords
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
    try:
        code = cli.main(argv, prog_name="traefikhub", standalone_mode=False)
    except BaseException as error:
        sys.exit(_told(_alone(error)))
    sys.exit(code if isinstance(code, int) else 0)


def _told(error: BaseException) -> int:
    """Tell why a command failed; its exit code. What nobody expected is raised again."""
    match error:
        case click.ClickException():
            error.show()
            return error.exit_code
        case click.Abort() | KeyboardInterrupt():
            return 130
        case StoreError() | TraefikError():
            tell(f"traefikhub: {without_passwords(str(error))}")
            return 1
        case BrokenPipeError():
            # Nobody reads any more, as after "| head".
            sys.stdout = None  # so that nothing is flushed into it
            return 0
    raise error


def _alone(error: BaseException) -> BaseException:
    """What a task group wraps."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
