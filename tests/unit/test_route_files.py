"""Routes as documents: what comes in from elsewhere is whole, or is refused with its place."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traefikhub.route_files import (
    NoRoutes,
    as_document,
    routes_of_document,
    routes_of_old_file,
    routes_of_old_keys,
)
from traefikhub.table import Route

MARY = Route("/user/mary/", "http://10.0.0.1:1", {"user": "mary", "server_name": ""})
HUB = Route("/", "http://127.0.0.1:8081", {"hub": True})

NAMES = st.text("abcxyz0123456789", min_size=1, max_size=8)
DATA = st.dictionaries(
    st.text(max_size=5),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
        max_leaves=5,
    ),
    max_size=3,
)


@given(st.dictionaries(NAMES, DATA, max_size=5))
def test_what_is_exported_comes_back(users: dict[str, Any]) -> None:
    routes = {
        f"/user/{user}/": Route(f"/user/{user}/", "http://10.0.0.1:1", data)
        for user, data in users.items()
    }
    text = json.dumps(as_document(routes.values()))
    assert routes_of_document(json.loads(text)) == routes


def test_what_configurable_http_proxy_tells() -> None:
    """Without the slash at the end, and with times that are not the Hub's data."""
    answer = {
        "/": {"target": HUB.target, "hub": True, "last_activity": "2026-01-01T00:00:00Z"},
        "/user/mary": {"target": MARY.target, "user": "mary", "server_name": ""},
    }
    assert routes_of_document(answer) == {"/": HUB, "/user/mary/": MARY}


OLD_FILE = {
    "http": {"routers": {}},
    "jupyterhub": {
        "routes": {
            "router__2F": {"routespec": "/", "target": HUB.target, "data": {"hub": True}},
            "router__2Fuser_2Fmary_2F": {
                "routespec": "/user/mary/",
                "target": MARY.target,
                "router": "router__2Fuser_2Fmary_2F",
                "service": "service__2Fuser_2Fmary_2F",
                "data": {"user": "mary", "server_name": ""},
            },
        }
    },
}


def test_what_jupyterhub_traefik_proxy_left_in_its_file() -> None:
    assert routes_of_old_file(OLD_FILE) == {"/": HUB, "/user/mary/": MARY}
    assert routes_of_old_file({"http": {}}) == {}


def test_what_jupyterhub_traefik_proxy_left_in_keys() -> None:
    flat = {
        "routes/router__2F/data/hub": "true",
        "routes/router__2F/routespec": "/",
        "routes/router__2F/target": HUB.target,
        "routes/router__2Fuser_2Fmary_2F/data/server_name": "",
        "routes/router__2Fuser_2Fmary_2F/data/user": "mary",
        "routes/router__2Fuser_2Fmary_2F/routespec": "/user/mary/",
        "routes/router__2Fuser_2Fmary_2F/target": MARY.target,
        "somebody's": "x",
    }
    found = {spec: route.to_document() for spec, route in routes_of_old_keys(flat).items()}
    assert found == {"/": HUB.to_document(), "/user/mary/": MARY.to_document()}


WRONG: dict[str, tuple[object, str]] = {
    "nothing": ({}, "neither an export"),
    "a list": ([], "neither an export"),
    "a text": ("x", "neither an export"),
    "a later format": ({"traefikhub": 2, "routes": []}, "format 2"),
    "no list": ({"traefikhub": 1, "routes": {}}, "format 1"),
    "no target": ({"traefikhub": 1, "routes": [{"routespec": "/", "data": {}}]}, "number 1"),
    "no data": (
        {"traefikhub": 1, "routes": [MARY.to_document(), {"routespec": "/", "target": "http://a"}]},
        "number 2",
    ),
    "an odd target": ({"/user/mary": {"target": "ftp://x"}}, "'/user/mary/' to 'ftp://x'"),
    "an odd route": ({"/user/a b": {"target": "http://a"}}, "%20"),
    "a password": ({"/": {"target": "http://ann:secret@a"}}, r"\*\*\*@"),
    "none": ({"/": None}, "no target"),
    "two spellings": (
        {"/user/a%40b": {"target": "http://a"}, "/user/a@b": {"target": "http://a"}},
        "two routes for the same",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_told(what: str) -> None:
    document, told = WRONG[what]
    with pytest.raises(NoRoutes, match=told) as caught:
        routes_of_document(document)
    assert "secret" not in str(caught.value)


OLD_WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "another file": ({"a": 1}, "no routes file of jupyterhub-traefik-proxy"),
    "half a route": ({"jupyterhub": {"routes": {"r": {"routespec": "/"}}}}, "'r' is not whole"),
    "odd data": (
        {"jupyterhub": {"routes": {"r": {"routespec": "/", "target": "http://a", "data": 1}}}},
        "no table",
    ),
}


@pytest.mark.parametrize("what", OLD_WRONG)
def test_what_is_wrong_in_an_old_file_is_told(what: str) -> None:
    document, told = OLD_WRONG[what]
    with pytest.raises(NoRoutes, match=told):
        routes_of_old_file(document)
