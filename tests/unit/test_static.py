"""Traefik's static configuration, by version."""

from __future__ import annotations

from typing import Any

import pytest
import tomli_w

from traefikhub.traefik import StaticSettings, Version, static_config
from traefikhub.traefik.https import CA_SERVERS, AcmeSettings, HttpsSettings


def config(version: tuple[int, int, int] = (3, 7, 15), **options: Any) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "address": ":8000",
        "entry_point": "http",
        "https": None,
        "api_address": "127.0.0.1:8099",
        "api_entry_point": "api",
        "providers": {"file": {"filename": "/srv/routes.toml", "watch": True}},
    }
    return dict(static_config(StaticSettings(**settings | options), Version(*version)))


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ((3, 6, 7), {}),
        ((3, 7, 8), {}),
        ((3, 7, 9), {"underscoreHeadersStrategy": "delete"}),
        ((3, 7, 11), {"underscoreHeadersStrategy": "delete"}),
        ((3, 7, 12), {"aliasHeadersStrategy": "delete"}),
        ((3, 7, 15), {"aliasHeadersStrategy": "delete"}),
        ((3, 8, 0), {"aliasHeadersStrategy": "delete"}),
        ((4, 0, 0), {"aliasHeadersStrategy": "delete"}),
    ],
)
def test_a_version_gets_only_the_keys_that_it_knows(
    version: tuple[int, int, int], expected: dict[str, str]
) -> None:
    entry_points = config(version)["entryPoints"]
    for name in ("http", "api"):
        found = {
            key: value
            for key, value in entry_points[name].get("http", {}).items()
            if "Strat" in key
        }
        assert found == expected


def test_users_paths_pass_unchanged_and_no_upload_is_cut_short() -> None:
    users = config()["entryPoints"]["http"]
    assert users["address"] == ":8000"
    assert users["http"]["sanitizePath"] is False
    allowed = users["http"]["encodedCharacters"]
    assert len(allowed) == 7
    assert all(key.startswith("allowEncoded") and value is True for key, value in allowed.items())
    timeouts = users["transport"]["respondingTimeouts"]
    assert timeouts == {"readTimeout": "0s", "writeTimeout": "0s"}


def test_https_is_for_users_only() -> None:
    entry_points = config(https=HttpsSettings())["entryPoints"]
    assert entry_points["http"]["http"]["tls"] == {}
    assert "tls" not in entry_points["api"]["http"]
    assert "tls" not in config()["entryPoints"]["http"]["http"]


@pytest.mark.parametrize(
    ("users", "named"), [("https", "http"), ("web", "http"), ("HTTP", "http-redirect")]
)
def test_the_entry_point_that_leads_to_https(users: str, named: str) -> None:
    made = config(entry_point=users, https=HttpsSettings(http_port=80), http_address=":80")
    assert made["entryPoints"][named]["address"] == ":80"
    leads = made["entryPoints"][named]["http"]["redirections"]["entryPoint"]
    assert leads == {"to": users, "scheme": "https", "permanent": True}
    assert set(made["entryPoints"]) == {users, named, "api"}


def acme(**options: Any) -> AcmeSettings:
    usual: dict[str, Any] = {
        "domains": ("hub.test", "www.hub.test"),
        "email": "",
        "ca_server": CA_SERVERS["production"],
        "challenge": "tls-alpn-01",
        "dns_provider": "",
        "ca_certificates": (),
        "storage": "/srv/acme.json",
    }
    return AcmeSettings(**usual | options)


def test_a_certificate_from_an_authority() -> None:
    made = config(entry_point="https", https=HttpsSettings(acme=acme(email="it@hub.test")))
    resolver = made["certificatesResolvers"]["letsencrypt"]["acme"]
    assert resolver["tlsChallenge"] == {}
    assert resolver["email"] == "it@hub.test"
    assert made["entryPoints"]["https"]["http"]["tls"] == {
        "certResolver": "letsencrypt",
        "domains": [{"main": "hub.test", "sans": ["www.hub.test"]}],
    }
    assert "certificatesResolvers" not in config(https=HttpsSettings())


def test_each_authority_has_a_name_of_its_own_and_its_challenge() -> None:
    def of(**options: Any) -> dict[str, Any]:
        made = config(entry_point="https", https=HttpsSettings(http_port=80, acme=acme(**options)))
        return dict(made["certificatesResolvers"])

    staging = of(ca_server=CA_SERVERS["staging"], challenge="http-01")
    assert staging["letsencrypt-staging"]["acme"]["httpChallenge"] == {"entryPoint": "http"}
    own = of(ca_server="https://ca.test/dir", challenge="dns-01", dns_provider="exec")
    ((name, found),) = own.items()
    assert name not in ("letsencrypt", "letsencrypt-staging")
    assert found["acme"]["dnsChallenge"] == {"provider": "exec"}
    assert name not in of(ca_server="https://ca2.test/dir")


def test_traefik_calls_nobody_and_has_an_api_with_a_password() -> None:
    made = config()
    assert made["global"] == {"checkNewVersion": False, "sendAnonymousUsage": False}
    assert made["api"] == {"dashboard": True}  # not insecure: the router of the API has a password
    assert made["entryPoints"]["api"]["address"] == "127.0.0.1:8099"


def test_options_reach_their_places() -> None:
    made = config(
        entry_point="web",
        log_level="DEBUG",
        sanitize_path=True,
        drain_seconds=9,
        throttle="2s",
        providers={"etcd": {"endpoints": ["a:1"]}},
    )
    assert made["log"]["level"] == "DEBUG"
    assert made["providers"] == {"providersThrottleDuration": "2s", "etcd": {"endpoints": ["a:1"]}}
    assert made["entryPoints"].keys() == {"web", "api"}
    assert made["entryPoints"]["web"]["http"]["sanitizePath"] is True
    assert made["entryPoints"]["web"]["transport"]["lifeCycle"] == {"graceTimeOut": "9s"}


def test_a_change_is_served_at_once_unless_told_otherwise() -> None:
    assert config()["providers"]["providersThrottleDuration"] == "0s"


@pytest.mark.parametrize("version", [(3, 6, 7), (3, 7, 9), (3, 7, 15)])
def test_all_of_it_has_a_form_in_toml(version: tuple[int, int, int]) -> None:
    assert "[entryPoints.http.http" in tomli_w.dumps(config(version))


@pytest.mark.parametrize("version", [(3, 6, 7), (3, 7, 0), (3, 7, 9), (4, 0, 0)])
def test_no_table_is_empty(version: tuple[int, int, int]) -> None:
    """Traefik ends at one (seen with 3.6.7 and 3.7.0)."""

    def empty(table: dict[str, Any], path: str) -> list[str]:
        found = [] if table else [path]
        for name, value in table.items():
            if isinstance(value, dict):
                found += empty(value, f"{path}.{name}")
        return found

    options: dict[str, Any] = {"access_log": "a.log", "counts_requests": True}
    assert empty(config(version, **options), "") == []
