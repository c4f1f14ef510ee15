"""What every store promises, and which tests of the conformance suite prove it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from traefikhub.testing import Promise, RouteStoreConformance, ServerStoreConformance


def promises_page() -> str:
    """As Markdown: a heading for each promise, a table of its tests."""
    return "\n".join(line for promise in Promise for line in _promise(promise))


def tests_of(promise: Promise) -> dict[str, Callable[..., object]]:
    """The tests that prove it, by name, in the order in which they are written."""
    return {
        name: test
        for cls in reversed(ServerStoreConformance.__mro__)
        for name, test in vars(cls).items()
        if name.startswith("test_") and getattr(test, "promise", None) is promise
    }


def _promise(promise: Promise) -> Iterator[str]:
    name = promise.name.replace("_", " ").lower()
    yield f"(promise-{promise.number})="
    yield f"## {promise.number}. {name.capitalize()}\n"
    yield f"It promises: {promise.meaning}.\n"
    yield "| test | put to |"
    yield "| --- | --- |"
    for test in tests_of(promise):
        every = hasattr(RouteStoreConformance, test)
        yield f"| `{test}` | {'every store' if every else 'stores with a server'} |"
    yield ""
