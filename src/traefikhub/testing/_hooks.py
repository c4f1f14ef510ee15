"""What the author of a store supplies to the conformance suite."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import pytest

if TYPE_CHECKING:
    from traefikhub.stores import RouteStore

__all__ = ["Hooks", "ServerControl"]


class ServerControl(Protocol):
    """Power over the server behind a store, by means that don't involve the store.

    Every method returns when it has taken effect.
    """

    def stop(self) -> None:
        """End the server the hard way (SIGKILL)."""

    def start(self) -> None:
        """Start it again, at the same address, with the data that it had."""

    def pause(self) -> None:
        """Freeze it (SIGSTOP): connections stay open, nothing answers."""

    def resume(self) -> None:
        """Undo ``pause``."""

    def dump(self) -> dict[str, str]:
        """Everything that it holds, whoever wrote it."""

    def put(self, key: str, value: str) -> None:
        """Write one key behind the store's back."""


class Hooks:
    """Hooks with their defaults; ``required_hooks`` are those that have none."""

    required_hooks: ClassVar[tuple[str, ...]] = ("make_store",)

    shrink: ClassVar[bool] = True
    """Whether to look for the shortest history that breaks a promise. May take minutes."""

    secrets: ClassVar[tuple[str, ...]] = ()
    """Texts that no error and no log line may hold, such as the password in use."""

    if TYPE_CHECKING:  # no default: a missing hook is told when the class is made

        def make_store(self, prefix: str, server: Any) -> RouteStore:
            """A store, not yet opened. The same prefix means the same place.

            Args:
                prefix: a word of lower-case letters and digits, new for every test. One may be
                    the beginning of another.
                server: what ``run_server`` yielded.
            """
            raise NotImplementedError

    def prepare(self, prefix: str, server: Any) -> None:
        """Make a place ready, before the first store of this prefix is made: a user, say, who may
        use no other. Once for each; the server is neither down nor frozen then.
        """

    @classmethod
    @contextmanager
    def run_server(cls) -> Iterator[Any]:
        """What the store needs to run, once for all tests: a directory, a ``ServerControl``."""
        yield None

    @pytest.fixture(scope="class")
    @classmethod
    def server(cls) -> Iterator[Any]:
        """What ``run_server`` yields."""
        with cls.run_server() as server:
            yield server

    __prepared: frozenset[tuple[str, int]] = frozenset()

    def _prepare_once(self, prefix: str, server: Any) -> None:
        place = (prefix, id(server))
        if place not in self.__prepared:
            self.prepare(prefix, server)
            self.__prepared |= {place}

    def _prepared_store(self, prefix: str, server: Any) -> RouteStore:
        """What the suite gets its stores by."""
        self._prepare_once(prefix, server)
        return self.make_store(prefix, server)

    def place(self, server: Any) -> str:
        """What every error about an unreachable server must name, e.g. its address."""
        return ""

    @pytest.fixture
    def prefix(self) -> str:
        """A prefix that nobody has used."""
        return "t" + secrets.token_hex(6)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.__name__.startswith("Test"):
            missing = [
                name
                for name in cls.required_hooks
                if getattr(getattr(cls, name, None), "__func__", getattr(cls, name, None))
                in (None, Hooks.run_server.__func__)  # type: ignore[attr-defined]
            ]
            if missing:
                raise TypeError(
                    f"{cls.__name__} must define {', '.join(missing)} for the conformance suite; "
                    "see 'Write your own store' in the documentation of traefikhub"
                )
