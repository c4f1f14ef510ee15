"""Files that a command writes for the admin."""

from __future__ import annotations

from pathlib import Path

import click

from traefikhub.traefik.rundir import write_private

__all__ = ["write_output"]


def write_output(name: str, text: str) -> None:
    """Into a file that its owner alone can read, or none; ``-`` is standard output. What isn't a
    regular file, such as a pipe, is written to as it is; a link leads to its file.

    Raises:
        ClickException: it can't be written.
        TraefikUnusable: alike.
    """
    path = Path(name).absolute()
    try:
        if name == "-":
            click.echo(text.encode(), nl=False)
        elif path.exists() and not path.is_file():
            with path.open("w", encoding="utf-8") as stream:
                stream.write(text)
        else:
            write_private(path.resolve(), text, "--output")
    except OSError as error:
        raise click.ClickException(f"{path} can't be written: {error.strerror}") from error
