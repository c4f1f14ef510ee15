"""A whole JupyterHub with the store and otherwise default options, as an admin has it who followed
the README."""

from __future__ import annotations

import http.client
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from traefikhub.testing import run_backend

from servers import PASSWORD, RedisServer, free_port, rules, wait_until

BROWSER = {"Accept": "text/html,application/xhtml+xml"}
MIDDLEWARE = "traefik/http/middlewares/traefikhub__error-page-headers"
TOKEN = "token-of-a-service-that-administers"


def ask(port: int, method: str, path: str, headers: dict[str, str], body: str = "") -> Any:
    """Status, headers, and text of an answer; None if there is none."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path, body or None, headers)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read().decode()
    except OSError:
        return None
    finally:
        connection.close()


def test_a_hub_with_default_options(tmp_path: Path) -> None:
    port = free_port()
    api = {"Authorization": f"token {TOKEN}"}
    with ExitStack() as stack:
        server = stack.enter_context(RedisServer("redis", tmp_path / "redis", guarded=True))
        service = stack.enter_context(ExitStack())
        url = service.enter_context(run_backend())
        server.add_user("traefikhub", *rules("traefik"))
        settings: dict[str, Any] = {
            "JupyterHub.proxy_class": "traefikhub",
            "TraefikProxy.store": "redis",
            "RedisStore.url": server.url,
            "RedisStore.username": "traefikhub",
            "RedisStore.password": PASSWORD,
            # Only that a machine may run other Hubs.
            "JupyterHub.bind_url": f"http://127.0.0.1:{port}",
            "JupyterHub.hub_port": free_port(),
            "TraefikProxy.traefik_api_url": f"http://127.0.0.1:{free_port()}",
            "TraefikProxy.grace_seconds": 1,
            "JupyterHub.authenticator_class": "dummy",
            # It ends while the Hub runs, for the page of what can't be reached.
            "JupyterHub.services": [
                {"name": "admin", "api_token": TOKEN, "admin": True},
                {"name": "gone", "url": url},
            ],
        }
        config = tmp_path / "jupyterhub_config.py"
        config.write_text("".join(f"c.{name} = {value!r}\n" for name, value in settings.items()))
        with (tmp_path / "log").open("wb") as log:
            hub = subprocess.Popen(
                [sys.executable, "-m", "jupyterhub", "-f", str(config)],
                cwd=tmp_path,
                stdout=log,
                stderr=log,
            )
        try:

            def answers() -> bool:
                assert hub.poll() is None, (tmp_path / "log").read_text()
                found = ask(port, "GET", "/hub/login", BROWSER)
                return found is not None and found[0] == 200

            wait_until(answers, "the Hub", 60)
            assert ask(port, "GET", "/user/nobody/", BROWSER)[0] == 302  # the Hub says: log in
            assert ask(port, "GET", "/hub/api/proxy", api)[0] == 200
            assert ask(port, "GET", "/services/gone/", BROWSER)[0] == 200
            service.close()
            status, headers, page = ask(port, "GET", "/services/gone/", BROWSER)
            assert (status, "JupyterHub" in page) == (503, True)
            assert headers.get_all("Set-Cookie", []) in ([], [""])
            assert any(key.startswith(MIDDLEWARE) for key in server.dump())
        finally:
            hub.terminate()
            hub.wait(30)
