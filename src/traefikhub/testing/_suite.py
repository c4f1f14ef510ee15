"""The suites that stores inherit from, put together from the tests of each promise."""

from __future__ import annotations

from traefikhub.testing._batches import BatchTests
from traefikhub.testing._live import LiveTests
from traefikhub.testing._owners import OwnerTests
from traefikhub.testing._reading import ReadingTests
from traefikhub.testing._trouble import TroubleTests

__all__ = ["RouteStoreConformance", "ServerStoreConformance"]


# pytest runs the tests of the last base first.
class RouteStoreConformance(OwnerTests, BatchTests, ReadingTests, LiveTests):
    """The promises that any store can be put to."""


class ServerStoreConformance(RouteStoreConformance, TroubleTests):
    """And those about trouble with a server, for stores that have one."""
