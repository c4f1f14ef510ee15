"""Bring the parts up in the right order, and down again: store, routes, Traefik, writer."""

from traefikhub.session._external import connect_external
from traefikhub.session._local import start_traefik
from traefikhub.session._parts import ProxySession
from traefikhub.session._settings import SessionSettings

__all__ = ["ProxySession", "SessionSettings", "connect_external", "start_traefik"]
