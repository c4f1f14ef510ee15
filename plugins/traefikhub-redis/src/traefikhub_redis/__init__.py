"""Routes of traefikhub in Redis or Valkey."""

from __future__ import annotations

from traefikhub_redis._store import RedisStore

__all__ = ["RedisStore"]

__version__ = "0.1.0"
