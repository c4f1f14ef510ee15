"""Traefik's dashboard as a service of a real JupyterHub: who gets what, and what goes wrong."""

from __future__ import annotations

import html
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import psutil
import pytest
import requests
from traitlets.config import Config

from dashboards import DASHBOARD as BASE
from dashboards import DashboardHub
from hubs import TOKEN
from support import Backend, free_port, wait_until
from traefikhub.dashboard import dashboard_service

SECRETS = {
    "http": {
        "middlewares": {
            "extra-users": {"basicAuth": {"users": ["ada:$2y$05$unlikelyhash"]}},
            "extra-sent": {"headers": {"customRequestHeaders": {"X-Api": "unlikelyheader"}}},
            "extra-asks": {"forwardAuth": {"address": "http://u:unlikelypw@127.0.0.1:9/"}},
            # Odd ones, some of which Traefik refuses, with their text in the error.
            "odd-user": {"basicAuth": {"users": ["unlikelyuser"]}},
            "odd-hash": {"basicAuth": {"users": ["$2y$05$unlikelyhash"]}},
            "odd-blank": {"forwardAuth": {"address": "http://u:unlikely pw@127.0.0.1:9/"}},
            "odd-regex": {
                "redirectRegex": {
                    "regex": "^https://u:unlikely@x/(.*)",
                    "replacement": "https://h/?key=unlikely&sig=unlikely",
                }
            },
            "odd-bracket": {
                "redirectRegex": {"regex": "^https://u:unlikely@x/((", "replacement": ""}
            },
            "odd-page": {"errors": {"status": ["500"], "service": "odd-port", "query": "/"}},
            "odd-plugin": {"plugin": {"jwt": {"keys": {"unlikely": "u"}, "pin": "unlikely"}}},
        },
        "services": {
            "extra-server": {
                "loadBalancer": {
                    "servers": [{"url": "http://u:unlikelyurl@127.0.0.1:9"}],
                    "healthCheck": {"path": "/?token=unlikelytoken", "interval": "100s"},
                }
            },
            "odd-port": {"loadBalancer": {"servers": [{"url": "http://u:unlikely@h:abc"}]}},
        },
        "routers": {
            "extra-router": {"rule": "Path(`/extra`)", "service": "extra-server"},
            "odd/1": {"rule": "Path(`/odd1`)", "service": "extra-server"},
            "odd-2": {"rule": "Path(`/odd2`)", "service": "odd-port"},
            **{
                f"odd-{name}": {
                    "rule": f"Path(`/odd-{name}`)",
                    "service": "extra-server",
                    "middlewares": [f"odd-{name}"],
                }
                for name in ("user", "hash", "blank", "regex", "bracket", "page", "plugin")
            },
        },
    }
}


@pytest.fixture(scope="module")
def module_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    directory = tmp_path_factory.mktemp("dashboard")
    yield directory
    for process in psutil.process_iter():
        try:
            if process.cwd().startswith(str(directory)):
                process.kill()
        except psutil.Error:
            continue


@pytest.fixture(scope="module")
def hub(module_directory: Path) -> Iterator[DashboardHub]:
    """With everybody allowed into every service, as many hubs have it."""
    hub = DashboardHub(
        module_directory,
        {
            "TraefikProxy.extra_dynamic_config": SECRETS,
            "JupyterHub.load_roles": [{"name": "user", "scopes": ["self", "access:services"]}],
        },
    )
    (module_directory / "other-password").write_text("wrong\n")
    with closing(Backend("listens", {"Set-Cookie": "unlikely=1", "X-Unlikely": "1"})) as listener:
        for name, url, file in (
            ("down", f"http://127.0.0.1:{free_port()}", "run/api-password"),
            ("listens", listener.url, "other-password"),
            ("elsewhere", hub.url, "other-password"),
            ("refused", "", "other-password"),
            ("unready", "", "no-password"),
        ):
            config = f"type(c)(TraefikProxy={{'traefik_api_url': {url!r}}})" if url else "c"
            hub.add(
                f"{config}, name={name!r}, port={free_port()}, username='traefikhub', "
                f"password_file={str(module_directory / file)!r}"
            )
        with hub.running():
            hub.api("POST", "users/mary")
            yield hub


@pytest.fixture(scope="module")
def admin(hub: DashboardHub) -> requests.Session:
    """An administrator's browser that has opened the dashboard."""
    session = hub.browser("ada")
    answer = session.get(hub.url + BASE, timeout=30)
    assert answer.status_code == 200, answer.text
    return session


def test_an_admin_gets_the_dashboard(hub: DashboardHub, admin: requests.Session) -> None:
    page = admin.get(hub.url + BASE, timeout=30)
    assert page.url == hub.url + BASE
    assert f'data-api="{BASE}api/"' in page.text
    assert "window.APIUrl" not in page.text
    script = re.search(r'src="\./(assets/[^"]+\.js)"', page.text)
    assert script
    # The browser's way to load it, which can't name a token.
    headers = {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Site": "same-origin"}
    loaded = admin.get(hub.url + BASE + script[1], headers=headers, timeout=30)
    assert loaded.status_code == 200
    assert "javascript" in loaded.headers["Content-Type"]
    assert "APIUrl" in loaded.text


def test_an_admin_gets_the_api(hub: DashboardHub, admin: requests.Session) -> None:
    routers = admin.get(f"{hub.url}{BASE}api/http/routers?per_page=1", timeout=30)
    assert len(routers.json()) == 1
    assert routers.headers["X-Next-Page"] == "2"
    found = admin.get(f"{hub.url}{BASE}api/http/routers?search=extra-router", timeout=30).json()
    assert {router["rule"] for router in found} == {"Path(`/extra`)"}
    one = admin.get(f"{hub.url}{BASE}api/http/routers/extra-router%40file", timeout=30).json()
    assert one["service"] == "extra-server"
    one = admin.get(f"{hub.url}{BASE}api/http/routers/odd%2F1%40file", timeout=30).json()
    assert one["rule"] == "Path(`/odd1`)"
    gone = admin.get(f"{hub.url}{BASE}api/http/routers/nobody@file", timeout=30)
    assert (gone.status_code, gone.json()) == (404, {"message": "Traefik doesn't know that."})


@pytest.mark.parametrize("query", ["page=999999", "per_page=abc"])
def test_a_page_that_there_is_not(hub: DashboardHub, admin: requests.Session, query: str) -> None:
    answer = admin.get(f"{hub.url}{BASE}api/http/routers?{query}", timeout=30)
    assert answer.status_code == 400
    assert "Is there such a page?" in answer.json()["message"]


def test_what_leads_elsewhere_is_not_here(hub: DashboardHub, admin: requests.Session) -> None:
    assert admin.get(f"{hub.url}{BASE}index.html", timeout=30).status_code == 404


def test_what_keeps_other_sites_out(hub: DashboardHub, admin: requests.Session) -> None:
    page = admin.get(hub.url + BASE, timeout=30)
    policy = page.headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in policy
    assert "default-src 'none';" in policy
    assert "script-src 'self';" in policy
    assert page.headers["X-Frame-Options"] == "DENY"
    # A script of another page of the hub, a user's notebook perhaps, asks with the admin's cookies.
    foreign = {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Site": "same-origin"}
    asked = f"{hub.url}{BASE}api/http/routers"
    assert admin.get(asked, headers=foreign, timeout=30).status_code == 403
    token = re.search(r'data-xsrf="([^"]+)"', page.text)
    assert token
    own = foreign | {"X-XSRFToken": token[1]}
    assert admin.get(asked, headers=own, timeout=30).status_code == 200


def test_who_is_no_admin_is_refused(hub: DashboardHub) -> None:
    mary = hub.browser("mary")
    page = mary.get(hub.url + BASE, timeout=30)
    assert page.status_code == 403
    assert "for administrators of this JupyterHub. mary is none" in page.text
    for path in ("api/http/routers", "start.js", "favicon.ico"):
        assert mary.get(hub.url + BASE + path, timeout=30).status_code == 403


def test_a_token_needs_the_scope(hub: DashboardHub) -> None:
    """It is of an administrator, but says no more than who that is."""
    made = requests.post(
        f"{hub.url}/hub/api/users/ada/tokens",
        json={"scopes": ["read:users"]},
        headers={"Authorization": f"token {TOKEN}"},
        timeout=30,
    ).json()
    headers = {"Authorization": f"token {made['token']}"}
    answer = requests.get(f"{hub.url}{BASE}api/overview", headers=headers, timeout=30)
    assert answer.status_code == 403
    assert "needs the scope access:services!service=traefik" in answer.json()["message"]


@pytest.mark.parametrize("who", ["ada", "nobody"])
def test_a_script_is_not_sent_to_the_login(hub: DashboardHub, who: str) -> None:
    """Each round would leave a token in the Hub's database."""
    session = requests.Session() if who == "nobody" else hub.browser(who)
    fetched = {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Site": "same-origin"}
    answer = session.get(hub.url + BASE, headers=fetched, timeout=30, allow_redirects=False)
    assert answer.status_code == 403
    assert "not to be fetched by a script" in answer.text
    opened = session.get(
        hub.url + BASE, headers={"Sec-Fetch-Mode": "navigate"}, timeout=30, allow_redirects=False
    )
    assert opened.status_code == 302


@pytest.mark.parametrize(
    "body",
    [b"Content-Length: 100000000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n2000\r\n"],
    ids=["length", "chunks"],
)
def test_nobody_fills_the_memory(hub: DashboardHub, body: bytes) -> None:
    """What is sent without a login isn't waited for."""
    with socket.create_connection(("127.0.0.1", hub.port), 30) as connection:
        connection.sendall(f"POST {BASE} HTTP/1.1\r\nHost: x\r\n".encode() + body)
        with suppress(OSError):
            connection.sendall(b"x" * 0x1800)
        assert connection.recv(4096) in (b"", b"HTTP/1.1 400 Bad Request\r\n\r\n")


def test_who_loses_the_right_is_refused(hub: DashboardHub) -> None:
    hub.api("POST", "users/eve")
    asked = f"{hub.url}{BASE}api/overview"
    url = f"{hub.url}/hub/api/users/eve"
    headers = {"Authorization": "token token-of-a-service-that-administers"}
    requests.patch(url, json={"admin": True}, headers=headers, timeout=30).raise_for_status()
    eve = hub.browser("eve")
    assert eve.get(hub.url + BASE, timeout=30).status_code == 200
    requests.patch(url, json={"admin": False}, headers=headers, timeout=30).raise_for_status()
    wait_until(lambda: eve.get(asked, timeout=30).status_code == 403, "eve to be refused", 60)


def test_a_service_is_refused(hub: DashboardHub) -> None:
    """Even one that administers: this is for people."""
    headers = {"Authorization": "token token-of-a-service-that-administers"}
    answer = requests.get(f"{hub.url}{BASE}api/overview", headers=headers, timeout=30)
    assert answer.status_code == 403


def test_nobody_is_sent_to_the_login(hub: DashboardHub) -> None:
    with requests.Session() as nobody:
        page = nobody.get(f"{hub.url}{BASE}?next=//elsewhere.example", timeout=30)
        assert page.url.startswith(f"{hub.url}/hub/login?next=%2Fhub%2Fapi%2Foauth2%2Fauthorize")
        for path in ("api/http/routers", "start.js"):
            assert nobody.get(hub.url + BASE + path, timeout=30).status_code == 403


def test_after_the_login_one_is_here(hub: DashboardHub, admin: requests.Session) -> None:
    """Whatever the URL says of another place."""
    again = requests.Session()
    for cookie in admin.cookies:
        if cookie.path != BASE:
            again.cookies.set_cookie(cookie)
    page = again.get(f"{hub.url}{BASE}?next=//elsewhere.example/", timeout=30)
    assert page.status_code == 200
    assert page.url == f"{hub.url}{BASE}?next=//elsewhere.example/"


@pytest.mark.parametrize("path", ["", "api/http/routers", "start.js"])
def test_heads_only(hub: DashboardHub, admin: requests.Session, path: str) -> None:
    head = admin.head(hub.url + BASE + path, timeout=30)
    assert (head.status_code, head.content) == (200, b"")
    assert requests.head(f"{hub.url}{BASE}api/version", timeout=30).status_code == 403


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("path", ["", "api/http/routers", "start.js"])
def test_it_is_read_only(
    hub: DashboardHub, admin: requests.Session, method: str, path: str
) -> None:
    answer = admin.request(method, hub.url + BASE + path, timeout=30)
    assert answer.status_code == 405
    assert answer.headers["Allow"] == "GET, HEAD"


@pytest.mark.parametrize(
    "path",
    [
        *("api/rawdata", "api/support-dump", "api/", "api/debug/pprof/", "api/http/"),
        *("api/http/../rawdata", "api/%2e%2e/metrics", "api/http/routers/..%2f..%2frawdata"),
        *("api/http/routers/%2e%2e", "api/http/routers/a%00b", "api//rawdata", "api/raw%64ata"),
        *("assets/..%2f..%2fapi%2frawdata", "..%2fapi/rawdata", "%2e%2e/api/rawdata", ".git"),
    ],
)
def test_other_paths_lead_nowhere(hub: DashboardHub, admin: requests.Session, path: str) -> None:
    """Past Traefik's own tidying, at the service itself."""
    cookies = "; ".join(f"{c.name}={c.value}" for c in admin.cookies if c.path in (BASE, "/"))
    request = requests.Request("GET", "http://x", headers={"Cookie": cookies}).prepare()
    request.url = f"http://127.0.0.1:{hub.port}{BASE}{path}"
    with requests.Session() as session:
        assert session.send(request, timeout=30).status_code == 404


def test_no_secret_is_shown(hub: DashboardHub, admin: requests.Session) -> None:
    password = (hub.directory / "run" / "api-password").read_text().strip()
    shown = ""
    for path in (
        *("", "start.js", "api/version", "api/overview", "api/entrypoints"),
        *("api/http/routers?per_page=1000", "api/http/services?per_page=1000"),
        *("api/http/middlewares?per_page=1000", "api/http/middlewares/extra-users@file"),
        *("api/tcp/middlewares", "api/udp/services"),
        *(f"api/http/routers/odd-{name}@file" for name in ("2", "user", "bracket", "page")),
        *(f"api/http/middlewares/odd-{name}@file" for name in ("user", "hash", "regex", "plugin")),
        "api/http/services/odd-port@file",
    ):
        answer = admin.get(hub.url + BASE + path, timeout=30)
        assert answer.status_code == 200, path
        shown += answer.text + json.dumps(dict(answer.headers))
    assert "extra-asks@file" in shown  # it is the answer that was looked for
    assert "ada:***" in shown
    assert "error parsing server URL ***" in shown
    assert "error parsing BasicUser: ***" in shown
    assert "error parsing regexp: missing closing ): ***" in shown
    assert "unlikely" not in shown
    assert "{SHA}" not in shown
    assert password not in shown
    told = json.dumps([[each.cmdline(), each.environ()] for each in hub.services()])
    assert str(hub.directory / "run" / "api-password") in told
    assert password not in told
    assert password not in hub.log()


def test_nothing_of_the_browser_reaches_traefik(hub: DashboardHub, admin: requests.Session) -> None:
    """In Traefik's place there is a server that answers with what it heard."""
    admin.get(f"{hub.url}/services/listens/", timeout=30)
    answer = admin.get(
        f"{hub.url}/services/listens/api/http/routers?search=x&token=unlikely&_xsrf=unlikely",
        headers={"X-Forwarded-For": "10.1.2.3", "Referer": "http://unlikely/"},
        timeout=30,
    )
    heard = answer.json()
    assert heard["path"] == "/api/http/routers?search=***"  # as every URL is shown
    assert set(heard["headers"]) <= {
        *("Host", "Connection", "Authorization", "User-Agent", "Accept-Encoding")
    }
    assert "unlikely" not in answer.text
    assert "unlikely" not in str(answer.headers)
    assert "X-Unlikely" not in answer.headers


@pytest.mark.parametrize(
    ("name", "status", "words"),
    [
        ("down", 502, ["can't be reached", "c.TraefikProxy.traefik_api_url"]),
        ("refused", 502, ["refuses user 'traefikhub'", "other-password"]),
        ("unready", 503, ["no-password: No such file", "dashboard_service(c) has to stand below"]),
        ("listens", 502, ["it sets window.APIUrl 0 times", "api.dashboard = true"]),
        ("elsewhere", 502, ["leads elsewhere (302)", "Is that Traefik?"]),
    ],
)
def test_trouble_is_explained(
    hub: DashboardHub, admin: requests.Session, name: str, status: int, words: list[str]
) -> None:
    page = admin.get(f"{hub.url}/services/{name}/", timeout=30)
    assert page.status_code == status
    for word in words:
        assert word in html.unescape(page.text)
    asked = admin.get(f"{hub.url}/services/{name}/api/overview", timeout=30)
    if name != "listens":
        assert asked.status_code == (404 if name == "elsewhere" else status)
        assert words[0] in asked.json()["message"]


def test_the_service_ends_with_a_hub_that_was_killed(hub_directory: Path) -> None:
    hub = DashboardHub(hub_directory)
    with hub.running() as process:
        wait_until(hub.services, "the service")
        process.kill()
        wait_until(lambda: not hub.services(), "the end of the service")


def test_started_by_hand() -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "traefikhub.dashboard"),
            *("--api-url=x", "--username=x", "--password-file=x"),
        ],
        capture_output=True,
        text=True,
        env={name: value for name, value in os.environ.items() if "JUPYTERHUB" not in name},
    )
    assert done.returncode == 1
    assert "JUPYTERHUB_API_TOKEN" in done.stderr
    assert "dashboard_service(c)" in done.stderr


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with closing(Backend("other")) as other:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "traefikhub.dashboard"),
                *("--api-url=x", "--username=x", "--password-file=x"),
            ],
            capture_output=True,
            text=True,
            env=os.environ
            | {
                "JUPYTERHUB_API_TOKEN": "x",
                "JUPYTERHUB_CLIENT_ID": "service-routes",
                "JUPYTERHUB_SERVICE_PREFIX": "/services/routes/",
                "JUPYTERHUB_SERVICE_URL": other.url,
            },
            cwd=tmp_path,
        )
    assert done.returncode == 1
    assert re.search(r"^\[C .*can't listen at " + other.url, done.stderr, re.MULTILINE)
    assert "dashboard_service(c, port=…)" in done.stderr
    assert "browsers to whatever listens there, as /services/routes/" in done.stderr


# --- what the configuration says -----------------------------------------------------------------


def test_the_options_of_the_proxy_are_followed(tmp_path: Path) -> None:
    config = Config()
    config.TraefikProxy.run_dir = str(tmp_path)
    config.TraefikProxy.traefik_api_url = "https://traefik.example:8099"
    config.TraefikProxy.traefik_api_validate_cert = False
    service = dashboard_service(config, name="routes", port=1234)
    assert service["name"] == "routes"
    assert service["url"] == "http://127.0.0.1:1234"
    command = " ".join(service["command"])
    assert "--api-url https://traefik.example:8099 " in command
    assert f"--password-file {tmp_path}/api-password" in command
    assert command.endswith("--insecure")


@pytest.mark.parametrize("section", ["Proxy", "TraefikProxy"])
def test_an_external_traefik_needs_a_file(tmp_path: Path, section: str) -> None:
    config = Config()
    config[section].should_start = False
    with pytest.raises(ValueError, match="password_file"):
        dashboard_service(config)
    with pytest.raises(ValueError, match="go together"):
        dashboard_service(config, username="ada")
    service = dashboard_service(config, username="ada", password_file=str(tmp_path / "password"))
    assert f"--username ada --password-file {tmp_path}/password" in " ".join(service["command"])


def test_the_proxys_own_options_come_first() -> None:
    config = Config()
    config.Proxy.should_start = False
    config.TraefikProxy.should_start = True
    assert "traefikhub" in dashboard_service(config)["command"]


@pytest.mark.parametrize("name", ["", "a/b", "..", "é", "a b", "a?"])
def test_names_that_are_no_part_of_a_path(name: str) -> None:
    with pytest.raises(ValueError, match="name="):
        dashboard_service(Config(), name=name)


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_ports_that_are_none(port: int) -> None:
    with pytest.raises(ValueError, match="port="):
        dashboard_service(Config(), port=port)


def test_no_password_on_the_command_line() -> None:
    config = Config()
    config.TraefikProxy.traefik_api_url = "http://u:unlikely@127.0.0.1:8099"
    with pytest.raises(ValueError, match="traefik_api_password") as caught:
        dashboard_service(config)
    assert "unlikely" not in str(caught.value)
