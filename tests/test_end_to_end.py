"""The whole story of a user, through the public URL of a real JupyterHub."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
import requests
import websocket

from hubs import Hub
from servers.consul import ConsulServer
from servers.etcd import EtcdServer
from support import free_port, wait_until


class Browser:
    """A user's browser, as far as cookies, forms and websockets go."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.session = requests.Session()

    def get(self, path: str, **options: Any) -> requests.Response:
        return self.session.get(self.hub.url + path, timeout=30, **options)

    def xsrf(self, path: str) -> str:
        """The token that JupyterHub or the server wants back with every change."""
        return next(
            (c.value or "" for c in self.session.cookies if c.name == "_xsrf" and c.path == path),
            "",
        )

    def log_in(self, name: str) -> None:
        self.get("/hub/login")
        answer = self.session.post(
            f"{self.hub.url}/hub/login?next=/hub/home",
            data={
                "username": name,
                "password": "a test's password",
                "_xsrf": self.xsrf("/hub/"),
            },
            timeout=30,
        )
        assert answer.status_code == 200, answer.text

    def spawn(self, name: str) -> None:
        self.get(f"/hub/spawn/{name}")
        wait_until(lambda: self.hub.api("GET", f"users/{name}")["server"], f"{name}'s server", 60)

    def run_code(self, base: str, code: str) -> str:
        """Start a kernel, run code over its websocket, and return the text of its result."""
        headers = {"X-XSRFToken": self.xsrf(base)}
        kernel = self.session.post(
            f"{self.hub.url}{base}api/kernels",
            json={"name": "python3"},
            headers=headers,
            timeout=60,
        )
        assert kernel.status_code == 201, kernel.text
        cookies = "; ".join(
            f"{c.name}={c.value}" for c in self.session.cookies if base.startswith(c.path)
        )
        address = urlsplit(self.hub.url).netloc
        connection = websocket.create_connection(
            f"ws://{address}{base}api/kernels/{kernel.json()['id']}/channels",
            cookie=cookies,
            header=[f"X-XSRFToken: {headers['X-XSRFToken']}"],
            timeout=60,
        )
        try:
            message = {
                "header": {
                    "msg_id": uuid.uuid4().hex,
                    "msg_type": "execute_request",
                    "username": "",
                    "session": uuid.uuid4().hex,
                    "version": "5.3",
                },
                "parent_header": {},
                "metadata": {},
                "content": {"code": code, "silent": False},
                "channel": "shell",
            }
            connection.send(json.dumps(message))
            while True:
                answer = json.loads(connection.recv())
                if answer["msg_type"] == "execute_result":
                    text: str = answer["content"]["data"]["text/plain"]
                    return text
        finally:
            connection.close()


@pytest.fixture(params=["toml-file", "etcd", "consul"])
def store_options(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """What a Hub's configuration says about its store, whose server runs."""
    directory = tmp_path / "server"
    directory.mkdir()
    match request.param:
        case "etcd":
            with EtcdServer(directory) as etcd:
                yield {"TraefikProxy.store": "etcd", "EtcdStore.endpoints": [etcd.endpoint]}
        case "consul":
            with ConsulServer(directory) as consul:
                yield {"TraefikProxy.store": "consul", "ConsulStore.url": consul.url}
        case name:
            yield {"TraefikProxy.store": name}


def test_a_users_day(hub_directory: Path, store_options: dict[str, Any]) -> None:
    hub = Hub(hub_directory, store_options)
    with hub.running():
        mary = Browser(hub)
        mary.log_in("mary")
        mary.spawn("mary")
        lab = mary.get("/user/mary/lab")
        assert lab.status_code == 200
        assert "<title>JupyterLab</title>" in lab.text
        assert mary.run_code("/user/mary/", "1+1") == "2"
        assert set(hub.api("GET", "proxy")) == {"/", "/user/mary/"}

        other = Browser(hub)
        other.log_in("john")
        assert "JupyterLab" not in other.get("/user/mary/lab").text

    with hub.running():  # the Hub has been restarted; mary's server was not
        assert set(hub.api("GET", "proxy")) == {"/", "/user/mary/"}
        assert mary.run_code("/user/mary/", "40+2") == "42"

        hub.api("DELETE", "users/mary/server")
        gone = mary.get("/user/mary/lab")
        assert gone.url.startswith(f"{hub.url}/hub/user/mary/lab")
        assert gone.status_code == 424
        assert "Server not running" in gone.text
        assert set(hub.api("GET", "proxy")) == {"/"}
    assert "Traceback" not in hub.log()


def test_a_server_that_was_killed(hub_directory: Path) -> None:
    """Until the Hub notices, its own page tells the browser; then there is the way to a new one."""
    hub = Hub(hub_directory, {})
    with hub.running():
        mary = Browser(hub)
        mary.log_in("mary")
        mary.spawn("mary")
        token = mary.xsrf("/hub/")
        for process in psutil.process_iter(["cmdline"]):
            if "jupyterhub.singleuser" in (process.info["cmdline"] or []):
                with suppress(psutil.Error):
                    if process.cwd().startswith(str(hub_directory)):
                        process.kill()
                        process.wait(10)
        answer = mary.get("/user/mary/lab", headers={"Accept": "text/html"}, allow_redirects=False)
        assert answer.status_code == 503, answer.text
        assert "<title>JupyterHub</title>" in answer.text
        assert "503 : Service Unavailable" in " ".join(answer.text.split())
        assert mary.xsrf("/hub/") == token, "the forms of mary's open pages fail from now on"
        program = mary.get("/user/mary/api/kernels", headers={"Accept": "application/json"})
        assert (program.status_code, "<" in program.text) == (503, False)


def test_a_hub_that_moves(hub_directory: Path) -> None:
    """Started again at another address, it is found there: by its own routes and by error pages."""
    old, new, nobody = (f"http://127.0.0.1:{free_port()}" for _ in range(3))
    routed = {"TraefikProxy.extra_routes": {"/nobody/": nobody}}
    hub = Hub(hub_directory, {"JupyterHub.hub_bind_url": old} | routed)
    for hub_url in (old, new):
        with hub.config.open("a") as config:
            config.write(f"c.JupyterHub.hub_bind_url = {hub_url!r}\n")
        with hub.running():
            assert hub.api("GET", "proxy")["/"]["target"] == hub_url
            stranger = Browser(hub)
            for path in ("/hub/login", "/", "/user/mary/lab"):  # its own router, and the route /
                assert stranger.get(path).url.startswith(f"{hub.url}/hub/login")
            answer = stranger.get("/nobody/", headers={"Accept": "text/html"})
            assert answer.status_code == 503
            assert "<title>JupyterHub</title>" in answer.text
            if hub_url == new:  # that was not where it had been
                with pytest.raises(requests.ConnectionError):
                    requests.get(old, timeout=5)
    assert "Traceback" not in hub.log()
