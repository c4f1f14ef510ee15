"""The tutorial, done as it says: each of its blocks in turn, on the real programs, and each line of
output that it shows looked for."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import pytest
import requests

from servers.etcd import etcd_binary
from support import free_port, wait_until
from traefikhub.traefik import find_traefik

PAGE: Final = Path(__file__).parents[1] / "docs" / "tutorial.md"

_STEP: Final = re.compile(
    r"<!-- Ctrl-C: (?P<end>\w+) -->|(?P<not_run><!-- not run: .*? -->\n)?"
    r"^```(?P<language>\w+)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_TERMINALS: Final = ("jupyterhub", "etcd")
"""The programs that go on in a terminal of their own: a block that begins with one is but that."""

USERS: Final = ("ada", "mary")

_SERVER: Final = {
    "allow_root": True,  # the page says not to be root, tests may have to
    # Nobody looks at JupyterLab here, which takes a second to start.
    "jpserver_extensions": dict.fromkeys(("jupyterlab", "jupyter_lsp", "notebook_shim"), False),
}

_SECONDS: Final = 60


@dataclass
class Reader:
    """Somebody who does what the page says, in a directory.

    ports: what stands in place of the ports of the page, which others may use.
    """

    directory: Path
    ports: dict[str, str]
    terminals: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    output: str = ""

    def adapted(self, text: str) -> str:
        """A text of the page, with other ports."""
        return re.sub(r"\b\d{4}\b", lambda found: self.ports.get(found[0], found[0]), text)

    def configure(self, text: str) -> None:
        """Add to the configuration, as a reader's editor does."""
        with (self.directory / "jupyterhub_config.py").open("a") as config:
            config.write(self.adapted(text))

    def run(self, text: str) -> None:
        """Run the commands of a block; begin a terminal, if it is for one."""
        command = self.adapted(text)
        name = command.split()[0]
        if name in _TERMINALS:
            self._begin(name, command)
            return
        done = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", command],
            cwd=self.directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_SECONDS,
        )
        self.output = done.stdout
        assert not done.returncode, f"{command}\n{done.stdout}\n{self.log('jupyterhub')}"
        if "-X POST" in command:  # "each takes some seconds"
            for user in USERS:
                url = f"http://127.0.0.1:{self.ports['8000']}/user/{user}/api"
                wait_until(partial(self._answers, "jupyterhub", url), url, _SECONDS)

    def _begin(self, name: str, command: str) -> None:
        if name == "etcd":
            client, peers = self.ports["2379"], free_port()
            # The page leaves all at the usual ports.
            self.configure(f'c.EtcdStore.endpoints = ["127.0.0.1:{client}"]\n')
            command = (
                f"{command.strip()} --listen-client-urls http://127.0.0.1:{client}"
                f" --advertise-client-urls http://127.0.0.1:{client}"
                f" --listen-peer-urls http://127.0.0.1:{peers}"
                f" --initial-advertise-peer-urls http://127.0.0.1:{peers}"
                f" --initial-cluster default=http://127.0.0.1:{peers}"
            )
        if name in self.terminals:  # it was killed
            self.terminals[name].wait(_SECONDS)
        self._log(name).unlink(missing_ok=True)  # users' servers go on writing to the old one
        with self._log(name).open("wb") as log:
            self.terminals[name] = subprocess.Popen(
                ["bash", "-c", f"exec {command}"], cwd=self.directory, stdout=log, stderr=log
            )
        ready = (
            f"http://127.0.0.1:{self.ports['8000']}/hub/health"
            if name == "jupyterhub"
            else f"http://127.0.0.1:{self.ports['2379']}/health"
        )
        wait_until(lambda: self._answers(name, ready), name, _SECONDS)

    def _answers(self, name: str, url: str) -> bool:
        assert self.terminals[name].poll() is None, self.log(name)
        with suppress(requests.ConnectionError):
            return requests.get(url, timeout=5, allow_redirects=False).status_code == 200
        return False

    def end(self, name: str) -> None:
        """Press Ctrl-C in a terminal."""
        self.terminals[name].send_signal(signal.SIGINT)
        self.terminals[name].wait(_SECONDS)

    def _log(self, name: str) -> Path:
        return self.directory.parent / f"{name}.log"

    def log(self, name: str) -> str:
        """What a terminal shows, since its program was started."""
        log = self._log(name)
        return log.read_text() if log.exists() else ""

    def sees(self, text: str, *, of_the_last_command: bool) -> None:
        """Look for all lines of a block, in their order: in what the last command printed, or
        sooner or later in the Hub's log."""
        wanted = [line for line in self.adapted(text).splitlines() if _words(line).strip("…")]

        def missing() -> list[str]:
            printed = self.output if of_the_last_command else self.log("jupyterhub")
            return _missing(wanted, printed)

        if of_the_last_command:
            assert not missing(), f"{missing()} in:\n{self.output}"
            return
        try:
            wait_until(lambda: not missing(), "the log", 30)
        except AssertionError:
            raise AssertionError(f"{missing()} in:\n{self.log('jupyterhub')}") from None


def _missing(wanted: list[str], printed: str) -> list[str]:
    """The lines that don't come, or not in this order; tables may have other widths."""
    lines = iter([_words(line) for line in printed.splitlines()])
    for number, line in enumerate(wanted):
        pattern = re.compile(".*".join(map(re.escape, _words(line).split("…"))))
        if not any(pattern.fullmatch(each) for each in lines):
            return wanted[number:]
    return []


def _words(line: str) -> str:
    return " ".join(re.sub("[━┏┳┓┡╇┩└┴┘─]", "", line).split())


def _steps() -> Iterator[re.Match[str]]:
    yield from _STEP.finditer(PAGE.read_text(encoding="utf-8"))


@pytest.fixture
def reader(hub_directory: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    """One with an empty directory, and the programs that the page installs."""
    etcd = etcd_binary()
    programs = [Path(sys.executable).parent, Path(etcd).parent, Path(find_traefik()).parent]
    monkeypatch.setenv("PATH", os.pathsep.join([*map(str, programs), os.environ["PATH"]]))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    directory = hub_directory / "my-hub"
    for user in USERS:
        settings = directory / "home" / user / ".jupyter" / "jupyter_server_config.json"
        settings.parent.mkdir(parents=True)
        settings.write_text(json.dumps({"ServerApp": _SERVER}))
    ports = {port: str(free_port()) for port in ("8000", "8081", "8099", "2379")}
    monkeypatch.setenv("ETCDCTL_ENDPOINTS", f"127.0.0.1:{ports['2379']}")
    made = Reader(directory, ports)
    made.configure(  # what the page leaves at its default
        f'c.JupyterHub.hub_bind_url = "http://127.0.0.1:{ports["8081"]}"\n'
        f'c.TraefikProxy.traefik_api_url = "http://127.0.0.1:{ports["8099"]}"\n'
    )
    yield made
    for terminal in made.terminals.values():
        terminal.kill()
        terminal.wait()


def test_the_tutorial(reader: Reader) -> None:
    ran, looked = 0, 0
    before = ""
    for step in _steps():
        if name := step["end"]:
            reader.end(name)
        elif step["not_run"]:
            continue
        elif step["language"] == "python":
            reader.configure(step["text"])
        elif step["language"] == "bash":
            reader.run(step["text"])
            ran += 1
        else:
            assert step["language"] == "text"
            in_terminal = before.split()[:1] == ["jupyterhub"]
            of_the_last_command = before != "" and not in_terminal
            reader.sees(step["text"], of_the_last_command=of_the_last_command)
            looked += 1
        before = step["text"] if step["language"] == "bash" else ""
    assert ran > 10
    assert looked > 10
    # It leaves as little as it says.
    assert reader.terminals["jupyterhub"].poll() is not None
    assert "Traceback" not in reader.log("jupyterhub")


def test_lines_that_are_not_printed_are_missed() -> None:
    assert _missing(["a …", "b"], "x\na 1\nb\n") == []
    assert _missing(["a …", "b"], "b\na 1\n") == ["b"]
    assert _missing(["│ 1 │ … │"], "┃ 1 ┃\n│ 1     │ 22 │\n") == []
