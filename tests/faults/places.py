"""Where routes are kept: what a run needs of each store, and how strangers lay hands on it.

Here the file; the servers are in server_places.py."""

from __future__ import annotations

import random
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, TypeAlias

from faults.disk import SmallDisk
from faults.targets import STRANGER
from traefikhub.stores import RouteStore, resolve_store

__all__ = [
    "ALL_GONE",
    "LED_ASTRAY",
    "ByHand",
    "Fails",
    "Place",
    "Strange",
    "Stranger",
    "TomlFile",
]

STORE_TIMEOUT = 5.0

Strange: TypeAlias = dict[str, list[str | None]]
"""What routes may have meanwhile, see ``Fault.strange``."""

Stranger: TypeAlias = Callable[[str, str, random.Random], Strange]
"""Takes the routespec of some route, and the URL of the stranger's target."""


class Fails(Enum):
    """Which requests may fail until what somebody did is put right."""

    NONE = "none"
    """Whatever he did, each route still leads somewhere."""
    BELOW = "those of the route, and of what is below it"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class ByHand:
    """Something that somebody may do to the store."""

    do: Stranger
    fails: Fails = Fails.NONE


ALL_GONE: Strange = {"*": [None]}
LED_ASTRAY: Strange = {"*": [STRANGER]}


class Place(ABC):
    """One store, for one run.

    Args:
        directory: for all that it keeps.
    """

    name: str
    options: str
    """The class whose options it sets."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.run_dir = directory / "run"
        self.address = ""
        """Of the server as its users see it; set when the link is up."""

    def open(self) -> None:
        """Start what is needed. Blocks."""
        self.run_dir.mkdir(mode=0o700, parents=True)

    @abstractmethod
    def close(self) -> None:
        """End it. Idempotent."""

    def config(self) -> dict[str, dict[str, Any]]:
        """For ``c`` in jupyterhub_config.py."""
        return {self.options: {"timeout": STORE_TIMEOUT}}

    def reader(self) -> RouteStore:
        """The store, for somebody who only reads it."""
        made = resolve_store(self.name)(run_dir=str(self.run_dir))
        for option, value in self.config()[self.options].items():
            setattr(made, option, value)
        return made

    @property
    @abstractmethod
    def can_fill(self) -> bool:
        """Whether its disk can be filled here."""

    @abstractmethod
    def fill(self) -> None:
        """Leave no room for a change. Blocks."""

    @abstractmethod
    def free(self) -> None:
        """Give it room again, as an admin would. Blocks."""

    @abstractmethod
    def strangers(self) -> Mapping[str, ByHand]:
        """What somebody may do to it by hand, which blocks. It need not be open."""


class TomlFile(Place):
    """The routes file, with all else of the run directory on a small disk."""

    name = "toml-file"
    options = "TomlFileStore"

    def open(self) -> None:
        self._disk = SmallDisk(self.run_dir, 8)

    def close(self) -> None:
        self._disk.close()

    @property
    def can_fill(self) -> bool:
        return self._disk.mounted

    def fill(self) -> None:
        self._disk.fill()

    def free(self) -> None:
        self._disk.free()

    @property
    def _file(self) -> Path:
        return self.run_dir / "routes.toml"

    def strangers(self) -> Mapping[str, ByHand]:
        return {
            "truncated": ByHand(self._truncate, Fails.ALL),
            "half written": ByHand(self._write_half, Fails.ALL),
            "emptied": ByHand(lambda *_: self._replace(b"", ALL_GONE), Fails.ALL),
            "deleted": ByHand(self._delete, Fails.ALL),
            "target edited": ByHand(self._edit),
        }

    def _replace(self, content: bytes, strange: Strange) -> Strange:
        new = self._file.with_name("new-by-hand")
        new.write_bytes(content)
        new.replace(self._file)
        return strange

    def _truncate(self, _spec: str, _url: str, rng: random.Random) -> Strange:
        """In place, not by another file."""
        with self._file.open("r+b") as stream:
            stream.truncate(rng.randrange(self._file.stat().st_size))
        return ALL_GONE

    def _write_half(self, _spec: str, _url: str, rng: random.Random) -> Strange:
        """The new file is in place before it is whole."""
        whole = self._file.read_bytes()
        return self._replace(whole[: rng.randrange(len(whole))] + b"\n[http", ALL_GONE)

    def _delete(self, _spec: str, _url: str, _rng: random.Random) -> Strange:
        self._file.unlink()
        return ALL_GONE

    def _edit(self, _spec: str, url: str, rng: random.Random) -> Strange:
        """One service leads elsewhere."""
        whole = self._file.read_text()
        found = rng.choice(list(re.finditer(r'url = "(\\u0068ttp://[^"/]+)"', whole)))
        edited = whole[: found.start(1)] + url + whole[found.end(1) :]
        return self._replace(edited.encode(), LED_ASTRAY)
