"""The files in docs/deploy, and what is asked of the images that they name. Each check returns what
is wrong, in words; a test tries each on broken files, too."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

__all__ = ["DEPLOY", "dockerfile_faults", "documents_of", "image_faults", "images_of"]

DEPLOY: Final = Path(__file__).parents[1] / "docs" / "deploy"

KNOWN_IMAGES: Final = {
    "busybox:1.37.0",
    "haproxy:3.2.25",
    "python:3.13-slim-trixie",
    "quay.io/coreos/etcd:v3.5.33",
    "quay.io/jupyter/base-notebook:2025-07-14",
    "quay.io/jupyterhub/k8s-hub:4.4.0",
    "traefik:v3.7.15",
}
"""Tags that were looked up. No registry is asked here: look a new one up before it is added."""

OWN_IMAGES: Final = {"registry.example.org/k8s-hub-traefikhub:4.4.0-1", "traefikhub-hub:0.1.0"}
"""Those that are built from a Dockerfile here."""


def documents_of(*names: str) -> list[dict[str, Any]]:
    """The documents of YAML files in the directory for Kubernetes."""
    return [
        document
        for name in names
        for document in yaml.safe_load_all((DEPLOY / "kubernetes" / name).read_text())
    ]


def images_of(value: Any) -> Iterator[str]:
    """Every image that a manifest names."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key == "image" and isinstance(item, str):
                yield item
            elif key == "image" and isinstance(item, Mapping) and "name" in item:
                yield f"{item['name']}:{item.get('tag', '')}"
            else:
                yield from images_of(item)
    elif isinstance(value, list):
        for item in value:
            yield from images_of(item)


def image_faults(images: Iterable[str]) -> list[str]:
    """Images that aren't known to exist."""
    return [
        f"{image} is of no tag that was looked up"
        for image in images
        if image not in KNOWN_IMAGES | OWN_IMAGES
    ]


def dockerfile_faults(text: str) -> list[str]:
    """What a Dockerfile should have, and hasn't."""
    lines = [line.strip() for line in text.replace("\\\n", " ").splitlines()]
    said = [line.split(None, 1) for line in lines if line and not line.startswith("#")]
    faults = image_faults(rest for word, rest in said if word == "FROM")
    if not said or said[0][0] != "FROM":
        faults.append("it doesn't begin with FROM")
    known = {"FROM", "RUN", "USER", "WORKDIR", "EXPOSE", "CMD"}
    faults += [
        f"{word} is no instruction that is used here" for word, *_ in said if word not in known
    ]
    users = [rest for word, rest in said if word == "USER"]
    if not users or users[-1] in ("root", "0") or not users[-1].isdigit():
        faults.append("its last USER is no number, or root")
    for word, rest in said:
        if word == "RUN" and "pip install" in rest and "--no-cache-dir" not in rest:
            faults.append("pip keeps its cache")
        if word == "CMD" and not rest.startswith("["):
            faults.append("CMD is for a shell, which keeps signals to itself")
    return faults
