"""What the Hub says of options of earlier proxies, and that docs/migrating.md says the same."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyterhub.app import JupyterHub
from jupyterhub.proxy import ConfigurableHTTPProxy
from traitlets.config import Config

from support import hub_app
from traefikhub import TraefikProxy
from traefikhub.old_options import (
    OLD_OPTIONS,
    OldOption,
    old_option_warnings,
    unused_store_warnings,
)
from traefikhub.stores import RouteStore, installed_stores, resolve_store

PAGE = Path(__file__).parents[2] / "docs" / "migrating.md"
PROGRAM = "configurable-http-proxy"
OWN: list[str] = TraefikProxy.class_trait_names(config=True)

# Every option of jupyterhub-traefik-proxy 2.1, and of 0.3 where it had others.
TRAEFIK_PROXY = """should_start extra_routes concurrency static_config_file extra_static_config
    extra_dynamic_config enable_setup_dynamic_config toml_static_config_file
    traefik_providers_throttle_duration traefik_api_url traefik_api_validate_cert traefik_log_level
    traefik_api_password traefik_env traefik_entrypoint traefik_api_entrypoint traefik_api_username
    traefik_api_hashed_password check_route_timeout"""
KEY_VALUE = "kv_traefik_prefix kv_jupyterhub_prefix kv_separator"
OLD_KEY_VALUE = "kv_url kv_username kv_password"
EARLIER: dict[str, str] = {
    "TraefikProxy": TRAEFIK_PROXY,
    "TraefikFileProviderProxy": "dynamic_config_file",
    "TraefikTomlProxy": "dynamic_config_file toml_dynamic_config_file",
    "TKvProxy": f"{KEY_VALUE} {OLD_KEY_VALUE}",
    "TraefikEtcdProxy": f"""etcd_client_kwargs etcd_url etcd_username etcd_password {KEY_VALUE}
        {OLD_KEY_VALUE} etcd_client_ca_cert etcd_client_cert_crt etcd_client_cert_key""",
    "TraefikConsulProxy": f"""consul_client_kwargs consul_url consul_username consul_password
        {KEY_VALUE} {OLD_KEY_VALUE} consul_client_ca_cert""",
    "TraefikRedisProxy": f"redis_url redis_username redis_password redis_client_kwargs {KEY_VALUE}",
}


def config(**options: Any) -> Config:
    """``Section__name=value`` is ``c.Section.name = value``."""
    made = Config()
    for path, value in options.items():
        section, name = path.split("__")
        made[section][name] = value
    return made


def warnings(**options: Any) -> list[str]:
    return old_option_warnings(config(**options), OWN)


def unused(store: str, **options: Any) -> list[str]:
    return unused_store_warnings(config(**options), resolve_store(store), installed_stores())


# --- the page ----------------------------------------------------------------------------------


def rows_of_page() -> Iterator[tuple[list[str], list[str], str]]:
    """Old names, new ones, and what changes. A table of two columns keeps the names."""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if re.match(r"\| (`(c\.|--)[^`]+`(, )?)+ \|", line):
            old, *middle, note = line.strip("| ").split(" | ")
            names = re.findall(r"`([^`]+)`", old)
            new = re.findall(r"`([^`]+)`", middle[0]) if middle else names
            yield names, new, note.replace("`", "")


def test_the_page_and_the_code_have_the_same_rows() -> None:
    expected = [(row.spelled, list(row.new), row.note) for row in OLD_OPTIONS]
    key = str
    assert sorted(rows_of_page(), key=key) == sorted(expected, key=key)


def test_the_text_that_the_page_quotes_is_what_is_said() -> None:
    page = PAGE.read_text(encoding="utf-8")
    (text,) = unused("toml-file", EtcdStore__endpoints=["here"])
    assert text in page
    (text,) = warnings(TraefikEtcdProxy__etcd_url="here")
    assert f"{text.partition(': ')[0]}: …" in page


# --- the rows ----------------------------------------------------------------------------------


def options_named(row: OldOption) -> list[tuple[str, str]]:
    """Our own, or JupyterHub's, that a row speaks of."""
    text = " ".join([*row.new, row.note])
    return re.findall(r"\bc\.(\w+)\.(\w+)", text)


REDIS_STORE = Path(__file__).parents[2] / "plugins/traefikhub-redis/src/traefikhub_redis/_store.py"

CLASSES: dict[str, Any] = {
    "TraefikProxy": TraefikProxy,
    "JupyterHub": JupyterHub,
    **{each.__name__: each for each in map(resolve_store, ["toml-file", "etcd", "consul"])},
}

OPTIONS: dict[str, list[str]] = {
    # A package of its own, not installed here.
    "RedisStore": ["prefix", *re.findall(r"(?m)^    (\w+) = \w+\(", REDIS_STORE.read_text())],
    **{name: each.class_trait_names(config=True) for name, each in CLASSES.items()},
}


@pytest.mark.parametrize("row", OLD_OPTIONS, ids=lambda row: " ".join(row.spelled))
def test_what_a_row_names_is_there(row: OldOption) -> None:
    for section, name in options_named(row):
        assert name in OPTIONS[section], f"c.{section}.{name}"
    assert row.note


def test_no_option_stands_in_two_rows() -> None:
    spelled = [name for row in OLD_OPTIONS for name in row.spelled]
    assert len(spelled) == len(set(spelled))


@pytest.mark.parametrize(
    ("section", "name"),
    [(section, name) for section, names in EARLIER.items() for name in names.split()],
)
def test_every_option_of_jupyterhub_traefik_proxy_is_known(section: str, name: str) -> None:
    texts = warnings(**{f"{section}__{name}": "s3cret"})
    if section == "TraefikProxy" and name in OWN:
        assert texts == []
        return
    (text,) = texts
    assert text.startswith(f"c.{section}.{name} has no effect")
    assert "no such option" not in text


def test_every_option_of_configurable_http_proxy_is_known() -> None:
    """As the JupyterHub that is installed has them."""
    names = set(ConfigurableHTTPProxy.class_trait_names(config=True))
    known = {name for row in OLD_OPTIONS if row.section == "ConfigurableHTTPProxy"
             for name in row.names}  # fmt: skip
    assert names <= known
    assert {name for row in OLD_OPTIONS if row.section == "JupyterHub" for name in row.names} == {
        name
        for name, trait in JupyterHub.class_traits(config=True).items()
        if "ConfigurableHTTPProxy" in (trait.help or "") and "DEPRECATED" in trait.help
    }


# --- what is said ------------------------------------------------------------------------------


def test_nothing_is_said_of_a_configuration_without_old_options() -> None:
    new = {
        "TraefikProxy__store": "etcd",
        "TraefikProxy__traefik_api_password": "x",
        "Proxy__should_start": False,
        "JupyterHub__proxy_class": "traefikhub",
        "Spawner__concurrency": 3,
    }
    assert warnings(**new) == []


def test_the_new_name_and_how_the_value_changes_are_said() -> None:
    (text,) = warnings(TraefikEtcdProxy__etcd_url="http://h:2379")
    assert text == (
        "c.TraefikEtcdProxy.etcd_url has no effect with traefikhub; set c.EtcdStore.endpoints "
        "instead: a list of such URLs, one for each member; needs c.TraefikProxy.store = 'etcd'"
    )


def test_an_option_without_counterpart_says_why() -> None:
    (text,) = warnings(TraefikConsulProxy__kv_separator="/")
    assert "set " not in text
    assert text.endswith("Traefik reads '/' only; remove it")
    (text,) = warnings(TraefikRedisProxy__redis_url="redis://h")
    assert "pip install traefikhub-redis" in text


def test_a_common_option_on_the_class_of_a_store_moves_to_ours() -> None:
    (text,) = warnings(TraefikEtcdProxy__traefik_api_password="s3cret")
    assert "set c.TraefikProxy.traefik_api_password instead" in text
    (text,) = warnings(TraefikFileProviderProxy__should_start=False)
    assert "set c.TraefikProxy.should_start instead" in text


def test_an_option_set_on_a_class_above_leaves_the_choice() -> None:
    (text,) = warnings(TKvProxy__kv_traefik_prefix="traefik")
    assert "set c.EtcdStore.prefix or c.ConsulStore.prefix or c.RedisStore.prefix instead" in text
    assert warnings(Proxy__concurrency=3)
    assert warnings(TraefikProxy__etcd_url="http://h:2379")


def test_a_slip_of_the_pen_is_guessed() -> None:
    (text,) = warnings(TraefikEtcdProxy__etcd_ulr="http://h:2379")
    assert "set c.EtcdStore.endpoints instead" in text
    assert "if etcd_url was meant" in text
    (text,) = warnings(TraefikTomlProxy__sanitise_path=True)
    assert "was c.TraefikProxy.sanitize_path meant?" in text
    (text,) = warnings(TraefikTomlProxy__zzz=True)
    assert "no such option" in text


def test_a_new_option_on_an_old_class_is_told() -> None:
    (text,) = warnings(ConfigurableHTTPProxy__run_dir="here")
    assert "set c.TraefikProxy.run_dir instead" in text


@pytest.mark.parametrize("section", ["JupyterHub", "ConfigurableHTTPProxy"])
@pytest.mark.parametrize("joined", [True, False])
def test_arguments_of_configurable_http_proxy_are_told_one_by_one(
    section: str, joined: bool
) -> None:
    words = ["configurable-http-proxy", "--redirect-port", "80", "--custom-header=X-Key:s3cret"]
    name = "proxy_cmd" if section == "JupyterHub" else "command"
    texts = warnings(**{f"{section}__{name}": " ".join(words) if joined else words})
    assert [text.partition(" has no effect")[0] for text in texts] == [
        f"c.{section}.{name}",
        f"the argument --redirect-port in c.{section}.{name}",
        f"the argument --custom-header in c.{section}.{name}",
    ]
    assert "s3cret" not in " ".join(texts)


def test_no_value_is_ever_shown() -> None:
    value = "s3cret"
    for row in OLD_OPTIONS:
        for name in row.names:
            if row.section != PROGRAM:
                for shape in (value, [value], {value: value}, f"--{value} --log-level={value}"):
                    texts = warnings(**{f"{row.section}__{name}": shape})
                    assert value not in " ".join(texts)
    assert value not in " ".join(unused("toml-file", EtcdStore__password=value))


def test_a_configuration_is_left_as_it_is() -> None:
    made = config(TraefikEtcdProxy__etcd_url="x", EtcdStore__prefix="y")
    before = {section: dict(options) for section, options in made.items()}
    old_option_warnings(made, OWN)
    unused_store_warnings(made, resolve_store("toml-file"), installed_stores())
    assert {section: dict(options) for section, options in made.items()} == before


# --- JupyterHub's own share --------------------------------------------------------------------


def test_what_jupyterhub_copies_is_told_once() -> None:
    """Its own deprecated options turn up as those of ConfigurableHTTPProxy, too."""
    made = config(JupyterHub__debug_proxy=True, JupyterHub__proxy_api_port=8001)
    app = JupyterHub(config=made, log=logging.getLogger("quiet"))
    assert "debug" in app.config.ConfigurableHTTPProxy
    texts = old_option_warnings(app.config, OWN)
    assert [text.split()[0] for text in texts] == [
        "c.JupyterHub.debug_proxy",
        "c.JupyterHub.proxy_api_port",
    ]


def test_slips_in_our_own_sections_are_told_by_traitlets(caplog: pytest.LogCaptureFixture) -> None:
    """So nothing of them is said here."""
    made = config(TraefikProxy__trafik_api_url="x", EtcdStore__endpoint="x")
    log = logging.getLogger("traefikhub-test")
    proxy = TraefikProxy(app=hub_app(), config=made, log=log)
    resolve_store("etcd")(parent=proxy, log=log, run_dir="x")
    said = " ".join(caplog.messages)
    assert "traefik_api_url" in said
    assert "Did you mean `endpoints`?" in said
    assert old_option_warnings(made, OWN) == []


# --- stores ------------------------------------------------------------------------------------


def test_options_of_a_store_that_is_not_chosen_are_told() -> None:
    (text,) = unused("toml-file", EtcdStore__endpoints=["h:1"], EtcdStore__prefix="p")
    assert text.startswith("c.EtcdStore.endpoints and c.EtcdStore.prefix: without effect")
    assert "Set c.TraefikProxy.store = 'etcd'" in text
    assert unused("etcd", EtcdStore__endpoints=["h:1"]) == []


def test_a_store_made_of_another_has_the_options_of_both() -> None:
    class Ours(resolve_store("etcd")):  # type: ignore[misc]
        pass

    chosen: type[RouteStore] = Ours
    made = config(EtcdStore__prefix="p", TomlFileStore__path="q")
    (text,) = unused_store_warnings(made, chosen, installed_stores())
    assert text.startswith("c.TomlFileStore.path: ")
