"""``traefikhub manual``: the man page, out of the same texts as ``--help``."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click

from traefikhub import __version__

__all__ = ["command", "man_page"]


@click.command(epilog="Example: traefikhub manual > ~/.local/share/man/man1/traefikhub.1")
def command() -> None:
    """The man page, for man: all of --help on one page."""
    root = click.get_current_context().find_root()
    click.echo(man_page(root.command), nl=False)


def man_page(root: click.Command) -> str:
    """In the language of man(7)."""
    return "\n".join(_page(root)) + "\n"


def _page(root: click.Command) -> Iterator[str]:
    yield f'.TH TRAEFIKHUB 1 "" "traefikhub {_plain(__version__)}" "User Commands"'
    yield ".SH NAME"
    yield f"traefikhub \\- {_plain(root.get_short_help_str(200).rstrip('.'))}"
    yield ".SH SYNOPSIS"
    yield r"\fBtraefikhub\fP \fICOMMAND\fP [\fIOPTIONS\fP] [\fIARGUMENTS\fP]"
    yield ".SH DESCRIPTION"
    yield from _text(root.help)
    yield from _text(root.epilog)
    yield ".SH COMMANDS"
    with click.Context(root, info_name="traefikhub", **root.context_settings) as ctx:
        yield from _commands(root, ctx)
    yield ".SH SEE ALSO"
    yield r"\fBjupyterhub\fP(1), \fBtraefik\fP(1)"


def _commands(group: click.Command, ctx: click.Context) -> Iterator[str]:
    assert isinstance(group, click.Group)
    for name in group.list_commands(ctx):
        found = group.get_command(ctx, name)
        if found is None or found.hidden:
            continue
        with click.Context(found, parent=ctx, info_name=name) as inner:
            usage = " ".join(found.collect_usage_pieces(inner))
            yield f".SS {_plain(inner.command_path)} {_plain(usage)}"
            yield from _text(found.help)
            yield from _options(found, inner)
            yield from _text(found.epilog)
            if isinstance(found, click.Group):
                yield from _commands(found, inner)


def _options(found: click.Command, ctx: click.Context) -> Iterator[str]:
    for parameter in found.get_params(ctx):
        if isinstance(parameter, click.Option) and (record := parameter.get_help_record(ctx)):
            names, text = record
            yield ".TP"
            yield rf"\fB{_plain(names)}\fP"
            yield _plain(text)


def _text(text: str | None) -> Iterator[str]:
    for paragraph in text.strip().split("\n\n") if text else ():
        if paragraph.startswith("\b"):
            yield ".nf"
            yield from map(_plain, paragraph.lstrip("\b\n").split("\n"))
            yield ".fi"
        else:
            yield ".PP"
            yield _plain(" ".join(paragraph.split()))


def _plain(text: str) -> str:
    """Without what roff would obey: a control character at the beginning, backslashes; a dash that
    can be copied."""
    escaped = text.replace("\\", r"\e").replace("-", r"\-").replace("…", "...")
    return re.sub(r"^([.'])", r"\\&\1", escaped)
