"""What of Traefik the dashboard's service passes on, and what it withholds of the answers."""

from __future__ import annotations

import json
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traefikhub.dashboard._answers import UnknownPage, shown_api, shown_page
from traefikhub.dashboard._paths import api_path, asset_path

PAGES = {
    "3.6": '<head>\n<script>\n      window.APIUrl = "/api/"\n    </script>\n<p>',
    "3.7": '<head>\n<script>\n      window.APIUrl = "\\/api\\/"\n    </script>\n<p>',
}


@pytest.mark.parametrize(
    ("path", "query", "asked"),
    [
        ("version", "", "/api/version"),
        ("overview", "", "/api/overview"),
        ("certificates", "page=1", "/api/certificates?page=1"),
        ("entrypoints/http", "", "/api/entrypoints/http"),
        ("http/routers", "page=2&per_page=10", "/api/http/routers?page=2&per_page=10"),
        ("udp/services", "", "/api/udp/services"),
        ("http/routers/a%40file", "", "/api/http/routers/a@file"),
        ("http/routers/a@file", "token=x&_xsrf=y&x=1", "/api/http/routers/a@file"),
        ("http/routers/a%253f", "", "/api/http/routers/a%253f"),
        ("http/routers/r%2f7@file", "", "/api/http/routers/r%2F7@file"),
        (
            "http/routers",
            "search=%26token%3D1%0d%0a",
            "/api/http/routers?search=%26token%3D1%0D%0A",
        ),
    ],
)
def test_what_is_passed_on(path: str, query: str, asked: str) -> None:
    assert api_path(path, query) == asked


@pytest.mark.parametrize(
    "path",
    [
        *("", "/", "rawdata", "support-dump", "debug/vars", "http", "http/", "version/x"),
        *("http/routers/", "http/routers/..", "http/routers/%2e%2e", "http/routers/a/b"),
        *("http/routers/a%2f..%2f..%2frawdata", "http/routers/%2fa", "http/routers/a%2f%2e"),
        *("http/routers/%5c", "http/routers/%0d%0a", "http/routers/%ff", "http/routers/a%2f%2fb"),
        *("udp/middlewares", "http/serversTransports", "HTTP/routers", "http//routers"),
    ],
)
def test_what_is_not(path: str) -> None:
    assert api_path(path) is None


@given(st.text(), st.text())
def test_no_name_leads_elsewhere(name: str, query: str) -> None:
    for path in (name, f"http/routers/{name}"):
        asked = api_path(path, query)
        if asked is not None:
            assert asked.isascii()
            assert asked.isprintable()
            words = asked.partition("?")[0].split("/")
            assert words[1] == "api"
            assert len(words) <= 5
            assert "rawdata" not in words[2]
            assert not {"..", "."} & set(unquote(asked.partition("?")[0]).split("/"))
    found = asset_path(name)
    if found is not None:
        assert "%" not in found
        assert ".." not in found.split("/")


@pytest.mark.parametrize("path", ["favicon.ico", "assets/index-A_b.js", "manifest.json"])
def test_assets(path: str) -> None:
    assert asset_path(path) == f"/dashboard/{path}"


@pytest.mark.parametrize(
    "path", ["", "..", "../api", "a/../b", ".git", "a%2fb", "a//b", "/a", "a\n"]
)
def test_no_assets(path: str) -> None:
    assert asset_path(path) is None


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_the_page_names_the_services_api(page: str) -> None:
    shown = shown_page(page, script="/s/start.js", api="/s/api/", xsrf='a"><b')
    assert shown.startswith("<head>\n<script src=")
    assert 'data-api="/s/api/"' in shown
    assert 'data-xsrf="a&quot;&gt;&lt;b"' in shown
    assert "window.APIUrl" not in shown


@pytest.mark.parametrize("page", ["", "<html>", PAGES["3.7"] * 2])
def test_another_page(page: str) -> None:
    with pytest.raises(UnknownPage, match=r"window\.APIUrl"):
        shown_page(page, script="", api="", xsrf="")


def shown(answer: object) -> str:
    return shown_api("/api/x", json.dumps(answer).encode()).decode()


@pytest.mark.parametrize(
    "answer",
    [
        {"basicAuth": {"users": ["ada:unlikely:unlikely"]}},
        [{"name": "x", "digestAuth": {"users": ["ada:realm:unlikely"]}}],
        {"forwardAuth": {"address": "http://u:unlikely@host/?token=unlikely"}},
        {"forwardAuth": {"tls": {"key": "unlikely", "cert": "unlikely"}}},
        {"headers": {"customRequestHeaders": {"X-Api": "unlikely"}}},
        {"plugin": {"mine": {"anything": ["unlikely", {"x": "unlikely"}]}}},
        {"rateLimit": {"redis": {"password": "unlikely"}}},
        {"loadBalancer": {"healthCheck": {"headers": {"Authorization": "unlikely"}}}},
        {"loadBalancer": {"servers": [{"url": "http://u:unlikely@host"}]}},
        {"serverStatus": {"http://u:unlikely@host": "UP"}},
        {"basicAuth": {"users": ["unlikely"]}},
        {"basicAuth": {"users": ["$2y$05$unlikely"]}},
        {"forwardAuth": {"address": "http://u:unlikely pw@127.0.0.1:9/"}},
        {"forwardAuth": {"address": "http://u:pw@unlikely/x@127.0.0.1:9/"}},
        {"redirectRegex": {"regex": "^https://u:unlikely@x/(.*)"}},
        {"redirectRegex": {"regex": r"^https?:\/\/u:unlikely@x\/(.*)"}},
        {"redirectRegex": {"regex": "^https://(?:a|b):unlikely@x/(.*)"}},
        {"redirectRegex": {"replacement": "https://h/?key=unlikely&sig=unlikely"}},
        {"redirectRegex": {"replacement": "https://h/$1?a=${1}&b=unlikely;unlikely"}},
        {"redirectRegex": {"regex": "^/t/token=unlikely((", "replacement": "x"}},
        {"plugin": {"jwt": {"keys": {"unlikely": "u"}}}},
        {"plugin": {"jwt": {"pin": "unlikely", "pins": [{"unlikely": 1}], "on": ["unlikely"]}}},
        {"plugin": {"jwt": "unlikely"}},
        {"rule": "HeaderRegexp(`X`, `^https://u:unlikely@x`)"},
    ],
)
def test_no_secret_is_shown(answer: object) -> None:
    assert "unlikely" not in shown(answer)
    assert "***" in shown(answer)


@pytest.mark.parametrize(
    ("error", "seen"),
    [
        (
            'error parsing server URL http://u:unlikely@h:a: parse "unlikely": invalid port ":b" x',
            "error parsing server URL *** parse *** invalid port ***",
        ),
        ("error parsing BasicUser: unlikely", "error parsing BasicUser: ***"),
        (
            "error parsing regexp: missing closing ): `^https://u:unlikely@x/((.*`",
            "error parsing regexp: missing closing ): ***",
        ),
        ('the service "my b@file" does not exist', 'the service *** b@file" does not exist'),
        ('middleware "u:unlikely@file" does not exist', "middleware *** does not exist"),
        ('the service "e_user_mary@file" does not exist',) * 2,
    ],
)
def test_errors_say_what_but_not_of_what(error: str, seen: str) -> None:
    """Traefik's own words and names stay."""
    assert json.loads(shown([{"error": [error]}])) == [{"error": [seen]}]


@given(st.text(alphabet=st.characters(exclude_characters="@"), min_size=1))
def test_no_password_of_a_url_is_shown(password: str) -> None:
    text = f"^http://u:a{password}z@host/"
    for key in ("url", "address", "regex", "anything"):
        assert json.loads(shown({key: text})) == {key: "^http://u:***@host/"}


def test_options_of_plugins_are_named() -> None:
    options = {"pin": 7, "on": True, "keys": {"a": "b"}}
    seen = json.loads(shown({"plugin": {"jwt": options}}))
    assert seen == {"plugin": {"jwt": {"pin": "***", "on": "***", "keys": "***"}}}


def test_the_rest_is() -> None:
    router = {
        "entryPoints": ["http"],
        "service": "s",
        "rule": 'PathPrefix("/user/mary/") || Path("/user/mary")',
        "priority": 11,
        "tls": {"certResolver": "le"},
        "status": "enabled",
        "using": ["http"],
        "name": "g_user_mary@file",
        "provider": "file",
    }
    assert json.loads(shown([router])) == [router]
    service = {"serverStatus": {"http://10.0.0.1:8888": "UP"}, "usedBy": ["x@file"]}
    assert json.loads(shown(service)) == service
    redirect = {"regex": "^http://(.*)$", "replacement": "https://$1/?to=${1}&x=$2"}
    assert json.loads(shown({"redirectRegex": redirect})) == {"redirectRegex": redirect}


def test_the_page_fetches_nothing_from_elsewhere() -> None:
    answer = shown_api("/api/version", b'{"Version": "3.7.15"}')
    assert json.loads(answer) == {"Version": "3.7.15", "disableDashboardAd": True}
