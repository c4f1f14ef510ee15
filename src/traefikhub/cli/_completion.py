"""``traefikhub completion``: what a shell must be told to complete the command."""

from __future__ import annotations

from typing import Final

import click
from click.shell_completion import get_completion_class

__all__ = ["command"]

_SHELLS: Final = ("bash", "zsh", "fish")


@click.command(epilog="Example: traefikhub completion bash >> ~/.bash_completion")
@click.argument("shell", type=click.Choice(_SHELLS))
def command(shell: str) -> None:
    """What SHELL must be told to complete commands and options.

    \b
    bash  put this into ~/.bashrc:  eval "$(traefikhub completion bash)"
    zsh   put this into ~/.zshrc:   eval "$(traefikhub completion zsh)"
    fish  traefikhub completion fish > ~/.config/fish/completions/traefikhub.fish
    """
    root = click.get_current_context().find_root()
    made = get_completion_class(shell)
    assert made
    click.echo(made(root.command, {}, "traefikhub", "_TRAEFIKHUB_COMPLETE").source())
