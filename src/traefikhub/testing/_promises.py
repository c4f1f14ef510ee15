"""The seven promises, and how a broken one is told."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from typing import ParamSpec, TypeVar

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup

__all__ = ["Promise", "PromiseBroken", "proves"]

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Promise(Enum):
    """What every store promises; the numbers are those of docs/architecture.md."""

    ATOMIC = (1, "a batch is seen whole or not at all")
    DURABLE = (2, "what was applied survives a crash")
    READ_YOUR_WRITES = (3, "load() returns what was applied")
    FENCED = (4, "who opens a store for writing takes it over")
    HONEST = (5, "trouble is a StoreError in bounded time that names the place and no secret")
    QUIET = (6, "only what is under its own prefix is touched")
    REAL = (7, "Traefik serves what was applied, and not what was deleted")

    def __init__(self, number: int, meaning: str) -> None:
        self.number = number
        self.meaning = meaning

    def __str__(self) -> str:
        return f"promise {self.number} ({self.name.lower().replace('_', ' ')}: {self.meaning})"


class PromiseBroken(AssertionError):
    """A store does not do what every store promises."""

    def __init__(self, promise: Promise, what: object) -> None:
        super().__init__(f"{promise} is broken: {what}")
        self.promise = promise


@contextmanager
def _told_as(promise: Promise) -> Iterator[None]:
    try:
        yield
    except PromiseBroken:
        raise
    except BaseExceptionGroup as group:
        error = _first_of(group)
        raise PromiseBroken(promise, f"{type(error).__name__}: {error}") from error
    except AssertionError as error:
        raise PromiseBroken(promise, str(error).partition("\nassert ")[0]) from error
    except Exception as error:
        raise PromiseBroken(promise, f"{type(error).__name__}: {error}") from error


def _first_of(error: BaseException) -> BaseException:
    """What went wrong in a task group, instead of that something did."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def proves(promise: Promise) -> Callable[[Callable[_P, _T]], Callable[_P, _T]]:
    """Make the failures of a test, of whatever kind, speak of the promise that it proves, and the
    test name it as its ``promise``."""

    def decorate(test: Callable[_P, _T]) -> Callable[_P, _T]:
        @functools.wraps(test)
        def told(*args: _P.args, **kwargs: _P.kwargs) -> _T:
            with _told_as(promise):
                return test(*args, **kwargs)

        told.__dict__["promise"] = promise  # docs/reference-promises.md is made of these
        return told

    return decorate
