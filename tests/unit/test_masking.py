"""What of a configuration is shown to everybody."""

from __future__ import annotations

from typing import Any

import pytest

from traefikhub.traefik.masking import masked

KEY = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQ\n-----END EC PRIVATE KEY-----"


@pytest.mark.parametrize(
    "config",
    [
        {"providers": {"etcd": {"password": "geheim"}}},
        {"providers": {"consul": {"token": "geheim"}}},
        {"providers": {"redis": {"sentinel": {"password": "geheim"}}}},
        {"providers": {"consul": {"endpoints": ["http://hub:geheim@10.0.0.1:8500"]}}},
        {"providers": {"redis": {"endpoints": ["hub:geheim@10.0.0.1:6379"]}}},
        {"providers": {"http": {"endpoint": "https://geheim@config.example/x"}}},
        {"providers": {"http": {"endpoint": "https://u:ge@/geheim@config.example/x"}}},
        {"providers": {"http": {"endpoint": "https://config.example/x?a=1&api_key=geheim"}}},
        {"providers": {"http": {"headers": {"X-Anything": "geheim"}}}},
        {"tracing": {"otlp": {"http": {"headers": {"X-Scope": "geheim"}}}}},
        {"accessLog": {"otlp": {"http": {"headers": {"X-Scope": "geheim"}}}}},
        {"certificatesResolvers": {"le": {"acme": {"eab": {"hmacEncoded": "geheim"}}}}},
        {"providers": {"ecs": {"secretAccessKey": "geheim"}}},
        {"providers": {"plugin": {"mine": {"credentials": {"list": ["geheim"]}}}}},
        {"providers": {"plugin": {"mine": {"password": "geheim"}}}},
        {"providers": {"etcd": {"tls": {"key": f"{KEY}geheim"}}}},
    ],
)
def test_secrets_are_masked(config: dict[str, Any]) -> None:
    found = masked(config)
    assert "geheim" in str(config)
    assert "geheim" not in str(found.config)
    assert "***" in str(found.config)
    assert len(found.keys) == 1


@pytest.mark.parametrize(
    "config",
    [
        {"providers": {"etcd": {"username": "hub", "endpoints": ["10.0.0.1:2379"]}}},
        {"providers": {"etcd": {"tls": {"key": "/etc/hub/key.pem"}}}},
        {"entryPoints": {"token": {"address": ":8000"}}},
        {"entryPoints": {"http": {"http": {"middlewares": ["slim@file"]}}}},
        {"accessLog": {"fields": {"headers": {"names": {"Authorization": "drop"}}}}},
        {"certificatesResolvers": {"le": {"acme": {"email": "ada@example.org"}}}},
        {"providers": {"docker": {"passwordFile": "/run/secrets/p", "password": ""}}},
    ],
)
def test_what_is_no_secret_stays(config: dict[str, Any]) -> None:
    assert masked(config) == (config, [])
