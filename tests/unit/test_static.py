"""Traefik's static configuration, by version."""

from __future__ import annotations

from typing import Any

import pytest
import tomli_w

from traefikhub.traefik import StaticSettings, Version, static_config


def config(version: tuple[int, int, int] = (3, 7, 15), **options: Any) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "address": ":8000",
        "entry_point": "http",
        "https": False,
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
    entry_points = config(https=True)["entryPoints"]
    assert entry_points["http"]["http"]["tls"] == {}
    assert "tls" not in entry_points["api"]["http"]
    assert "tls" not in config()["entryPoints"]["http"]["http"]


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
