"""Bring the parts up in the right order, and down again: store, routes, Traefik, writer."""

from traefikhub.session._asking import ask_version, own_credentials, wait_served
from traefikhub.session._certificate import read_pair
from traefikhub.session._elsewhere import why_not_beside
from traefikhub.session._external import connect_external
from traefikhub.session._for_others import external_static, is_loopback
from traefikhub.session._internal_ssl import read_internal_ssl
from traefikhub.session._local import start_traefik
from traefikhub.session._offline import StoredRoutes, read_routes, write_routes
from traefikhub.session._parts import ProxySession, checked_extra
from traefikhub.session._plan import (
    EXTERNAL_OPTION_CHECKS,
    OPTION_CHECKS,
    Listener,
    Program,
    find_program,
    listeners,
)
from traefikhub.session._settings import SessionSettings
from traefikhub.session._standing import Standing, require_writable, standing_of
from traefikhub.session._trial import Trial, try_start

__all__ = [
    "EXTERNAL_OPTION_CHECKS",
    "OPTION_CHECKS",
    "Listener",
    "Program",
    "ProxySession",
    "SessionSettings",
    "Standing",
    "StoredRoutes",
    "Trial",
    "ask_version",
    "checked_extra",
    "connect_external",
    "external_static",
    "find_program",
    "is_loopback",
    "listeners",
    "own_credentials",
    "read_internal_ssl",
    "read_pair",
    "read_routes",
    "require_writable",
    "standing_of",
    "start_traefik",
    "try_start",
    "wait_served",
    "why_not_beside",
    "write_routes",
]
