"""What the Hub's /hub/metrics tells about the proxy. Names and meanings: docs/metrics.md.

JupyterHub shows the default registry of prometheus_client, in which a name can stand once only. So
all proxies of a process share one ``Metrics``; a Hub has one proxy.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Final
from weakref import WeakMethod

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from traefikhub.stores import FencedError, RecordRefused, StoreCorrupt, StoreUnavailable
from traefikhub.traefik import NotLive
from traefikhub.traefik.replicas import ReplicaStanding
from traefikhub.traefik.supervisor import TraefikState

__all__ = ["Health", "Metrics", "Standing", "StoreCall", "metrics_of_hub"]

_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_CHANGES: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000)

_STORE_ERRORS: Final = (StoreUnavailable, FencedError, RecordRefused, StoreCorrupt)
_KINDS: Final[tuple[type[Exception], ...]] = (NotLive, *_STORE_ERRORS)


class StoreCall(Enum):
    """A method of the store."""

    APPLY = "apply"
    INTACT = "intact"
    LOAD = "load"


class Health(Enum):
    """How the routes of a writer stand; the first that holds counts."""

    STOPPED = "stopped"
    """It takes no changes."""
    FENCED = "fenced"
    """Another Hub has taken over the store."""
    UNCERTAIN = "uncertain"
    """A batch may or may not have reached the store."""
    DRIFTED = "drifted"
    """The store was seen to hold something else than what was written; not yet put right."""
    BEHIND = "behind"
    """Traefik has not been seen to serve what is stored."""
    LIVE = "live"


@dataclass(frozen=True, slots=True)
class Standing:
    """How a writer stands at the moment.

    stored, live: the newest generation known to be in the store, and to be served.
    """

    health: Health
    routes: int
    stored: int
    live: int


class Metrics:
    """Everything that is counted, registered once in one registry.

    What has a value at any time is asked for when somebody looks, see ``show``; the rest is told as
    it happens, in a few microseconds each.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._changes = Histogram(
            "traefikhub_route_change_duration_seconds",
            "From the Hub's call until the change of a route is live",
            buckets=_SECONDS,
            registry=registry,
        )
        self._change_errors = Counter(
            "traefikhub_route_change_errors",
            "Changes of routes that failed, by kind of error",
            ["error"],
            registry=registry,
        )
        self._batches = Histogram(
            "traefikhub_batch_changes",
            "Changes of routes that went out as one batch",
            buckets=_CHANGES,
            registry=registry,
        )
        self._store_calls = Histogram(
            "traefikhub_store_duration_seconds",
            "Duration of a call of the store, whether it failed or not",
            ["operation"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._store_errors = Counter(
            "traefikhub_store_errors",
            "Failed calls of the store, by kind of error",
            ["operation", "error"],
            registry=registry,
        )
        self._drifts = Counter(
            "traefikhub_store_drifts",
            "Times that the store was found to hold something else than what was written",
            registry=registry,
        )
        self._reloads = Histogram(
            "traefikhub_traefik_reload_duration_seconds",
            "From a batch being stored until Traefik serves it",
            buckets=_SECONDS,
            registry=registry,
        )
        self._restarts = Counter(
            "traefikhub_traefik_restarts",
            "Times that Traefik ended by itself and was started again, or could not be",
            ["result"],
            registry=registry,
        )
        self._standing = _StandingCollector()
        registry.register(self._standing)
        self._begin_at_zero()

    def _begin_at_zero(self) -> None:
        """Counters that exist before the first event: else alerts on an increase miss it."""
        for kind in _KINDS:
            self._change_errors.labels(kind.__name__)
        for call in StoreCall:
            self._store_calls.labels(call.value)
            for error in _STORE_ERRORS:
                self._store_errors.labels(call.value, error.__name__)
        for result in ("started", "failed"):
            self._restarts.labels(result)

    @contextmanager
    def change(self) -> Iterator[None]:
        """Around one change of a route. A caller that is cancelled counts as nothing."""
        started = time.perf_counter()
        try:
            yield
        except Exception as error:
            self._change_errors.labels(_kind(error)).inc()
            raise
        else:
            self._changes.observe(time.perf_counter() - started)

    def batch(self, changes: int) -> None:
        """A batch sets out."""
        self._batches.observe(changes)

    @contextmanager
    def store(self, call: StoreCall) -> Iterator[None]:
        """Around one call of the store."""
        started = time.perf_counter()
        try:
            yield
        except Exception as error:
            self._store_errors.labels(call.value, _kind(error)).inc()
            raise
        finally:
            self._store_calls.labels(call.value).observe(time.perf_counter() - started)

    def drift(self) -> None:
        """Something else changed the store."""
        self._drifts.inc()

    def reload(self, seconds: float) -> None:
        """Traefik serves a batch so long after it was stored."""
        self._reloads.observe(seconds)

    def restart(self, started: bool) -> None:
        """Traefik was started again, or could not be."""
        self._restarts.labels("started" if started else "failed").inc()

    def show(self, look: Callable[[], Standing]) -> None:
        """Show this writer's standing from now on, in place of another's, as long as it exists.

        Args:
            look: a bound method, which is not kept alive.
        """
        self._standing.look = WeakMethod(look)

    def show_certificate(self, look: Callable[[], float | None]) -> None:
        """As ``show``, for when the certificate ends that users see, in seconds since 1970."""
        self._standing.look_at_certificate = WeakMethod(look)

    def show_replicas(self, look: Callable[[], Sequence[ReplicaStanding]]) -> None:
        """As ``show``, for the Traefiks that others run."""
        self._standing.look_at_replicas = WeakMethod(look)

    def show_traefik(self, look: Callable[[], TraefikState]) -> None:
        """As ``show``, for the Traefik that the Hub started."""
        self._standing.look_at_traefik = WeakMethod(look)


class _StandingCollector(Collector):
    def __init__(self) -> None:
        self.look: WeakMethod[Callable[[], Standing]] | None = None
        self.look_at_traefik: WeakMethod[Callable[[], TraefikState]] | None = None
        self.look_at_certificate: WeakMethod[Callable[[], float | None]] | None = None
        self.look_at_replicas: WeakMethod[Callable[[], Sequence[ReplicaStanding]]] | None = None

    def collect(self) -> Iterator[GaugeMetricFamily]:
        look = self.look() if self.look else None
        standing = look() if look else None
        routes = GaugeMetricFamily("traefikhub_routes", "Routes that the Hub has set")
        stored = GaugeMetricFamily(
            "traefikhub_generation_stored", "The newest generation that the store is known to hold"
        )
        live = GaugeMetricFamily(
            "traefikhub_generation_live", "The newest generation that Traefik was seen to serve"
        )
        health = GaugeMetricFamily(
            "traefikhub_writer_state",
            "1 for the state of the routes, 0 for others",
            labels=["state"],
        )
        if standing:
            routes.add_metric([], standing.routes)
            stored.add_metric([], standing.stored)
            live.add_metric([], standing.live)
            for state in Health:
                health.add_metric([state.value], float(state is standing.health))
        yield from (routes, stored, live, health, self._traefik(), self._certificate())
        yield from self._replicas()

    def _replicas(self) -> Iterator[GaugeMetricFamily]:
        look = self.look_at_replicas() if self.look_at_replicas else None
        up = GaugeMetricFamily(
            "traefikhub_replica_up",
            "1 for a Traefik, run by others, for which changes of routes wait; 0 for one that is "
            "late or can't be reached",
            labels=["replica"],
        )
        served = GaugeMetricFamily(
            "traefikhub_replica_generation",
            "The newest generation that a Traefik, run by others, was seen to serve",
            labels=["replica"],
        )
        for each in look() if look else ():
            up.add_metric([each.name], float(each.counts))
            served.add_metric([each.name], each.served)
        yield from (up, served)

    def _certificate(self) -> GaugeMetricFamily:
        look = self.look_at_certificate() if self.look_at_certificate else None
        gauge = GaugeMetricFamily(
            "traefikhub_certificate_expiry_timestamp_seconds",
            "When the certificate ends that users see, in seconds since 1970",
        )
        if look and (expires := look()) is not None:
            gauge.add_metric([], expires)
        return gauge

    def _traefik(self) -> GaugeMetricFamily:
        look = self.look_at_traefik() if self.look_at_traefik else None
        gauge = GaugeMetricFamily(
            "traefikhub_traefik_state",
            "1 for the state of the Traefik that the Hub started, 0 for others",
            labels=["state"],
        )
        if look:
            for state in TraefikState:
                gauge.add_metric([state.value], float(state is look()))
        return gauge


def _kind(error: Exception) -> str:
    """The class that our documentation knows; a store's own error may be a subclass."""
    return next((kind for kind in _KINDS if isinstance(error, kind)), type(error)).__name__


@cache
def metrics_of_hub() -> Metrics:
    """The metrics that the Hub shows; made when the first proxy of the process needs them, so that
    importing this registers nothing."""
    return Metrics(REGISTRY)
