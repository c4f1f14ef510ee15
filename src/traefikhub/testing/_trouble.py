"""Promises 2, 5 and 6 where the server behind a store can be stopped, frozen and written to."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import pytest

from traefikhub.stores import Batch, Key, RouteStore, Snapshot, StoreError, StoreUnavailable
from traefikhub.testing._child import batch_of
from traefikhub.testing._hooks import Hooks, ServerControl
from traefikhub.testing._promises import Promise, proves
from traefikhub.testing._run import run
from traefikhub.threads import in_thread

__all__ = ["TroubleTests"]

_PATIENCE = 5
"""An operation ends within so many times the store's ``timeout``, plus a second."""


class TroubleTests(Hooks):
    """Down, frozen, restarted, full, refused, written to by others."""

    required_hooks = ("make_store", "run_server")

    def make_refused_store(self, prefix: str, server: Any) -> RouteStore | None:
        """A store with a wrong password or token; None if the server knows neither."""
        return None

    @classmethod
    @contextmanager
    def run_full_server(cls) -> Iterator[Any]:
        """A server that has room for a few records of ten thousand characters, and no more; None
        if there is no such thing."""
        yield None

    @proves(Promise.DURABLE)
    def test_a_server_killed_after_a_write_still_has_it(
        self, server: ServerControl, prefix: str
    ) -> None:
        """SIGKILL of the server right after the answer."""

        async def work() -> None:
            for generation in range(1, 4):
                async with self._prepared_store(prefix, server) as store:
                    await store.apply(batch_of(generation))
                    await in_thread(_restart, server)
                    await _until_it_answers(store)
                    assert await store.load() == Snapshot(batch_of(generation).puts, generation), (
                        f"generation {generation} is gone after a restart of the server"
                    )

        run(work)

    @proves(Promise.HONEST)
    @pytest.mark.parametrize("trouble", ["stopped", "frozen"])
    def test_trouble_is_told_in_bounded_time_and_ends_well(
        self, server: ServerControl, prefix: str, trouble: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Every operation fails as unavailable; afterwards a retry succeeds."""
        caplog.set_level(logging.DEBUG)
        begin, end = (
            (server.stop, server.start) if trouble == "stopped" else (server.pause, server.resume)
        )

        async def work() -> None:
            store = self._prepared_store(prefix, server)
            store.timeout = 2.0
            self._prepare_once(f"{prefix}x", server)
            async with store:
                await store.apply(batch_of(1))
                await in_thread(begin)
                try:
                    for name, operation in {
                        "load()": store.load,
                        "apply()": lambda: store.apply(batch_of(2)),
                        "open()": lambda: self._open_another(prefix, server),
                    }.items():
                        await self._fails(name, operation, store.timeout, trouble, server)
                finally:
                    await in_thread(end)
                await _until_it_answers(store)
                found = await store.load()
                assert found in (
                    Snapshot(batch_of(1).puts, 1),
                    Snapshot(batch_of(2).puts, 2),  # it was frozen, and has done it since
                ), f"half a batch after the server was {trouble}: {found}"
                await store.apply(batch_of(found.generation + 1))

        run(work)
        self._hold_no_secret(caplog.text, "the log")

    async def _open_another(self, prefix: str, server: ServerControl) -> None:
        other = self._prepared_store(f"{prefix}x", server)
        other.timeout = 2.0
        async with other:
            await other.load()

    async def _fails(
        self, name: str, operation: Any, timeout: float, trouble: str, server: ServerControl
    ) -> None:
        failure: BaseException | None = None
        with anyio.move_on_after(_PATIENCE * timeout + 1) as scope:
            try:
                await operation()
            except Exception as error:
                failure = error
        assert not scope.cancelled_caught, f"{name} hangs when the server is {trouble}"
        assert failure is not None, f"{name} reports success while the server is {trouble}"
        assert isinstance(failure, StoreUnavailable), (
            f"{name} raises {type(failure).__name__} instead of StoreUnavailable when the server "
            f"is {trouble}: {failure}"
        )
        assert self.place(server) in str(failure), (
            f"{name} doesn't name {self.place(server)!r} when the server is {trouble}: {failure}"
        )
        self._hold_no_secret(_all_of(failure), f"the error of {name}")

    @proves(Promise.HONEST)
    def test_wrong_credentials_are_told(
        self, server: ServerControl, prefix: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """As a StoreError that holds no secret. Stores without credentials have nothing to do."""
        caplog.set_level(logging.DEBUG)

        async def work() -> None:
            self._prepare_once(prefix, server)
            store = self.make_refused_store(prefix, server)
            if store is None:
                return
            try:
                async with store:
                    await store.apply(batch_of(1))
            except StoreError as error:
                self._hold_no_secret(_all_of(error), "the error")
            else:
                raise AssertionError("wrong credentials were accepted")

        run(work)
        self._hold_no_secret(caplog.text, "the log")

    @proves(Promise.HONEST)
    def test_a_server_without_room_is_told(self, prefix: str) -> None:
        """And what it had, it still gives. Servers without a limit have nothing to do."""

        async def work(server: Any) -> None:
            async with self._prepared_store(prefix, server) as store:
                failure: StoreError | None = None
                applied = 0
                while failure is None:
                    key = Key("jupyterhub/notes", f"n{applied + 1}")
                    try:
                        await store.apply(Batch(applied + 1, {key: "x" * 10_000}))
                    except StoreError as error:
                        failure = error
                    else:
                        applied += 1
                    assert applied < 10_000, "there was room for 10,000 large records"
                assert isinstance(failure, StoreUnavailable), (
                    f"a full server gives {type(failure).__name__}: {failure}"
                )
                self._hold_no_secret(_all_of(failure), "the error")
                found = await store.load()
                # The one that filled it may be stored all the same (etcd does so): unavailable
                # means that nobody knows.
                assert found.generation in (applied, applied + 1), "a full server lost what it had"
                assert len(found.records) == found.generation, "a full server has half a batch"

        with self.run_full_server() as full:
            if full is not None:
                run(lambda: work(full))

    def _hold_no_secret(self, text: str, where: str) -> None:
        for secret in self.secrets:
            assert secret not in text, f"{where} holds a secret"

    @proves(Promise.QUIET)
    def test_other_peoples_keys_are_left_alone(self, server: ServerControl, prefix: str) -> None:
        """Beside the prefix, and sharing its beginning."""
        foreign = {
            key: f"of {key}"
            for key in (f"{prefix}2/http/routers/x/rule", f"{prefix}-other", f"zz{prefix}/y")
        }
        for key, value in foreign.items():
            server.put(key, value)
        before = {k: v for k, v in server.dump().items() if not k.startswith(f"{prefix}/")}

        async def work() -> None:
            async with self._prepared_store(prefix, server) as store:
                await store.apply(batch_of(1))
                await store.apply(Batch(2, {}, frozenset(batch_of(1).puts)))

        run(work)
        after = {k: v for k, v in server.dump().items() if not k.startswith(f"{prefix}/")}
        assert after == before, "keys outside the prefix were touched"

    @proves(Promise.READ_YOUR_WRITES)
    def test_what_others_write_is_seen(self, server: ServerControl, prefix: str) -> None:
        """``load`` reads the server, not memory."""

        async def work() -> None:
            async with self._prepared_store(prefix, server) as store:
                await store.apply(batch_of(1))
                ours = [key for key in server.dump() if key.startswith(f"{prefix}/")]
                (path,) = (key for key in ours if key.endswith("jupyterhub/routes/r3"))
                server.put(path, '"by hand"')
                found = (await store.load()).records[Key("jupyterhub/routes", "r3")]
                assert found == "by hand", f"a key was changed by hand, load() returns {found!r}"

        run(work)


def _all_of(error: BaseException | None) -> str:
    """An error with all that led to it, as a log would show it."""
    return "".join(traceback.format_exception(error))


def _restart(server: ServerControl) -> None:
    server.stop()
    server.start()


async def _until_it_answers(store: RouteStore) -> None:
    with anyio.fail_after(60):
        while True:
            try:
                await store.load()
            except StoreUnavailable:
                await anyio.sleep(0.1)
            else:
                return
