"""A JupyterHub proxy that keeps its routes in a pluggable store and lets Traefik serve them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from traefikhub.proxy import TraefikProxy

__version__ = "0.1.0"
__all__ = ["TraefikProxy", "__version__"]


def __getattr__(name: str) -> Any:
    # Resolved on first use, so that ``import traefikhub.stores`` needs no JupyterHub.
    if name == "TraefikProxy":
        from traefikhub.proxy import TraefikProxy

        return TraefikProxy
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
