"""What users get when a server can't be reached."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import anyio.to_thread
import pytest
import requests

from conftest import MakeProxy
from servers.stores import KeyValueServer
from support import Backend, free_port, hub_app
from traefikhub import TraefikProxy

pytestmark = pytest.mark.anyio

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
FETCH = {"Accept": "application/json"}


@pytest.fixture
def hub() -> Iterator[Backend]:
    made = Backend("hub", {"Set-Cookie": "_xsrf=anonymous; Path=/jhub/hub/"})
    yield made
    made.close()


def hub_at(url: str) -> SimpleNamespace:
    """The Hub as JupyterHub describes it to its proxy."""
    return SimpleNamespace(host=url, base_url="/jhub/hub/", routespec="/jhub/")


@pytest.fixture
async def proxy(make_proxy: MakeProxy, hub: Backend) -> TraefikProxy:
    made = make_proxy(hub=hub_at(hub.url))
    await made.start()
    await made.add_hub_route(made.hub)
    await made.add_route("/jhub/user/gone/", f"http://127.0.0.1:{free_port()}", {})
    return made


async def get(url: str, headers: dict[str, str], **options: Any) -> requests.Response:
    def ask() -> requests.Response:
        with requests.Session() as session:
            session.trust_env = False
            method = options.pop("method", "GET")
            return session.request(
                method, url, headers=headers, allow_redirects=False, timeout=20, **options
            )

    return await anyio.to_thread.run_sync(ask)


@pytest.mark.parametrize("path", ["lab", "", "lab/tree/a%2Fb?c=d#e", "proxy/8000/"])
async def test_a_browser_gets_the_hubs_page(proxy: TraefikProxy, path: str) -> None:
    answer = await get(f"{proxy.public_url}/jhub/user/gone/{path}", BROWSER)
    assert answer.status_code == 503
    page = answer.json()
    assert page["name"] == "hub"
    assert page["path"] == "/jhub/hub/error/503"
    # A cookie for the Hub's path would spoil the forms of an open page of the Hub.
    assert answer.headers.get("Set-Cookie", "") == ""
    assert not answer.cookies
    assert answer.headers["Cache-Control"] == "no-store"


async def test_the_page_is_asked_for_without_the_users_secrets(proxy: TraefikProxy) -> None:
    secret = {"Cookie": "jupyterhub-user-gone=s3cret", "Authorization": "token s3cret"}
    answer = await get(f"{proxy.public_url}/jhub/user/gone/lab?token=s3cret", BROWSER | secret)
    assert answer.json()["name"] == "hub"
    assert "s3cret" not in answer.text


async def test_a_form_sent_to_a_server_that_is_gone_gets_the_page(proxy: TraefikProxy) -> None:
    url = f"{proxy.public_url}/jhub/user/gone/login"
    answer = await get(url, BROWSER, method="POST", data=b"x" * 100_000)
    assert answer.status_code == 503
    assert answer.json()["name"] == "hub"


@pytest.mark.parametrize(
    "headers",
    [
        FETCH,
        {"Accept": "*/*"},
        BROWSER | {"X-Requested-With": "XMLHttpRequest"},
        BROWSER | {"Sec-Fetch-Mode": "cors"},
    ],
    ids=["json", "anything", "jquery", "fetch"],
)
async def test_programs_get_a_line_of_text(proxy: TraefikProxy, headers: dict[str, str]) -> None:
    answer = await get(f"{proxy.public_url}/jhub/user/gone/files/x.csv", headers)
    assert answer.status_code == 502
    assert answer.text == "Bad Gateway"


@pytest.mark.parametrize("path", ["api/kernels", "api/contents/a.ipynb", "second/api/sessions"])
async def test_jupyterlab_is_told_that_the_server_is_gone(proxy: TraefikProxy, path: str) -> None:
    """On 502 it would tell the user that a kernel died."""
    answer = await get(f"{proxy.public_url}/jhub/user/gone/{path}", FETCH)
    assert answer.status_code == 503
    assert len(answer.text) < 100
    assert "<" not in answer.text


@pytest.mark.parametrize("headers", [BROWSER, FETCH], ids=["browser", "program"])
@pytest.mark.parametrize("path", ["lab", "api/kernels"])
async def test_a_servers_own_errors_pass(
    proxy: TraefikProxy, backend: Any, headers: dict[str, str], path: str
) -> None:
    await proxy.add_route("/jhub/user/mary/", backend("mary").url, {})
    for status in (204, 401, 404, 424, 500, 501, 503, 599):
        url = f"{proxy.public_url}/jhub/user/mary/{path}?status={status}"
        answer = await get(url, headers)
        assert answer.status_code == status
        assert status == 204 or answer.json()["name"] == "mary"


async def test_a_servers_own_bad_gateway_passes_to_programs(
    proxy: TraefikProxy, backend: Any
) -> None:
    """A browser that opens a page gets the Hub's: Traefik can't tell the two apart."""
    await proxy.add_route("/jhub/user/mary/", backend("mary").url, {})
    for status in (502, 504):
        url = f"{proxy.public_url}/jhub/user/mary/proxy/8000/?status={status}"
        answer = await get(url, FETCH)
        assert (answer.status_code, answer.json()["name"]) == (status, "mary")
        answer = await get(url, BROWSER)
        assert (answer.status_code, answer.json()["name"]) == (503, "hub")


@pytest.mark.parametrize(
    ("routing", "below"), [("tree", ""), ("tree", "/jhub/hub/static/"), ("flat", "")]
)
async def test_without_a_hub_there_is_a_short_page_and_no_loop(
    make_proxy: MakeProxy, routing: str, below: str
) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    proxy = make_proxy(hub=hub_at(nobody), routing=routing)
    await proxy.start()
    await proxy.add_hub_route(proxy.hub)
    for routespec in ("/jhub/user/gone/", below):
        if routespec:
            await proxy.add_route(routespec, nobody, {})
    for path in ("user/gone/lab", "user/other/lab", "hub/home", "hub/static/x", ""):
        answer = await get(f"{proxy.public_url}/jhub/{path}", BROWSER)
        assert answer.status_code in (502, 503), path
        assert len(answer.text) < 100


async def test_a_hub_that_says_nothing_holds_up_nobody(make_proxy: MakeProxy) -> None:
    with socket.create_server(("127.0.0.1", 0)) as hung:  # accepts, and that is all
        url = f"http://127.0.0.1:{hung.getsockname()[1]}"
        proxy = make_proxy(hub=hub_at(url))
        await proxy.start()
        await proxy.add_hub_route(proxy.hub)
        await proxy.add_route("/jhub/user/gone/", f"http://127.0.0.1:{free_port()}", {})
        answer = await get(f"{proxy.public_url}/jhub/user/gone/lab", BROWSER)
        assert answer.status_code in (502, 503, 504)
        assert len(answer.text) < 100


@pytest.mark.parametrize(
    ("routing", "others", "status"),
    [
        ("tree", [], 502),
        ("tree", ["/jhub/user/hub/", "/jhub/services/x/"], 502),
        ("tree", ["mary.hub.test/jhub/user/mary/"], 502),
        ("flat", [], 503),
        ("tree", ["/jhub/hub/static/"], 503),
        ("tree", ["/jhub/hub/"], 502),
        ("tree", ["mary.hub.test/"], 503),
    ],
)
async def test_when_the_hubs_own_pages_stand_above_the_three(
    make_proxy: MakeProxy, hub: Backend, routing: str, others: list[str], status: int
) -> None:
    """Then its own 502 passes; below them a browser gets the error page for it."""
    hosts = any(routespec[0] != "/" for routespec in others)
    app = hub_app(subdomain_host="http://hub.test" if hosts else "")
    proxy = make_proxy(hub=hub_at(hub.url), routing=routing, app=app)
    await proxy.start()
    for routespec in ("/", *others):
        await proxy.add_route(routespec, hub.url, {})
    for asked, answered in ((200, 200), (404, 404), (502, status)):
        own = await get(f"{proxy.public_url}/jhub/hub/home?status={asked}", BROWSER)
        assert (own.status_code, own.json()["name"]) == (answered, "hub")


@pytest.mark.parametrize("users", [1, 100])
@pytest.mark.parametrize("routing", ["tree", "flat"])
async def test_it_holds_for_every_server_of_a_hub(
    make_proxy: MakeProxy, hub: Backend, backend: Any, users: int, routing: str
) -> None:
    proxy = make_proxy(hub=hub_at(hub.url), routing=routing)
    await proxy.start()
    await proxy.add_hub_route(proxy.hub)
    nobody, somebody = f"http://127.0.0.1:{free_port()}", backend("somebody").url
    async with anyio.create_task_group() as group:
        for number in range(users):
            add = partial(proxy.add_route, f"/jhub/user/u{number}/", nobody, {})
            group.start_soon(add)
    last = f"{proxy.public_url}/jhub/user/u{users - 1}/lab"
    assert (await get(last, BROWSER)).json()["name"] == "hub"
    assert (await get(last, FETCH)).status_code == 502
    await proxy.add_route(f"/jhub/user/u{users - 1}/", somebody, {})
    assert (await get(last, BROWSER)).json()["name"] == "somebody"
    # The Hub's own pages, and what no server is there for.
    for path in ("hub/home", "user/nobody/lab"):
        assert (await get(f"{proxy.public_url}/jhub/{path}", BROWSER)).json()["name"] == "hub"


async def test_servers_with_hosts_of_their_own_have_it_too(
    make_proxy: MakeProxy, hub: Backend
) -> None:
    proxy = make_proxy(hub=hub_at(hub.url), app=hub_app(subdomain_host="http://hub.test"))
    await proxy.start()
    nobody = f"http://127.0.0.1:{free_port()}"
    await proxy.add_route("mary.hub.test/jhub/user/mary/", nobody, {})
    answer = await get(f"{proxy.public_url}/jhub/user/mary/", BROWSER | {"Host": "mary.hub.test"})
    assert answer.status_code == 503
    assert answer.json()["headers"]["Host"] == "mary.hub.test"


async def test_they_can_be_turned_off(make_proxy: MakeProxy, hub: Backend) -> None:
    proxy = make_proxy(hub=hub_at(hub.url), error_pages=False)
    await proxy.start()
    await proxy.add_route("/jhub/user/gone/", f"http://127.0.0.1:{free_port()}", {})
    answer = await get(f"{proxy.public_url}/jhub/user/gone/lab", BROWSER)
    assert (answer.status_code, answer.text) == (502, "Bad Gateway")


async def test_the_page_is_the_same_on_every_store(
    key_value: KeyValueServer, make_proxy: MakeProxy, hub: Backend
) -> None:
    proxy = make_proxy(hub=hub_at(hub.url), **key_value.options)
    await proxy.start()
    await proxy.add_route("/jhub/user/gone/", f"http://127.0.0.1:{free_port()}", {})
    answer = await get(f"{proxy.public_url}/jhub/user/gone/lab", BROWSER)
    assert (answer.status_code, answer.json()["name"]) == (503, "hub")
    assert not answer.headers.get("Set-Cookie")
    assert answer.headers["Cache-Control"] == "no-store"


async def test_a_hub_that_comes_back_elsewhere_is_asked_there(
    make_proxy: MakeProxy, hub: Backend, backend: Any
) -> None:
    first = make_proxy(hub=hub_at(hub.url))
    await first.start()
    await first.add_route("/jhub/user/gone/", f"http://127.0.0.1:{free_port()}", {})
    await first.stop()
    moved = backend("moved hub")
    second = make_proxy(hub=hub_at(moved.url))
    await second.start()
    answer = await get(f"{second.public_url}/jhub/user/gone/lab", BROWSER)
    assert answer.json()["name"] == "moved hub"
