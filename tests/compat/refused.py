"""A Traefik that is too old. Run by ``nox -s compat`` only."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from support import free_port
from test_hub_process import ends, hub
from traefikhub.traefik import OLDEST, find_traefik, version_of

MENDS = 'pip install --upgrade "traefikhub[traefik]"'


def test_the_hub_ends_and_says_what_to_do(tmp_path: Path) -> None:
    process = hub(tmp_path)
    log = ends(process, tmp_path)
    assert process.returncode != 0
    version = version_of(find_traefik())
    assert f"is Traefik {version}; traefikhub needs {OLDEST} or later" in log
    assert MENDS in log
    assert "c.TraefikProxy.traefik_command" in log


def test_the_check_says_so_beforehand(tmp_path: Path) -> None:
    config = tmp_path / "jupyterhub_config.py"
    urls = {name: f"http://127.0.0.1:{free_port()}" for name in ("bind_url", "hub_bind_url")}
    lines = [f"c.JupyterHub.{name} = {url!r}" for name, url in urls.items()]
    config.write_text("\n".join([*lines, 'c.JupyterHub.proxy_class = "traefikhub"', ""]))
    done = subprocess.run(
        [sys.executable, "-m", "traefikhub.cli", "check", "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1, done.stderr
    faults = [row for row in json.loads(done.stdout)["checks"] if row["status"] == "fault"]
    told = json.dumps(faults)
    assert str(version_of(find_traefik())) in told
    assert str(OLDEST) in told
