"""From the options of jupyterhub-traefik-proxy and configurable-http-proxy to ours. Pure.

traitlets says nothing of a section whose class is in no use, such as ``c.TraefikEtcdProxy``. In
``c.TraefikProxy`` and in the chosen store's section it tells of unknown options, and of those that
look alike; here only what an old one there is called now is added.

No value of an option is ever part of a text: it may be a secret.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final

from traitlets.config import Config

from traefikhub.stores import InstalledStore, RouteStore

__all__ = [
    "OLD_OPTIONS",
    "OldOption",
    "misspelt_sections",
    "old_option_warnings",
    "unused_store_warnings",
]


@dataclass(frozen=True, slots=True)
class OldOption:
    """A row of the tables in ``docs/migrating.md``.

    section: the class that had it; for an argument of configurable-http-proxy, its program.
    names: several if they meant the same, or have the same fate.
    new: what to set instead; empty if there is nothing.
    note: how the value changes; if ``new`` is empty, why, and what to do.
    """

    section: str
    names: tuple[str, ...]
    new: tuple[str, ...]
    note: str = ""

    @property
    def spelled(self) -> list[str]:
        """The names as they stand in a configuration."""
        if self.section == _PROGRAM:
            return list(self.names)
        return [f"c.{self.section}.{name}" for name in self.names]


_PROXY: Final = "TraefikProxy"
_FILE: Final = "TraefikFileProviderProxy"
_TOML: Final = "TraefikTomlProxy"
_KV: Final = "TKvProxy"
_ETCD: Final = "TraefikEtcdProxy"
_CONSUL: Final = "TraefikConsulProxy"
_REDIS: Final = "TraefikRedisProxy"
_CHP: Final = "ConfigurableHTTPProxy"
_HUB: Final = "JupyterHub"
_PROGRAM: Final = "configurable-http-proxy"

_SHARED: Final = ("Proxy", _PROXY)
"""Sections that apply here, too; so traitlets tells of unknown options in them."""

_OLD_SECTIONS: Final = (_FILE, _TOML, _KV, _ETCD, _CONSUL, _REDIS, _CHP)

_CLOSE: Final = 0.85
"""How alike a section and a class are of which the former may be meant for the latter."""

_STATIC: Final = "c.TraefikProxy.extra_static_config"
_DYNAMIC: Final = "c.TraefikProxy.extra_dynamic_config"

_SAME: Final = "the value stays"
_NO_CONCURRENCY: Final = "changes that wait go out together as one; remove it"
_NO_SEPARATOR: Final = "Traefik reads '/' only; remove it"
_NO_SECOND_PREFIX: Final = "everything is below the one prefix; remove it"
_REDIS_STORE: Final = "with pip install traefikhub-redis and c.TraefikProxy.store = 'redis'"
_TOML_NAME: Final = "always TOML, so a name in .toml; by default in run_dir"
_NEW_FILE: Final = "TOML, not YAML; never the old file, whose content can't be taken over"
_PREFIX: Final = "without a slash at either end; better a new one than the old"
_NO_ARGUMENTS: Final = "one program, traefik, without arguments; not needed if it is on PATH"
_NO_TOKEN: Final = (
    "Traefik's API gets a password by itself; for a Traefik that others run, "
    "c.TraefikProxy.traefik_api_password is the one that it asks for, if any"
)
_NO_INTERVAL: Final = "a Traefik that ends is noticed at once, and started again; remove it"
_NO_PID_FILE: Final = "run_dir/traefik.pid.json names the process; remove it"
_AS_LOG_LEVEL: Final = "the same words; WARN by default"
_API_MOVED: Final = "Traefik's API is another one, by default on port 8099; http only"


def _same(*names: str) -> tuple[str, ...]:
    return tuple(f"c.TraefikProxy.{name}" for name in names)


def _kept(name: str, note: str = _SAME) -> OldOption:
    return OldOption(_PROXY, (name,), _same(name), note)


def _argument(names: str, note: str, *new: str) -> OldOption:
    return OldOption(_PROGRAM, tuple(names.split()), new, note)


OLD_OPTIONS: Final = (
    # --- jupyterhub-traefik-proxy, whatever the store ------------------------------------------
    _kept("should_start"),
    _kept("extra_routes"),
    _kept("static_config_file", _TOML_NAME),
    _kept("extra_static_config"),
    _kept("extra_dynamic_config", "the value stays; Traefik tries it at start"),
    _kept("enable_setup_dynamic_config"),
    _kept("traefik_providers_throttle_duration"),
    _kept("traefik_api_url", "without a path; with should_start, http only"),
    _kept("traefik_api_validate_cert"),
    _kept("traefik_api_username", "the value stays; 'jupyterhub' by default"),
    _kept("traefik_api_password", "the value stays; not needed if the Hub starts Traefik"),
    _kept("traefik_api_hashed_password", "the value stays; alone is enough"),
    _kept("traefik_log_level", "the value stays; WARN by default"),
    _kept("traefik_env", "Traefik no longer gets the Hub's whole environment: name what it needs"),
    _kept("traefik_entrypoint"),
    _kept("traefik_api_entrypoint"),
    _kept("check_route_timeout", "the value stays; fractions are allowed"),
    OldOption(_PROXY, ("concurrency",), (), _NO_CONCURRENCY),
    OldOption(_PROXY, ("toml_static_config_file",), _same("static_config_file"), _TOML_NAME),
    # --- file ----------------------------------------------------------------------------------
    OldOption(_FILE, ("dynamic_config_file",), ("c.TomlFileStore.path",), _NEW_FILE),
    OldOption(_TOML, ("toml_dynamic_config_file",), ("c.TomlFileStore.path",), _NEW_FILE),
    # --- etcd ----------------------------------------------------------------------------------
    OldOption(
        _ETCD,
        ("etcd_url", "kv_url"),
        ("c.EtcdStore.endpoints",),
        "a list of such URLs, one for each member; needs c.TraefikProxy.store = 'etcd'",
    ),
    OldOption(_ETCD, ("etcd_username", "kv_username"), ("c.EtcdStore.username",), _SAME),
    OldOption(_ETCD, ("etcd_password", "kv_password"), ("c.EtcdStore.password",), _SAME),
    OldOption(
        _ETCD,
        ("etcd_client_kwargs",),
        ("c.EtcdStore.ca_cert", "c.EtcdStore.client_cert", "c.EtcdStore.client_key",
         "c.EtcdStore.timeout"),
        "its entries ca_cert, cert_cert, cert_key and timeout, one by one; no others",
    ),
    OldOption(_ETCD, ("etcd_client_ca_cert",), ("c.EtcdStore.ca_cert",), _SAME),
    OldOption(_ETCD, ("etcd_client_cert_crt",), ("c.EtcdStore.client_cert",), _SAME),
    OldOption(_ETCD, ("etcd_client_cert_key",), ("c.EtcdStore.client_key",), _SAME),
    OldOption(_ETCD, ("kv_traefik_prefix",), ("c.EtcdStore.prefix",), _PREFIX),
    OldOption(_ETCD, ("kv_jupyterhub_prefix",), (), _NO_SECOND_PREFIX),
    OldOption(_ETCD, ("kv_separator",), (), _NO_SEPARATOR),
    # --- consul --------------------------------------------------------------------------------
    OldOption(
        _CONSUL,
        ("consul_url", "kv_url"),
        ("c.ConsulStore.url",),
        "the value stays; needs c.TraefikProxy.store = 'consul'",
    ),
    OldOption(
        _CONSUL,
        ("consul_username", "kv_username"),
        (),
        "consul itself knows tokens only, and Traefik's provider takes nothing else; "
        "set c.ConsulStore.token",
    ),
    OldOption(_CONSUL, ("consul_password", "kv_password"), ("c.ConsulStore.token",), "the token"),
    OldOption(
        _CONSUL,
        ("consul_client_kwargs",),
        ("c.ConsulStore.token", "c.ConsulStore.datacenter", "c.ConsulStore.ca_cert",
         "c.ConsulStore.client_cert", "c.ConsulStore.client_key"),
        "its entries token, dc, verify and cert, one by one; scheme goes into c.ConsulStore.url",
    ),
    OldOption(_CONSUL, ("consul_client_ca_cert",), ("c.ConsulStore.ca_cert",), _SAME),
    OldOption(_CONSUL, ("kv_traefik_prefix",), ("c.ConsulStore.prefix",), _PREFIX),
    OldOption(_CONSUL, ("kv_jupyterhub_prefix",), (), _NO_SECOND_PREFIX),
    OldOption(_CONSUL, ("kv_separator",), (), _NO_SEPARATOR),
    # --- redis ---------------------------------------------------------------------------------
    OldOption(_REDIS, ("redis_url",), ("c.RedisStore.url",), _REDIS_STORE),
    OldOption(_REDIS, ("redis_username",), ("c.RedisStore.username",), _SAME),
    OldOption(_REDIS, ("redis_password",), ("c.RedisStore.password",), _SAME),
    OldOption(
        _REDIS,
        ("redis_client_kwargs",),
        ("c.RedisStore.ca_cert", "c.RedisStore.client_cert", "c.RedisStore.client_key"),
        "its entries ssl_ca_certs, ssl_certfile and ssl_keyfile; there are no others",
    ),
    OldOption(_REDIS, ("kv_traefik_prefix",), ("c.RedisStore.prefix",), _PREFIX),
    OldOption(_REDIS, ("kv_jupyterhub_prefix",), (), _NO_SECOND_PREFIX),
    OldOption(_REDIS, ("kv_separator",), (), _NO_SEPARATOR),
    # --- configurable-http-proxy ---------------------------------------------------------------
    OldOption(_CHP, ("should_start",), _same("should_start"), _SAME),
    OldOption(_CHP, ("extra_routes",), _same("extra_routes"), _SAME),
    OldOption(_CHP, ("command",), _same("traefik_command"), _NO_ARGUMENTS),
    OldOption(_CHP, ("api_url",), _same("traefik_api_url"), _API_MOVED),
    OldOption(_CHP, ("auth_token",), (), _NO_TOKEN),
    OldOption(_CHP, ("log_level",), _same("traefik_log_level"), _AS_LOG_LEVEL),
    OldOption(_CHP, ("debug",), _same("traefik_log_level"), "'DEBUG' in place of True"),
    OldOption(_CHP, ("concurrency",), (), _NO_CONCURRENCY),
    OldOption(_CHP, ("check_running_interval",), (), _NO_INTERVAL),
    OldOption(_CHP, ("pid_file",), (), _NO_PID_FILE),
    OldOption(_CHP, ("command_umask",), (), "Traefik makes no sockets; remove it"),
    OldOption(_HUB, ("proxy_cmd",), _same("traefik_command"), _NO_ARGUMENTS),
    OldOption(_HUB, ("debug_proxy",), _same("traefik_log_level"), "'DEBUG' in place of True"),
    OldOption(_HUB, ("proxy_auth_token",), (), _NO_TOKEN),
    OldOption(_HUB, ("proxy_api_ip", "proxy_api_port"), _same("traefik_api_url"), _API_MOVED),
    OldOption(_HUB, ("proxy_check_interval",), (), _NO_INTERVAL),
    # --- its arguments, of versions 1 to 5 -----------------------------------------------------
    _argument("--ip --port", "JupyterHub's own; it passed them on", "c.JupyterHub.bind_url"),
    _argument("--socket", "Traefik listens on ports only; set c.JupyterHub.bind_url"),
    _argument(
        "--ssl-key --ssl-cert",
        "JupyterHub's own; it passed them on",
        "c.JupyterHub.ssl_key",
        "c.JupyterHub.ssl_cert",
    ),
    _argument(
        "--ssl-ca --ssl-request-cert --ssl-reject-unauthorized",
        "tls.options.default.clientAuth of Traefik",
        _DYNAMIC,
    ),
    _argument(
        "--ssl-protocol --ssl-ciphers",
        "tls.options.default.minVersion and cipherSuites of Traefik, with Go's names",
        _DYNAMIC,
    ),
    _argument("--ssl-allow-rc4 --ssl-dhparam", "Traefik has neither; remove it"),
    _argument("--api-ip --api-port --api-socket", _API_MOVED, "c.TraefikProxy.traefik_api_url"),
    _argument(
        "--api-ssl-key --api-ssl-cert --api-ssl-ca --api-ssl-request-cert "
        "--api-ssl-reject-unauthorized",
        "the API is http, on this machine; remove it",
    ),
    _argument(
        "--client-ssl-key --client-ssl-cert --client-ssl-ca --client-ssl-request-cert "
        "--client-ssl-reject-unauthorized",
        "with c.JupyterHub.internal_ssl, JupyterHub's own files are used; remove it",
    ),
    _argument("--insecure", "serversTransport.insecureSkipVerify of Traefik", _STATIC),
    _argument("--default-target", "JupyterHub adds the route to itself; remove it"),
    _argument(
        "--error-target --error-path",
        "the Hub's own page, by default; no files. For paths outside base_url, Traefik's plain 404",
        "c.TraefikProxy.error_pages",
    ),
    _argument(
        "--redirect-port --redirect-to", "entryPoints.NAME.http.redirections of Traefik", _STATIC
    ),
    _argument(
        "--custom-header --custom-headers",
        "a headers middleware of Traefik in the first, named at the entry point in the second",
        _DYNAMIC,
        _STATIC,
    ),
    _argument("--no-x-forward", "Traefik always sends the X-Forwarded- headers; remove it"),
    _argument(
        "--no-prepend-path --no-include-prefix --auto-rewrite --protocol-rewrite --change-origin",
        "paths, Host and Location pass as they are, which JupyterHub needs; remove it",
    ),
    _argument("--host-routing", "c.JupyterHub.subdomain_host is enough; remove it"),
    _argument(
        "--metrics-ip --metrics-port --metrics-socket",
        "metrics.prometheus of Traefik, with an entry point of its own",
        _STATIC,
    ),
    _argument("--statsd-host --statsd-port --statsd-prefix", "metrics.statsD of Traefik", _STATIC),
    _argument("--log-level", _AS_LOG_LEVEL, "c.TraefikProxy.traefik_log_level"),
    _argument(
        "--timeout --keep-alive-timeout",
        "entryPoints.NAME.transport.respondingTimeouts of Traefik, with a unit: 5000 is '5s'",
        _STATIC,
    ),
    _argument(
        "--proxy-timeout",
        "serversTransport.forwardingTimeouts.responseHeaderTimeout of Traefik, with a unit",
        _STATIC,
    ),
    _argument("--pid-file", _NO_PID_FILE),
    _argument("--storage-backend", "the name of a store", "c.TraefikProxy.store"),
)  # fmt: skip

_COPIED_BY_JUPYTERHUB: Final = {
    "proxy_cmd": "command",
    "debug_proxy": "debug",
    "proxy_auth_token": "auth_token",  # nosec B105 # names of options
    "proxy_api_ip": "api_url",
    "proxy_api_port": "api_url",
    "proxy_check_interval": "check_running_interval",
}
"""What JupyterHub 5 and 6 turn into options of ConfigurableHTTPProxy, in the same Config."""


def old_option_warnings(config: Config, own: Collection[str]) -> list[str]:
    """What to say about the options of an earlier proxy in a configuration.

    Args:
        own: the names of the options of our ``TraefikProxy``.
    """
    return list(dict.fromkeys(_warnings(config, frozenset(own))))


def unused_store_warnings(
    config: Config, store: type[RouteStore], installed: Iterable[InstalledStore]
) -> list[str]:
    """What to say about options of installed stores that aren't the chosen one."""
    used = {cls.__name__ for cls in store.__mro__}
    texts = []
    for each in installed:
        section = each.target.replace(":", ".").rpartition(".")[2]
        names = [f"c.{section}.{name}" for name in _set_in(config, section)]
        if names and section not in used:
            texts.append(
                f"{' and '.join(names)}: without effect, for the routes are kept by "
                f"{store.__name__}. Set c.TraefikProxy.store = {each.name!r} to use {section}, "
                "or remove it"
            )
    return texts


def misspelt_sections(config: Config, meant: Collection[str], known: Collection[str]) -> list[str]:
    """Sections of which traitlets says nothing, because no class has their name.

    Args:
        meant: names of classes that have options.
        known: names of all classes that there are.
    """
    return [
        f"c.{section} is no class that there is, and its options have no effect. Did you mean "
        f"c.{close[0]}?"
        for section in config
        if section not in known
        and section not in _OLD_SECTIONS
        and (close := get_close_matches(section, sorted(meant), 1, _CLOSE))
    ]


def _set_in(config: Config, section: str) -> list[str]:
    """The options that are set in a section. Looking at an absent one would make it."""
    options = dict.get(config, section)
    if not isinstance(options, Config):
        return []
    return [name for name, value in options.items() if not isinstance(value, Config)]


def _warnings(config: Config, own: frozenset[str]) -> Iterator[str]:
    in_hub = _set_in(config, _HUB)
    copied = {_COPIED_BY_JUPYTERHUB.get(name) for name in in_hub}
    for name in in_hub:
        if rows := _rows_of(_HUB, name):
            yield _text(f"c.{_HUB}.{name}", rows)
    for section in _SHARED:
        for name in _set_in(config, section):
            if name not in own and (rows := _rows_of(section, name)):
                yield _text(f"c.{section}.{name}", rows)
    for section in _OLD_SECTIONS:
        for name in _set_in(config, section):
            if section == _CHP and name in copied:
                continue
            if rows := _rows_of(section, name):
                yield _text(f"c.{section}.{name}", rows)
            else:
                yield _unknown(section, name, own)
    for section, name in ((_HUB, "proxy_cmd"), (_CHP, "command")):
        if name in _set_in(config, section) and not (section == _CHP and name in copied):
            for row, argument in _arguments(config[section][name]):
                yield _text(f"the argument {argument} in c.{section}.{name}", [row])


def _rows_of(section: str, name: str) -> list[OldOption]:
    """The rows for an option; those of other classes if the section's own has none: an option can
    be set on any class above the one that has it."""
    named = [each for each in OLD_OPTIONS if name in each.names]
    own = [each for each in named if each.section == section]
    if own or section == _HUB:
        return own
    return [each for each in named if each.section not in (_HUB, _PROGRAM)]


def _text(old: str, rows: list[OldOption]) -> str:
    fates = list(dict.fromkeys((row.new, row.note) for row in rows))
    if len({new for new, _ in fates}) > 1:
        instead = " or ".join(" and ".join(new) for new, _ in fates if new)
        return f"{old} has no effect with traefikhub; set {instead} instead, as fits the store"
    ((new, note), *_) = fates
    if new:
        return f"{old} has no effect with traefikhub; set {' and '.join(new)} instead: {note}"
    return f"{old} has no effect with traefikhub: {note}"


def _unknown(section: str, name: str, own: frozenset[str]) -> str:
    old = f"c.{section}.{name}"
    if name in own:
        return f"{old} has no effect with traefikhub; set c.TraefikProxy.{name} instead"
    apart = (_HUB, _PROGRAM) if section == _CHP else (_HUB, _PROGRAM, _CHP)
    known = {each for row in OLD_OPTIONS if row.section not in apart for each in row.names}
    alike = get_close_matches(name, sorted(known | own), n=1)
    if not alike:
        return f"{old} has no effect with traefikhub, which has no such option"
    if rows := _rows_of(section, alike[0]):
        return f"{_text(old, rows)} (if {alike[0]} was meant)"
    return f"{old} has no effect with traefikhub; was c.TraefikProxy.{alike[0]} meant?"


def _arguments(command: object) -> Iterator[tuple[OldOption, str]]:
    """The known arguments of a command, by name alone: a value may be a secret."""
    words = command.split() if isinstance(command, str) else command
    if not isinstance(words, list | tuple):
        return
    given = {word.partition("=")[0] for word in words if isinstance(word, str)}
    for row in OLD_OPTIONS:
        if row.section == _PROGRAM:
            for name in row.names:
                if name in given:
                    yield row, name
