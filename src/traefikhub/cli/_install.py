"""``traefikhub install``."""

from __future__ import annotations

from traefikhub.install import command

__all__ = ["command"]
