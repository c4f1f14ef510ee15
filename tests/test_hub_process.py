"""A JupyterHub that can't start ends at once, with the reason in its log and nothing left."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from support import free_port, traefik_processes, wait_until


def hub(directory: Path, **options: Any) -> subprocess.Popen[str]:
    """A JupyterHub process; its log goes to a pipe."""
    settings = {
        "JupyterHub.bind_url": f"http://127.0.0.1:{free_port()}",
        "JupyterHub.hub_bind_url": f"http://127.0.0.1:{free_port()}",
        "JupyterHub.proxy_class": "traefikhub",
        "JupyterHub.authenticator_class": "dummy",
        "JupyterHub.spawner_class": "simple",
        "TraefikProxy.traefik_api_url": f"http://127.0.0.1:{free_port()}",
        "TraefikProxy.grace_seconds": 1,
        "TraefikProxy.check_route_timeout": 3,
    } | {name.replace("__", "."): value for name, value in options.items()}
    config = directory / "jupyterhub_config.py"
    config.write_text("".join(f"c.{name} = {value!r}\n" for name, value in settings.items()))
    return subprocess.Popen(
        [sys.executable, "-m", "jupyterhub", "-f", str(config)],
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@contextmanager
def taken_port() -> Iterator[str]:
    """A URL whose port something else listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


def ends(process: subprocess.Popen[str], directory: Path) -> str:
    """Its log, once it has ended by itself, leaving nothing."""
    try:
        log, _ = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        log, _ = process.communicate()
        raise AssertionError(f"the Hub hangs: {log[-2000:]}") from None
    wait_until(lambda: not traefik_processes(directory), "Traefik to be gone", 10)
    return log


@pytest.mark.parametrize("option", ["JupyterHub__bind_url", "JupyterHub__hub_bind_url"])
def test_a_port_that_is_taken(tmp_path: Path, option: str) -> None:
    with taken_port() as url:
        process = hub(tmp_path, **{option: url})
        log = ends(process, tmp_path)
    assert process.returncode != 0
    assert url.rsplit(":", 1)[1] in log


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"TraefikProxy__traefik_command": "/nope"}, 'pip install "traefikhub[traefik]"'),
        ({"TraefikProxy__store": "nope"}, "no store of that name is installed"),
        ({"TraefikProxy__run_dir": "/proc/x"}, "c.TraefikProxy.run_dir"),
        ({"TraefikProxy__extra_static_config": {"api": {"x": 1}}}, "field not found"),
        ({"TraefikProxy__should_start": False}, "c.TraefikProxy.traefik_api_url"),
    ],
)
def test_a_mistake_in_the_options(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    process = hub(tmp_path, **options)
    log = ends(process, tmp_path)
    assert process.returncode != 0
    assert words in log


def test_ctrl_c_during_the_start(tmp_path: Path) -> None:
    # A port that nothing answers on keeps the start waiting, with Traefik running.
    process = hub(
        tmp_path,
        TraefikProxy__check_route_timeout=60,
        TraefikProxy__extra_dynamic_config={"http": {"middlewares": {"x": {"nope": {}}}}},
    )
    wait_until(lambda: traefik_processes(tmp_path), "Traefik")
    process.send_signal(signal.SIGINT)
    ends(process, tmp_path)


def test_a_second_hub_in_the_same_directory(tmp_path: Path) -> None:
    first = hub(tmp_path)
    try:
        wait_until(lambda: (tmp_path / "jupyterhub-traefik" / "traefik.pid.json").exists(), "it")
        second = hub(tmp_path)
        log, _ = second.communicate(timeout=60)
        assert second.returncode != 0
        assert "another JupyterHub" in log
        assert first.poll() is None
    finally:
        first.terminate()
        ends(first, tmp_path)
