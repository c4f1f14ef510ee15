"""The ``traefikhub`` command."""

from __future__ import annotations

from traefikhub.cli._app import main

__all__ = ["main"]
