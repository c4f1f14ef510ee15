"""Pods of docs/deploy/kubernetes, and who refers to them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

__all__ = [
    "ADMINS_SECRETS",
    "egress_faults",
    "labels_of",
    "of_kind",
    "ports_of",
    "secret_faults",
    "selected",
    "workloads",
]

CHART_PODS: Final[tuple[dict[str, Any], ...]] = (
    {
        "labels": {"component": "hub", "app": "jupyterhub", "release": "jupyterhub"},
        "ports": {"http": 8081},
    },
    {
        "labels": {"component": "singleuser-server", "app": "jupyterhub", "release": "jupyterhub"},
        "ports": {"notebook-port": 8888},
    },
)
"""Pods that the chart makes, by the labels that its own NetworkPolicies match."""

ADMINS_SECRETS: Final = {
    "traefikhub-etcd": {"root", "hub", "traefik"},
    "cloudflare-api-token": {"api-token"},
}
"""Secrets that docs/deploy/kubernetes.md has the admin make, and their keys."""


def of_kind(documents: Iterable[dict[str, Any]], *kinds: str) -> list[dict[str, Any]]:
    return [each for each in documents if each["kind"] in kinds]


def workloads(documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return of_kind(documents, "Deployment", "StatefulSet")


def labels_of(workload: dict[str, Any]) -> dict[str, str]:
    return dict(workload["spec"]["template"]["metadata"]["labels"])


def ports_of(workload: dict[str, Any]) -> dict[str, int]:
    containers = workload["spec"]["template"]["spec"]["containers"]
    return {port["name"]: port["containerPort"] for each in containers for port in each["ports"]}


def selected(
    labels: Mapping[str, str], documents: list[dict[str, Any]]
) -> Iterator[dict[str, int]]:
    """The ports of those pods that have the labels."""
    if labels:
        for each in workloads(documents):
            if labels.items() <= labels_of(each).items():
                yield ports_of(each)
        for pod in CHART_PODS:
            if labels.items() <= pod["labels"].items():
                yield dict(pod["ports"])


def secret_faults(value_from: Mapping[str, Any], documents: list[dict[str, Any]]) -> Iterator[str]:
    secret = value_from.get("secretKeyRef")
    if secret and secret["key"] not in ADMINS_SECRETS.get(secret["name"], ()):
        yield f"there is no Secret {secret['name']} with a key {secret['key']}"


def egress_faults(document: dict[str, Any], documents: list[dict[str, Any]]) -> Iterator[str]:
    for rule in document["spec"]["egress"]:
        for peer in rule["to"]:
            if "podSelector" not in peer:
                continue
            found = [*selected(peer["podSelector"]["matchLabels"], documents)]
            if not found:
                yield f"nobody is {peer}"
            for port in rule["ports"]:
                if not all(port["port"] in ports.values() for ports in found):
                    yield f"{peer} has no port {port['port']}"
