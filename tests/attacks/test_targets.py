"""Routespecs and targets that want to be more than one route, through TraefikProxy itself.

JupyterHub quotes names before they come here; a service or a subclass of the Hub may not.
"""

from __future__ import annotations

from urllib.parse import unquote

import anyio.to_thread
import pytest

from attacks.conftest import CROWD, Site
from attacks.recorder import converse
from support import ask

pytestmark = pytest.mark.anyio

SPECS = [
    # Rules in rules: backticks, quotes, both; with and without escapes.
    '/user/x`) || PathPrefix(`/hub/',
    '/user/x") || PathPrefix("/hub/',
    '/user/x\\") || PathPrefix(\\"/hub/',
    "/user/x')||PathPrefix('/hub/",
    '/user/x")||HostRegexp(".*/',
    "/user/x`)&&!PathPrefix(`/user/mary/",
    "/user/(?i)MARY/",
    "/user/.*/",
    "/user/[a-z]+/",
    "/user/mary|/",
    "/user/\\x6dary/",
    "/user/{name:.*}/",
    # Templates of Traefik's file, TOML, keys of a store.
    "/user/{{x}}/",
    '/user/{{env"HOME"}}/',
    "/user/{{`/",
    "/user/{{/",
    "/user/]\\n[http.routers.evil]/",
    '/user/"""/',
    "/user/'''/",
    "/user/../../hub/",
    "/user/..%2F..%2Fhub/",
    "/user/@internal/",
    "/user/api@internal/",
    "/traefikhub__api/",
    # Lines, nulls, what isn't text.
    "/user/x\n/",
    "/user/x\r\nX: y/",
    "/user/x\0/",
    "/user/x\u2028/",
    "/user/\ufeff/",
    "/user/\u202e/",
    "/user/\ud800/",
    "/user/x%/",
    "/user/%FF/",
    "/user/x?y/",
    "/user/x#y/",
    "/user/x y/",
    # Hosts.
    'a") || Host("b/x/',
    "a`b/x/",
    "*/x/",
    "a b/x/",
    # Long ones.
    "/user/" + "x" * 100_000 + "/",
    "/user/" + "%7B" * 30_000 + "/",
    "/user/" + "x/" * 20_000,
    "",
    "user/mary",
]  # fmt: skip

TARGETS = [
    "http://user:hunter2@127.0.0.1:1",
    "http://127.0.0.1:1@evil.test",
    "file:///etc/passwd",
    "http+unix://%2Ftmp%2Fs/",
    "unix:///tmp/s",
    "ftp://127.0.0.1:1",
    "h2c://127.0.0.1:1",
    "javascript:alert(1)",
    "//127.0.0.1:1",
    "127.0.0.1:1",
    "http://",
    "http://:1",
    "http://127.0.0.1:0",
    "http://127.0.0.1:65536",
    "http://127.0.0.1:1\r\nX: y",
    "http://127.0.0.1:1/\n",
    "http://127.0.0.1:1/a b",
    "http://127.0.0.1:1\t",
    " http://127.0.0.1:1",
    "http://127.0.0.1:1/\0",
    "http://127.0.0.1:1/?x=y",
    "http://127.0.0.1:1/#x",
    "http://127.0.0.1:1\\@evil.test",
    "http://127.0.0.1:1/../x",
    "http://127.0.0.1:1/%2e%2e/x",
    "http://127.0.0.1:1//x",
    "http://127.0.0.1:1/%zz",
    "http://127.0.0.1:1/%FF",
    "http://b\u00fccher.test:1",
    "http://127.0.0.1:1/\ud800",
    "http://[::1:1",
    "http://[fe80::1%25eth0]:1",
    "http://{{env}}:1",
    "http://`:1",
    "http://a,b:1",
    "",
    None,
    ["http://127.0.0.1:1"],
]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: ascii(spec[:40]))
async def test_a_routespec_is_one_route_or_none(site: Site, spec: str) -> None:
    refusal = ""
    try:
        await site.proxy.add_route(spec, site.servers["crowd"].url, {})
    except ValueError as error:
        refusal = str(error)
    assert "route" in refusal or not refusal
    assert len(await site.proxy.get_all_routes()) == CROWD + (3 if refusal else 4)
    # The next change goes through: nothing has stopped Traefik from reading.
    await site.proxy.add_route("/user/canary/", site.servers["ada"].url, {})
    data = b"GET /user/canary/x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
    assert await site.send(data) == ["ada GET /user/canary/x"]
    await site.require_all_served()
    for each in (spec, "/user/canary/"):
        if each in await site.proxy.get_all_routes():
            await site.proxy.delete_route(each)


@pytest.mark.parametrize("target", TARGETS, ids=ascii)
async def test_a_target_is_a_server_or_refused(site: Site, target: str) -> None:
    with pytest.raises(ValueError, match="can't route") as caught:
        await site.proxy.add_route("/user/eve/", target, {})
    assert "hunter2" not in str(caught.value)
    assert "/user/eve/" not in await site.proxy.get_all_routes()
    await site.require_all_served()


@pytest.mark.parametrize(
    "below",
    ["/%7B%7Benv%20%22HOME%22%7D%7D", "/{{env}}", "/`x`", "/$1${1}", "/%24%7B1%7D", '/a"b', "/a'b"],
)
async def test_the_path_of_a_target_is_nothing_but_text(site: Site, below: str) -> None:
    await site.proxy.add_route("/user/eve/", site.servers["ada"].url + below, {})
    data = b"GET /user/eve/x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
    [found] = await site.send(data)
    assert found.startswith("ada GET /")
    assert found.endswith("/user/eve/x")
    assert unquote(found.removeprefix("ada GET ").removesuffix("/user/eve/x")) == unquote(below)
    await site.require_all_served()
    await site.proxy.delete_route("/user/eve/")


@pytest.mark.parametrize(
    ("base", "path"),
    [
        ("", "/user/eve/api/rawdata"),
        ("/api", "/user/eve/"),
        ("/api", "/user/eve/../../rawdata"),
        ("/api", "/user/eve/%2e%2e/%2e%2e/rawdata"),
        ("/metrics", "/user/eve/../.."),
    ],
)
async def test_a_target_that_is_the_api_meets_its_password(
    site: Site, base: str, path: str
) -> None:
    """Where a server is, the Spawner says, and nobody here knows better: a user who may choose it
    can reach whatever Traefik can. The API asks all the same."""
    await site.proxy.add_route("/user/eve/", site.proxy.traefik_api_url + base, {})
    data = f"GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".encode()
    answer = await anyio.to_thread.run_sync(converse, site.url, data)
    assert answer[9:12] in (b"401", b"404")
    assert b"routers" not in answer
    assert b"traefik_" not in answer
    await site.proxy.delete_route("/user/eve/")
    # There is something to be kept from them.
    assert ask(f"{site.proxy.traefik_api_url}/api/rawdata")[0] == 401
