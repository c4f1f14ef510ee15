"""What is asked of the values for the chart in docs/deploy/kubernetes, as in ``deployments``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from deploy_pods import egress_faults, of_kind, ports_of, secret_faults

__all__ = ["chart_faults", "values_faults"]

CHART_KEYS: Final[dict[str, type]] = {
    "hub.image.name": str,
    "hub.image.tag": str,
    "hub.config": dict,
    "hub.extraEnv": dict,
    "hub.extraConfig": dict,
    "hub.networkPolicy.egress": list,
    "proxy.service.type": str,
    "proxy.https.enabled": bool,
    "proxy.chp.resources": dict,
    "proxy.chp.networkPolicy.allowedIngressPorts": list,
    "ingress.enabled": bool,
}
"""Keys of the chart that are used here, as in jupyterhub/values.yaml and values.schema.yaml of
jupyterhub/zero-to-jupyterhub-k8s, 4.4.0 (templates: hub/deployment.yaml, hub/netpol.yaml,
proxy/service.yaml, proxy/netpol.yaml, ingress.yaml)."""


def chart_faults(values: Mapping[str, Any]) -> list[str]:
    """Values that the chart wouldn't know, or takes as another type."""
    return [*_unknown(values, "")]


def _unknown(value: Mapping[str, Any], above: str) -> Iterator[str]:
    for key, item in value.items():
        path = f"{above}{key}"
        if wanted := CHART_KEYS.get(path):
            if not isinstance(item, wanted):
                yield f"{path} is {type(item).__name__}, not {wanted.__name__}"
        elif isinstance(item, Mapping) and any(each.startswith(f"{path}.") for each in CHART_KEYS):
            yield from _unknown(item, f"{path}.")
        else:
            yield f"{path} is no value of the chart that was looked up"


def values_faults(values: Mapping[str, Any], documents: list[dict[str, Any]]) -> list[str]:
    """Where the Hub's values don't fit the manifests."""
    faults = [*_chp_faults(values)]
    hub = values["hub"]
    services = {each["metadata"]["name"]: each for each in of_kind(documents, "Service")}
    proxy, etcd = hub["config"]["TraefikProxy"], hub["config"]["EtcdStore"]
    host, _, port = proxy["traefik_api_url"].removeprefix("http://").partition(":")
    api = services.get(host.partition(".")[0])
    if not api or api["spec"].get("clusterIP") != "None":
        faults.append(f"traefik_api_url: {host} is no headless Service")
    elif int(port) not in {each["port"] for each in api["spec"]["ports"]}:
        faults.append(f"traefik_api_url: {host} has no port {port}")
    elif not api["spec"].get("publishNotReadyAddresses"):
        faults.append(f"{host} hides replicas until they have routes, which they get by it")
    for endpoint in etcd["endpoints"]:
        faults += _endpoint_faults(endpoint, documents)
    for name, said in hub["extraEnv"].items():
        faults += [f"{name}: {each}" for each in secret_faults(said["valueFrom"], documents)]
        if f'os.environ["{name}"]' not in "".join(hub["extraConfig"].values()):
            faults.append(f"extraConfig doesn't read {name}")
    egress = [{"spec": {"egress": hub["networkPolicy"]["egress"]}, "metadata": {"name": "hub"}}]
    faults += [each for policy in egress for each in egress_faults(policy, documents)]
    reached = {port["port"] for each in hub["networkPolicy"]["egress"] for port in each["ports"]}
    faults += [f"the Hub may not reach port {each}" for each in {8099, 2379} - reached]
    return faults


def _chp_faults(values: Mapping[str, Any]) -> Iterator[str]:
    proxy = values["proxy"]
    if proxy["service"]["type"] != "ClusterIP":
        yield "proxy-public, which leads to configurable-http-proxy, is open to the world"
    if proxy["https"]["enabled"] or values["ingress"]["enabled"]:
        yield "the chart's own way in leads to configurable-http-proxy"


def _endpoint_faults(endpoint: str, documents: list[dict[str, Any]]) -> Iterator[str]:
    host, _, port = endpoint.partition(":")
    pod, _, service = host.partition(".")
    name, _, number = pod.rpartition("-")
    for each in of_kind(documents, "StatefulSet"):
        spec = each["spec"]
        if each["metadata"]["name"] == name and spec["serviceName"] == service:
            if not (number.isdigit() and int(number) < spec["replicas"]):
                yield f"{endpoint}: there is no such member"
            if int(port) != ports_of(each)["client"]:
                yield f"{endpoint}: it doesn't listen there"
            return
    yield f"{endpoint} is of no StatefulSet here"
