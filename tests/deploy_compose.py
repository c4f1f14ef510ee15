"""What is asked of docs/deploy/compose, as in ``deployments``."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema
import yaml
from check_jsonschema.builtin_schemas import get_builtin_schema

from deployments import DEPLOY

__all__ = ["compose_faults"]


def compose_faults(
    compose: Mapping[str, Any], config: str, haproxy: str, example: str
) -> list[str]:
    """What is wrong in compose.yaml, or doesn't fit the other files.

    Args:
        config: jupyterhub_config.py.
        haproxy: haproxy.cfg.
        example: env.example.
    """
    schema = get_builtin_schema("vendor.compose-spec")
    faults = [
        f"{'/'.join(map(str, error.path))}: {error.message[:200]}"
        for error in jsonschema.Draft202012Validator(schema).iter_errors(compose)
    ]
    services = compose["services"]
    for name, service in services.items():
        faults += [f"{name}: {each}" for each in _service_faults(service, compose)]
    faults += _names_in_config(services, config) + _names_in_haproxy(services, haproxy)
    variables = set(re.findall(r"\$\{(\w+)", yaml.safe_dump(dict(compose))))
    variables |= {each["environment"] for each in compose["secrets"].values()}
    said = set(re.findall(r"^(\w+)=", example, re.M))
    faults += [f"env.example lacks {each}" for each in sorted(variables - said)]
    if re.search(r"^\w+=\S", example, re.M):
        faults.append("env.example has a value")
    front = compose["networks"]["front"]["ipam"]["config"][0]["subnet"]
    if f'trusted_proxies = ["{front}"]' not in config or not ipaddress.ip_network(front).is_private:
        faults.append("c.TraefikProxy.trusted_proxies isn't the network of HAProxy")
    return faults


def _service_faults(service: Mapping[str, Any], compose: Mapping[str, Any]) -> Iterator[str]:
    for kind in ("networks", "secrets"):
        for each in service.get(kind, ()):
            if each not in compose[kind]:
                yield f"there is no {kind[:-1]} {each}"
    for each in service.get("depends_on", ()):
        if each not in compose["services"]:
            yield f"there is no service {each}"
    for each in service.get("volumes", ()):
        source = each.partition(":")[0]
        if source.startswith("./"):
            if source != "./certificates" and not (DEPLOY / "compose" / source).exists():
                yield f"there is no {source}"
        elif not source.startswith("/") and source not in compose["volumes"]:
            yield f"there is no volume {source}"
    for each in service.get("env_file", ()):
        if not (DEPLOY / "compose" / each).exists():
            yield f"there is no {each}"
    if service.get("restart") and "no-new-privileges:true" not in service.get("security_opt", ()):
        yield "it may gain privileges"
    grace = _seconds(service.get("stop_grace_period", "10s"))
    if service["image"].startswith("traefik:") and grace < 300 + 10:
        yield "it is killed before it has let users go"


def _seconds(duration: str) -> int:
    return int(duration.removesuffix("s"))


def _names_in_config(services: Mapping[str, Any], config: str) -> list[str]:
    faults = []
    hub = set(services["hub"]["networks"])
    (listed,) = re.findall(r"EtcdStore.endpoints = \[(.*?)\]", config)
    members = re.findall(r'"([\w-]+):(\d+)"', listed)
    etcds = {name for name, each in services.items() if "/etcd:" in each["image"]}
    if {name for name, _ in members} != etcds:
        faults.append("c.EtcdStore.endpoints are not the services of etcd")
    for name, port in members:
        if name in services and not hub & set(services[name]["networks"]):
            faults.append(f"the Hub doesn't reach {name}")
        if port != "2379":
            faults.append(f"{name} doesn't listen on {port}")
    (alias,) = re.findall(r'traefik_api_url = "http://([\w-]+):8099"', config) or [""]
    for name, each in services.items():
        if each["image"].startswith("traefik:"):
            known = {
                other
                for network, said in each["networks"].items()
                if network in hub
                for other in (said or {}).get("aliases", ())
            }
            if alias not in known:
                faults.append(f"{name} isn't found by the Hub as {alias!r}")
    wanted = set(re.findall(r'secret\("(\w+)"\)', config))
    if wanted != set(services["hub"]["secrets"]):
        faults.append("the Hub reads other secrets than it is given")
    return faults


def _names_in_haproxy(services: Mapping[str, Any], haproxy: str) -> list[str]:
    found = re.findall(r"^\s+server \S+ ([\w-]+):(\d+)", haproxy, re.M)
    traefiks = {name for name, each in services.items() if each["image"].startswith("traefik:")}
    faults = []
    if {name for name, _ in found} != traefiks:
        faults.append("HAProxy's servers are not the services of Traefik")
    if {port for _, port in found} != {"8000"}:
        faults.append("HAProxy asks Traefik on another port")
    networks = set(services["haproxy"]["networks"])
    if networks != {"front"}:
        faults.append("HAProxy isn't in front, whose addresses are believed")
    faults += [
        f"HAProxy doesn't reach {name}"
        for name in traefiks
        if not networks & set(services[name]["networks"])
    ]
    return faults
