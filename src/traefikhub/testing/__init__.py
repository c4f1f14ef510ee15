"""The conformance suite: what decides whether a store is one.

A test module of a store's package holds::

    class TestMyStore(RouteStoreConformance):
        def make_store(self, prefix, server):
            return MyStore(prefix=prefix)

and pytest does the rest. A store on a server that can be stopped and frozen inherits from
``ServerStoreConformance`` and yields a ``ServerControl`` from ``run_server``.

For tests of what is a store's own there are ``run_traefik``, a real Traefik that reads the store,
``run_backend``, something that it can lead to, and ``Certificates`` for servers with TLS.
"""

from __future__ import annotations

from traefikhub.testing._certificates import Certificates
from traefikhub.testing._hooks import ServerControl
from traefikhub.testing._promises import Promise, PromiseBroken
from traefikhub.testing._suite import RouteStoreConformance, ServerStoreConformance
from traefikhub.testing._traefik import Traefik, run_backend, run_traefik

__all__ = [
    "Certificates",
    "Promise",
    "PromiseBroken",
    "RouteStoreConformance",
    "ServerControl",
    "ServerStoreConformance",
    "Traefik",
    "run_backend",
    "run_traefik",
]
