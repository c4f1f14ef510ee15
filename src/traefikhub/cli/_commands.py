"""Groups of subcommands, and those that read a hub's configuration."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable
from typing import Any, Final

import click

__all__ = ["HELP", "Commands", "HubCommand", "traits_of"]

_TRAIT: Final = re.compile(r"--[A-Z]\w*(\.\w+)+(=.*)?", re.ASCII | re.DOTALL)


HELP: Final = {"help_option_names": ["-h", "--help"]}
"""The context's settings of every command."""


class HubCommand(click.Command):
    """A subcommand that reads a hub's configuration."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"context_settings": dict(HELP), **kwargs})


class Commands(click.Group):
    """A group of subcommands, each in a module of its own.

    Args:
        modules: by name of the subcommand.
    """

    def __init__(self, *args: Any, modules: dict[str, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._modules = modules

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which they were given."""
        return list(self._modules)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one."""
        if cmd_name not in self._modules:
            return None
        module = importlib.import_module(f"traefikhub.cli.{self._modules[cmd_name]}")
        found: click.Command = module.command
        return found

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take out what is JupyterHub's, ``--TraefikProxy.store=etcd``, wherever it stands."""
        rest, traits = traits_of(args, unfinished=ctx.resilient_parsing)
        ctx.obj = [*(ctx.obj or []), *traits]
        return super().parse_args(ctx, rest)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Name the commands if it is none of them; refuse options of JupyterHub where they would
        say nothing."""
        if ctx.resilient_parsing:  # as while a shell completes it: nobody reads errors
            return super().resolve_command(ctx, args)
        if args[0] not in self._modules and not args[0].startswith("-"):
            known = ", ".join(self._modules)
            raise click.UsageError(f"No such command {args[0]!r}; there are: {known}", ctx)
        name, found, rest = super().resolve_command(ctx, args)
        if ctx.obj and not isinstance(found, (HubCommand, click.Group)):
            raise click.UsageError(f"{name} reads no configuration; leave {ctx.obj[0]} away", ctx)
        return name, found, rest


def traits_of(arguments: Iterable[str], *, unfinished: bool = False) -> tuple[list[str], list[str]]:
    """A command line without what is JupyterHub's own, and that: ``--TraefikProxy.store=etcd``, or
    in two words.

    Args:
        unfinished: the last value may be missing yet.
    """
    rest: list[str] = []
    traits: list[str] = []
    words = iter(arguments)
    for word in words:
        if word == "--":
            return [*rest, word, *words], traits
        if not (found := _TRAIT.fullmatch(word)):
            rest.append(word)
        elif found[2]:
            traits.append(word)
        else:
            try:
                traits.append(f"{word}={next(words)}")
            except StopIteration:
                if unfinished:
                    break
                raise click.UsageError(f"{word} needs a value: {word}=VALUE") from None
    return rest, traits
