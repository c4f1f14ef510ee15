"""``traefikhub new-store``: the skeleton of a package with a store."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from shlex import quote
from string import Template
from typing import Final

import click

import traefikhub.stores
from traefikhub import __version__
from traefikhub.cli._commands import HELP
from traefikhub.cli._screen import show_text
from traefikhub.stores import installed_stores

__all__ = ["Names", "command", "render", "render_line"]

_TEMPLATES: Final = Path(__file__).with_name("_new_store_files")
_KINDS: Final = ("http", "file")
_NAME: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_LONGEST: Final = 24
"""Characters of a name. The lines of the generated code have room for no more."""

_ONLY_FOR: Final = re.compile(r"@(\w+)\|")
"""How a template's line begins that is for one kind only."""


class _Text(Template):
    delimiter = "@@"  # GitHub's workflows and shells have dollars of their own


@dataclass(frozen=True)
class Names:
    """What a store is called: ``name`` is that of its entry point."""

    name: str

    @property
    def distribution(self) -> str:
        """Of the package, for pip."""
        return f"traefikhub-{self.name}"

    @property
    def module(self) -> str:
        """Of the package, for Python."""
        return self.distribution.replace("-", "_")

    @property
    def class_name(self) -> str:
        """``MyStore`` for ``my`` and for ``my-store``."""
        words = self.name.removesuffix("-store").split("-")
        return "".join(word[:1].upper() + word[1:] for word in words) + "Store"


@click.command(epilog="Example: traefikhub new-store mongo", context_settings=HELP)
@click.argument("name")
@click.option(
    "--kind",
    type=click.Choice(_KINDS),
    default=_KINDS[0],
    show_default=True,
    help="How Traefik reads the routes. http: from a web server that the package brings, wherever "
    "Traefik runs. file: from a file, on the Hub's machine.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="A directory that isn't there yet, or is empty; traefikhub-NAME by default.",
)
def command(name: str, kind: str, output: Path | None) -> None:
    """Write the skeleton of a package with a store of your own, c.TraefikProxy.store = NAME.

    It keeps all promises of a store and passes its tests as it is: only that the routes are in
    SQLite, until your server takes its place.
    """
    names = Names(_checked(name))
    _require_new(names)
    target = output or Path(names.distribution)
    try:
        _write(target, render(names, kind))
    except OSError as error:
        where = error.filename or target
        raise click.ClickException(
            f"{where}: {error.strerror}. Nothing was written; choose another place with --output"
        ) from error
    show_text(_what_next(names, target))


def _checked(name: str) -> str:
    if _NAME.fullmatch(name) and len(name) <= _LONGEST:
        if name.startswith("traefikhub-"):
            raise click.UsageError(
                f"NAME {name!r}: leave away 'traefikhub-', which the package's name gets anyway"
            )
        if (named := Names(name).class_name).startswith("Test"):
            raise click.UsageError(
                f"NAME {name!r}: the class would be {named}, which pytest takes for tests. Choose "
                "another name"
            )
        return name
    likely = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-").removeprefix("traefikhub-")
    likely = likely[:_LONGEST].rstrip("-")
    hint = f"; {likely!r}, for example" if _NAME.fullmatch(likely) else ""
    raise click.UsageError(
        f"NAME {name!r}: one word or more of small letters and digits, joined by single dashes, "
        f"{_LONGEST} characters at most, the first one a letter{hint}"
    )


def _require_new(names: Names) -> None:
    """Refuse what would stand in the way of something that is installed here."""
    for each in installed_stores():
        if each.name == names.name:
            raise click.ClickException(
                f"there is a store {names.name!r} already, from {each.distribution} "
                f"{each.version}; of two with one name a Hub takes neither. Choose another name"
            )
        if each.target.rpartition(":")[2] == names.class_name:
            raise click.ClickException(
                f"{names.name!r} would be set as c.{names.class_name}, which is the store "
                f"{each.name!r} of {each.distribution} {each.version}. Choose another name"
            )
    if importlib.util.find_spec(names.module):
        raise click.ClickException(
            f"there is a Python package {names.module!r} already. Choose another name than "
            f"{names.name!r}"
        )
    if hasattr(traefikhub.stores, names.class_name):
        raise click.ClickException(
            f"the class of {names.name!r} would be {names.class_name}, as one of "
            "traefikhub.stores. Choose another name"
        )


def render(names: Names, kind: str) -> dict[Path, str]:
    """The files of a package: path below its directory, and content. Pure but for reading the
    templates, of which ``X.KIND.tmpl`` is for one kind only."""
    values = {
        "name": names.name,
        "dist": names.distribution,
        "module": names.module,
        "cls": names.class_name,
        "version": __version__,
    }
    rendered = {}
    for template in sorted(_TEMPLATES.rglob("*.tmpl")):
        file = template.relative_to(_TEMPLATES).with_suffix("")
        only_for = file.suffix.removeprefix(".")
        if only_for in _KINDS:
            if only_for != kind:
                continue
            file = file.with_suffix("")
        parts = (re.sub("^dot-", ".", part) for part in file.parts)
        path = Path(*(names.module if part == "PACKAGE" else part for part in parts))
        lines = template.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = "".join(render_line(line, kind) for line in lines)
        rendered[path] = _Text(kept).substitute(values)
    return rendered


def render_line(line: str, kind: str) -> str:
    """A line of a template: as it is, without its ``@KIND|``, or nothing if it is of another."""
    found = _ONLY_FOR.match(line)
    if not found:
        return line
    return line[found.end() :] if found[1] == kind else ""


def _write(target: Path, rendered: dict[Path, str]) -> None:
    """All files, or none.

    Raises:
        ClickException: the place is taken.
        OSError: it can't be written.
    """
    if target.is_symlink():
        raise click.ClickException(
            f"{target} is a symbolic link. Nothing was written; give the directory itself, or "
            "another place, with --output"
        )
    if target.exists() and not target.is_dir():
        raise click.ClickException(f"{target} is there already, and no directory")
    was_there = target.exists()
    if was_there and any(target.iterdir()):
        raise click.ClickException(
            f"{target} is there already, and not empty. Nothing was written; choose another place "
            "with --output"
        )
    target.mkdir(exist_ok=True)
    try:
        for path, text in rendered.items():
            file = target / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
    except OSError:
        _clear(target)
        if not was_there:
            target.rmdir()
        raise


def _clear(directory: Path) -> None:
    """Remove what is in a directory that was empty."""
    for each in directory.iterdir():
        if each.is_dir():
            shutil.rmtree(each)
        else:
            each.unlink()


def _origin() -> str:
    """Where this traefikhub was installed from, as pip takes it; empty if from an index, where pip
    finds it by itself."""
    try:
        recorded = distribution("traefikhub").read_text("direct_url.json")
    except PackageNotFoundError:
        return ""
    match json.loads(recorded or "null"):
        case {"url": str(url), "vcs_info": {"vcs": str(system), "commit_id": str(commit)}}:
            return f"{system}+{url}@{commit}"
        case {"url": str(url)}:
            return url
    return ""


def _what_next(names: Names, target: Path) -> str:
    place = quote(str(target))
    origin = _origin()
    first = f"    pip install {quote(origin)}\n" if origin else ""
    return f"""\
Wrote {names.distribution} in {target}, with the store {names.class_name}. Its tests pass now:

    cd {place}
    python -m venv .venv
    . .venv/bin/activate
{first}    pip install -e ".[test]"
    pytest

Then put your server in the place of SQLite:

    grep -rn "YOUR SERVER" .

README.md says what to do before you publish it, and "Write your own store" in traefikhub's
documentation explains each step."""
