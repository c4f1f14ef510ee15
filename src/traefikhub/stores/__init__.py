"""The store interface: all that a store's author imports. Needs neither JupyterHub nor Traefik."""

from __future__ import annotations

from traefikhub.stores._batch import (
    GENERATION_HEADER,
    GENERATION_MARKER,
    Batch,
    Document,
    Key,
    Records,
    Snapshot,
    check_document,
    is_private,
)
from traefikhub.stores._discovery import (
    ENTRY_POINT_GROUP,
    InstalledStore,
    installed_stores,
    resolve_store,
)
from traefikhub.stores._errors import (
    FencedError,
    RecordRefused,
    StoreCorrupt,
    StoreError,
    StoreNotFound,
    StoreUnavailable,
)
from traefikhub.stores._interface import RouteStore
from traefikhub.stores._kv import Change, Changed, Guard, KeyValueStore
from traefikhub.stores._memory import paused_gc
from traefikhub.stores._place import place_of
from traefikhub.threads import in_thread

__all__ = [
    "ENTRY_POINT_GROUP",
    "GENERATION_HEADER",
    "GENERATION_MARKER",
    "Batch",
    "Change",
    "Changed",
    "Document",
    "FencedError",
    "Guard",
    "InstalledStore",
    "Key",
    "KeyValueStore",
    "RecordRefused",
    "Records",
    "RouteStore",
    "Snapshot",
    "StoreCorrupt",
    "StoreError",
    "StoreNotFound",
    "StoreUnavailable",
    "check_document",
    "in_thread",
    "installed_stores",
    "is_private",
    "paused_gc",
    "place_of",
    "resolve_store",
]
