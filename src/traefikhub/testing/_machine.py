"""Any sequence of batches, reopenings and take-overs, against a dict."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import anyio.from_thread
import hypothesis
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from traefikhub.stores import Batch, FencedError, Key, RecordRefused, RouteStore
from traefikhub.testing._documents import private_records, same, traefik_records
from traefikhub.testing._promises import Promise, PromiseBroken

__all__ = ["run_machine"]

_record = st.one_of(private_records(), traefik_records())


class StoreMachine(RuleBasedStateMachine):
    """One place, and every store that was ever opened there."""

    make_store: Callable[[str], RouteStore]
    new_prefix: Callable[[], str]

    def __init__(self) -> None:
        super().__init__()
        self._stack = ExitStack()
        self._run = self._stack.enter_context(anyio.from_thread.start_blocking_portal()).call
        self._abandoned: list[RouteStore] = []
        self._model: dict[Key, Any] = {}
        self._generation = 0

    @initialize()
    def open(self) -> None:
        """Begin in a place that nobody has used."""
        self._prefix = type(self).new_prefix()
        self._store = type(self).make_store(self._prefix)
        self._run(self._store.open)

    @rule(puts=st.lists(_record, max_size=6), data=st.data())
    def apply(self, puts: list[tuple[Key, Any]], data: st.DataObject) -> None:
        """A batch of random puts and deletes; a refusal must change nothing."""
        absent = [Key("jupyterhub/notes", "never"), Key("http/services", "never")]
        known = [*sorted(self._model), *absent]  # deleting what isn't there is no error
        deletes = data.draw(st.lists(st.sampled_from(known), max_size=4))
        documents = dict(puts)
        batch = Batch(self._generation + 1, documents, frozenset(deletes) - documents.keys())
        try:
            self._run(self._store.apply, batch)
        except RecordRefused:
            hypothesis.event("refused")
            return
        for key in batch.deletes:
            self._model.pop(key, None)
        for key, document in documents.items():
            self._model[key] = self._store.canonical(key, document)
        self._generation += 1

    @rule()
    def reopen(self) -> None:
        """Close, and open another on the same place."""
        self._run(self._store.close)
        self._store = type(self).make_store(self._prefix)
        self._run(self._store.open)

    @rule()
    def take_over(self) -> None:
        """Open another without a close, as after a crash."""
        self._abandoned.append(self._store)
        self._store = type(self).make_store(self._prefix)
        self._run(self._store.open)

    @rule(data=st.data())
    def write_as_a_former_owner(self, data: st.DataObject) -> None:
        """Whoever was taken over can't write any more."""
        if self._abandoned:
            former = data.draw(st.sampled_from(self._abandoned))
            batch = Batch(self._generation + 1, {Key("jupyterhub/notes", "former"): True})
            try:
                self._run(former.apply, batch)
            except FencedError:
                return
            raise PromiseBroken(Promise.FENCED, "a former owner's batch was applied")

    @invariant()
    def load_returns_the_model(self) -> None:
        """What was applied, to the owner and to a reader."""
        if not hasattr(self, "_store"):
            return
        reader = type(self).make_store(self._prefix)
        self._run(_open_reader, reader)
        try:
            for name, store in (("its owner", self._store), ("a reader", reader)):
                found = self._run(store.load)
                if found.generation != self._generation:
                    raise PromiseBroken(
                        Promise.READ_YOUR_WRITES,
                        f"load() by {name} gives generation {found.generation}, not "
                        f"{self._generation}",
                    )
                _compare(self._model, dict(found.records), name)
        finally:
            self._run(reader.close)

    def teardown(self) -> None:
        """Close every store."""
        try:
            for store in (*self._abandoned, *([self._store] if hasattr(self, "_store") else [])):
                self._run(store.close)
        finally:
            self._stack.close()


async def _open_reader(store: RouteStore) -> None:
    await store.open(read_only=True)


def _compare(expected: dict[Key, Any], found: dict[Key, Any], who: str) -> None:
    for key in expected.keys() | found.keys():
        if key not in found:
            raise PromiseBroken(Promise.READ_YOUR_WRITES, f"load() by {who} has lost {key}")
        if key not in expected:
            raise PromiseBroken(Promise.READ_YOUR_WRITES, f"load() by {who} invented {key}")
        if not same(expected[key], found[key]):
            raise PromiseBroken(
                Promise.READ_YOUR_WRITES,
                f"{key} was applied as {expected[key]!r} and read by {who} as {found[key]!r}",
            )


def run_machine(
    make_store: Callable[[str], RouteStore], new_prefix: Callable[[], str], how: settings
) -> None:
    """Run random histories.

    Raises:
        PromiseBroken: with the shortest history that breaks a promise.
    """
    machine = type(
        "StoreMachine",
        (StoreMachine,),
        {"make_store": staticmethod(make_store), "new_prefix": staticmethod(new_prefix)},
    )
    run_state_machine_as_test(
        machine,
        settings=settings(how, max_examples=25, stateful_step_count=12),
    )
