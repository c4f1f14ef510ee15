"""Where a trial of Traefik is: not in the way of anybody."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from traitlets.config import Config

from support import hub_app
from traefikhub import TraefikProxy
from traefikhub.session import SessionSettings, why_not_beside
from traefikhub.session._elsewhere import elsewhere
from traefikhub.stores import resolve_store

DIRECTORY = Path("/trial")


def settings_with(extra: dict[str, Any], **options: Any) -> SessionSettings:
    proxy = TraefikProxy(
        app=hub_app(),
        public_url="http://127.0.0.1:8000",
        extra_static_config=extra,
        log=logging.getLogger("traefikhub-test"),
        **options,
    )
    return proxy.session_settings()


def moved(extra: dict[str, Any], **options: Any) -> SessionSettings:
    store = resolve_store("toml-file")(run_dir=str(DIRECTORY))
    return elsewhere(settings_with(extra, **options), DIRECTORY, store, users=1, api=2, http=3)


@pytest.mark.parametrize("spelled", ["certificatesResolvers", "certificatesresolvers"])
def test_certificates_are_asked_of_nobody(spelled: str) -> None:
    acme = {"email": "ada@example.org", "storage": "/hub/acme.json", "tlsChallenge": {}}
    found = moved({spelled: {"le": {"acme": acme}}}).extra_static_config
    assert found["certificatesResolvers"]["le"]["acme"] == {
        "email": "ada@example.org",
        "storage": "/trial/acme-le.json",
        "tlsChallenge": {},
        "caServer": "https://127.0.0.1:1/directory",
    }
    assert acme["storage"] == "/hub/acme.json"  # the hub's own is as it was


def test_every_entry_point_is_on_a_port_of_its_own() -> None:
    extra = {
        "entrypoints": {
            "http": {"Address": ":80", "http": {"middlewares": ["slim@file"]}},
            "dns": {"address": ":53/udp"},
            "AUTH_API": {"address": ":8099"},
        }
    }
    points = moved(extra).extra_static_config["entryPoints"]
    assert points["http"] == {"http": {"middlewares": ["slim@file"]}}
    assert points["dns"] == {"address": "127.0.0.1:0/udp"}
    assert {name: point.get("address") for name, point in points.items() if name != "http"} == {
        "dns": "127.0.0.1:0/udp",
        "AUTH_API": "127.0.0.1:0",
        "auth_api": "127.0.0.1:0",
        "traefik": "127.0.0.1:0",
    }
    settings = moved(extra)
    assert settings.public_url == "http://127.0.0.1:1"
    assert settings.api_url == "http://127.0.0.1:2"
    assert settings.api_entry_point not in ("http", "auth_api")


def test_what_is_written_is_written_elsewhere() -> None:
    settings = moved(
        {
            "log": {"filepath": "/hub/log", "level": "INFO"},
            "accessLog": {"filePath": "/hub/access", "format": "json"},
            "hub": {"token": "t"},
        },
        access_log="/hub/access.log",
        static_config_file="/hub/traefik.toml",
    )
    assert settings.extra_static_config["log"] == {"level": "INFO"}
    assert settings.extra_static_config["accessLog"] == {
        "filePath": "/trial/access.log",
        "format": "json",
    }
    assert "hub" not in settings.extra_static_config
    assert (settings.run_dir, settings.static_config_file) == ("/trial", "")
    assert settings.access_log == "access.log"


def test_the_stores_provider_reads_the_store_and_names_lead_to_the_trials() -> None:
    config = Config()
    config.EtcdStore.password = "geheim"
    config.EtcdStore.username = "hub"
    settings = moved(
        {
            "providers": {"file": {"directory": "/own", "debugLogGeneratedTemplate": True}},
            "entryPoints": {"http": {"http": {"middlewares": ["slim@etcd", "own@docker"]}}},
        },
        store="etcd",
        config=config,
    )
    providers = settings.extra_static_config["providers"]
    assert providers["etcd"]["password"] == "geheim"
    assert providers["file"] == {"debugLogGeneratedTemplate": True}
    middlewares = settings.extra_static_config["entryPoints"]["http"]["http"]["middlewares"]
    assert middlewares == ["slim@file", "own@docker"]


def test_two_traefiks_must_not_unpack_the_same_plugins() -> None:
    plugins = {"Experimental": {"plugins": {"x": {"moduleName": "example.org/x"}}}}
    assert "plug-ins" in why_not_beside(settings_with(plugins))
    assert why_not_beside(settings_with({"experimental": {"fastProxy": {}}})) == ""
