"""The Hub's question to the entry point of its users: answered to the Hub, and in nobody's way."""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import anyio.to_thread
import pytest
import requests

from conftest import MakeProxy
from servers.scene import RoutesFile
from servers.stores import KeyValueServer
from support import Backend, ask, hub_app, traefik_processes, wait_until
from traefikhub import TraefikProxy
from traefikhub.session import read_routes
from traefikhub.traefik._connection import KeptConnection
from traefikhub.traefik.certificate import make_default_certificate
from traefikhub.traefik.users_entry_point import UsersEntryPoint, question_for, reach

pytestmark = pytest.mark.anyio

MakeBackend = Callable[[str], Backend]
PATH = "/traefikhub/generation"


def own_question(proxy: TraefikProxy) -> Any:
    """The Hub's."""
    secret = (Path(proxy.run_dir) / "api-password").read_text().strip()
    return question_for(secret, "X-Traefikhub-Generation")


def answer_to_hub(proxy: TraefikProxy) -> tuple[int, int]:
    """Status and generation that the Hub gets."""
    question, tls = own_question(proxy), ssl.create_default_context()
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    connection = KeptConnection(proxy.public_url, timeout=10, tls=tls)
    answer = connection.get(question.path, f"{question.header}: {question.key}\r\n")
    connection.close()
    return answer.status, int(answer.headers[b"x-traefikhub-generation"])


@pytest.fixture
def https_options(tmp_path: Path) -> dict[str, Any]:
    files = tmp_path / "cert.pem", tmp_path / "key.pem"
    for file, text in zip(files, make_default_certificate(), strict=True):
        file.write_text(text)
        file.chmod(0o600)
    return {"ssl_cert": str(files[0]), "ssl_key": str(files[1]), "hsts_seconds": 300}


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_the_hub_alone_is_answered(
    make_proxy: MakeProxy,
    backend: MakeBackend,
    https_options: dict[str, Any],
    tmp_path: Path,
    scheme: str,
) -> None:
    options: dict[str, Any] = {"access_log": "access.log"}
    if scheme == "https":
        port = urlsplit(make_proxy().public_url).port
        options |= https_options | {"public_url": f"https://127.0.0.1:{port}"}
    proxy = make_proxy(**options)
    await proxy.start()
    await proxy.add_route("/", backend("hub").url, {})
    file = RoutesFile(tmp_path / "run" / "routes.toml")
    assert await anyio.to_thread.run_sync(answer_to_hub, proxy) == (418, file.generation())

    # To all others that path is like any other.
    def status(**headers: str) -> requests.Response:
        return requests.get(proxy.public_url + PATH, headers=headers, verify=False, timeout=10)

    for headers in ({}, {own_question(proxy).header: "x"}, {own_question(proxy).header: ""}):
        answer = await anyio.to_thread.run_sync(lambda: status(**headers))  # noqa: B023
        assert (answer.status_code, answer.json()["name"]) == (200, "hub")
        assert "X-Traefikhub-Generation" not in answer.headers
    # The Hub's own is no request of a user's.
    log = tmp_path / "run" / "access.log"
    wait_until(lambda: log.read_text().count("\n") >= 3, "three lines in the access log")
    assert [json.loads(line)["DownstreamStatus"] for line in log.read_text().splitlines()] == [
        200
    ] * 3


KEEPS_OUT: dict[str, dict[str, Any]] = {
    "nobody is let in": {"ipAllowList": {"sourceRange": ["192.0.2.1/32"]}},
    "a password": {"basicAuth": {"users": ["ada:$2y$05$a3wPFYoUhTo4qjWdGiZQWOnvRRVVDGA..."]}},
    "elsewhere": {"redirectRegex": {"regex": ".*", "replacement": "https://elsewhere.test/"}},
}


@pytest.mark.parametrize("kind", KEEPS_OUT)
async def test_what_keeps_the_hub_out_of_it_keeps_nothing_else_up(
    make_proxy: MakeProxy, backend: MakeBackend, kind: str
) -> None:
    """An admin may put a middleware before all that users ask for."""
    proxy = make_proxy(
        extra_dynamic_config={"http": {"middlewares": {"guard": KEEPS_OUT[kind]}}},
        extra_static_config={"entryPoints": {"http": {"http": {"middlewares": ["guard@file"]}}}},
    )
    await proxy.start()
    await proxy.add_route("/user/ada/", backend("ada").url, {})
    await proxy.delete_route("/user/ada/")
    assert set(await proxy.get_all_routes()) == set()


async def test_a_hub_that_takes_over_asks_the_same(
    make_proxy: MakeProxy, backend: MakeBackend, tmp_path: Path
) -> None:
    proxy = make_proxy()
    await proxy.start()
    await proxy.add_route("/", backend("hub").url, {})
    question, generation = own_question(proxy), RoutesFile(tmp_path / "run" / "routes.toml")
    before = generation.generation()
    await proxy.stop()
    again = make_proxy()
    await again.start()
    assert own_question(again) == question
    assert generation.generation() == before
    assert len(traefik_processes(tmp_path / "run")) == 1


async def test_it_agrees_with_the_api_of_a_real_traefik(
    make_proxy: MakeProxy, backend: MakeBackend, tmp_path: Path
) -> None:
    proxy = make_proxy()
    await proxy.start()
    url = reach(urlsplit(proxy.public_url).netloc, https=False)
    users = UsersEntryPoint(url, own_question(proxy))
    file = RoutesFile(tmp_path / "run" / "routes.toml")
    for number in range(20):
        await proxy.add_route(f"/user/u{number}/", backend(f"u{number}").url, {})
        generation = file.generation()
        assert await anyio.to_thread.run_sync(users.agrees, generation, generation)
        assert not await anyio.to_thread.run_sync(users.agrees, generation + 1, generation + 9)
        assert await anyio.to_thread.run_sync(users.agrees, 1, generation)
    users.close()


async def test_on_a_server(
    key_value: KeyValueServer, make_proxy: MakeProxy, backend: MakeBackend
) -> None:
    proxy = make_proxy(**key_value.options)
    await proxy.start()
    await proxy.add_route("/", backend("hub").url, {})
    status, generation = await anyio.to_thread.run_sync(answer_to_hub, proxy)
    assert (status, generation > 1) == (418, True)
    assert ask(proxy.public_url + PATH)[1]["name"] == "hub"


@pytest.mark.parametrize("options", ["http", "https"])
async def test_what_the_hub_wrote_is_no_drift(
    make_proxy: MakeProxy, https_options: dict[str, Any], options: str
) -> None:
    """``traefikhub routes`` takes nothing of it for what somebody changed by hand, and leaves it
    alone."""
    given: dict[str, Any] = {"traefik_api_password": "longer-than-that", "last_activity": True}
    if options == "https":
        port = urlsplit(make_proxy().public_url).port
        given |= https_options | {"public_url": f"https://127.0.0.1:{port}"}
    proxy = make_proxy(app=hub_app(), **given)
    await proxy.start()
    await proxy.add_route("/user/ada/", "http://127.0.0.1:1", {})
    await proxy.stop()
    found = await read_routes(make_proxy(app=hub_app(), **given).session_settings())
    assert SimpleNamespace(puts=found.drift.puts, deletes=found.drift.deletes) == SimpleNamespace(
        puts={}, deletes=frozenset()
    )
