"""The errors of stores: one root, one class for each thing a caller may do about it.

A message names what failed, where (endpoint or file) and the setting that mends it. It never
holds a secret.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from traefikhub.stores._batch import Snapshot

__all__ = [
    "FencedError",
    "RecordRefused",
    "StoreCorrupt",
    "StoreError",
    "StoreNotFound",
    "StoreUnavailable",
]


class StoreError(Exception):
    """Root of everything that a store raises. Nothing was half-applied."""


class StoreUnavailable(StoreError):
    """The store can't be reached or written now (down, slow, full, no permission).

    The same call may succeed later.
    """


class FencedError(StoreError):
    """Another writer has taken over this store; the batch changed nothing.

    Retrying is pointless: this process no longer owns the routes.
    """


class StoreCorrupt(StoreError):
    """What is stored can't be read as records. It was kept, and nothing was overwritten.

    Args:
        text: what is wrong, and where.
        readable: all records, if it is known which of them are damaged; those have documents that
            are nobody's. None if nothing can be known.
    """

    def __init__(self, text: str, readable: Snapshot | None = None) -> None:
        super().__init__(text)
        self.readable = readable


class RecordRefused(StoreError):
    """This store can't represent one of the records. Nothing of the batch was applied."""


class StoreNotFound(StoreError):
    """No usable store goes by that name: not installed, broken, or registered twice."""
