"""Use the wheels as a new user does: ``python tools/fresh_install.py DIRECTORY``, where they are.

They are installed into a new environment, away from this source tree. The command says its version,
lists the stores, checks a hub in an empty directory, and runs the demo until a user's server has
answered through it. Nothing may be left behind.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Final

from archives import ArchiveError, one

__all__ = ["Failed", "main"]

USER: Final = "ada"
_SECONDS: Final = 120
"""For one step."""

_LIGHT: Final = """\
import sys, traefikhub
print(traefikhub.__version__, traefikhub.__file__)
print(*sorted({name.split('.')[0] for name in sys.modules} - set(sys.stdlib_module_names)))
"""
_SITE: Final = frozenset({"__main__", "_distutils_hack", "sitecustomize", "usercustomize"})
"""What Python itself, or an environment, imports at the start."""
_ALL_POINTS: Final = """\
from importlib.metadata import distribution
for name in ("traefikhub", "traefikhub-redis"):
    for point in distribution(name).entry_points:
        print(f"{point.group}: {point.name}", point.load())
"""


class Failed(Exception):
    """What a user would meet, and with which output."""


def main(arguments: Sequence[str]) -> int:
    """0 if all of it works, else 1."""
    wheels = Path(arguments[0]).resolve()
    core, plugin = one(wheels, "traefikhub-[0-9]*.whl"), one(wheels, "traefikhub_redis-[0-9]*.whl")
    version = core.name.split("-")[1]
    with tempfile.TemporaryDirectory(prefix="traefikhub-fresh-") as scratch:
        try:
            Fresh(Path(scratch).resolve()).use(core, plugin, version)
        except Failed as failed:
            sys.stderr.write(f"{failed}\n")
            return 1
    return 0


class Fresh:
    """A new environment, with a home and an empty directory to work in."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._bin = scratch / "env" / "bin"
        self._empty, self._temporary = scratch / "empty", scratch / "tmp"
        for each in (self._empty, self._temporary, scratch / "home"):
            each.mkdir()
        # pip keeps its cache and its settings.
        self._outer = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        self._environment = self._outer | {
            "HOME": str(scratch / "home"),
            "TMPDIR": str(self._temporary),
            "PATH": f"{self._bin}{os.pathsep}{os.environ['PATH']}",
            "PYTHONNOUSERSITE": "1",
            "COLUMNS": "200",
        }

    def use(self, core: Path, plugin: Path, version: str) -> None:
        """Do everything.

        Raises:
            Failed: something isn't as a user may expect.
        """
        # Without extras, which bring a lot: what the packages need themselves must be declared.
        self._install(str(core), str(plugin))
        imported, _, third = self._run("python", "-c", _LIGHT).partition("\n")
        expect(imported.startswith(f"{version} {self._scratch}"), "the package imported", imported)
        expect(
            not set(third.split()) - {"traefikhub"} - _SITE, "imports no more than itself", third
        )
        say(self._run("python", "-c", _ALL_POINTS))
        told = self._run("traefikhub", "--version")
        expect(told == f"traefikhub {version}\n", "--version", told)
        told = self._run("traefikhub", "stores", code=1)
        for store in ("etcd", "consul"):
            expect(f"traefikhub[{store}]" in told, f"what the store {store} lacks", told)
        self._install(f"{core}[all,demo]")
        told = self._run("traefikhub", "stores")
        for store in ("toml-file", "etcd", "consul", "redis"):
            expect(store in told, f"the store {store} in the list", told)
        say(told)
        # Without a configuration it says what is missing; with an option in its place it looks.
        told = self._run("traefikhub", "check", code=1)
        expect("jupyterhub_config.py" in told, "a hint at the configuration", told)
        expect("Traceback" not in told, "no traceback", told)
        told = self._run(
            *("traefikhub", "check", "--JupyterHub.proxy_class=traefikhub"),
            f"--JupyterHub.bind_url=http://127.0.0.1:{free_port()}",
            f"--TraefikProxy.traefik_api_url=http://127.0.0.1:{free_port()}",
        )
        say(told)
        self._demo()
        left = [*self._empty.iterdir(), *self._temporary.iterdir()]
        expect(not left, "nothing left behind", "\n".join(map(str, left)))

    def _install(self, *requirements: str) -> None:
        python = str(self._bin / "python")
        commands = [
            (python, "-m", "pip", "install", "-q", *requirements),
            (python, "-m", "pip", "check"),
        ]
        if not self._bin.exists():
            commands.insert(0, (sys.executable, "-m", "venv", str(self._bin.parent)))
        for command in commands:
            done = subprocess.run(
                command,
                cwd=self._scratch,
                env=self._outer,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
                check=False,
            )
            expect(done.returncode == 0, " ".join(command), done.stdout)

    def _run(self, program: str, *arguments: str, code: int = 0) -> str:
        """What it prints, on both streams."""
        done = subprocess.run(
            [self._bin / program, *arguments],
            cwd=self._empty,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            timeout=_SECONDS,
            check=False,
        )
        expect(
            done.returncode == code,
            f"{program} {' '.join(arguments)}: code {code}, not {done.returncode}",
            done.stdout,
        )
        return done.stdout

    def _demo(self) -> None:
        demo = subprocess.Popen(
            [self._bin / "traefikhub", "demo"],
            cwd=self._empty,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )
        try:
            said = _until(demo, "Ctrl-C")
            log_in(said)
            demo.send_signal(signal.SIGINT)
            rest, _ = demo.communicate(timeout=_SECONDS)
        finally:
            if demo.poll() is None:
                demo.terminate()
                demo.communicate()
        expect(demo.returncode == 0, "the demo ends with code 0", said + rest)
        expect("Stopped." in rest, "the demo says that it stopped", said + rest)
        running = "\n".join(processes(str(self._scratch)))
        expect(not running, "no process left running", running)
        say(f"traefikhub demo: JupyterLab of {USER} was served, and all is gone")


def _until(demo: subprocess.Popen[str], word: str) -> str:
    """What it has said when that word was in it; it ends by itself if it can't start."""
    assert demo.stdout is not None
    said = ""
    for line in demo.stdout:
        said += line
        if word in line:
            return said
    raise Failed(f"traefikhub demo didn't start:\n{said}")


def log_in(said: str) -> None:
    """As a person does who has read what the demo said; returns when JupyterLab's page is there.

    Raises:
        Failed: it isn't within two minutes.
    """
    url = re.findall(r"http://127\.0\.0\.1:\d+", said)[0]
    password = re.findall(r"password\s+(\S+)", said)[0]
    jar = CookieJar()
    browser = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(jar)
    )
    browser.open(f"{url}/hub/login", timeout=30).close()
    form = {"username": USER, "password": password}
    form["_xsrf"] = next(str(cookie.value) for cookie in jar if cookie.name == "_xsrf")
    browser.open(f"{url}/hub/login", urllib.parse.urlencode(form).encode(), timeout=30).close()
    browser.open(f"{url}/hub/spawn/{USER}", timeout=60).close()
    end = time.monotonic() + _SECONDS
    seen = ""
    while time.monotonic() < end:
        try:
            with browser.open(f"{url}/user/{USER}/lab", timeout=30) as page:
                seen = f"{page.url}\n{page.read().decode()}"
        except urllib.error.HTTPError as error:  # while the server starts
            seen = str(error)
        if f"/user/{USER}/lab" in seen and "<title>JupyterLab" in seen:
            return
        time.sleep(0.2)
    raise Failed(f"no JupyterLab for {USER} at {url}; last seen:\n{seen[:2000]}")


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def processes(directory: str) -> list[str]:
    """The command lines with something of that directory in them; none where that can't be seen."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = file.read_bytes().decode(errors="replace").split("\0")
        except OSError:  # it has just ended
            continue
        if any(word.startswith(directory) for word in words):
            found.append(f"{file.parent.name}: {' '.join(words)}")
    return found


def expect(right: bool, what: str, found: str) -> None:
    """Fail, with what was found, if it isn't right."""
    if not right:
        raise Failed(f"expected: {what}; found:\n{found}")


def say(text: str) -> None:
    """Print at once, in order with what other programs print."""
    sys.stdout.write(text.rstrip() + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except ArchiveError as error:
        sys.exit(str(error))
