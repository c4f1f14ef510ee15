"""``traefikhub demo``."""

from __future__ import annotations

import os
import sys

import click

from traefikhub.cli._demo_hub import Demo, DemoError

__all__ = ["command"]


@click.command(epilog="Example: traefikhub demo --port 9000")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    help="For the browser; by default 8000, or a free one if 8000 is taken.",
)
def command(port: int) -> None:
    """Try it: a JupyterHub with JupyterLab behind Traefik, on this machine.

    It is in a temporary directory, and listens on this machine only. Ctrl-C stops everything and
    removes the directory.
    """
    try:
        Demo(port=port, say=_say).run()
    except DemoError as error:
        raise click.ClickException(str(error)) from error


def _say(text: str) -> None:
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # Nobody reads any more, as after "| head"; what runs is stopped in order all the same.
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
