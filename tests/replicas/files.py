"""The files of docs/ha in a directory of their own, on free ports."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from hubs import TOKEN
from support import free_port

__all__ = ["HAPROXY", "Ports", "commands", "place", "placed", "programs_path"]

_ROOT: Final = Path(__file__).resolve().parents[2]
_EXAMPLE: Final = _ROOT / "docs" / "ha"
_FETCHED: Final = _ROOT / ".cache" / "haproxy"
_USERS, _HUB, _API, _ETCD, _PEERS = 8000, 8081, 8099, 2379, 2380

HAPROXY: Final = shutil.which("haproxy") or shutil.which("haproxy", path=_FETCHED)
"""The program; None if there is none."""

Ports = Mapping[int, int]
"""By the port in the files, the one that is used in its place."""


def free_ports() -> dict[int, int]:
    """One for each port of the files. What is apart by its address may share a port."""
    return {port: free_port() for port in (_USERS, _HUB, _API, _ETCD, _PEERS)}


def placed(text: str, ports: Ports) -> str:
    """A file's text with other ports."""
    known = "|".join(str(port) for port in ports)
    return re.sub(
        rf"(:|\bport )({known})\b", lambda found: f"{found[1]}{ports[int(found[2])]}", text
    )


def commands(procfile: str) -> dict[str, list[str]]:
    """What a Procfile starts, by name."""
    lines = (line.partition(":") for line in procfile.splitlines() if line.strip())
    return {name: shlex.split(command) for name, _, command in lines}


def place(directory: Path) -> Ports:
    """Copy the files there; the ports that they have now."""
    ports = free_ports()
    for file in _EXAMPLE.iterdir():
        text = placed(file.read_text(), ports)
        (directory / file.name).write_text(text + _more(file.name, directory))
    return ports


def _more(name: str, directory: Path) -> str:
    """What only the test needs: who asks the Hub's API, light servers, homes to throw away."""
    if name != "jupyterhub_config.py":
        return ""
    server = [sys.executable, str(Path(__file__).with_name("user_server.py"))]
    settings = {
        "JupyterHub.services": [{"name": "admin", "api_token": TOKEN, "admin": True}],
        "SimpleLocalProcessSpawner.home_dir_template": f"{directory}/home/{{username}}",
        "Spawner.cmd": server,
    }
    return "".join(f"c.{option} = {value!r}\n" for option, value in settings.items())


def programs_path(directory: Path, programs: Mapping[str, str]) -> str:
    """A PATH on which these are found first, and then what stands beside this Python."""
    directory.mkdir()
    for name, program in programs.items():
        (directory / name).symlink_to(program)
    beside = Path(sys.executable).parent
    return os.pathsep.join([str(directory), str(beside), os.environ.get("PATH", os.defpath)])
