"""A static configuration in Traefik's four dialects. That Traefik reads the same from each:
tests/test_static_config.py."""

from __future__ import annotations

import re
import shlex
import subprocess
from typing import Any

import pytest
import yaml

from traefikhub.traefik import find_traefik
from traefikhub.traefik.dialects import DialectError, in_dialect, is_name

CONFIG: dict[str, Any] = {
    "api": {"dashboard": True, "insecure": False},
    "ping": {},
    "entryPoints": {
        "my-web": {
            "address": ":8000",
            "http": {
                "tls": {"domains": [{"main": "a.org", "sans": ["b.org", "c.org"]}, {"main": "d"}]}
            },
            "forwardedHeaders": {"trustedIPs": []},
        }
    },
    "metrics": {"prometheus": {"buckets": [0.5, 2]}},
    "providers": {"plugin": {"mine": {"hosts": ["a", "b"], "deep": {"on": True}}}},
}


def test_flags() -> None:
    assert in_dialect(CONFIG, "flags").splitlines() == [
        "--api.dashboard=true",
        "--api.insecure=false",
        "--ping=true",
        "--entryPoints.my-web.address=:8000",
        "'--entryPoints.my-web.http.tls.domains[0].main=a.org'",
        "'--entryPoints.my-web.http.tls.domains[0].sans=b.org,c.org'",
        "'--entryPoints.my-web.http.tls.domains[1].main=d'",
        "--entryPoints.my-web.forwardedHeaders.trustedIPs=",
        "--metrics.prometheus.buckets=0.5,2",
        "'--providers.plugin.mine.hosts[0]=a'",
        "'--providers.plugin.mine.hosts[1]=b'",
        "--providers.plugin.mine.deep.on=true",
    ]


def test_environment_variables() -> None:
    assert in_dialect(CONFIG, "env").splitlines() == [
        "TRAEFIK_API_DASHBOARD=true",
        "TRAEFIK_API_INSECURE=false",
        "TRAEFIK_PING=true",
        "TRAEFIK_ENTRYPOINTS_MY-WEB_ADDRESS=:8000",
        "TRAEFIK_ENTRYPOINTS_MY-WEB_HTTP_TLS_DOMAINS_0_MAIN=a.org",
        "TRAEFIK_ENTRYPOINTS_MY-WEB_HTTP_TLS_DOMAINS_0_SANS=b.org,c.org",
        "TRAEFIK_ENTRYPOINTS_MY-WEB_HTTP_TLS_DOMAINS_1_MAIN=d",
        "TRAEFIK_ENTRYPOINTS_MY-WEB_FORWARDEDHEADERS_TRUSTEDIPS=",
        "TRAEFIK_METRICS_PROMETHEUS_BUCKETS=0.5,2",
        "TRAEFIK_PROVIDERS_PLUGIN_MINE_HOSTS[0]=a",
        "TRAEFIK_PROVIDERS_PLUGIN_MINE_HOSTS[1]=b",
        "TRAEFIK_PROVIDERS_PLUGIN_MINE_DEEP_ON=true",
    ]


@pytest.mark.parametrize("value", ["it's $HOME", "a b", "`id`", "two\nlines", "*", "\\"])
def test_a_shell_gets_each_flag_as_it_is(value: str) -> None:
    flags = in_dialect({"providers": {"etcd": {"password": value}}}, "flags")
    assert shlex.split(flags) == [f"--providers.etcd.password={value}"]


@pytest.mark.parametrize("value", ["no", "1.10", "a: b", "#x", "", "é"])
def test_yaml_keeps_a_text_a_text(value: str) -> None:
    config = {"providers": {"etcd": {"password": value}}}
    assert yaml.safe_load(in_dialect(config, "yaml")) == config


@pytest.mark.parametrize(
    ("dialect", "config", "where"),
    [
        ("flags", {"entryPoints": {"a.b": {"address": ":1"}}}, "entryPoints.a.b.address"),
        ("flags", {"entryPoints": {"w": {"x": ["a,b"]}}}, "entryPoints.w.x"),
        ("env", {"entryPoints": {"auth_api": {"address": ":1"}}}, "entryPoints.auth_api.address"),
        ("env", {"entryPoints": {"a.b": {"address": ":1"}}}, "entryPoints.a.b.address"),
        ("env", {"entryPoints": {"Web": {"address": ":1"}}}, "entryPoints.Web.address"),
        (
            "env",
            {"accessLog": {"fields": {"names": {"RequestPath": "drop"}}}},
            "accessLog.fields.names.RequestPath",
        ),
        ("env", {"providers": {"etcd": {"tls": {"ca": "two\nlines"}}}}, "providers.etcd.tls.ca"),
        ("env", {"providers": {"etcd": {"password": "a\0b"}}}, "providers.etcd.password"),
        ("flags", {"providers": {"plugin": {"p": {"a": [1]}}}}, "providers.plugin.p.a.0"),
        ("toml", {"log": {"level": None}}, "log.level"),
        ("yaml", {"log": {"level": None}}, "log.level"),
        ("flags", {"log": {"level": None}}, "log.level"),
    ],
)
def test_what_a_dialect_cannot_say_is_refused(
    dialect: str, config: dict[str, Any], where: str
) -> None:
    with pytest.raises(DialectError) as caught:
        in_dialect(config, dialect)
    assert caught.value.where == where


def test_names_that_mean_the_same_in_any_case_are_no_trouble() -> None:
    config = {"metrics": {"otlp": {"http": {"headers": {"X-Key": "k"}}}}}
    assert in_dialect(config, "env") == "TRAEFIK_METRICS_OTLP_HTTP_HEADERS_X-KEY=k\n"


def test_a_dot_in_the_last_of_a_path_is_no_trouble_if_that_is_a_name() -> None:
    config = {"metrics": {"otlp": {"resourceAttributes": {"service.name": "hub"}}}}
    assert in_dialect(config, "flags") == "--metrics.otlp.resourceAttributes.service.name=hub\n"
    variable = "TRAEFIK_METRICS_OTLP_RESOURCEATTRIBUTES_SERVICE.NAME=hub\n"
    assert in_dialect(config, "env") == variable


def test_all_places_are_known_where_traefik_takes_names() -> None:
    """Else a name in capitals would silently become another one."""
    answer = subprocess.run([find_traefik(), "--help"], capture_output=True, text=True, check=True)
    places = re.findall(r"^\s*--(\S*?\.)<name>(?=\s|$)", answer.stdout, re.MULTILINE)
    assert len(places) > 10
    missing = [place for place in places if not is_name((*place.rstrip(".").split("."), "Mine"))]
    assert missing == []
