"""The workflows of GitHub: what they run is there, and they may do no more than they have to.

Their form is for the lint session to check, by GitHub's schema.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
TEXTS = {file.stem: file.read_text() for file in sorted(ROOT.glob(".github/workflows/*.yml"))}
WORKFLOWS: dict[str, dict[str, Any]] = {name: yaml.safe_load(text) for name, text in TEXTS.items()}

PINNED = re.compile(
    r"[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+|\./\.github/workflows/\w+\.yml\b"
)
PYTHONS = ["3.10", "3.11", "3.12", "3.13", "3.14"]
MAY_WRITE = {
    ("release", "attest", "id-token"),
    ("release", "attest", "attestations"),
    ("release", "publish", "id-token"),
    ("release", "announce", "contents"),
}


def jobs() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for name, workflow in WORKFLOWS.items():
        for job, what in workflow["jobs"].items():
            yield name, job, what


def steps(workflow: dict[str, Any]) -> list[dict[str, Any]]:
    return [step for job in workflow["jobs"].values() for step in job.get("steps", ())]


def unpinned(text: str) -> list[str]:
    used = re.findall(r"^\s*(?:- )?uses: (.+)$", text, re.M)
    return [each for each in used if not PINNED.match(each)]


def sessions_of(workflow: dict[str, Any]) -> set[str]:
    """The nox sessions that it runs, by name or by its matrix."""
    found: set[str] = set()
    for job in workflow["jobs"].values():
        matrix = job.get("strategy", {}).get("matrix", {})
        for step in job.get("steps", ()):
            for name in re.findall(r"nox -s (\S+)", step.get("run", "")):
                if name != '"$SESSION"':
                    found.add(name)
                    continue
                assert step["env"]["SESSION"] == "${{ matrix.session }}"
                found |= {*matrix["session"]} | {each["session"] for each in matrix["include"]}
    return found


def sessions_of_noxfile(text: str) -> tuple[set[str], set[str]]:
    """All sessions, and those that ``nox`` alone runs."""
    everything, default = set(), set()
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef) and "nox.session" in map(
            ast.unparse, node.decorator_list
        ):
            everything.add(node.name)
        elif (
            isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "nox.options.sessions"
        ):
            constants = (each for each in ast.walk(node) if isinstance(each, ast.Constant))
            default = {str(each.value) for each in constants}
    return everything, default


def test_there_are_workflows() -> None:
    assert set(WORKFLOWS) == {"test", "compat", "release"}


@pytest.mark.parametrize("name", WORKFLOWS)
def test_the_sessions_that_a_workflow_runs_exist(name: str) -> None:
    everything, _ = sessions_of_noxfile((ROOT / "noxfile.py").read_text())
    assert sessions_of(WORKFLOWS[name]) <= everything


def test_every_default_session_is_run_by_the_test_workflow() -> None:
    _, default = sessions_of_noxfile((ROOT / "noxfile.py").read_text())
    assert "tests" in default
    assert default <= sessions_of(WORKFLOWS["test"])


def test_every_python_that_is_supported_is_tested() -> None:
    matrix = WORKFLOWS["test"]["jobs"]["session"]["strategy"]["matrix"]
    assert matrix["python"] == PYTHONS
    assert {"tests", "conformance"} <= {*matrix["session"]}
    assert f'requires-python = ">={PYTHONS[0]}"' in (ROOT / "pyproject.toml").read_text()


def test_a_release_waits_for_the_tests_and_the_audit() -> None:
    release = WORKFLOWS["release"]["jobs"]
    assert release["tests"]["with"] == {"require_audit": True}
    assert {"tests", "build"} <= {*release["publish"]["needs"]}
    assert release["tests"]["needs"] == release["build"]["needs"] == "ready"
    assert release["announce"]["needs"] == "publish"
    assert release["publish"]["environment"] == "pypi"
    assert 'tools/versions.py "$GITHUB_REF_NAME"' in TEXTS["release"]


@pytest.mark.parametrize("name", WORKFLOWS)
def test_actions_are_pinned_to_a_commit(name: str) -> None:
    assert unpinned(TEXTS[name]) == []


def test_rights_are_given_job_by_job() -> None:
    written = set()
    for name, job, what in jobs():
        assert WORKFLOWS[name]["permissions"] == {}
        assert "permissions" in what, f"{name}, {job}"
        rights = what["permissions"].items()
        written |= {(name, job, right) for right, how in rights if how == "write"}
    assert written == MAY_WRITE
    assert "pull_request_target" not in "".join(TEXTS.values())
    assert "secrets." not in "".join(TEXTS.values())


def test_no_job_runs_for_hours() -> None:
    for name, job, what in jobs():
        assert "uses" in what or what["timeout-minutes"] <= 60, f"{name}, {job}"


@pytest.mark.parametrize("name", WORKFLOWS)
def test_what_the_shell_runs(name: str) -> None:
    scripts = [step["run"] for step in steps(WORKFLOWS[name]) if "run" in step]
    assert scripts
    for script in scripts:
        # A value that is pasted into a script could be a command.
        assert "${{" not in script
        done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, ""), script
        for program in re.findall(r"python (\S+\.py)", script):
            assert (ROOT / program).exists(), program


def test_the_names_of_cells_become_a_matrix() -> None:
    tool = [sys.executable, str(ROOT / "tools" / "as_matrix.py")]
    done = subprocess.run(tool, input='a b\n\n  "c"\n', capture_output=True, text=True, check=True)
    assert done.stdout == '["a b", "\\"c\\""]\n'
    done = subprocess.run(tool, input="\n", capture_output=True, text=True, check=False)
    assert done.returncode == 1


# --- these checks can fail -------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "uses: actions/checkout@v4",
        f"uses: actions/checkout@{'0' * 40}",
        "uses: actions/checkout@main # v1.2.3",
        f"- uses: actions/checkout@{'0' * 39} # v1.2.3",
    ],
)
def test_what_is_not_pinned_is_seen(line: str) -> None:
    assert len(unpinned(f"steps:\n  {line}\n")) == 1


def test_a_session_that_is_not_there_is_seen() -> None:
    text = "nox.options.sessions = ['a']\n@nox.session\ndef a(s): ...\ndef b(s): ..."
    assert sessions_of_noxfile(text) == ({"a"}, {"a"})
    step = {"run": "nox -s b\nnox -s a"}
    assert sessions_of({"jobs": {"x": {"steps": [step]}}}) == {"a", "b"}
