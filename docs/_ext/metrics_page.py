"""Every metric of the proxy, from what it registers at prometheus_client."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric

from traefikhub.metrics import Health, Metrics
from traefikhub.traefik.supervisor import TraefikState

_COUNTED: Final = ("_bucket", "_count", "_sum", "_total", "_created")
_STATES: Final = {
    "traefikhub_writer_state": [state.value for state in Health],
    "traefikhub_traefik_state": [state.value for state in TraefikState],
}
"""Values of labels that show only while a proxy runs."""


def metrics_page() -> str:
    """As Markdown, a heading for each metric by the name that Prometheus shows."""
    registry = CollectorRegistry()
    kept = Metrics(registry)  # some show what they are asked for, as long as they exist
    families = sorted(registry.collect(), key=lambda family: family.name)
    del kept
    return "\n".join(line for family in families for line in _metric(family))


def _metric(family: Metric) -> Iterator[str]:
    name = f"{family.name}_total" if family.type == "counter" else family.name
    yield f"({name})="
    yield f"## `{name}`\n"
    yield f"{family.type}. {family.documentation}.\n"
    values: dict[str, list[str]] = {
        label: list(_STATES.get(name, ())) for label in getattr(family, "_labelnames", ())
    }
    buckets: list[str] = []
    for sample in family.samples:
        for label, value in sample.labels.items():
            known = buckets if label == "le" else values.setdefault(label, [])
            if value not in known:
                known.append(value)
    for label, known in values.items():
        text = ", ".join(f"`{value}`" for value in known)
        yield f"- label `{label}`" + (f": {text}" if text else "")
    if buckets:
        yield "- buckets: " + ", ".join(bucket.removesuffix(".0") for bucket in buckets)
    if values or buckets:
        yield ""
