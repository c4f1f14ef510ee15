"""Whether a command of the documentation is one: what it is called, its options, what it names."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import click
from packaging.requirements import InvalidRequirement, Requirement

from doc_blocks import ROOT
from traefikhub.cli._app import cli
from traefikhub.cli._commands import HubCommand, traits_of
from traefikhub.proxy import TraefikProxy
from traefikhub.stores import KeyValueStore, RouteStore, resolve_store

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["known_options", "parse_traefikhub", "what_is_wrong"]

_HARMLESS: Final = {
    *(".", "cd", "cat", "chmod", "chown", "cp", "deactivate", "echo", "exit", "export", "install"),
    *("jq", "ls", "mkdir", "mv", "printf", "pwd", "rm", "sleep", "source", "tee", "test", "twine"),
}
"""What shells have, and a few tools; their arguments say nothing that can be checked."""

_OWN: Final = {
    "traefikhub": ROOT / "pyproject.toml",
    "traefikhub-redis": ROOT / "plugins" / "traefikhub-redis" / "pyproject.toml",
}
"""Where our own packages say which extras they have."""


def what_is_wrong(words: Sequence[str], page: str) -> str | None:
    """Why a command can't work; empty if it can; None if it is a program of others."""
    program = Path(words[0]).name or words[0]
    program = re.sub(r"^(python|pip)[\d.]*$", r"\1", program)
    if program == "sudo":
        return what_is_wrong(words[1:], page)
    if program in _HARMLESS:
        return ""
    look = _LOOKS.get(program)
    return look(list(words[1:]), page) if look else None


def parse_traefikhub(arguments: Sequence[str]) -> list[str]:
    """Let click read a command line, without running it.

    Returns:
        the names of the subcommands.

    Raises:
        click.ClickException: it makes no sense.
    """
    rest, traits = traits_of(arguments)
    ctx = click.Context(cli, info_name="traefikhub")
    found: click.Command = cli
    path: list[str] = []
    while isinstance(found, click.Group):
        if not rest or rest[0].startswith("-"):
            found.make_context(ctx.info_name, rest, parent=ctx.parent)
            raise click.UsageError("a command is missing", ctx)
        name, inner, rest = found.resolve_command(ctx, rest)
        assert name is not None
        assert inner is not None
        path.append(name)
        if not isinstance(inner, click.Group):
            with inner.make_context(name, rest, parent=ctx):
                pass  # it closes the files that it opens
        found, ctx = inner, click.Context(inner, parent=ctx, info_name=name)
    if traits and not isinstance(found, HubCommand):
        raise click.UsageError(f"{path[-1]} reads no configuration")
    for trait in traits:
        cls, _, option = trait.lstrip("-").partition("=")[0].rpartition(".")
        if option not in (known_options(cls) or {option}):
            raise click.UsageError(f"{cls} has no option {option}")
    return path


def known_options(cls: str) -> dict[str, Any] | None:
    """The options of a class that a hub's configuration may name; None if it isn't ours."""
    if cls == "TraefikProxy":
        return dict(TraefikProxy.class_traits(config=True))
    for store in ("consul", "etcd", "toml-file"):
        found: type[RouteStore] = resolve_store(store)
        if found.__name__ == cls:
            return dict(found.class_traits(config=True))
    if cls == "RedisStore":  # its library may not be here, so it can't be imported
        source = ROOT / "plugins" / "traefikhub-redis" / "src" / "traefikhub_redis" / "_store.py"
        own = re.findall(r"^    ([a-z]\w*) = [A-Z]\w*\(", source.read_text(), re.M)
        own += re.findall(
            r"^    ([a-z]\w*) = [A-Z]\w*\(.*\.tag\(config=True\)$", source.read_text(), re.M
        )
        return {**KeyValueStore.class_traits(config=True), **dict.fromkeys(own)}
    return None


def _traefikhub(arguments: list[str], page: str) -> str:
    try:
        parse_traefikhub(arguments)
    except click.exceptions.Exit:  # --help, --version
        return ""
    except click.ClickException as error:
        return error.format_message()
    return ""


def _pip(arguments: list[str], page: str) -> str:
    if not arguments or arguments[0] not in ("install", "wheel", "uninstall", "download"):
        return f"pip {' '.join(arguments)}?"
    here = ROOT / Path(page).parent / "pyproject.toml"
    for word in arguments[1:]:
        if word.startswith("-"):
            continue
        name, _, extras = word.partition("[")
        if name.startswith((".", "/")) and not name.endswith((".whl", ".txt")):
            # A checkout: of the project, or of the package that has the page.
            file = here if here.exists() else ROOT / "pyproject.toml"
        elif name in _OWN:
            file = _OWN[name]
        else:
            try:
                Requirement(word)
            except InvalidRequirement as error:
                return f"pip takes no {word!r}: {error}"
            continue
        known = tomllib.loads(file.read_text())["project"].get("optional-dependencies", {})
        for extra in filter(None, extras.rstrip("]").split(",")):
            if extra not in known and not page.endswith("writing-a-store.md"):
                return f"{name or file} has no extra {extra!r}"
    return ""


def _sessions() -> Iterator[tuple[str, list[str]]]:
    for node in ast.parse((ROOT / "noxfile.py").read_text()).body:
        if isinstance(node, ast.FunctionDef):
            marks = [ast.unparse(each) for each in node.decorator_list]
            if any(mark.startswith("nox.session") for mark in marks):
                yield node.name, marks


def _nox(arguments: list[str], page: str) -> str:
    ours, _, theirs = " ".join(arguments).partition(" -- ")
    sessions = dict(_sessions())
    for name in re.findall(r"-s (\S+)", ours):
        base, _, parameter = name.rstrip(")").partition("(")
        if base not in sessions:
            return f"there is no session {base!r}"
        if parameter and not any("parametrize" in mark for mark in sessions[base]):
            return f"{base} has no parameters"
        # Where they are read is in one of these.
        code = (
            "".join(
                path.read_text()
                for directory in ("tests", "benchmarks")
                for path in (ROOT / directory).rglob("*.py")
            )
            + (ROOT / "noxfile.py").read_text()
        )
        for option in re.findall(r"(?<!\S)--[a-z-]+", theirs):
            if f'"{option}"' not in code:
                return f"no session reads {option}"
    return ""


def _python(arguments: list[str], page: str) -> str:
    if arguments[:1] == ["-m"]:
        module = arguments[1]
        ours = {path.name for path in (ROOT / "tests").iterdir()} | {"benchmarks"}
        if module.split(".")[0] in ours:
            places = [base / Path(*module.split(".")) for base in (ROOT, ROOT / "tests")]
            if not any(p.exists() or p.with_suffix(".py").exists() for p in places):
                return f"there is no module {module}"
            return ""
        if module == "pip":
            return _pip(arguments[2:], page)
        if module in ("build", "nox", "pytest", "twine", "venv"):
            return ""
        return "" if find_spec(module.split(".")[0]) else f"there is no module {module}"
    if arguments and arguments[0].endswith(".py"):
        return "" if (ROOT / arguments[0]).exists() else f"there is no {arguments[0]}"
    return ""


def _pytest(arguments: list[str], page: str) -> str:
    for word in arguments:
        file = word.partition("::")[0]
        if file.endswith(".py") and not (ROOT / file).exists():
            return f"there is no {file}"
    return ""


def _anything(arguments: list[str], page: str) -> str:
    return ""


def _apt(arguments: list[str], page: str) -> str:
    return "" if arguments[:1] in (["install"], ["update"]) else "apt-get installs"


_LOOKS: Final[dict[str, Callable[[list[str], str], str]]] = {
    "apt": _apt,
    "apt-get": _apt,
    "jupyterhub": _anything,  # JupyterHub's own, which the demo and the tests start
    "nox": _nox,
    "pip": _pip,
    "pytest": _pytest,
    "python": _python,
    "traefikhub": _traefikhub,
}
