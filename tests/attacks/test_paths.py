"""Paths, targets and hosts in every disguise: each request reaches the one that it names."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path
from types import SimpleNamespace

import pytest

from attacks.conftest import Site
from attacks.recorder import Recorder, converse, outcomes
from conftest import MakeProxy
from support import ask, hub_app

pytestmark = pytest.mark.anyio

TREE_AND_FLAT = pytest.mark.parametrize(
    "site", [{"routing": "tree"}, {"routing": "flat"}], indirect=True, ids=["tree", "flat"]
)

# What is sent, who gets it, and what arrives there; as sent if there is no third.
PATHS: list[tuple[str, ...]] = [
    # --- dot segments: they go, whole, to the route that the path begins with
    ("/user/mary/../ada/x", "mary"),
    ("/user/mary/%2e%2e/ada/x", "mary", "/user/mary/../ada/x"),
    ("/user/mary/.%2E/ada/x", "mary", "/user/mary/../ada/x"),
    ("/user/mary/..%2fada/x", "mary", "/user/mary/..%2Fada/x"),
    ("/user/mary/%2e%2e%2fada/x", "mary", "/user/mary/..%2Fada/x"),
    ("/user/mary/%252e%252e/ada/x", "mary"),
    ("/user/mary/%252e%252e%252fada/x", "mary"),
    ("/user/mary/..\\ada/x", "mary", "/user/mary/..%5Cada/x"),
    ("/user/mary/..%5cada/x", "mary", "/user/mary/..%5Cada/x"),
    ("/user/mary/..;/ada/x", "mary"),
    ("/user/mary/..%00/ada/x", "mary"),
    ("/user/mary/..%0d%0a/ada/x", "mary", "/user/mary/..%0D%0A/ada/x"),
    ("/./user/ada/x", "hub"),
    ("/user/./ada/x", "hub"),
    ("/../user/ada/x", "hub"),
    ("/user/user7/../../hub/admin", "crowd"),
    ("/user/ada/../mary/../../hub/admin", "ada"),
    # --- overlong and broken UTF-8, look-alikes
    ("/user/mary/%c0%ae%c0%ae/ada/x", "mary", "/user/mary/%C0%AE%C0%AE/ada/x"),
    ("/user/mary/%c0%ae%c0%ae%c0%afada/x", "mary", "/user/mary/%C0%AE%C0%AE%C0%AFada/x"),
    ("/user/mary%c0%afada/x", "hub", "/user/mary%C0%AFada/x"),
    ("/user%c0%afada/x", "hub", "/user%C0%AFada/x"),
    ("/user/mary/\xe2\x80\xa5/ada/x", "mary", "/user/mary/%E2%80%A5/ada/x"),
    ("/user\xef\xbc\x8fada/x", "hub", "/user%EF%BC%8Fada/x"),
    # --- slashes
    ("//user/ada/x", "hub"),
    ("/user//ada/x", "hub"),
    ("/user/mary//ada/x", "mary"),
    ("/user%2fada/x", "hub", "/user%2Fada/x"),
    ("/%2fuser/ada/x", "hub", "/%2Fuser/ada/x"),
    ("/user/ada%2fx", "hub", "/user/ada%2Fx"),
    ("/user/ada%2f..%2fmary/x", "hub", "/user/ada%2F..%2Fmary/x"),
    ("/user\\ada/x", "hub", "/user%5Cada/x"),
    ("//other.test/user/ada/x", "hub"),
    # --- what follows a name
    ("/user/mary;/../ada/x", "hub"),
    ("/user/mary;a=b/x", "hub"),
    ("/user/mary%3b/x", "hub", "/user/mary%3B/x"),
    ("/user/mary%00/x", "hub"),
    ("/user/mary%20/x", "hub"),
    ("/user/mary./x", "hub"),
    ("/user/mary%2f/x", "hub", "/user/mary%2F/x"),
    ("/user/mary%3f/../ada/x", "hub", "/user/mary%3F/../ada/x"),
    ("/user/mary%23/x", "hub"),
    ("/user/mary?/../ada/x", "mary"),
    ("/user/MARY/x", "hub"),
    ("/user/mar%79/x", "mary", "/user/mary/x"),
    ("/user/%75ser7/x", "crowd", "/user/user7/x"),
    # --- whole URLs, of any scheme and host
    ("http://other.test/user/ada/x", "ada", "/user/ada/x"),
    ("https://other.test/user/ada/x", "ada", "/user/ada/x"),
    ("http://u:p@other.test/user/ada/x", "ada", "/user/ada/x"),
    ("http:///user/ada/x", "ada", "/user/ada/x"),
    ("http:/user/ada/x", "ada", "/user/ada/x"),
    ("file:///user/ada/x", "ada", "/user/ada/x"),
    ("file:///etc/passwd", "hub", "/etc/passwd"),
    ("http://other.test/user/mary/../ada/x", "mary", "/user/mary/../ada/x"),
    # --- Traefik's own: nothing of it is behind the users' port
    *((path, "hub") for path in (
        "/api", "/api/", "/api/http/routers", "/api/rawdata", "/api/version", "/api/overview",
        "/dashboard", "/dashboard/", "/metrics", "/ping", "/debug/pprof/", "/debug/vars",
        "/api@internal", "//api/http/routers", "/API/rawdata", "/.well-known/acme-challenge/x",
        "/hub/../api/rawdata", "/x/../api/rawdata", "/api;/rawdata",
    )),
    ("/%61pi/rawdata", "hub", "/api/rawdata"),
    ("/user/user7/../../api/rawdata", "crowd"),
    ("/user/mary/../../metrics", "mary"),
]  # fmt: skip

REFUSED = {
    "400": [
        "%2fuser/ada/x", "/user/mary#/x", "/user/mary/x\0y", "/user/mary%zz/x", "/user/mary\t/x",
        "\\user\\ada\\x", "user/ada/x", "localhost/user/ada/x", ".", "..", "http:user/ada/x",
        "other.test:80", "javascript:alert(1)", "http://[::1/user/ada/x", "127.0.0.1:8099",
    ],
    "404": ["*", "http://", "http://other.test?/user/ada/x"],
}  # fmt: skip


@TREE_AND_FLAT
async def test_the_sites_are_what_they_are_meant_to_be(site: Site) -> None:
    routes = Path(site.proxy.run_dir, "routes.toml").read_text()
    assert ("traefikhub__tree_" in routes) == (site.proxy.routing == "tree")


@TREE_AND_FLAT
@pytest.mark.parametrize("case", PATHS, ids=lambda case: case[0].encode("latin-1").decode())
async def test_a_path_reaches_the_route_that_it_begins_with(
    site: Site, case: tuple[str, ...]
) -> None:
    sent, who, *arrives = case
    expected = [f"{who} GET {arrives[0] if arrives else sent}"]
    # With a page's Accept the request goes through the routers of the error pages.
    for accept in ("*/*", "text/html"):
        head = f"GET {sent} HTTP/1.1\r\nHost: hub.test\r\nAccept: {accept}\r\nConnection: close"
        assert await site.send(f"{head}\r\n\r\n".encode("latin-1")) == expected
        assert site.arrived() == expected


@TREE_AND_FLAT
@pytest.mark.parametrize(
    ("status", "sent"),
    [(status, target) for status, targets in REFUSED.items() for target in targets],
)
async def test_what_is_no_path_reaches_nobody(site: Site, status: str, sent: str) -> None:
    head = f"GET {sent} HTTP/1.1\r\nHost: hub.test\r\nConnection: close\r\n\r\n"
    assert await site.send(head.encode("latin-1")) == [status]
    assert site.arrived() == []


@TREE_AND_FLAT
@pytest.mark.parametrize(
    ("line", "outcome"),
    [
        ("OPTIONS *", "200"),
        ("OPTIONS 127.0.0.1:8099", "400"),
        ("CONNECT *", "501"),
        ("CONNECT 127.0.0.1:8099", "501"),
        ("CONNECT ada:80/user/ada/", "501"),
        ("CONNECT /api/rawdata", "501"),
        ("PRI *", "404"),
    ],
)
async def test_other_forms_of_a_request_reach_nobody(site: Site, line: str, outcome: str) -> None:
    head = f"{line} HTTP/1.1\r\nHost: hub.test\r\nConnection: close\r\n\r\n"
    assert await site.send(head.encode()) == [outcome]
    assert site.arrived() == []


@pytest.mark.parametrize(
    "host",
    ["", "traefik", "localhost", "127.0.0.1", "[::1]", "api", "h:8099", "*", "a..b", "%41", "a,b"],
)
async def test_no_host_leads_to_the_api(site: Site, host: str) -> None:
    """Nor does its password, on the users' port."""
    where = site.proxy.traefik_api_url.removeprefix("http://")
    password = Path(site.proxy.run_dir, "api-password").read_text().strip()
    signed = f"Basic {b64encode(f'traefikhub:{password}'.encode()).decode()}"
    for each in (host, where):
        head = f"GET /api/rawdata HTTP/1.1\r\nHost: {each}\r\nAuthorization: {signed}\r\n"
        outcome = await site.send(f"{head}Connection: close\r\n\r\n".encode())
        assert outcome == ["hub GET /api/rawdata"]
    # It is the right one.
    assert ask(f"{site.proxy.traefik_api_url}/api/rawdata", Authorization=signed)[0] == 200


@pytest.mark.parametrize(
    "host", ["a b", "a/b", "a@b", "../x", "h\0", "\xe9", "a\tb", "h'\"<>", "{{x}}", "`", "a\\b"]
)
async def test_a_host_that_is_none_is_refused(site: Site, host: str) -> None:
    head = f"GET /user/ada/ HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    assert await site.send(head.encode("latin-1")) == ["400"]
    assert site.arrived() == []


# --- with a host for each user -----------------------------------------------------------------


@pytest.fixture
async def subdomains(
    make_proxy: MakeProxy, recorders: dict[str, Recorder]
) -> tuple[str, dict[str, Recorder]]:
    app = hub_app(subdomain_host="http://hub.test")
    hub = SimpleNamespace(host=recorders["hub"].url, base_url="/hub/", routespec="hub.test/")
    proxy = make_proxy(app=app, hub=hub)
    await proxy.start()
    await proxy.add_route("hub.test/", recorders["hub"].url, {})
    for name in ("mary", "ada"):
        await proxy.add_route(f"{name}.hub.test/user/{name}/", recorders[name].url, {})
    for server in recorders.values():
        server.forget()
    return proxy.public_url, recorders


@pytest.mark.parametrize(
    ("target", "host", "outcome", "seen"),
    [
        ("/user/ada/x", "ada.hub.test", "ada GET /user/ada/x", "ada.hub.test"),
        ("/user/ada/x", "mary.hub.test", "404", None),
        ("/user/ada/x", "hub.test", "hub GET /user/ada/x", "hub.test"),
        # A whole URL outranks Host, for the one who routes and for the one who serves.
        ("http://ada.hub.test/user/ada/x", "mary.hub.test", "ada GET /user/ada/x", "ada.hub.test"),
        ("http://mary.hub.test/user/ada/x", "ada.hub.test", "404", None),
        ("//ada.hub.test/user/ada/x", "mary.hub.test", "404", None),
        ("/user/ada/x", "ada.hub.test, mary.hub.test", "400", None),
        ("/user/ada/x", "ada.hub.test,mary.hub.test", "404", None),
        ("/user/ada/x", "mary.hub.test@ada.hub.test", "400", None),
        ("/user/ada/x", "ada.hub.test/", "400", None),
        ("/user/ada/x", "ada.hub.test%2f", "404", None),
        ("/user/ada/x", "ada.hub.test%00.mary.hub.test", "404", None),
        ("/user/ada/x", "mary.hub.test\r\nX-Forwarded-Host: ada.hub.test", "404", None),
        ("/user/ada/x", "mary.hub.test\r\nX-Host: ada.hub.test", "404", None),
        ("/user/ada/x", "mary.hub.test\r\nHost: ada.hub.test", "400", None),
    ],
)
async def test_one_host_decides(
    subdomains: tuple[str, dict[str, Recorder]], target: str, host: str, outcome: str, seen: str
) -> None:
    url, servers = subdomains
    data = f"GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
    assert outcomes(converse(url, data)) == [outcome]
    arrived = [request for server in servers.values() for request in server.requests]
    assert [request.all("Host") for request in arrived] == ([[seen]] if seen else [])


async def test_without_a_route_for_all_there_is_nothing_at_all(
    make_proxy: MakeProxy, recorders: dict[str, Recorder]
) -> None:
    proxy = make_proxy()
    await proxy.start()
    await proxy.add_route("/user/mary/", recorders["mary"].url, {})
    for path in ("/", "/api/rawdata", "/dashboard/", "/metrics", "/ping", "/debug/pprof/"):
        data = f"GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
        assert outcomes(converse(proxy.public_url, data.encode())) == ["404"]
