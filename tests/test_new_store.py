"""``traefikhub new-store``: what it writes works as it is, and what it can't write it says."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import resource
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import traefikhub
from traefikhub.cli._new_store import Names, command, render, render_line
from traefikhub.traefik import find_traefik

NAME = "throwaway-notes"


def new_store(*arguments: str) -> Result:
    """Run the command."""
    return CliRunner().invoke(command, arguments, prog_name="traefikhub new-store")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    directory = tmp_path / "here"
    directory.mkdir()
    monkeypatch.chdir(directory)
    return directory


# --- what it writes -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Environment:
    """A virtual environment with everything that is installed here, and room for more."""

    directory: Path
    variables: Mapping[str, str]

    @classmethod
    def make(cls, directory: Path, *sources: Path) -> Environment:
        """A new one. It has all packages of this environment, this traefikhub, and ``sources``."""
        make = ["-m", "venv", "--without-pip", str(directory)]
        subprocess.run([sys.executable, *make], check=True)
        here = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
        (own,) = directory.glob("lib/python*/site-packages")
        lines = (f"import site; site.addsitedir({path!r})\n" for path in here)
        (own / "those-of-here.pth").write_text("".join(lines))
        variables = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
        paths = (Path(traefikhub.__file__).parents[1], *sources)
        variables["PYTHONPATH"] = os.pathsep.join(map(str, paths))
        variables["PATH"] = f"{Path(find_traefik()).parent}{os.pathsep}{variables['PATH']}"
        return cls(directory, variables)

    @property
    def python(self) -> str:
        """Its interpreter."""
        return str(self.directory / "bin" / "python")

    def run(self, *command: str, cwd: Path) -> str:
        """What a program says that ends well."""
        ended = subprocess.run(
            command, cwd=cwd, env=self.variables, text=True, capture_output=True, timeout=150
        )
        assert ended.returncode == 0, f"{command}:\n{ended.stdout}\n{ended.stderr}"
        return ended.stdout

    def install(self, source: Path) -> None:
        """Build a wheel and install that, with its extra ``test``: all that this asks for must be
        here already."""
        wheels = self.directory / "wheels"
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
        # What builds it is fetched, unless it is here.
        found = importlib.util.find_spec("hatchling")
        build = [*pip, "wheel", "-q", "--no-deps", *(["--no-build-isolation"] if found else [])]
        self.run(*build, "-w", str(wheels), str(source), cwd=self.directory)
        (wheel,) = wheels.glob("*.whl")
        self.run(
            *(*pip, "--python", self.python, "install", "-q", "--no-index", f"{wheel}[test]"),
            cwd=self.directory,
        )


AS_A_HUB_FINDS_IT = """
import logging, sys
from types import SimpleNamespace
from traitlets.config import Config
from traefikhub import TraefikProxy
config = Config()
config.TraefikProxy.store = sys.argv[1]
config.ThrowawayNotesStore.hub = "hub-of-the-test"
proxy = TraefikProxy(config=config, app=SimpleNamespace(subdomain_host="", internal_ssl=False))
store = proxy.session_settings().store
print(type(store).__module__.partition(".")[0], type(store).__name__, store.hub)
"""


def run_its_tests(environment: Environment, package: Path, chosen: str = "") -> None:
    """All of a package's own tests, or some."""
    pytest = [environment.python, "-m", "pytest", "-p", "no:cacheprovider"]
    told = environment.run(*pytest, "-k", chosen, cwd=package)
    assert "test_conformance.py ......" in told
    assert "skipped" not in told
    assert "failed" not in told


def test_the_package_passes_its_own_tests_and_a_hub_finds_the_store(
    here: Path, tmp_path: Path
) -> None:
    result = new_store(NAME)
    assert result.exit_code == 0, result.output
    environment = Environment.make(tmp_path / "environment")
    environment.install(here / f"traefikhub-{NAME}")
    run_its_tests(environment, here / f"traefikhub-{NAME}")
    found = environment.run(environment.python, "-c", AS_A_HUB_FINDS_IT, NAME, cwd=tmp_path)
    assert found.split() == ["traefikhub_throwaway_notes", "ThrowawayNotesStore", "hub-of-the-test"]


def test_the_other_kind_passes_its_own_tests(here: Path, tmp_path: Path) -> None:
    """But for those that take their time and have nothing to do with the kind."""
    result = new_store(NAME, "--kind", "file")
    assert result.exit_code == 0, result.output
    package = here / f"traefikhub-{NAME}"
    environment = Environment.make(tmp_path / "environment", package / "src")
    run_its_tests(environment, package, "not frozen and not dict and not finds")


def test_it_says_what_to_do_next(here: Path) -> None:
    result = new_store(NAME, "--output", "a place")
    assert result.exit_code == 0, result.output
    for line in ("cd 'a place'", 'pip install -e ".[test]"', "pytest"):
        assert f"\n    {line}\n" in result.output
    assert (here / "a place" / "src" / "traefikhub_throwaway_notes" / "_store.py").is_file()


GIT = {"url": "https://git.example/hub.git", "vcs_info": {"vcs": "git", "commit_id": "1f2e"}}


@pytest.mark.parametrize(
    ("origin", "install"),
    [
        (None, ""),
        ({"url": "file:///srv/hub"}, "pip install file:///srv/hub\n    "),
        (GIT, "pip install git+https://git.example/hub.git@1f2e\n    "),
    ],
    ids=["an index", "a directory", "a repository"],
)
def test_it_says_how_to_get_the_same_traefikhub(
    here: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    origin: dict[str, object] | None,
    install: str,
) -> None:
    """As pip has recorded: what doesn't come from an index isn't found there."""
    recorded = tmp_path / "packages" / "traefikhub-0.1.0.dist-info"
    recorded.mkdir(parents=True)
    (recorded / "METADATA").write_text("Metadata-Version: 2.1\nName: traefikhub\nVersion: 0.1.0\n")
    if origin:
        (recorded / "direct_url.json").write_text(json.dumps(origin))
    monkeypatch.syspath_prepend(recorded.parent)
    result = new_store(NAME)
    assert f'activate\n    {install}pip install -e ".[test]"\n' in result.output


def test_an_empty_directory_will_do(here: Path) -> None:
    result = new_store(NAME, "--output", ".")
    assert result.exit_code == 0, result.output
    assert (here / ".github" / "workflows" / "test.yml").is_file()
    assert (here / ".gitignore").is_file()


@pytest.mark.parametrize("kind", ["http", "file"])
def test_nothing_of_the_template_is_left(kind: str) -> None:
    """Every name has been put in, and every line that is for one kind only is in its place."""
    rendered = render(Names(NAME), kind)
    assert (Path("src/traefikhub_throwaway_notes/feed.py") in rendered) == (kind == "http")
    for path, text in rendered.items():
        assert not path.name.endswith(".tmpl"), path
        assert "PACKAGE" not in path.parts, path
        assert "@@" not in text, path
        assert not any(f"@{other}|" in text for other in ("http", "file")), path
        if path.suffix == ".py":
            compile(text, str(path), "exec")
    assert "YOUR SERVER" in rendered[Path("src/traefikhub_throwaway_notes/_database.py")]


def test_the_page_shows_what_is_written() -> None:
    """A block of docs/writing-a-store.md that names its file shows lines of that, but for dots."""
    page = (Path(__file__).parent.parent / "docs" / "writing-a-store.md").read_text()
    rendered = render(Names("mongo"), "http")
    blocks = re.findall(r"^```\w+\n# ((?:src|tests|pyproject)\S*)\n(.*?)^```", page, re.M | re.S)
    assert len(blocks) >= 3
    for file, block in blocks:
        text = rendered[Path(file)].splitlines()
        for line in block.splitlines():
            shown = line.removesuffix(" ...")  # as ruff writes a body of dots
            assert line.strip() == "..." or shown in text, f"{file} has no line {line!r}"
    for file in re.findall(r"^\| `(.*?)` \| .* \| .* \|$", page, re.M):
        assert (
            "." not in file
            or "(" in file
            or any(Path(each) in rendered for each in file.split("`, `"))
        ), file


def test_lines_for_one_kind() -> None:
    assert render_line("plain @file|\n", "http") == "plain @file|\n"
    assert render_line("@http|    kept\n", "http") == "    kept\n"
    assert render_line("@http|    dropped\n", "file") == ""


@pytest.mark.parametrize(
    ("name", "distribution", "module", "class_name"),
    [
        ("mongo", "traefikhub-mongo", "traefikhub_mongo", "MongoStore"),
        ("my-store", "traefikhub-my-store", "traefikhub_my_store", "MyStore"),
        ("s3-v2", "traefikhub-s3-v2", "traefikhub_s3_v2", "S3V2Store"),
        # No name here is one word alone, so words of Python's own do no harm.
        ("class", "traefikhub-class", "traefikhub_class", "ClassStore"),
    ],
)
def test_names(name: str, distribution: str, module: str, class_name: str) -> None:
    names = Names(name)
    assert (names.distribution, names.module, names.class_name) == (
        distribution,
        module,
        class_name,
    )
    for path, text in render(names, "http").items():
        if path.suffix == ".py":
            compile(text, str(path), "exec")


# --- what it refuses ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("Mongo", "'mongo', for example"),
        ("my_store", "'my-store', for example"),
        ("my--store", "'my-store', for example"),
        ("../etc/passwd", "'etc-passwd', for example"),
        ("9lives", "the first one a letter"),
        ("", "one word or more"),
        ("a\nb", "'a-b', for example"),
        ("mongo\n", "'mongo', for example"),
        ("é", "small letters"),
        ("x" * 25, "24 characters at most"),
        ("traefikhub-mongo", "leave away 'traefikhub-'"),
        ("traefikhub_mongo", "'mongo', for example"),
        ("testing", "TestingStore, which pytest takes for tests"),
    ],
)
def test_a_bad_name(here: Path, name: str, told: str) -> None:
    result = new_store("--", name)
    assert result.exit_code == 2, result.output
    assert told in " ".join(result.output.split())
    assert not list(here.iterdir())


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("etcd", "there is a store 'etcd' already, from traefikhub "),
        ("toml-file-store", "c.TomlFileStore, which is the store 'toml-file' of traefikhub "),
        ("backends", "a Python package 'traefikhub_backends' already"),
        ("key-value", "would be KeyValueStore, as one of traefikhub.stores"),
    ],
)
def test_a_name_that_is_taken(here: Path, name: str, told: str) -> None:
    result = new_store(name)
    assert result.exit_code == 1, result.output
    assert told in " ".join(result.output.split())
    assert "hoose another name" in result.output
    assert not list(here.iterdir())


def test_a_directory_with_something_in_it_is_left_alone(here: Path) -> None:
    target = here / f"traefikhub-{NAME}"
    target.mkdir()
    (target / ".hidden").write_text("mine")
    result = new_store(NAME)
    assert result.exit_code == 1
    assert f"traefikhub-{NAME} is there already, and not empty" in result.output
    assert "--output" in result.output
    assert [path.name for path in target.iterdir()] == [".hidden"]


def test_a_file_in_the_way(here: Path) -> None:
    (here / "taken").write_text("mine")
    result = new_store(NAME, "--output", "taken")
    assert result.exit_code == 1
    assert "taken is there already, and no directory" in result.output
    assert (here / "taken").read_text() == "mine"


@pytest.mark.parametrize("leads_to", ["directory", "nowhere"])
def test_a_link_is_not_followed(here: Path, leads_to: str) -> None:
    (here / "directory").mkdir()
    (here / "link").symlink_to(leads_to)
    result = new_store(NAME, "--output", "link")
    assert result.exit_code == 1
    assert "link is a symbolic link" in result.output
    assert "--output" in result.output
    assert not list((here / "directory").iterdir())


@pytest.mark.parametrize("output", ["not/there", "taken/below"])
def test_a_place_that_can_not_be(here: Path, output: str) -> None:
    (here / "taken").write_text("mine")
    result = new_store(NAME, "--output", output)
    assert result.exit_code == 1
    assert output in result.output
    assert "Nothing was written" in result.output
    assert [path.name for path in here.iterdir()] == ["taken"]


@pytest.mark.parametrize("there_before", [True, False])
def test_what_can_not_be_written_whole_is_not_written(here: Path, there_before: bool) -> None:
    """No file may have more than a thousand bytes: some are written before that is noticed."""
    target = here / "target"
    if there_before:
        target.mkdir()
    ended = subprocess.run(
        [
            *(sys.executable, "-c", "from traefikhub.cli._new_store import command; command()"),
            *(NAME, "--output", str(target)),
        ],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)),
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        text=True,
        capture_output=True,
        timeout=60,
    )
    assert ended.returncode == 1, ended
    assert "Nothing was written" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert target.exists() == there_before
    assert not there_before or not list(target.iterdir())
