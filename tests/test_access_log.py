"""Traefik's access log: what is in it, what never is, and how it is rotated."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import MakeProxy
from support import Backend, ask, traefik_processes, wait_until
from traefikhub.traefik import TraefikUnusable

pytestmark = pytest.mark.anyio


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


async def test_no_secret_of_a_request_gets_into_the_access_log(
    make_proxy: MakeProxy, backend: Callable[[str], Backend]
) -> None:
    proxy = make_proxy(access_log="access.log")
    await proxy.start()
    await proxy.add_route("/user/mary/", backend("mary").url, {})
    url = f"{proxy.public_url}/user/mary/api/contents?token=SECRET&x=1"
    headers = {
        "Authorization": "token SECRET",
        "Cookie": "jupyterhub-session-id=SECRET",
        "Referer": f"{proxy.public_url}/user/mary/lab?token=SECRET",
        "X-XSRFToken": "SECRET",
    }
    assert ask(url, **headers)[0] == 200
    assert ask(f"{proxy.public_url}/nobody?code=SECRET")[0] == 404
    log = Path(proxy.run_dir) / "access.log"
    wait_until(lambda: len(lines(log)) >= 2, "two lines in the access log")
    assert "SECRET" not in log.read_text()
    # The Hub's own questions to Traefik's API are not in it.
    answered, unknown = lines(log)
    assert answered["RequestPath"] == "/user/mary/api/contents"
    assert answered["ServiceName"] == "g_user_mary@file"
    assert answered["DownstreamStatus"] == 200
    assert unknown["RequestPath"] == "/nobody"
    assert log.stat().st_mode & 0o077 == 0

    # Rotation: move it, then tell Traefik.
    log.rename(log.with_suffix(".log.1"))
    [traefik] = traefik_processes(Path(proxy.run_dir))
    os.kill(traefik.pid, signal.SIGUSR1)
    wait_until(log.exists, "a new access log")
    assert ask(url)[0] == 200
    wait_until(lambda: lines(log), "a line in the new access log")
    assert log.stat().st_mode & 0o077 == 0


async def test_there_is_no_access_log_unless_it_is_asked_for(make_proxy: MakeProxy) -> None:
    proxy = make_proxy()
    await proxy.start()
    ask(f"{proxy.public_url}/?token=SECRET")
    files = [path for path in Path(proxy.run_dir).iterdir() if path.is_file()]
    assert "access.log" not in {path.name for path in files}
    assert not any(b"SECRET" in path.read_bytes() for path in files)


@pytest.mark.parametrize("path", ["/proc/nope/access.log", "logs", "/tmp"])
async def test_one_that_cannot_be_written_is_told_at_the_start(
    make_proxy: MakeProxy, tmp_path: Path, path: str
) -> None:
    (tmp_path / "run" / "logs").mkdir(parents=True, mode=0o700)
    proxy = make_proxy(access_log=path)
    with pytest.raises(TraefikUnusable, match=r"c\.TraefikProxy\.access_log") as caught:
        await proxy.start()
    assert path in str(caught.value)


async def test_its_directory_is_made(make_proxy: MakeProxy) -> None:
    proxy = make_proxy(access_log="logs/access.log")
    await proxy.start()
    ask(f"{proxy.public_url}/")
    log = Path(proxy.run_dir) / "logs" / "access.log"
    wait_until(lambda: lines(log), "a line in the access log")
    assert log.parent.stat().st_mode & 0o077 == 0
