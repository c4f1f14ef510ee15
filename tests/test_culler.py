"""jupyterhub-idle-culler, and servers that tell the Hub nothing of their activity."""

from __future__ import annotations

import sys
import time
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import requests
import websocket

from hubs import TOKEN, Hub
from support import wait_until

CULLER: dict[str, Any] = {
    "JupyterHub.last_activity_interval": 1,
    "JupyterHub.services": [
        {"name": "admin", "api_token": TOKEN, "admin": True},
        {
            "name": "culler",
            "command": [
                *(sys.executable, "-m", "jupyterhub_idle_culler"),
                *("--timeout=8", "--cull-every=1"),
            ],
        },
    ],
    "JupyterHub.load_roles": [
        {
            "name": "culling",
            "scopes": ["list:users", "read:users:activity", "read:servers", "delete:servers"],
            "services": ["culler"],
        }
    ],
    "Spawner.cmd": [sys.executable, str(Path(__file__).with_name("silent_server.py"))],
    "Spawner.args": [],
    # Traefik keeps connections that nobody uses for 90 s, and they count as use.
    "TraefikProxy.extra_static_config": {
        "serversTransport": {"forwardingTimeouts": {"idleConnTimeout": "500ms"}}
    },
}


def running(hub: Hub, name: str) -> bool:
    return bool(hub.api("GET", f"users/{name}")["server"])


def test_idle_servers_are_culled_and_no_others(hub_directory: Path) -> None:
    hub = Hub(hub_directory, CULLER)
    with hub.running():
        for name in ("idle", "visited", "typing"):
            hub.api("POST", f"users/{name}")
            hub.api("POST", f"users/{name}/server")
        for name in ("idle", "visited", "typing"):
            wait_until(partial(running, hub, name), f"{name}'s server")
        address = hub.url.replace("http:", "ws:")
        with closing(websocket.create_connection(f"{address}/user/typing/ws", timeout=10)):

            def only_the_idle_one_is_gone() -> bool:
                answer = requests.get(f"{hub.url}/user/visited/", timeout=5)
                assert answer.text == "ok"
                up = {user["name"] for user in hub.api("GET", "users") if user["server"]}
                assert {"visited", "typing"} <= up
                return "idle" not in up

            wait_until(only_the_idle_one_is_gone, "the culling of the idle server", 60)
            # And so it stays, for longer than the culler waits.
            end = time.monotonic() + 12
            while time.monotonic() < end:
                assert only_the_idle_one_is_gone()
                time.sleep(0.5)

        def nobody_is_typing() -> bool:
            assert requests.get(f"{hub.url}/user/visited/", timeout=5).text == "ok"
            return not running(hub, "typing")

        wait_until(nobody_is_typing, "the culling of the server whose websocket was closed", 60)
        assert running(hub, "visited")
