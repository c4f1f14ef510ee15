"""The command as a whole: help, mistakes, completion, the man page, how it ends."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from traefikhub import __version__
from traefikhub.cli import main
from traefikhub.cli._app import cli
from traefikhub.cli._manual import man_page
from traefikhub.cli._screen import printable, without_passwords

COMMAND = [sys.executable, "-m", "traefikhub.cli"]


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | environment,
    )


def commands(group: click.Group, *path: str) -> Iterator[tuple[str, ...]]:
    """All, as one would type them."""
    ctx = click.Context(group)
    for name in group.list_commands(ctx):
        found = group.get_command(ctx, name)
        assert found
        yield (*path, name)
        if isinstance(found, click.Group):
            yield from commands(found, *path, name)


assert isinstance(cli, click.Group)
COMMANDS = list(commands(cli))


@pytest.mark.parametrize("path", [(), *COMMANDS], ids=" ".join)
@pytest.mark.parametrize("word", ["--help", "-h"])
def test_each_command_explains_itself_with_an_example(
    path: tuple[str, ...], word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*path, word])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert f"Usage: {' '.join(('traefikhub', *path))} " in said
    assert "Example: traefikhub" in " ".join(said.split())


def test_the_version() -> None:
    for word in ("--version", "-V"):
        assert run(word).stdout == f"traefikhub {__version__}\n"


MISTAKES = {
    "no such command": (["rutes"], "No such command 'rutes'"),
    "no such option": (["stores", "--jsn"], "--json"),
    "an option of the Hub where it says nothing": (
        ["stores", "--TraefikProxy.store=etcd"],
        "stores reads no configuration",
    ),
    "an option of the Hub without a value": (
        ["routes", "list", "--TraefikProxy.store"],
        "needs a value",
    ),
    "no such file": (["routes", "list", "-f", "absent.py"], "absent.py: there is no such file"),
    "no such shell": (["completion", "tcsh"], "tcsh"),
}


@pytest.mark.parametrize("what", MISTAKES)
def test_a_mistake_on_the_command_line_ends_with_2(
    what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, told = MISTAKES[what]
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    said = capsys.readouterr()
    assert ended.value.code == 2
    assert told in said.err
    assert not said.out


CONFIGURATIONS = {
    "raises": ("\n\n1 / 0", "ZeroDivisionError: division by zero (hub.py, line 3)"),
    "names a proxy that isn't installed": (
        "c.JupyterHub.proxy_class = 'traefikhubb'",
        "c.JupyterHub.proxy_class must be a type, but 'traefikhubb' could not be imported",
    ),
    "is no Python": ("c.JupyterHub.", "SyntaxError"),
    "has another proxy": ("", "set it to 'traefikhub'"),
    "has a store that isn't installed": (
        "c.JupyterHub.proxy_class = 'traefikhub'\nc.TraefikProxy.store = 'zoo'",
        "no store of that name",
    ),
    "has an option of a wrong type": (
        "c.JupyterHub.proxy_class = 'traefikhub'\nc.TraefikProxy.grace_seconds = 'x'",
        "grace_seconds",
    ),
    "leaves": ("import sys; sys.exit('not today')", "not today"),
    "has a password of a wrong type": (
        "c.JupyterHub.proxy_class = 'traefikhub'\nc.TraefikProxy.traefik_api_password = ['S3CRET']",
        "c.TraefikProxy.traefik_api_password",
    ),
}


@pytest.mark.parametrize("what", CONFIGURATIONS)
@pytest.mark.parametrize("command", ["routes list", "check", "static-config", "bench"])
def test_a_configuration_that_can_not_be_used(
    what: str, command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, told = CONFIGURATIONS[what]
    config = tmp_path / "hub.py"
    config.write_text(text)
    with pytest.raises(SystemExit) as ended:
        main([*command.split(), "-f", str(config)])
    said = capsys.readouterr()
    if command == "check" and "store" in what:  # one finding of several
        assert told in said.out
        return
    assert ended.value.code == 1
    assert told in said.err
    assert "Traceback" not in said.err
    assert "object at 0x" not in said.err
    assert "S3CRET" not in said.err


def test_the_line_of_a_configuration_that_another_loads_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "hub.py").write_text(f"load_subconfig({str(tmp_path / 'more.py')!r})\n")
    (tmp_path / "more.py").write_text("\n\nimport json\n\njson.loads('{')\n")
    with pytest.raises(SystemExit):
        main(["routes", "list", "-f", str(tmp_path / "hub.py")])
    assert "(more.py, line 5)" in capsys.readouterr().err


def test_what_a_configuration_prints_is_not_in_the_document(tmp_path: Path) -> None:
    config = tmp_path / "hub.py"
    config.write_text(
        "import subprocess\nprint('hello')\nsubprocess.run(['echo', 'hello'])\n"
        "c.JupyterHub.proxy_class = 'traefikhub'\n"
        f"c.TraefikProxy.run_dir = {str(tmp_path / 'run')!r}\n"
    )
    told = run("routes", "list", "--json", "-f", str(config))
    assert json.loads(told.stdout)["routes"] == []
    assert told.stderr.count("hello") == 2


def test_no_secret_of_the_command_line_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["routes", "list", "--EtcdStore.password=S3CRET", "--JupyterHub.proxy_class=x.y"])
    said = capsys.readouterr()
    assert "--EtcdStore.password" in said.err
    assert "S3CRET" not in said.err
    assert without_passwords("at http://u:S3CRET@h:1/ and //x") == "at http://***@h:1/ and //x"


def test_a_file_to_write_may_be_a_pipe_or_a_link(tmp_path: Path) -> None:
    config = tmp_path / "hub.py"
    config.write_text("c.JupyterHub.proxy_class = 'traefikhub'\n")
    (tmp_path / "file").write_text("old")
    (tmp_path / "link").symlink_to("file")
    os.mkfifo(tmp_path / "pipe")
    export = [*COMMAND, "routes", "export", "-f", str(config), "-o"]
    subprocess.run([*export, "link"], check=True, cwd=tmp_path, timeout=60)
    assert (tmp_path / "link").is_symlink()
    assert json.loads((tmp_path / "file").read_text())["routes"] == []
    with subprocess.Popen([*export, "pipe"], cwd=tmp_path) as writer:
        assert json.loads((tmp_path / "pipe").read_text())["routes"] == []
        assert writer.wait(60) == 0
    assert (tmp_path / "pipe").is_fifo()


def test_options_of_the_hub_may_stand_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for arguments in (
        ["--JupyterHub.proxy_class=traefikhub", "routes", "list", "--json"],
        ["routes", "--JupyterHub.proxy_class", "traefikhub", "list", "--json"],
        ["routes", "list", "--json", "--JupyterHub.proxy_class=traefikhub"],
    ):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        said = capsys.readouterr()
        assert ended.value.code == 0, said
        assert json.loads(said.out)["routes"] == []


def test_who_reads_no_further_sees_no_error() -> None:
    command = " ".join(COMMAND)
    done = subprocess.run(
        ["sh", "-c", f"{command} manual | head -n 1"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.startswith(".TH TRAEFIKHUB 1")
    assert done.stderr == ""


@pytest.mark.parametrize("arguments", ["stores", "stores --json", "--help", "manual"])
def test_what_can_not_be_written_is_told(arguments: str) -> None:
    with open("/dev/full", "w") as full:
        ended = subprocess.run(
            [*COMMAND, *arguments.split()],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    assert ended.returncode == 1
    assert ended.stderr == ("Error: standard output can't be written: No space left on device\n")


def test_standard_output_may_be_closed(tmp_path: Path) -> None:
    (tmp_path / "jupyterhub_config.py").write_text("c.JupyterHub.proxy_class = 'traefikhub'\n")
    ended = subprocess.run(
        ["sh", "-c", f"{' '.join(COMMAND)} routes list >&-"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr


OLD_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.parametrize("environment", [{"PYTHONIOENCODING": "ascii"}, OLD_LOCALE])
def test_a_name_that_the_terminal_has_no_letters_for(
    environment: dict[str, str], tmp_path: Path
) -> None:
    config = tmp_path / "hub.py"
    config.write_text(
        "c.JupyterHub.proxy_class = 'traefikhub'\n"
        f"c.TraefikProxy.run_dir = {str(tmp_path / 'run')!r}\n"
        "c.TraefikProxy.extra_static_config = {'entryPoints': {'zo\xeb': {'address': ':1'}}}\n",
        encoding="utf-8",
    )
    routes = tmp_path / "routes.json"
    routes.write_text(
        '{"/user/zo%C3%AB": {"target": "http://127.0.0.1:9", "user": "zo\xeb"}}', encoding="utf-8"
    )
    here = ["-f", str(config)]
    imported = run("routes", "import", str(routes), "--yes", *here, **environment)
    assert imported.returncode == 0, imported.stderr
    listed = run("routes", "list", *here, **environment)
    assert listed.returncode == 0, listed.stderr
    assert "| zo\\xeb " in listed.stdout
    # A file for another program is UTF-8 anywhere.
    document = run("static-config", *here, **environment).stdout
    assert tomllib.loads(document)["entryPoints"]["zo\xeb"]["address"] == ":1"


def test_stores_tells_what_is_there_and_what_is_missing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["stores", "--json"])
    assert ended.value.code == 0
    found = {each["name"]: each for each in json.loads(capsys.readouterr().out)}
    assert {"toml-file", "etcd", "consul"} <= found.keys()
    assert found["etcd"]["server"].startswith("etcd ")
    options = {each["name"]: each["default"] for each in found["etcd"]["options"]}
    assert options["c.EtcdStore.prefix"] == "'traefik'"
    with pytest.raises(SystemExit):
        main(["stores", "-v"])
    said = capsys.readouterr().out
    assert "c.EtcdStore.endpoints" in said
    assert "no server" in said


def test_stores_names_the_extra_that_is_missing(tmp_path: Path) -> None:
    """In an environment in which etcd's client can't be found."""
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util\n"
        "find = importlib.util.find_spec\n"
        "def find_spec(name, package=None):\n"
        "    return None if name.split('.')[0] == 'pyetcd' else find(name, package)\n"
        "importlib.util.find_spec = find_spec\n"
    )
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    told = run("stores", "--json", PYTHONPATH=path)
    assert told.returncode == 1
    problems = {each["name"]: each["problem"] for each in json.loads(told.stdout)}
    assert 'pip install "traefikhub[etcd]"' in problems.pop("etcd")
    assert not any(problems.values())


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("ro", "routes"),
        ("routes re", "repair"),
        ("stores --j", "--json"),
        ("completion z", "zsh"),
        ("--TraefikProxy.store=etcd stores --j", "--json"),
        ("--TraefikProxy.store etcd routes re", "repair"),
    ],
)
def test_a_shell_completes(typed: str, completed: str) -> None:
    words = f"traefikhub {typed}"
    told = run(
        _TRAEFIKHUB_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=str(words.count(" "))
    )
    assert completed in {line.partition(",")[2] for line in told.stdout.splitlines()}


@pytest.mark.parametrize("typed", ["routes copy --TraefikProxy.store ", "rutes --", "rutes li"])
def test_what_a_shell_can_not_complete_is_no_error(typed: str) -> None:
    words = f"traefikhub {typed}"
    told = run(
        _TRAEFIKHUB_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=str(words.count(" "))
    )
    assert (told.returncode, told.stderr) == (0, "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_what_a_shell_is_told_is_in_its_language(shell: str) -> None:
    told = run("completion", shell)
    assert told.returncode == 0
    assert "_TRAEFIKHUB_COMPLETE" in told.stdout
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=told.stdout, text=True, check=True, timeout=20)


def test_the_man_page_has_all_commands() -> None:
    page = man_page(cli)
    for path in COMMANDS:
        assert f"\n.SS traefikhub {' '.join(path)} ".replace("-", r"\-") in page
    assert r"\-\-old\-prefix" in page
    for section in (".SH DESCRIPTION", ".SS traefikhub routes "):
        assert "\nExample: traefikhub" in page.partition(section)[2].partition("\n.S")[0]
    # No line of text begins with what roff would obey.
    controls = {line.split()[0] for line in page.splitlines() if line.startswith((".", "'"))}
    assert controls <= {".TH", ".SH", ".SS", ".PP", ".TP", ".nf", ".fi"}


def test_nothing_of_others_reaches_the_terminal() -> None:
    assert printable("a\x1b[2Jb\nc\u202e") == "a\\x1b[2Jb\nc\\u202e"
