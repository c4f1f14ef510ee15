"""The command line: one application, one subcommand for each thing an admin does."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from traitlets import Integer, Unicode
from traitlets.config import Application

from traefikhub import __version__
from traefikhub.cli._demo import Demo, DemoError
from traefikhub.traefik import TraefikError

__all__ = ["TraefikHubApp", "main"]


def _say(text: str) -> None:
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # Nobody reads any more, as after "| head"; what runs is stopped in order all the same.
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115


class DemoApp(Application):
    """Run a JupyterHub with JupyterLab behind Traefik in a temporary directory.

    Listens on this machine only. Ctrl-C stops everything and removes the directory.
    """

    name = Unicode("traefikhub demo")
    description = Unicode(__doc__ or "")
    examples = Unicode("traefikhub demo\ntraefikhub demo --port=9000")
    version = Unicode(__version__)
    aliases = {  # noqa: RUF012  (traitlets' own attribute)
        "port": "DemoApp.port",
        "log-level": "Application.log_level",
    }

    port = Integer(
        0,
        min=0,
        max=65535,
        help="The port for the browser; by default 8000, or a free one if 8000 is taken.",
    ).tag(config=True)

    def start(self) -> None:
        """Run until Ctrl-C."""
        if self.extra_args:
            self.exit(f"traefikhub demo takes no argument {self.extra_args[0]!r}; see --help")
        try:
            Demo(port=self.port, say=_say).run()
        except (DemoError, TraefikError) as error:
            self.exit(f"traefikhub demo: {error}")

    def exit(self, exit_status: int | str | None = 0) -> None:
        """End the process; a text goes to standard error, with exit code 1."""
        sys.exit(exit_status)


class TraefikHubApp(Application):
    """Routes of JupyterHub in a store, served by Traefik."""

    name = Unicode("traefikhub")
    description = Unicode(__doc__ or "")
    examples = Unicode("traefikhub demo")
    version = Unicode(__version__)
    subcommands = {  # noqa: RUF012
        "demo": (DemoApp, "Try it: a JupyterHub with JupyterLab behind Traefik, on this machine."),
    }

    def start(self) -> None:
        """Run the subcommand."""
        if self.subapp is None:
            self.print_help()
            unknown = f": no command {self.extra_args[0]!r}" if self.extra_args else ""
            sys.exit(f"\n{Path(sys.argv[0]).name}{unknown}; choose one of the subcommands above")
        self.subapp.start()


def main(argv: list[str] | None = None, **kwargs: Any) -> None:
    """Entry point of the console script."""
    TraefikHubApp.launch_instance(argv, **kwargs)
