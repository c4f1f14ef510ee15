"""Find a store by name, class or dotted path. The only place that knows stevedore."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from stevedore.named import NamedExtensionManager

from traefikhub.stores._errors import StoreNotFound
from traefikhub.stores._interface import RouteStore

__all__ = ["ENTRY_POINT_GROUP", "InstalledStore", "installed_stores", "resolve_store"]

ENTRY_POINT_GROUP = "traefikhub.stores"

_EXTRAS = ("consul", "etcd")
"""Stores that work only with the client library that an extra of the same name brings."""

_ANY_FAILURE = (Exception, SystemExit)
"""What importing a module may raise: some leave with ``sys.exit`` when they lack something."""


@dataclass(frozen=True, slots=True, order=True)
class InstalledStore:
    """A store that some installed distribution registers; nothing of it has been imported."""

    name: str
    distribution: str
    version: str
    target: str

    def __str__(self) -> str:
        return f"{self.name} ({self.distribution} {self.version})"


def _describe(entry_point: EntryPoint) -> InstalledStore:
    dist = entry_point.dist
    return InstalledStore(
        name=entry_point.name,
        distribution=dist.name if dist else "unknown distribution",
        version=dist.version if dist else "?",
        target=entry_point.value,
    )


def installed_stores() -> list[InstalledStore]:
    """Every registered store, sorted by name. Imports none of them.

    Read from ``importlib.metadata`` rather than stevedore, whose cached entry points lose the
    distribution that they come from.
    """
    # A set: a distribution that stands on sys.path twice registers nothing twice.
    return sorted({_describe(ep) for ep in entry_points(group=ENTRY_POINT_GROUP)})


def resolve_store(store: str | type[RouteStore], *, origin: str = "") -> type[RouteStore]:
    """The class that ``c.TraefikProxy.store`` means.

    Args:
        store: a registered name (``"toml-file"``), a ``RouteStore`` subclass, or the dotted path
            of one (``"mypackage.stores.MyStore"`` or ``"mypackage.stores:MyStore"``).
        origin: where it was said, for errors; by default that setting.

    Raises:
        StoreNotFound: with what is installed, or which distribution is broken and why.
    """
    origin = origin or f"c.TraefikProxy.store = {store!r}"
    if not isinstance(store, str):
        return _checked(store, origin)
    installed = installed_stores()
    named = [each for each in installed if each.name == store]
    if len(named) > 1:
        raise StoreNotFound(
            f"{origin} is registered by more than one distribution: "
            + " and ".join(f"{each.distribution} {each.version} ({each.target})" for each in named)
            + ". Uninstall all but one, or set the dotted path of the class you mean."
        )
    if named:
        return _load_named(named[0], origin)
    if "." in store or ":" in store:
        return _load_path(store, origin)
    raise StoreNotFound(
        f"{origin}: no store of that name is installed. {_what_there_is(installed)}"
    )


def _what_there_is(installed: list[InstalledStore]) -> str:
    names = ", ".join(str(each) for each in installed) or "none"
    extras = " and ".join(f'pip install "traefikhub[{extra}]" ({extra})' for extra in _EXTRAS)
    return (
        f"Installed: {names}. Extras bring client libraries: {extras}. Others come as pip packages "
        f"that register under {ENTRY_POINT_GROUP!r}; a class or its dotted path works as well."
    )


def _load_named(wanted: InstalledStore, origin: str) -> type[RouteStore]:
    """Import the one store that was asked for; a broken neighbour is not even looked at."""
    failures: list[BaseException] = []
    try:
        manager: Any = NamedExtensionManager(
            ENTRY_POINT_GROUP,
            names=[wanted.name],
            on_load_failure_callback=lambda _manager, _entry_point, error: failures.append(error),
            on_missing_entrypoints_callback=lambda _names: None,
        )
        loaded = [extension.plugin for extension in manager]
    except _ANY_FAILURE as error:  # stevedore lets some through, AssertionError for one
        failures.append(error)
        loaded = []
    if failures:
        raise StoreNotFound(_why_broken(wanted, origin, failures[0])) from failures[0]
    if not loaded:
        # stevedore keeps a cache of entry points on disk, which may be older than the package.
        loaded = [_import_target(wanted, origin)]
    return _checked(loaded[0], f"{wanted.target} of {wanted.distribution} {wanted.version}")


def _import_target(wanted: InstalledStore, origin: str) -> Any:
    try:
        return EntryPoint(wanted.name, wanted.target, ENTRY_POINT_GROUP).load()
    except _ANY_FAILURE as error:
        raise StoreNotFound(_why_broken(wanted, origin, error)) from error


def _why_broken(wanted: InstalledStore, origin: str, error: BaseException) -> str:
    others = ", ".join(str(each) for each in installed_stores() if each != wanted)
    return (
        f"{origin} comes from {wanted.distribution} {wanted.version}, which "
        f"can't be imported ({wanted.target}): {type(error).__name__}: {error}. Repair or upgrade "
        f"that distribution, or choose another store (also installed: {others or 'none'})."
    )


def _load_path(path: str, origin: str) -> type[RouteStore]:
    module_name, _, name = path.rpartition(":" if ":" in path else ".")
    try:
        found = getattr(importlib.import_module(module_name), name)
    except _ANY_FAILURE as error:
        raise StoreNotFound(
            f"{origin} can't be imported: {type(error).__name__}: {error}. "
            f"{_what_there_is(installed_stores())}"
        ) from error
    return _checked(found, origin)


def _checked(found: object, origin: str) -> type[RouteStore]:
    if isinstance(found, type) and issubclass(found, RouteStore):
        return found
    raise StoreNotFound(
        f"{origin} is not a store: it must be a subclass of traefikhub.stores.RouteStore."
    )
