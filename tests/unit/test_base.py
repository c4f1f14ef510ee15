"""The records beside the routes."""

from __future__ import annotations

import re
from typing import Any

import pytest

from traefikhub.base import (
    API_USERS_KEY,
    CERTIFICATE_KEY,
    api_records,
    api_users,
    certificate_record,
    extra_records,
)
from traefikhub.stores import GENERATION_MARKER, Batch, Key
from traefikhub.table import merge


def test_the_admins_configuration_becomes_records() -> None:
    config: dict[str, Any] = {
        "http": {
            "middlewares": {"slim": {"compress": {}}},
            "routers": {"mine": {"rule": 'Path("/mine")', "service": "mine"}},
            "services": {},
        },
        "tls": {"certificates": [{"certFile": "a", "keyFile": "b"}], "stores": {"default": {}}},
    }
    records = extra_records(config)
    assert records == {
        Key("http/middlewares", "slim"): {"compress": {}},
        Key("http/routers", "mine"): {"rule": 'Path("/mine")', "service": "mine"},
        Key("tls", "certificates"): [{"certFile": "a", "keyFile": "b"}],
        Key("tls/stores", "default"): {},
    }
    assert Batch(1, records)


def test_no_configuration_is_no_records() -> None:
    assert extra_records({}) == {}
    assert extra_records({"http": {}}) == {}


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"htpp": {}}, "'htpp'"),
        ({"providers": {"file": {}}}, "'providers'"),
        ({"http": []}, "'http'"),
        ({"http": None}, "'http'"),
        ({"http": {"routers": []}}, "'http.routers'"),
        ({"http": {"routers": "mine"}}, "'http.routers'"),
        ({"http": {"routers": {"mine": "text"}}}, "'http.routers.mine'"),
        ({"http": {"routers": {"mine": None}}}, "'http.routers.mine'"),
        ({"http": {"rout/ers": {"mine": {}}}}, "rout/ers"),
        ({"http": {1: {"mine": {}}}}, "http/1"),
        ({"http": {"routers": {1: {}}}}, "1"),
        ({"http": {"routers": {"mine": {"entryPoints": ("web",)}}}}, "http/routers mine"),
        ({"http": {"routers": {"mine": {"priority": float("nan")}}}}, "http/routers mine"),
        ({"http": {"routers": {"mine": {1: 2}}}}, "http/routers mine"),
        ({"tls": {"certificates": "a.pem"}}, "'tls.certificates'"),
        ({"tls": {"certificates": [{"certFile": b"a"}]}}, "tls certificates"),
        ({"http": {"middlewares": {GENERATION_MARKER.name: {}}}}, GENERATION_MARKER.name),
    ],
)
def test_what_traefik_has_no_form_for_is_refused_naming_setting_and_place(
    config: dict[str, Any], named: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(named)) as caught:
        extra_records(config)
    assert "c.TraefikProxy.extra_dynamic_config" in str(caught.value)


def test_the_users_of_the_api_can_be_read_back() -> None:
    users = ["traefikhub:{SHA}abc=", "admin:$2b$10$xyz"]
    records = api_records("api", users)
    assert api_users(records) == users
    assert api_users({}) == []


@pytest.mark.parametrize("edited", [None, "x", {}, {"basicAuth": {"users": "a"}}, {"basicAuth": 1}])
def test_users_that_were_edited_into_nonsense_are_no_users(edited: Any) -> None:
    assert api_users({API_USERS_KEY: edited}) == []


def test_a_user_that_is_no_text_is_left_out() -> None:
    assert api_users({API_USERS_KEY: {"basicAuth": {"users": [1, "a:b", None]}}}) == ["a:b"]


def test_the_api_is_never_without_its_password() -> None:
    router = api_records("api", [])[Key("http/routers", "traefikhub__api")]
    assert merge(router, {"middlewares": [API_USERS_KEY.name], "entryPoints": ["api"]}) == router


def test_the_default_certificate_is_one_record() -> None:
    assert certificate_record("cert", "key") == {
        CERTIFICATE_KEY: {"defaultCertificate": {"certFile": "cert", "keyFile": "key"}}
    }
