"""Every block of the documentation is tried, as far as a machine can; what can't be says why.

A page says so in a comment just before the block: ``<!-- not run: the reason -->``, or ``<!-- run
by: tests/test_x.py -->`` if a test of its own does it.
"""

from __future__ import annotations

import configparser
import contextlib
import io
import itertools
import json
import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import tomli_w
import yaml
from prometheus_client import CollectorRegistry, generate_latest
from traitlets.config import Config

from doc_blocks import PAGES, ROOT, Block, Command, blocks_of, commands_of
from doc_commands import known_options, parse_traefikhub, what_is_wrong
from support import ask, free_port, run_traefik, wait_until
from traefikhub.cli import main
from traefikhub.cli._hub import Hub
from traefikhub.metrics import Metrics
from traefikhub.traefik import find_traefik

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SHELLS: Final = ("bash", "console", "sh")
DRAWN_OR_SHOWN: Final = {
    "text": "a message, a file's list, a layout: nothing to run",
    "mermaid": "drawn by the build of the site",
    "diff": "nothing to run",
}
SERVED: Final = [page for page in PAGES if blocks_of(page)]
STATIC: Final = {"accessLog", "api", "certificatesResolvers", "entryPoints", "log", "metrics"}
STATIC_TOO: Final = {"ping", "providers", "serversTransport", "spiffe", "tracing", "experimental"}


def of(page: str, *languages: str) -> list[Block]:
    """The blocks of a page that are to be tried."""
    return [
        block
        for block in blocks_of(page)
        if block.language in languages and not block.not_run and not block.run_by
    ]


def having(*languages: str) -> pytest.MarkDecorator:
    """For each page that has such blocks."""
    return pytest.mark.parametrize("page", [page for page in PAGES if of(page, *languages)])


# --- what is on the pages -------------------------------------------------------------------------


@pytest.mark.parametrize("page", SERVED)
def test_each_block_is_of_a_kind_that_is_tried_or_says_why_not(page: str) -> None:
    tried = {*SHELLS, "python", "json", "toml", "yaml", "ini", *DRAWN_OR_SHOWN}
    unknown = [
        f"{block}: nothing here tries a block of {block.language or 'no language'!r}; name another "
        "language, or put <!-- not run: the reason --> before it"
        for block in blocks_of(page)
        if block.language not in tried and not block.not_run and not block.run_by
    ]
    assert unknown == []


@pytest.mark.parametrize("page", SERVED)
def test_who_is_said_to_run_a_block_knows_the_page(page: str) -> None:
    for block in blocks_of(page):
        if block.run_by:
            test = (ROOT / block.run_by).read_text()
            helpers = re.findall(r"^from (\w+) import", test, re.M)
            code = test + "".join(
                path.read_text()
                for name in helpers
                if (path := (ROOT / block.run_by).with_name(f"{name}.py")).exists()
            )
            assert Path(page).name in code, f"{block}: {block.run_by} says nothing of this page"


# --- commands -------------------------------------------------------------------------------------


def filled(words: tuple[str, ...], here: Path) -> list[str]:
    """With a value in place of dots, and the files that are there in a reader's directory."""
    for word in words:
        if re.fullmatch(r"[\w-]+\.(json|toml|py|gz)", word):
            (here / word).touch()
    return [("0" * 64 if word == "…" else word) for word in words]


@having(*SHELLS)
def test_each_command_is_one(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    wrong = []
    for block in of(page, *SHELLS):
        text = "\n".join(command.text for command in commands_of(block))
        shell = subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True)
        wrong += [f"{block}: {shell.stderr}"] if shell.returncode else []
        for command in commands_of(block):
            why = what_is_wrong(filled(command.words, tmp_path), page)
            if why is None:
                why = "a program of others; put <!-- not run: the reason --> before the block"
            wrong += [f"{block}: {' '.join(command.words)}: {why}"] if why else []
    assert wrong == []


@pytest.mark.parametrize("page", SERVED)
def test_the_commands_of_a_block_that_is_not_run_are_ours_all_the_same(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for block in blocks_of(page):
        if block.language in SHELLS and block.not_run:
            for command in commands_of(block):
                if command.words[0] in ("traefikhub", "pip", "nox"):
                    assert not what_is_wrong(filled(command.words, tmp_path), page), block


SAFE: Final = {
    ("stores",),
    ("routes", "list"),
    ("routes", "export"),
    ("routes", "diff"),
    ("static-config",),
    ("completion",),
    ("manual",),
}
"""They read, or write into the current directory."""


def run_here(arguments: list[str]) -> tuple[int, str]:
    """Run ``traefikhub`` in this process; its exit code and what it prints."""
    printed = io.StringIO()
    code: Any = 0
    with contextlib.redirect_stdout(printed):
        try:
            main(arguments)
        except SystemExit as end:
            code = end.code
    return int(code or 0), printed.getvalue()


def is_safe(words: list[str]) -> bool:
    """Whether running it in an empty directory harms nobody."""
    program, *arguments = words
    if program != "traefikhub" or any(word.startswith(("/", "~")) for word in arguments):
        return False
    # With the store of the default, no server is asked.
    if any("Store." in word or ".store=" in word or word == "--with" for word in arguments):
        return False
    return tuple(parse_traefikhub(arguments)) in SAFE


@having(*SHELLS)
def test_safe_commands_work_in_a_new_hubs_directory(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    (tmp_path / "jupyterhub_config.py").write_text('c.JupyterHub.proxy_class = "traefikhub"\n')
    (tmp_path / "routes.json").write_text("{}")
    for block in of(page, *SHELLS):
        for command in commands_of(block):
            words = filled(command.words, tmp_path)
            if is_safe(words):
                code, printed = run_here(words[1:])
                assert code == 0, f"{block}: {command.text} ends with {code}\n{printed}"
                compare(block, command, printed)
            else:
                assert not any(command.shown), (
                    f"{block}: nothing here prints what is shown below {command.text!r}; "
                    "put <!-- not run: the reason --> before it"
                )


def compare(block: Block, command: Command, printed: str) -> None:
    """Each line shown is printed, in that order; ``…`` stands for anything."""
    lines = iter(printed.splitlines())
    for shown in filter(str.strip, command.shown):
        words = [".*".join(map(re.escape, word.split("…"))) for word in shown.split()]
        wanted = re.compile(r"\s*" + r"\s+".join(words) + r"\s*")
        assert any(wanted.fullmatch(line) for line in lines), (
            f"{block}: {command.text!r} does not print {shown!r}, but\n{printed}"
        )


# --- Python ---------------------------------------------------------------------------------------

_OWN_FILE: Final = re.compile(r"# (src|tests)/\S+\n|# pyproject\.toml\n")
"""The first line of a block that shows a part of what new-store writes; a test compares them."""


def is_configuration(block: Block) -> bool:
    """Whether it is of a jupyterhub_config.py."""
    return bool(re.search(r"^c\.[A-Z]\w+\.", block.text, re.M))


def set_up(text: str, here: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make what a configuration reads: variables of the environment, and files."""
    for name in re.findall(r'environ(?:\[|\.get\()"(\w+)"', text):
        monkeypatch.setenv(name, "a value")
    for file in re.findall(r'(?:Path|open)\("(/[^"]+)"\)', text):
        made = here / file.lstrip("/")
        made.parent.mkdir(parents=True, exist_ok=True)
        made.write_text("a password\n")
        made.chmod(0o600)
        text = text.replace(f'"{file}"', f'"{made}"')
    return text


class Heard(logging.Handler):
    """What JupyterHub and the proxy say of a configuration."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []
        self.log = logging.Logger("a page")
        self.log.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


_STORES: Final = {"EtcdStore": "etcd", "ConsulStore": "consul", "TomlFileStore": "toml-file"}


def complaints(parts: list[str], here: Path) -> list[str]:
    """What is wrong with a configuration, as ``traefikhub check`` tells it."""
    file, text = here / "jupyterhub_config.py", "\n".join(parts)
    usual = ['c.JupyterHub.proxy_class = "traefikhub"']
    stores = [name for cls, name in _STORES.items() if re.search(rf"^c\.{cls}\.", text, re.M)]
    if stores and "c.TraefikProxy.store" not in text:
        usual.append(f'c.TraefikProxy.store = "{stores[0]}"')
    # Its package may not be here.
    text = text.replace('c.TraefikProxy.store = "redis"', "")
    file.write_text("\n".join((*usual, text)))
    heard = Heard()
    try:
        proxy = Hub(str(file), ()).proxy(heard.log)
        proxy.session_settings()
        proxy.warn_of_options()
    except Exception as error:
        return [*heard.said, f"{type(error).__name__}: {error}"]
    config: Config = proxy.config
    for name in config:
        options = known_options(name)
        if options is not None:
            heard.said += [f"c.{name}.{each}?" for each in config[name] if each not in options]
    return [said for said in heard.said if "insecure" not in said.lower()]


@having("python")
def test_python_is_right(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    imports: list[str] = []
    earlier: list[str] = []
    wrong = []
    for block in of(page, "python"):
        if is_configuration(block):
            text = set_up(block.text, tmp_path, monkeypatch)
            # By itself, or with what the page has said so far, at its beginning or in all.
            tries: tuple[list[str], ...] = ([], earlier[:1], earlier)
            said = (complaints([*imports, *before, text], tmp_path) for before in tries)
            if len(found := list(itertools.takewhile(bool, said))) == len(tries):
                wrong += [f"{block}: {each}" for each in found[0]]
            earlier.append(text)
            imports += re.findall(r"^(?:from|import) .*$", text, re.M)
        elif _OWN_FILE.match(block.text):
            assert page == "docs/writing-a-store.md", f"{block}: whose file is that?"
        else:
            try:
                exec(compile(block.text, str(block), "exec"), {"__name__": "__main__"})
            except Exception as error:
                wrong.append(f"{block}: {type(error).__name__}: {error}")
    assert wrong == []


# --- documents ------------------------------------------------------------------------------------


def document(block: Block) -> Any:
    """What its text means."""
    match block.language:
        case "json":
            return json.loads(block.text)
        case "toml":
            return tomllib.loads(block.text)
        case "yaml":
            return list(yaml.safe_load_all(block.text))
    parser = configparser.ConfigParser(strict=False, interpolation=None, allow_no_value=True)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(block.text)
    return parser


@having("json", "toml", "yaml", "ini")
def test_documents_can_be_read(page: str) -> None:
    for block in of(page, "json", "toml", "yaml", "ini"):
        assert document(block), block


def static_parts() -> Iterator[tuple[Block, dict[str, Any]]]:
    """Everything on the pages that goes into Traefik's static configuration."""
    for page in PAGES:
        for block in of(page, "toml"):
            found = document(block)
            if found.keys() <= STATIC | STATIC_TOO:
                yield block, found
        for block in of(page, "python"):
            for found in extras(block, "extra_static_config"):
                yield block, found


def extras(block: Block, option: str) -> Iterator[dict[str, Any]]:
    """The values of an option that a block writes out."""
    if f"c.TraefikProxy.{option} = " in block.text:
        c = Config()
        with contextlib.suppress(NameError, KeyError, OSError):  # of other lines
            exec(block.text, {"c": c})
        if isinstance(found := c.TraefikProxy.get(option), dict):
            yield found


@pytest.mark.parametrize(
    ("block", "static"), [pytest.param(*part, id=str(part[0])) for part in static_parts()]
)
def test_traefik_knows_each_field(block: Block, static: dict[str, Any], tmp_path: Path) -> None:
    """It reads the configuration before it opens a port, and ends there: no such port exists."""
    points = {name: dict(point) for name, point in static.get("entryPoints", {}).items()}
    for name in {"http", "https", *points}:
        points.setdefault(name, {})["address"] = "127.0.0.1:99999"
    (tmp_path / "traefik.toml").write_text(tomli_w.dumps({**static, "entryPoints": points}))
    ended = subprocess.run(
        [find_traefik(), f"--configfile={tmp_path / 'traefik.toml'}"],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
    )
    told = ended.stdout + ended.stderr
    assert "99999" in told, f"{block}: {told}"


def test_traefik_takes_the_dynamic_configuration_of_the_pages(tmp_path: Path) -> None:
    found = [
        (block, each)
        for page in PAGES
        for block in of(page, "python")
        for each in extras(block, "extra_dynamic_config")
    ]
    assert len(found) >= 3
    directory = tmp_path / "dynamic"
    directory.mkdir()
    for number, (_, extra) in enumerate(found):
        (directory / f"{number}.toml").write_text(tomli_w.dumps(extra))
        seen = {"http": {"middlewares": {f"seen-{number}": {"addPrefix": {"prefix": "/x"}}}}}
        (directory / f"{number}-seen.toml").write_text(tomli_w.dumps(seen))
    api = f"http://127.0.0.1:{(port := free_port())}"
    static = {
        "api": {"insecure": True},
        "providers": {"file": {"directory": str(directory)}},
        "entryPoints": {"traefik": {"address": f"127.0.0.1:{port}"}},
    }
    log = tmp_path / "external-traefik.log"

    def is_there() -> bool:
        if "not found, node" in log.read_text():
            return True
        with contextlib.suppress(OSError):
            return ask(f"{api}/api/http/middlewares/seen-0@file")[0] == 200
        return False

    with run_traefik(tmp_path, static):
        wait_until(is_there, "Traefik")
    assert "field not found" not in log.read_text(), f"{log.read_text()}\n{found}"


# --- names ----------------------------------------------------------------------------------------

_PACKAGES: Final = {"traefikhub_backends", "traefikhub_redis", "traefikhub_mongo"}


def test_metrics_that_blocks_name_exist() -> None:
    registry = CollectorRegistry()
    kept = Metrics(registry)
    shown = generate_latest(registry).decode()
    assert kept
    known = set(re.findall(r"^# (?:TYPE|HELP) (\w+)", shown, re.M))
    known |= set(re.findall(r"^(traefikhub_\w+)", shown, re.M)) | _PACKAGES
    used = {
        (name, str(block))
        for page in PAGES
        for block in blocks_of(page)
        if block.language not in ("python", *SHELLS)
        for name in re.findall(r"\b(?<![./-])traefikhub_(?!_)\w+", block.text)
    }
    assert len({name for name, _ in used} - _PACKAGES) >= 5
    assert sorted(f"{block}: {name}" for name, block in used if name not in known) == []
