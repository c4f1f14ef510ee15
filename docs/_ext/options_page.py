"""The options of the proxy and of the stores, from their traits."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from traitlets import Bool, Dict, Enum, Float, Integer, List, TraitType, Type, Unicode, Union
from traitlets.traitlets import DefaultHandler

from traefikhub.proxy import TraefikProxy
from traefikhub.stores import installed_stores, resolve_store

if TYPE_CHECKING:
    from traitlets.config import Configurable

_KINDS: Final[dict[type[TraitType[Any, Any]], str]] = {
    Bool: "`True` or `False`",
    Dict: "dict",
    Float: "number",
    Integer: "whole number",
    List: "list",
    Unicode: "text",
}


def options_page() -> str:
    """The options of the proxy and of each store that the project ships, as Markdown."""
    parts = [*_class_part(TraefikProxy, "the proxy")]
    for store in installed_stores():
        if store.distribution == "traefikhub":  # not what else happens to be installed here
            parts += _class_part(resolve_store(store.name), f"the store `{store.name}`")
    return "\n".join(parts)


def _class_part(cls: type[Configurable], what: str) -> Iterator[str]:
    yield f"## {cls.__name__}: {what}\n"
    for name, trait in sorted(cls.class_traits(config=True).items()):
        yield f"({cls.__name__}.{name})=\n"  # for links: #TraefikProxy.store
        yield f"### `c.{cls.__name__}.{name}`\n"
        yield f"{_kind(trait)}; default: {_default(cls, name, trait)}\n"
        yield inspect.cleandoc(trait.help) + "\n"


def _kind(trait: TraitType[Any, Any]) -> str:
    if isinstance(trait, Union):
        return " or ".join(map(_kind, trait.trait_types))
    if isinstance(trait, Type):
        return f"a subclass of `{getattr(trait.klass, '__name__', trait.klass)}`"
    if isinstance(trait, Enum):
        return "one of " + ", ".join(f"`{value!r}`" for value in trait.values or ())
    kind = next(text for known, text in _KINDS.items() if isinstance(trait, known))
    least = getattr(trait, "min", None)
    return kind if least in (None, float("-inf")) else f"{kind}, at least {least}"


def _default(cls: type[Configurable], name: str, trait: TraitType[Any, Any]) -> str:
    computed = any(
        isinstance(member, DefaultHandler) and member.trait_name == name
        for ancestor in cls.__mro__
        for member in vars(ancestor).values()
    )
    return "worked out, see below" if computed else f"`{trait.default_value_repr()}`"
