"""Traefik's dashboard for the Hub's administrators: a service that the Hub starts, read-only.

In ``jupyterhub_config.py``, below the options of ``c.TraefikProxy``::

    from traefikhub.dashboard import dashboard_service

    c.JupyterHub.services = [dashboard_service(c)]
"""

from __future__ import annotations

from traefikhub.dashboard._service import dashboard_service

__all__ = ["dashboard_service"]
