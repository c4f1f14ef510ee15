"""Every command, its arguments, options and exit codes, from what ``--help`` says."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Final

import click

from traefikhub.cli._app import cli

_EXIT_CODES: Final = "Exit codes: "


def command_page() -> str:
    """As Markdown: a heading for each command, in the order in which they are listed."""
    with click.Context(cli, info_name="traefikhub", **cli.context_settings) as ctx:
        return "\n".join(_command(cli, ctx))


def _command(found: click.Command, ctx: click.Context) -> Iterator[str]:
    yield f"({ctx.command_path.replace(' ', '-')})="  # for links: #traefikhub-routes-list
    yield f"## `{ctx.command_path}`\n"
    usage = " ".join((ctx.command_path, *found.collect_usage_pieces(ctx)))
    yield f"```text\n{usage}\n```\n"
    yield from _text(found.help)
    yield from _options(found, ctx)
    yield from _text(found.epilog)
    if isinstance(found, click.Group):
        for name in found.list_commands(ctx):
            inner = found.get_command(ctx, name)
            if inner is not None and not inner.hidden:
                with click.Context(inner, parent=ctx, info_name=name) as below:
                    yield from _command(inner, below)


def _options(found: click.Command, ctx: click.Context) -> Iterator[str]:
    rows = [
        record
        for parameter in found.get_params(ctx)
        if isinstance(parameter, click.Option) and (record := parameter.get_help_record(ctx))
    ]
    if rows:
        yield "| option | what it does |"
        yield "| --- | --- |"
        for names, text in rows:
            yield f"| {_code(names)} | {_prose(text)} |"
        yield ""


def _text(text: str | None) -> Iterator[str]:
    """Paragraphs; those that click leaves as they are become blocks."""
    for paragraph in inspect.cleandoc(text or "").split("\n\n"):
        if paragraph.startswith("\b"):
            yield "```text\n" + paragraph.lstrip("\b\n") + "\n```\n"
        elif paragraph.startswith("Example: "):
            yield "```bash\n" + paragraph.removeprefix("Example: ") + "\n```\n"
        elif paragraph.startswith(_EXIT_CODES):
            yield "Exit codes:\n"
            codes = " ".join(paragraph.removeprefix(_EXIT_CODES).split())
            for code in codes.rstrip(".").split("; "):
                number, _, meaning = code.partition(" ")
                yield f"- `{number}`: {_prose(meaning)}"
            yield ""
        elif paragraph:
            yield _prose(" ".join(paragraph.split())) + "\n"


def _code(text: str) -> str:
    return "`" + text.replace("|", "\\|") + "`"


def _prose(text: str) -> str:
    """Text that is no Markdown: words that look like options, names and values become code."""
    escaped = re.sub(r"([\\*_<>\[\]|])", r"\\\1", text)
    return re.sub(
        r"(?<![\w`/-])(--?[A-Za-z][\w.=-]*(?:\\_[\w.=-]+)*|[\w./~-]*\\_[\w.\\-]+)",
        lambda word: (
            "`"
            + re.sub(r"\\(.)", r"\1", word[0].rstrip("."))
            + "`"
            + ("." if word[0].endswith(".") else "")
        ),
        escaped,
    )
