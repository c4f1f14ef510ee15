"""``traefikhub demo`` as a new user meets it."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import requests

from support import free_port, wait_until

DEMO = [sys.executable, "-m", "traefikhub.cli", "demo"]


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the demo makes its directory."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    tempfile.tempdir = None
    yield tmp_path
    tempfile.tempdir = None


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_demo_runs_until_it_is_told_to_end(temporary: Path, ending: signal.Signals) -> None:
    # A port of its own: tests run side by side, and 8000 is the first choice of each.
    demo = subprocess.Popen(
        [*DEMO, f"--port={free_port()}"], stdout=subprocess.PIPE, text=True, bufsize=1
    )
    try:
        uses_the_demo(demo, temporary, ending)
    finally:
        if demo.poll() is None:
            demo.terminate()
            demo.communicate()


def uses_the_demo(demo: subprocess.Popen[str], temporary: Path, ending: signal.Signals) -> None:
    """Log in, see JupyterLab, end the demo."""
    assert demo.stdout is not None
    said = ""
    while "Ctrl-C" not in said:
        line = demo.stdout.readline()
        assert line, said
        said += line
    url = re.findall(r"http://127\.0\.0\.1:\d+", said)[0]
    password = re.findall(r"password\s+(\S+)", said)[0]

    session = requests.Session()
    session.get(f"{url}/hub/login", timeout=10)
    login = session.post(
        f"{url}/hub/login",
        data={"username": "ada", "password": password, "_xsrf": session.cookies["_xsrf"]},
        timeout=30,
    )
    assert login.ok
    session.get(f"{url}/hub/spawn/ada", timeout=60)
    wait_until(
        lambda: (
            "/user/ada/" in session.get(f"{url}/user/ada/lab", timeout=30).url
            and "<title>JupyterLab" in session.get(f"{url}/user/ada/lab", timeout=30).text
        ),
        "JupyterLab",
        60,
    )
    family = (
        [demo_process, *demo_process.children(recursive=True)]
        if (demo_process := psutil.Process(demo.pid))
        else []
    )
    assert len(family) > 3  # the Hub, Traefik, a user's server

    demo.send_signal(ending)
    rest, _ = demo.communicate(timeout=60)
    assert demo.returncode == 0
    assert "Stopped." in rest
    assert not [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    assert list(temporary.iterdir()) == []


def test_the_usual_port_may_be_taken() -> None:
    from traefikhub.cli._demo_hub import _choose_port

    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind(("127.0.0.1", 8000))
        except OSError:
            pass  # taken already: as good
        else:
            taken.listen()
        assert _choose_port(0) != 8000


def test_a_wanted_port_that_is_taken_is_an_error() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        answer = subprocess.run(
            [*DEMO, f"--port={port}"], capture_output=True, text=True, timeout=60, check=False
        )
    assert answer.returncode == 1
    assert f"port {port} can't be used" in answer.stderr
    assert "--port" in answer.stderr
    assert "Traceback" not in answer.stderr


@pytest.mark.parametrize("arguments", [["--port=99999"], ["--port=x"], ["surplus"]])
def test_wrong_arguments_get_one_clear_line(arguments: list[str]) -> None:
    answer = subprocess.run(
        [*DEMO, *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert answer.returncode != 0
    assert "Traceback" not in answer.stderr + answer.stdout
    assert arguments[0].split("=")[-1] in answer.stderr + answer.stdout


def test_an_unknown_command_lists_the_known_ones() -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "traefikhub.cli", "demmo"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert answer.returncode == 2
    assert "No such command 'demmo'" in answer.stderr
    assert "demo" in answer.stderr
