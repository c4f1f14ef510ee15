"""``traefikhub static-config``."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from traefikhub.cli._commands import HubCommand
from traefikhub.cli._hub import Hub, hub_options
from traefikhub.cli._output import write_output
from traefikhub.cli._screen import printable, tell
from traefikhub.session import SessionSettings, external_static, is_loopback
from traefikhub.traefik import OLDEST, TraefikError, Version, find_traefik, version_of
from traefikhub.traefik.binary import parse_version
from traefikhub.traefik.dialects import DIALECTS, DialectError, in_dialect
from traefikhub.traefik.masking import masked

__all__ = ["command"]


@click.command(
    cls=HubCommand, epilog="Example: traefikhub static-config --format flags --show-secrets"
)
@click.option(
    "--format",
    "dialect",
    type=click.Choice(DIALECTS),
    default="toml",
    show_default=True,
    help="A file, flags quoted for a shell, or variables as docker's --env-file takes them.",
)
@click.option("--show-secrets", is_flag=True, help="Passwords and keys as they are, not as ***.")
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=click.Path(dir_okay=False),
    help="Write it there, readable for you alone, instead of showing it.",
)
@click.option(
    "--traefik-version",
    metavar="X.Y.Z",
    default="",
    help="Of the Traefik that it is for; by default that of the program that is found here.",
)
@hub_options
def command(
    hub: Hub, dialect: str, show_secrets: bool, output: str | None, traefik_version: str
) -> None:
    """The static configuration for a Traefik that others run.

    Made from the hub's configuration, c.TraefikProxy.extra_static_config included. Start Traefik
    with it, and set c.TraefikProxy.should_start = False.
    """
    settings = hub.settings()
    version, origin = _version(settings, traefik_version)
    try:
        config = external_static(settings, version)
        secret = masked(config)
        text = in_dialect(config if show_secrets else secret.config, dialect)
    except DialectError as error:
        raise click.ClickException(
            f"{error}. So it can't be said as {dialect}: {_way_out(settings, error.where)}, or "
            f"choose another --format ({', '.join(x for x in DIALECTS if x != dialect)})"
        ) from error
    except (TypeError, ValueError) as error:
        raise click.ClickException(
            f"c.TraefikProxy.extra_static_config can't be written as {dialect}: {error}"
        ) from error
    if output:
        write_output(output, text)
    else:
        # Not through rich: it is for another program, to the letter.
        click.echo(printable(text) if sys.stdout.isatty() else text, nl=False)
    if secret.keys and not show_secrets:
        tell(
            f"Masked as ***: {', '.join(secret.keys)}. Traefik needs them as they are: "
            "--show-secrets"
        )
    tell(f"This is for Traefik {version} ({origin}); for another, give --traefik-version.")
    for note in _notes(settings, config):
        tell(note)
    if dialect == "env" and (odd := _odd_variables(text)):
        tell(
            f"Without quotes, for docker run --env-file. A shell, systemd or docker compose would "
            f"take these for something else: {', '.join(odd)}"
        )


def _version(settings: SessionSettings, wanted: str) -> tuple[Version, str]:
    """The version to write for, and why that."""
    if wanted:
        try:
            version = parse_version(wanted, "--traefik-version")
        except TraefikError as error:
            raise click.UsageError(
                f"--traefik-version {wanted}: a version has three numbers, as {OLDEST}"
            ) from error
        if version < OLDEST:
            raise click.UsageError(f"--traefik-version {wanted}: {OLDEST} or later is needed")
        return version, "as asked for"
    try:
        program = find_traefik(settings.traefik_command)
        version = version_of(program)
    except TraefikError:
        return OLDEST, "the oldest that traefikhub takes, for there is no traefik here"
    return max(version, OLDEST), f"as {program} is"


def _way_out(settings: SessionSettings, where: str) -> str:
    """The option that has what a dialect can't say."""
    for name, setting in (
        (settings.api_entry_point, "traefik_api_entrypoint"),
        (settings.entry_point, "traefik_entrypoint"),
    ):
        if where.startswith(f"entryPoints.{name}."):
            fit = re.sub("[^a-z0-9]+", "-", name.lower()).strip("-")
            return f"set c.TraefikProxy.{setting} = {fit!r}"
    return "change c.TraefikProxy.extra_static_config, or the option of the store that says so"


def _notes(settings: SessionSettings, config: Mapping[str, Any]) -> Iterator[str]:
    """What the admin of that Traefik has to know."""
    if settings.starts_traefik:
        yield (
            "This Hub starts a Traefik of its own: set c.TraefikProxy.should_start = False to use "
            "another one."
        )
    file = settings.store.provider_config().get("file")
    if isinstance(file, dict) and (path := file.get("filename")):
        yield (
            f"Traefik must find the Hub's file under the same name, {path}: mount its directory "
            "there, not the file alone; run Traefik as the Hub's user; and start the Hub first, "
            "for the file must be there when Traefik starts."
        )
    elif files := sorted({each for each in _paths(config.get("providers")) if each}):
        yield f"Traefik must find these files under the same names: {', '.join(files)}"
    if settings.ssl_cert:
        yield (
            "It must find the certificate and its key, too, under the same names: "
            f"{Path(settings.ssl_cert).absolute()}, {Path(settings.ssl_key).absolute()}"
        )
    if settings.internal_ssl:
        yield (
            "c.JupyterHub.internal_ssl: it gets the proxy's certificate and key from the store, "
            "which only the Hub and Traefik should be able to read."
        )
    points = config.get("entryPoints", {})
    for name in (settings.entry_point, settings.api_entry_point):
        address = str(points.get(name, {}).get("address", ""))
        if is_loopback(address.rpartition(":")[0]):
            setting = (
                "c.JupyterHub.bind_url"
                if name == settings.entry_point
                else "c.TraefikProxy.traefik_api_url"
            )
            yield (
                f"Entry point {name} listens on {address}, which only this machine, or the "
                f"same container, reaches ({setting})."
            )


def _paths(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for item in value.values():
            yield from _paths(item)
    elif isinstance(value, str) and value.startswith("/"):
        yield value


def _odd_variables(text: str) -> list[str]:
    lines = (line.partition("=") for line in text.splitlines())
    return [
        name
        for name, _, value in lines
        if not name.replace("_", "").isalnum() or re.search(r"[\s\"'`$\\#;&|<>()*?]", value)
    ]
