"""What can go wrong."""

from __future__ import annotations

__all__ = ["InstallError"]


class InstallError(Exception):
    """Nothing was installed; the text says why, and what mends it."""
