"""One static configuration in each of the four ways in which Traefik takes it. Pure.

Traefik takes it from one place only: a file, else flags, else environment variables. What each can
say, and what becomes of it, was seen on Traefik 3.7.15; docs/checking.md has the list.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, TypeAlias

import tomli_w
import yaml

__all__ = ["DIALECTS", "DialectError", "in_dialect", "is_name"]

Path: TypeAlias = "tuple[str | int, ...]"

DIALECTS: Final = ("toml", "yaml", "flags", "env")

_NAMED: Final = tuple(
    tuple(place.split("."))
    for place in (
        "certificatesresolvers",
        "entrypoints",
        "experimental.localplugins",
        "experimental.plugins",
        "metrics.influxdb2.additionallabels",
        "metrics.prometheus.headerlabels",
        "accesslog.fields.headers.names",
        "accesslog.fields.names",
        "ocsp.responderoverrides",
        "providers.http.headers",
        "providers.plugin",
        "tracing.globalattributes",
        *(f"{part}.resourceattributes" for part in ("accesslog.otlp", "log.otlp", "metrics.otlp")),
        "tracing.resourceattributes",
        *(
            f"{part}.otlp.{protocol}.headers"
            for part in ("accesslog", "log", "metrics", "tracing")
            for protocol in ("grpc", "http")
        ),
    )
)
"""Tables whose keys are names of the admin's choice, in lower case."""

_FREE: Final = ("providers", "plugin")
"""Below a name in there, Traefik knows neither keys nor types."""


class DialectError(ValueError):
    """A configuration that can't be said in a dialect, or not so that Traefik understands it.

    where: the key, joined by dots.
    """

    def __init__(self, where: str, why: str) -> None:
        super().__init__(f"{where}: {why}")
        self.where = where


def in_dialect(config: Mapping[str, Any], dialect: str) -> str:
    """The configuration as a text that ends with a newline.

    ``flags`` are one a line, each quoted for a shell if it has to be. ``env`` are lines of
    ``NAME=value`` without quotes, as ``docker run --env-file`` reads them.

    Raises:
        DialectError: it can't be said.
    """
    leaves = list(_leaves(config))
    match dialect:
        case "toml":
            return tomli_w.dumps(config)
        case "yaml":
            text: str = yaml.safe_dump(_plain(config), sort_keys=False, allow_unicode=True)
            return text
        case "flags":
            return "".join(f"{shlex.quote(flag)}\n" for flag in _flags(leaves))
        case "env":
            return "".join(f"{name}={value}\n" for name, value in _variables(leaves))
    raise ValueError(f"no dialect {dialect!r}; there are {', '.join(DIALECTS)}")


def is_name(path: Path) -> bool:
    """Whether the last part of a path is a name of the admin's choice, not a key of Traefik's."""
    above = tuple(str(part).lower() for part in path[:-1])
    return above in _NAMED or above[:2] == _FREE


def _flags(leaves: Iterable[tuple[Path, Any]]) -> Iterator[str]:
    for path, value in leaves:
        flag = ""
        for index, part in enumerate(path):
            if isinstance(part, int):
                flag += f"[{part}]"
                continue
            is_last_name = index == len(path) - 1 and is_name(path)
            if "." in part and not is_last_name:
                raise DialectError(_spelled(path), f"a dot in {part!r} would begin another key")
            if not part or "=" in part or "[" in part:
                raise DialectError(_spelled(path), f"{part!r} can't be a part of a flag")
            flag += f".{part}" if flag else part
        yield f"--{flag}={_text(path, value)}"


def _variables(leaves: Iterable[tuple[Path, Any]]) -> Iterator[tuple[str, str]]:
    for path, value in leaves:
        name = "TRAEFIK"
        for index, part in enumerate(path):
            if isinstance(part, int):
                # Only with brackets it is surely no key; but these no shell can set.
                name += f"[{part}]" if _is_free(path[:index]) else f"_{part}"
                continue
            if problem := _in_variable(path, index, part):
                raise DialectError(_spelled(path), problem)
            name += f"_{part.upper()}"
        text = _text(path, value)
        if "\n" in text or "\r" in text:
            raise DialectError(_spelled(path), "its value has several lines")
        yield name, text


def _in_variable(path: Path, index: int, part: str) -> str:
    """Why a part of a path can't be one of a variable's name; empty if it can."""
    if "_" in part:
        return f"the underscore in {part!r} would begin another key"
    is_named = is_name(path[: index + 1])
    if "." in part and not (is_named and index == len(path) - 1):
        return f"the dot in {part!r} would begin another key"
    # Headers that are sent mean the same in any case.
    if is_named and part != part.lower() and str(path[index - 1]).lower() != "headers":
        return f"Traefik would make {part.lower()!r} of the name {part!r}"
    if not re.fullmatch(r"[A-Za-z0-9.-]+", part, re.ASCII):
        return f"{part!r} can't be a part of a variable's name"
    return ""


def _leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """All that isn't a table with entries, nor a list of tables."""
    if isinstance(value, Mapping) and (value or not path):
        for name, item in value.items():
            if not isinstance(name, str):
                raise DialectError(_spelled((*path, str(name))), "a key must be a text")
            yield from _leaves(item, (*path, name))
    elif isinstance(value, list) and value and (_is_free(path) or isinstance(value[0], Mapping)):
        for index, item in enumerate(value):
            yield from _leaves(item, (*path, index))
    elif value is None:
        raise DialectError(_spelled(path), "None says nothing; leave the key out")
    else:
        yield path, value


def _is_free(path: Path) -> bool:
    """Where Traefik can't know that a list is meant: it takes ``a,b`` for a text there."""
    return tuple(str(part).lower() for part in path[:2]) == _FREE and len(path) > 2


def _text(path: Path, value: Any) -> str:
    match value:
        case bool() | int() | float() if path and isinstance(path[-1], int):
            # A list of a plug-in's; anything else of it becomes a text in a file, too.
            raise DialectError(_spelled(path), "only a file can say that it is no text")
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case str():
            if "\0" in value:
                raise DialectError(_spelled(path), "it holds a null character")
            return value
        case list():
            texts = [_text(path, each) for each in value]
            if any("," in each for each in texts) or texts == [""]:
                raise DialectError(
                    _spelled(path), "an entry of a list with a comma in it would become two"
                )
            return ",".join(texts)
        case Mapping() if not value:
            # That the table is there is all that it says, and to a plug-in not even that.
            return "" if _is_free(path) and len(path) > 3 else "true"
    raise DialectError(_spelled(path), f"{type(value).__name__} is nothing that Traefik reads")


def _plain(value: Any) -> Any:
    """Without subclasses of dict and str, such as traitlets' Config, which YAML refuses."""
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _spelled(path: Path) -> str:
    return ".".join(map(str, path)) or "the configuration"
