"""The command, as ``traefikhub install`` and as ``python -m traefikhub.install``."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn
from urllib.parse import urlsplit

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from traefikhub.install._download import Patience
from traefikhub.install._errors import InstallError
from traefikhub.install._install import Installed, Wish, beside_python, install, place_of
from traefikhub.install._releases import (
    ETCD,
    PROJECTS,
    TRAEFIK,
    Project,
    checksum_of,
    parse_version,
)

__all__ = ["command"]

_OLDEST = (3, 6, 7)
"""Of Traefik, that the proxy starts."""

_LONGEST_SILENCE = 3600


def _checked(check: Callable[[str], str]) -> Callable[..., str]:
    def callback(ctx: click.Context, param: click.Parameter, value: str) -> str:
        try:
            return check(value) if value else ""
        except ValueError as error:
            raise click.BadParameter(str(error)) from error

    return callback


def _web_address(url: str) -> str:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and not parts.query
    except ValueError:
        usable = False
    if not usable:
        raise ValueError("it is no address such as https://mirror.example/traefik")
    return url


def _silence(ctx: click.Context, param: click.Parameter, value: float) -> float:
    if not 0 < value <= _LONGEST_SILENCE:  # as is nan, too
        raise click.BadParameter(f"it is more than 0 and at most {_LONGEST_SILENCE}")
    return value


@click.command(
    epilog="Example: traefikhub install traefik --output /usr/local/bin",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.argument("project", type=click.Choice(list(PROJECTS)), metavar="traefik|etcd")
@click.option(
    "-o",
    "--output",
    type=click.Path(),
    default="",
    metavar="DIR",
    help="Where the program goes; beside the running Python by default.",
)
@click.option(
    "--version",
    default="",
    metavar="V",
    callback=_checked(parse_version),
    help=f"The release; by default {TRAEFIK.version} of traefik, {ETCD.version} of etcd.",
)
@click.option(
    "--base-url",
    default="",
    metavar="URL",
    callback=_checked(_web_address),
    help=f"A mirror; it stands for {TRAEFIK.base_url}, and v3.7.15/… is below it.",
)
@click.option(
    "--from",
    "archive",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="An archive that is here already, with its release's file of checksums beside it.",
)
@click.option(
    "--sha256",
    default="",
    metavar="HEX",
    callback=_checked(checksum_of),
    help="What the archive must be, instead of what the project publishes.",
)
@click.option("--force", is_flag=True, help="Even if that version is there already.")
@click.option(
    "--timeout",
    type=float,
    callback=_silence,
    default=Patience.silence,
    show_default=True,
    metavar="SECONDS",
    help="How long a connection may be silent before it is tried anew.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document for scripts.")
def command(
    project: str,
    output: str,
    version: str,
    base_url: str,
    archive: Path | None,
    sha256: str,
    force: bool,
    timeout: float,
    as_json: bool,
) -> None:
    """Fetch a release of Traefik or etcd, and verify it.

    From the project's release page, for Linux and macOS. The published checksum is compared before
    anything is unpacked or executable; then the program must run here and say its version; only
    then does it take its place. A program that runs goes on with the old file. A download that
    breaks off goes on the next time.

    Exit codes: 0 it is there; 1 it failed, and all is as it was; 2 the command line makes no sense;
    130 it was stopped.
    """
    if archive and base_url:
        raise click.UsageError("--from FILE downloads nothing; leave --base-url away")
    wish = Wish(
        project=PROJECTS[project],
        directory=_whole(output or beside_python()),
        version=version,
        base_url=base_url,
        archive=archive,
        sha256=sha256,
        force=force,
        patience=Patience(silence=timeout),
    )
    bar = _bar()
    tasks: dict[str, TaskID] = {}

    def report(what: str, done: int, total: int | None) -> None:
        if what not in tasks:
            tasks[what] = bar.add_task(what, total=total)
        bar.update(tasks[what], completed=done, total=total)

    def say(text: str) -> None:
        bar.console.print(_printable(text))

    try:
        with _signals(), bar:
            found = install(wish, report=report, say=say)
    except (InstallError, OSError) as error:
        raise click.ClickException(_printable(f"{error} Nothing was installed.")) from error
    if as_json:
        click.echo(json.dumps(_document(wish, found), indent=2, sort_keys=True))
    else:
        _show(wish, found)
    if wish.project is TRAEFIK and (least := _too_old(found.version)):
        _tell(f"Note: traefikhub needs Traefik {least} or later; it won't start this one")


def _whole(directory: str | Path) -> Path:
    try:
        return Path(os.path.abspath(os.path.expanduser(directory)))
    except FileNotFoundError as error:
        raise click.ClickException(
            f"--output {_printable(str(directory))}: the directory that this is relative to, the "
            "current one, is deleted. Nothing was installed. Go to another one, or give a whole "
            "path"
        ) from error


@contextmanager
def _signals() -> Iterator[None]:
    """Every signal that ends programs is a KeyboardInterrupt, so that all is tidied up behind it.
    A second one changes nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield  # nobody but the main thread gets signals
        return
    earlier = {
        each: handler
        for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if (handler := signal.getsignal(each)) not in (signal.SIG_IGN, None)  # as under nohup
    }

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        for each in earlier:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    try:
        for each in earlier:
            signal.signal(each, stop)
        yield
    finally:
        for each, handler in earlier.items():
            signal.signal(each, handler)


def _bar() -> Progress:
    """On standard error; nothing is drawn where that is no terminal."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True, markup=False, highlight=False, emoji=False, soft_wrap=True),
        transient=True,
        disable=not sys.stderr.isatty(),
    )


def _tell(text: str) -> None:
    click.echo(_printable(text), err=True)


def _say(text: str) -> None:
    click.echo(_printable(text))


def _printable(text: str) -> str:
    """A text without what a terminal would obey: servers and files have their say in it."""
    return "".join(x if x.isprintable() or x == "\n" else ascii(x)[1:-1] for x in text)


def _document(wish: Wish, found: Installed) -> dict[str, Any]:
    programs = []
    for each in wish.project.programs:
        path = wish.directory / each.name
        place = place_of(each.name, path)
        programs.append(
            {
                "name": each.name,
                "path": str(path),
                "before": found.before[each.name] or None,
                "found": place.is_it,
                "found_instead": None if place.is_it else place.found or None,
            }
        )
    return {
        "project": wish.project.name,
        "version": found.version,
        "changed": found.changed,
        "directory": str(wish.directory),
        "programs": programs,
        "origin": found.origin or None,
        "sha256": found.sha256 or None,
        "vouched": found.vouched or None,
    }


def _show(wish: Wish, found: Installed) -> None:
    names = [each.name for each in wish.project.programs]
    these = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    if found.changed:
        earlier = sorted(set(found.before.values()) - {"", found.version})
        instead = f", instead of {' and '.join(earlier)}" if earlier else ""
        _say(f"{these} {found.version} installed in {wish.directory}{instead}")
        _say(f"from {found.origin}")
        _say(f"SHA-256 {found.sha256}, as in {found.vouched}")
    else:
        _say(
            f"{these} {found.version}: there already, in {wish.directory}; nothing was done "
            "(--force does it all the same)"
        )
    _say(_where(wish.project, wish.directory))


def _where(project: Project, directory: Path) -> str:
    """Whether it is found where it is now, and what to do if not."""
    name = project.programs[0].name
    path = directory / name
    place = place_of(name, path)
    if project is TRAEFIK:
        if place.is_it:
            return "The proxy finds it there."
        instead = f"finds {place.found} first" if place.found else "doesn't look there"
        return f'The proxy {instead}. Set c.TraefikProxy.traefik_command = "{path}"'
    if place.is_it:
        return f"It runs as {name}, {path}."
    instead = f"{name} alone is {place.found}" if place.found else f"{directory} is not on PATH"
    return f"Call it {path}: {instead}."


def _too_old(version: str) -> str:
    numbers = tuple(int(each) for each in version.partition("-")[0].split("."))
    return ".".join(map(str, _OLDEST)) if numbers < _OLDEST else ""
