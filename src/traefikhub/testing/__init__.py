"""The conformance suite: what decides whether a store is one.

A test module of a store's package holds::

    class TestMyStore(RouteStoreConformance):
        def make_store(self, prefix, server):
            return MyStore(prefix=prefix)

and pytest does the rest. A store on a server that can be stopped and frozen inherits from
``ServerStoreConformance`` and yields a ``ServerControl`` from ``run_server``.
"""

from __future__ import annotations

from traefikhub.testing._hooks import ServerControl
from traefikhub.testing._promises import Promise, PromiseBroken
from traefikhub.testing._suite import RouteStoreConformance, ServerStoreConformance

__all__ = [
    "Promise",
    "PromiseBroken",
    "RouteStoreConformance",
    "ServerControl",
    "ServerStoreConformance",
]
