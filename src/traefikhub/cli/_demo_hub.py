"""``traefikhub demo``: a whole JupyterHub behind Traefik, gone without trace at the end."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Final

import psutil

from traefikhub.traefik import find_traefik, require_supported, version_of
from traefikhub.traefik.process import tail

__all__ = ["Demo", "DemoError"]

_USUAL_PORT: Final = 8000
_START_SECONDS: Final = 90
_STOP_SECONDS: Final = 20


class DemoError(Exception):
    """The demo can't run, and why."""


class _Stop(BaseException):
    """A signal asked the demo to end."""


class Demo:
    """One run of the demo.

    Args:
        port: for the browser; 0 for 8000 or, if that is taken, a free one.
        say: shows a text to the user.
    """

    def __init__(self, *, port: int, say: Callable[[str], None]) -> None:
        self._port = port
        self._say = say

    def run(self) -> None:
        """Start everything, wait for Ctrl-C (or SIGTERM, SIGHUP), stop everything.

        Raises:
            DemoError: it can't start; nothing is left running.
            TraefikUnusable: there is no usable Traefik.
        """
        with _signals_as_stop():
            try:
                self._run()
            except _Stop:
                self._say("Stopped.")

    def _run(self) -> None:
        program = find_traefik()
        require_supported(version_of(program), program)
        if importlib.util.find_spec("jupyterlab") is None:
            raise DemoError('JupyterLab is missing: pip install "traefikhub[demo]" brings it')
        port = _choose_port(self._port)
        with tempfile.TemporaryDirectory(
            prefix="traefikhub-demo-", ignore_cleanup_errors=True
        ) as directory:
            self._run_in(Path(directory), port)

    def _run_in(self, directory: Path, port: int) -> None:
        url = f"http://127.0.0.1:{port}"
        password = secrets.token_hex(6)
        config = directory / "jupyterhub_config.py"
        token = secrets.token_hex(16)
        config.write_text(_config(directory, url, password, token))
        log = directory / "jupyterhub.log"
        self._say("Starting JupyterHub behind Traefik …")
        with log.open("wb") as stream:
            hub = subprocess.Popen(  # nosec B603 # this very Python, on a file of our own
                [sys.executable, "-m", "jupyterhub", "-f", str(config)],
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that Ctrl-C reaches the Hub once, from here
            )
        try:
            _wait_until_up(hub, url, token, log)
            self._say(
                f"\n    JupyterHub runs at  {url}\n"
                f"    Log in with any user name and the password  {password}\n\n"
                f"It is reachable from this machine only. Its log: {log}\n"
                "Ctrl-C stops everything and removes all that it wrote."
            )
            code = hub.wait()
            raise DemoError(f"JupyterHub ended with code {code}. Its last log lines:\n{tail(log)}")
        except _Stop:
            self._say("\nStopping …")
            raise
        finally:
            _end(hub)


def _choose_port(wanted: int) -> int:
    for port in [wanted] if wanted else [_USUAL_PORT, 0]:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
                probe.listen(1)
            except OSError as error:
                if wanted:
                    raise DemoError(
                        f"port {wanted} can't be used: {error.strerror}; choose another with --port"
                    ) from error
                continue
            chosen: int = probe.getsockname()[1]
            return chosen
    raise DemoError("no port is free on 127.0.0.1; choose one with --port")


def _config(directory: Path, url: str, password: str, token: str) -> str:
    options: dict[str, object] = {
        "JupyterHub.bind_url": url,
        "JupyterHub.hub_bind_url": f"http://127.0.0.1:{_choose_free()}",
        "JupyterHub.proxy_class": "traefikhub",
        "TraefikProxy.store": "toml-file",
        "TraefikProxy.run_dir": str(directory / "traefik"),
        "TraefikProxy.traefik_api_url": f"http://127.0.0.1:{_choose_free()}",
        "TraefikProxy.grace_seconds": 1,
        "JupyterHub.db_url": f"sqlite:///{directory / 'jupyterhub.sqlite'}",
        "JupyterHub.cookie_secret_file": str(directory / "cookie_secret"),
        # Any local user could otherwise log in and run code as the demo's owner.
        "JupyterHub.authenticator_class": "dummy",
        "DummyAuthenticator.password": password,
        "Authenticator.allow_all": True,
        "JupyterHub.spawner_class": "simple",
        "SimpleLocalProcessSpawner.home_dir_template": str(directory / "home" / "{username}"),
        "Spawner.cmd": [sys.executable, "-m", "jupyterhub.singleuser"],
        "Spawner.default_url": "/lab",
        "JupyterHub.services": [{"name": "demo", "api_token": token}],
        "Spawner.args": ["--allow-root"] if os.geteuid() == 0 else [],
    }
    return "".join(f"c.{name} = {value!r}\n" for name, value in options.items())


def _choose_free() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_up(hub: subprocess.Popen[bytes], url: str, token: str, log: Path) -> None:
    """Return when this Hub answers: another that took the port meanwhile knows no such token."""
    question = urllib.request.Request(
        f"{url}/hub/api/user", headers={"Authorization": f"token {token}"}
    )
    # Without proxies from the environment: this is a question to our own machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if hub.poll() is not None:
            raise DemoError(
                f"JupyterHub ended with code {hub.returncode}. Its last log lines:\n{tail(log, 30)}"
            )
        with contextlib.suppress(urllib.error.URLError, OSError), opener.open(question, timeout=2):
            return
        time.sleep(0.1)
    raise DemoError(
        f"JupyterHub didn't answer at {url} within {_START_SECONDS} s:\n{tail(log, 30)}"
    )


def _end(hub: subprocess.Popen[bytes]) -> None:
    """Stop the Hub the gentle way, then whatever is left of its processes."""
    family = _family(hub.pid)
    if hub.poll() is None:
        hub.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            hub.wait(_STOP_SECONDS)
    family |= _family(hub.pid)
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(family, timeout=5)
    hub.wait()


def _family(pid: int) -> set[psutil.Process]:
    try:
        parent = psutil.Process(pid)
        return {parent, *parent.children(recursive=True)}
    except psutil.NoSuchProcess:
        return set()


@contextlib.contextmanager
def _signals_as_stop() -> Iterator[None]:
    """Turn the signals that end a program into one exception; a second one changes nothing."""
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def stop(number: int, frame: FrameType | None) -> None:
        for each in signals:
            signal.signal(each, signal.SIG_IGN)
        raise _Stop

    before = {}
    for each in signals:
        if signal.getsignal(each) != signal.SIG_IGN:  # as under nohup
            before[each] = signal.signal(each, stop)
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
