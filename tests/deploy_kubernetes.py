"""What is asked of the manifests in docs/deploy/kubernetes, as in ``deployments``."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Final

import kubernetes_validate
import yaml

from deploy_pods import (
    ADMINS_SECRETS,
    egress_faults,
    labels_of,
    of_kind,
    ports_of,
    secret_faults,
    selected,
    workloads,
)

__all__ = ["kubernetes_faults"]


def kubernetes_faults(documents: list[dict[str, Any]]) -> list[str]:
    """What is wrong in manifests, by Kubernetes' schemas and by what they say of each other."""
    faults = [
        f"{_name(document)}: {each}" for document in documents for each in _schema_faults(document)
    ]
    return faults or [
        f"{_name(document)}: {each}"
        for document in documents
        for each in _CHECKS.get(document["kind"], _nothing)(document, documents)
    ]


def _name(document: Mapping[str, Any]) -> str:
    return f"{document.get('kind')} {document.get('metadata', {}).get('name')}"


def _nothing(document: dict[str, Any], documents: list[dict[str, Any]]) -> Iterator[str]:
    yield from ()


# The chart needs 1.32 or later.
VERSIONS: Final = ("1.32", kubernetes_validate.latest_version())


def _schema_faults(document: dict[str, Any]) -> list[str]:
    # A test that breaks one document has all others looked at as well.
    return _known_schema_faults(json.dumps(document))


@cache
def _known_schema_faults(text: str) -> list[str]:
    return [*_new_schema_faults(json.loads(text))]


def _new_schema_faults(document: dict[str, Any]) -> Iterator[str]:
    if document["apiVersion"].startswith("cert-manager.io/"):
        yield from _cert_manager_key_faults(document)
        return
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            yield f"by {version}, {'/'.join(map(str, error.path))}: {error.message[:200]}"
            return
        except kubernetes_validate.SchemaNotFoundError as error:
            yield str(error.message)
            return


def _workload_faults(document: dict[str, Any], documents: list[dict[str, Any]]) -> Iterator[str]:
    spec = document["spec"]
    pod = spec["template"]["spec"]
    if not spec["selector"]["matchLabels"].items() <= labels_of(document).items():
        yield "its selector doesn't match its own pods"
    for each in pod.get("topologySpreadConstraints", ()):
        if not each["labelSelector"]["matchLabels"].items() <= labels_of(document).items():
            yield "its pods are spread by the labels of others"
    if pod["securityContext"].get("runAsNonRoot") is not True:
        yield "it may run as root"
    for container in pod["containers"]:
        yield from _container_faults(container, pod, ports_of(document))
        for variable in container.get("env", ()):
            yield from secret_faults(variable.get("valueFrom", {}), documents)
        for each in container.get("envFrom", ()):
            yield from _reference_faults(each["configMapRef"]["name"], "ConfigMap", documents)
    for volume in pod.get("volumes", ()):
        for source in volume["projected"]["sources"]:
            for kind, said in (
                ("ConfigMap", source.get("configMap")),
                ("Secret", source.get("secret")),
            ):
                if said:
                    yield from _reference_faults(said["name"], kind, documents)
    if document["kind"] == "StatefulSet":
        yield from _members_faults(document, documents)
    if any(each["name"] == "traefik" for each in pod["containers"]):
        yield from _traefik_faults(document, documents)


def _container_faults(
    container: Mapping[str, Any], pod: Mapping[str, Any], ports: Mapping[str, int]
) -> Iterator[str]:
    context = container["securityContext"]
    if context.get("readOnlyRootFilesystem") is not True:
        yield "its file system can be written"
    if context.get("allowPrivilegeEscalation") is not False or context["capabilities"] != {
        "drop": ["ALL"]
    }:
        yield "it has more rights than it needs"
    for probe in ("readinessProbe", "livenessProbe", "startupProbe"):
        if container[probe]["httpGet"]["port"] not in ports:
            yield f"{probe}: it has no port of that name"
    if (
        not container["resources"].get("requests")
        or "memory" not in container["resources"]["limits"]
    ):
        yield "it has no resources"
    volumes = {each["name"] for each in pod.get("volumes", ())} | {"data"}
    for mount in container["volumeMounts"]:
        if mount["name"] not in volumes:
            yield f"there is no volume {mount['name']}"


def _reference_faults(name: str, kind: str, documents: list[dict[str, Any]]) -> Iterator[str]:
    known = {each["metadata"]["name"] for each in of_kind(documents, kind)}
    if kind == "Secret":
        known |= ADMINS_SECRETS.keys()
        known |= {each["spec"]["secretName"] for each in of_kind(documents, "Certificate")}
    if name not in known:
        yield f"there is no {kind} {name}"


def _members_faults(document: dict[str, Any], documents: list[dict[str, Any]]) -> Iterator[str]:
    spec, name = document["spec"], document["metadata"]["name"]
    for service in of_kind(documents, "Service"):
        if service["metadata"]["name"] == spec["serviceName"]:
            if service["spec"].get("clusterIP") != "None":
                yield "its Service gives no names to its pods"
            break
    else:
        yield f"there is no Service {spec['serviceName']}"
    arguments = spec["template"]["spec"]["containers"][0]["args"]
    (listed,) = (each for each in arguments if each.startswith("--initial-cluster="))
    members = {
        f"{name}-{number}=http://{name}-{number}.{spec['serviceName']}:2380"
        for number in range(spec["replicas"])
    }
    if set(listed.partition("=")[2].split(",")) != members:
        yield "--initial-cluster isn't what its pods will be called"


def _traefik_faults(document: dict[str, Any], documents: list[dict[str, Any]]) -> Iterator[str]:
    pod = document["spec"]["template"]["spec"]
    if pod.get("enableServiceLinks") is not False:
        yield "variables of Services end Traefik at start"
    (name,) = (each["configMapRef"]["name"] for each in pod["containers"][0]["envFrom"])
    maps = {each["metadata"]["name"]: each["data"] for each in of_kind(documents, "ConfigMap")}
    said = maps.get(name, {})
    listening = {
        int(value.rpartition(":")[2])
        for key, value in said.items()
        if re.fullmatch(r"TRAEFIK_ENTRYPOINTS_[A-Z]+_ADDRESS", key)
    }
    if listening != set(ports_of(document).values()):
        yield f"Traefik listens on {sorted(listening)}, the pod's ports are others"
    drains = [
        sum(
            int(value.removesuffix("s"))
            for key, value in said.items()
            if key.startswith(f"TRAEFIK_ENTRYPOINTS_{point}_TRANSPORT_LIFECYCLE_")
        )
        for point in ("HTTP", "HTTPS")
    ]
    if pod["terminationGracePeriodSeconds"] <= max(drains):
        yield "it is killed before it has let users go"
    directory = said.get("TRAEFIK_PROVIDERS_FILE_DIRECTORY")
    mounts = {each["mountPath"] for each in pod["containers"][0]["volumeMounts"]}
    if directory not in mounts:
        yield f"nothing is mounted at {directory}, where it looks for certificates"
    for text in (each for data in maps.values() for each in data.values() if "certFile" in each):
        for certificate in yaml.safe_load(text)["tls"]["certificates"]:
            names = {certificate["certFile"], certificate["keyFile"]}
            if names != {f"{directory}/tls.crt", f"{directory}/tls.key"}:
                yield "the certificate isn't looked for where it is mounted"


def _service_of_pods_faults(
    document: dict[str, Any], documents: list[dict[str, Any]]
) -> Iterator[str]:
    spec = document["spec"]
    found = [*selected(spec["selector"], documents)]
    if not found:
        yield "it selects no pods"
    for ports in found:
        for port in spec["ports"]:
            if port["targetPort"] not in ports:
                yield f"its pods have no port {port['targetPort']}"


def _budget_faults(document: dict[str, Any], documents: list[dict[str, Any]]) -> Iterator[str]:
    labels = document["spec"]["selector"]["matchLabels"]
    found = [each for each in workloads(documents) if labels.items() <= labels_of(each).items()]
    if not found:
        yield "it is about no pods"
    for each in found:
        if not 0 < document["spec"].get("maxUnavailable", 0) < each["spec"]["replicas"]:
            yield "it lets none go, or all"


def _policy_faults(document: dict[str, Any], documents: list[dict[str, Any]]) -> Iterator[str]:
    own = [*selected(document["spec"]["podSelector"]["matchLabels"], documents)]
    if not own:
        yield "it is about no pods"
    for rule in document["spec"]["ingress"]:
        for port in rule["ports"]:
            if not all(port["port"] in ports for ports in own):
                yield f"its pods have no port {port['port']}"
        for peer in rule.get("from", ()):
            if not [*selected(peer["podSelector"]["matchLabels"], documents)]:
                yield f"nobody is {peer}"
    yield from egress_faults(document, documents)


def _ingress_faults(document: dict[str, Any], documents: list[dict[str, Any]]) -> Iterator[str]:
    ports = {
        (each["metadata"]["name"], port["name"])
        for each in of_kind(documents, "Service")
        for port in each["spec"]["ports"]
    }
    for rule in document["spec"]["rules"]:
        for path in rule["http"]["paths"]:
            service = path["backend"]["service"]
            if (service["name"], service["port"]["name"]) not in ports:
                yield f"there is no such port: {service}"


# Of cert-manager's API reference, v1.
_ISSUER: Final = {"server", "email", "privateKeySecretRef", "solvers"}
_CERTIFICATE: Final = {"secretName", "dnsNames", "issuerRef", "privateKey"}


def _cert_manager_key_faults(document: dict[str, Any]) -> Iterator[str]:
    match document:
        case {"kind": "Issuer", "spec": {"acme": {**acme}}} if acme.keys() == _ISSUER:
            pass
        case {"kind": "Certificate", "spec": {**spec}} if spec.keys() == _CERTIFICATE:
            pass
        case _:
            yield "it has other keys than those that were looked up"


def _certificate_faults(document: dict[str, Any], documents: list[dict[str, Any]]) -> Iterator[str]:
    issuers = {each["metadata"]["name"] for each in of_kind(documents, "Issuer")}
    if document["spec"]["issuerRef"]["name"] not in issuers:
        yield f"there is no Issuer {document['spec']['issuerRef']['name']}"


_CHECKS: Final = {
    "Certificate": _certificate_faults,
    "Deployment": _workload_faults,
    "Ingress": _ingress_faults,
    "NetworkPolicy": _policy_faults,
    "PodDisruptionBudget": _budget_faults,
    "Service": _service_of_pods_faults,
    "StatefulSet": _workload_faults,
}
