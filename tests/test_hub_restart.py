"""A whole JupyterHub is started again while a user's page is open."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests
import websocket

from hubs import Hub
from support import traefik_processes, wait_until

OPTIONS: dict[str, Any] = {
    "JupyterHub.cleanup_proxy": False,
    "Spawner.cmd": [sys.executable, str(Path(__file__).with_name("silent_server.py"))],
    "Spawner.args": [],
}


def is_open(socket: websocket.WebSocket) -> bool:
    """Whether nobody on the way has closed it; its server says nothing."""
    socket.settimeout(0.5)
    try:
        socket.recv()
    except websocket.WebSocketTimeoutException:
        return True
    except (OSError, websocket.WebSocketException):
        return False
    raise AssertionError("a silent server has spoken")


@pytest.mark.parametrize("end", ["in good order", "killed"])
def test_the_websocket_of_a_user_outlives_the_hub(hub_directory: Path, end: str) -> None:
    hub = Hub(hub_directory, OPTIONS)
    with hub.running() as process:
        hub.api("POST", "users/mary")
        hub.api("POST", "users/mary/server")
        wait_until(lambda: hub.api("GET", "users/mary")["server"], "her server")
        address = f"{hub.url}/user/mary/ws".replace("http:", "ws:")
        socket = websocket.create_connection(address, timeout=10)
        (traefik,) = traefik_processes(hub_directory)
        if end == "killed":
            process.kill()
    with closing(socket):
        assert is_open(socket)
        assert requests.get(f"{hub.url}/user/mary/", timeout=5).text == "ok"  # without a Hub
        with hub.running():
            assert [process.pid for process in traefik_processes(hub_directory)] == [traefik.pid]
            assert requests.get(f"{hub.url}/user/mary/", timeout=5).text == "ok"
            assert hub.api("GET", "users/mary")["server"]
            assert is_open(socket)
            hub.api("POST", "users/john")
            hub.api("POST", "users/john/server")
            wait_until(lambda: hub.api("GET", "users/john")["server"], "his server")
            assert requests.get(f"{hub.url}/user/john/", timeout=5).text == "ok"
            assert is_open(socket)
    assert "Traceback" not in hub.log()
