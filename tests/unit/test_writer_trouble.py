"""The writer when the store or Traefik fails, or somebody else writes."""

from __future__ import annotations

import logging

import anyio
import anyio.lowlevel
import pytest

from traefikhub.metrics import Health
from traefikhub.rules import record_name
from traefikhub.stores import (
    Batch,
    Document,
    FencedError,
    Key,
    RecordRefused,
    Snapshot,
    StoreCorrupt,
)
from traefikhub.stores import StoreUnavailable as Unavailable
from traefikhub.table import Route
from traefikhub.traefik import NotLive
from traefikhub.writer import WriterClosed
from unit.memory_store import Gate, MemoryStore, route, running_hub, settle, spec

pytestmark = pytest.mark.anyio


async def test_a_store_that_fails_fails_every_caller_of_the_batch_and_a_retry_works() -> None:
    async with running_hub() as hub:
        hub.store.refusals = [Unavailable("down")]
        callers = [hub.begin_to_add(name) for name in ("mary", "john")]
        await settle()
        errors = [caller.error for caller in callers]
        assert [type(error) for error in errors] == [Unavailable, Unavailable]
        assert errors[0] is not errors[1]  # each gets a traceback of its own
        assert hub.store.records == {}
        assert hub.live.asked == []
        assert dict(await hub.writer.routes()) == {}
        await hub.add("mary")
        assert hub.targets() == {"g_user_mary": "http://10.0.0.1:1"}


async def test_a_failed_change_of_a_route_leaves_the_earlier_one() -> None:
    async with running_hub() as hub:
        await hub.add("mary", "http://10.0.0.1:1")
        hub.store.refusals = [RecordRefused("no"), RecordRefused("no")]
        with pytest.raises(RecordRefused):
            await hub.add("mary", "http://10.0.0.2:2")
        with pytest.raises(RecordRefused):
            await hub.delete("mary")
        assert dict(await hub.writer.routes()) == {spec("mary"): route("mary")}
        await hub.delete("mary")
        assert hub.store.records == {}


async def test_a_lost_answer_is_cleared_up_by_the_next_change() -> None:
    async with running_hub() as hub:
        hub.store.lost_answers = [Unavailable("answer lost")]
        with pytest.raises(Unavailable):
            await hub.add("mary")
        assert hub.targets() == {"g_user_mary": "http://10.0.0.1:1"}
        await hub.add("john")
        # "It is in the store whole or not at all" - here it is taken back, as its caller was told.
        assert hub.targets() == {"x_user_john": "http://10.0.0.1:1"}
        assert dict(await hub.writer.routes()) == {spec("john"): route("john")}


async def test_a_lost_answer_and_a_retry_make_the_route_live() -> None:
    async with running_hub() as hub:
        hub.store.lost_answers = [Unavailable("answer lost")]
        with pytest.raises(Unavailable):
            await hub.add("mary")
        await hub.add("mary")
        assert hub.live.asked == [hub.store.generation]
        assert hub.targets() == {"g_user_mary": "http://10.0.0.1:1"}
        await hub.delete("mary")
        assert hub.store.records == {}


async def test_a_lost_answer_to_a_delete_never_brings_half_a_route_back() -> None:
    async with running_hub() as hub:
        await hub.add("mary")
        complete = dict(hub.store.records)
        hub.store.lost_answers = [Unavailable("answer lost")]
        with pytest.raises(Unavailable):
            await hub.delete("mary")
        await hub.writer.repair()
        assert hub.store.records == complete


async def test_a_store_that_stays_down_fails_each_call_and_comes_back() -> None:
    async with running_hub() as hub:
        hub.store.refusals = [Unavailable("down")]
        hub.store.load_errors = [Unavailable("still down")]
        for _ in range(2):
            with pytest.raises(Unavailable):
                await hub.add("mary")
        await hub.add("mary")
        assert hub.targets().keys() == {"g_user_mary"}


@pytest.mark.parametrize(
    "bad",
    [
        Route("no form", "http://10.0.0.1:1", {}),
        Route(spec("bad"), "http://\ud800:1", {}),
        Route(spec("bad"), "http://10.0.0.1:1", {"a": float("nan")}),
    ],
    ids=["no-rule", "no-text", "no-json"],
)
async def test_a_route_that_no_record_can_hold_spoils_nothing(bad: Route) -> None:
    async with running_hub() as hub:
        with pytest.raises(ValueError, match=r"."):
            await hub.writer.change(bad.routespec, bad)
        await hub.add("john")
        assert hub.targets().keys() == {"x_user_john"}
        assert dict(await hub.writer.routes()) == {spec("john"): route("john")}
        await hub.writer.repair()
        assert len(hub.store.applied) == 1


async def test_when_the_store_fails_nobody_asks_traefik_any_longer() -> None:
    async with running_hub() as hub:
        hub.live.gate.close()
        hub.store.applying.close()
        caller = hub.begin_to_add("mary")
        await hub.live.until_asked(1)
        assert hub.live.waiting == [1]
        hub.store.refusals = [Unavailable("down")]
        hub.store.applying.open()
        await settle()
        assert isinstance(caller.error, Unavailable)
        assert hub.live.waiting == []


async def test_the_store_s_error_is_told_rather_than_traefik_s() -> None:
    async with running_hub() as hub:
        hub.store.applying.close()
        hub.live.failures = [NotLive("generation 1")]
        caller = hub.begin_to_add("mary")
        await hub.live.until_asked(1)
        assert caller.waits
        hub.store.refusals = [Unavailable("down")]
        hub.store.applying.open()
        await settle()
        assert isinstance(caller.error, Unavailable)
        assert dict(await hub.writer.routes()) == {}


async def test_an_answer_about_a_lost_generation_makes_nothing_live() -> None:
    async with running_hub() as hub:
        hub.store.lost_answers = [Unavailable("answer lost")]
        with pytest.raises(Unavailable):
            await hub.add("mary")  # Traefik shows it all the same
        hub.live.gate.close()
        caller = hub.begin_to_add("mary")
        await hub.live.until_asked(2)
        assert hub.live.waiting == [2]
        assert caller.waits


# --- Traefik is late ---------------------------------------------------------------------------


async def test_a_route_that_is_not_live_in_time_is_kept_and_asked_for_again() -> None:
    async with running_hub() as hub:
        hub.live.failures = [NotLive("generation 1")]
        with pytest.raises(NotLive):
            await hub.add("mary")
        assert hub.targets().keys() == {"g_user_mary"}
        hub.live.gate.close()
        caller = hub.begin_to_add("mary")
        await settle()
        assert caller.waits
        hub.live.gate.open()
        await settle()
        assert caller.returned
        assert len(hub.store.applied) == 1
        assert hub.live.asked == [1, 1]


async def test_a_route_that_was_not_live_waits_also_while_another_is_on_its_way() -> None:
    async with running_hub() as hub:
        hub.live.failures = [NotLive("generation 1")]
        with pytest.raises(NotLive):
            await hub.add("mary")
        hub.live.gate.close()
        hub.begin_to_add("john")
        await settle()
        caller = hub.begin_to_add("mary")
        await settle()
        assert caller.waits
        hub.live.gate.open()
        await settle()
        assert caller.returned


async def test_a_deleted_route_that_was_not_gone_in_time_is_asked_for_again() -> None:
    async with running_hub() as hub:
        await hub.add("mary")
        hub.live.failures = [NotLive("generation 2")]
        with pytest.raises(NotLive):
            await hub.delete("mary")
        await hub.delete("mary")
        assert hub.live.asked == [1, 2, 2]


async def test_everybody_in_a_batch_that_is_not_live_is_told() -> None:
    async with running_hub() as hub:
        hub.live.failures = [NotLive("generation 1")]
        callers = [hub.begin_to_add(name) for name in ("mary", "john")]
        await settle()
        assert [type(caller.error) for caller in callers] == [NotLive, NotLive]


# --- somebody else writes ----------------------------------------------------------------------


async def test_drift_is_seen_told_and_repaired(caplog: pytest.LogCaptureFixture) -> None:
    async with running_hub() as hub:
        await hub.add("mary")
        complete = dict(hub.store.records)
        hub.store.records = {Key("http/routers", "stranger"): {"rule": "x"}}
        with caplog.at_level(logging.WARNING):
            assert dict(await hub.writer.routes()) == {}
        assert "something else changed them" in caplog.text
        await hub.writer.repair()
        assert hub.store.records == complete
        assert hub.live.asked == [1, 2]
        assert dict(await hub.writer.routes()) == {spec("mary"): route("mary")}


async def test_drift_that_was_seen_makes_a_repeated_add_write() -> None:
    async with running_hub() as hub:
        await hub.add("mary")
        hub.store.records.clear()
        await hub.writer.routes()
        await hub.add("mary")
        assert hub.targets().keys() == {"g_user_mary"}


async def test_without_drift_a_repair_writes_nothing() -> None:
    async with running_hub() as hub:
        await hub.add("mary")
        await hub.writer.routes()
        await hub.writer.repair()
        assert len(hub.store.applied) == 1


async def test_a_generation_written_by_another_is_counted_on_from() -> None:
    async with running_hub() as hub:
        await hub.add("mary")
        hub.store.generation = 90
        await hub.writer.routes()
        await hub.add("john")
        assert hub.store.generation == 91


async def test_a_broken_store_costs_no_route(caplog: pytest.LogCaptureFixture) -> None:
    async with running_hub() as hub:
        await hub.add("mary")
        complete = dict(hub.store.records)
        hub.store.records.clear()
        hub.store.load_errors = [StoreCorrupt("line 3")]
        assert dict(await hub.writer.routes()) == {spec("mary"): route("mary")}
        assert "line 3" in caplog.text
        await hub.writer.repair()
        assert hub.store.records == complete


async def test_a_store_that_cannot_be_read_is_told_to_the_caller() -> None:
    async with running_hub() as hub:
        hub.store.load_errors = [Unavailable("down")]
        with pytest.raises(Unavailable, match="down"):
            await hub.writer.routes()


async def test_a_remembered_record_of_an_older_release_is_replaced() -> None:
    store = MemoryStore()
    stranger: Document = {"anything": True}
    store.records[Key("http/routers", "old__style")] = stranger
    store.generation = 5
    async with running_hub(store):
        assert store.records == {}
        assert store.generation == 6


async def test_a_fenced_writer_says_so_once_and_fails_every_call(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with running_hub() as hub:
        await hub.add("mary")
        hub.store.refusals = [FencedError("another hub")]
        for _ in range(2):
            with pytest.raises(FencedError, match="another hub"):
                await hub.add("john")
        # What mary's route is now, and whether anne has one, is for another Hub to say.
        with pytest.raises(FencedError, match="another hub"):
            await hub.add("mary")
        with pytest.raises(FencedError, match="another hub"):
            await hub.delete("anne")
        assert caplog.text.count("another hub") == 1
        assert hub.targets().keys() == {"g_user_mary"}


async def test_a_writer_that_is_fenced_by_a_repair_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """While a change waits for Traefik, which is the other Hub's."""
    async with running_hub() as hub:
        await hub.add("mary")
        hub.live.gate.close()
        john = hub.begin_to_add("john")
        await settle()
        hub.store.records.clear()
        await hub.writer.routes()
        hub.store.refusals = [FencedError("another hub")]
        with pytest.raises(FencedError):
            await hub.writer.repair()
        assert hub.writer.standing().health is Health.FENCED
        assert caplog.text.count("no longer written") == 1
        hub.live.gate.open()
        await settle()
        assert john.error or john.returned


async def test_all_who_look_at_a_store_that_is_down_wait_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """And a change behind them no longer than they."""

    class Slow(MemoryStore):
        looks = 0
        down = Gate()

        async def load(self) -> Snapshot:
            self.looks += 1
            await self.down.pass_through()
            return await super().load()

    async with running_hub(Slow()) as hub:
        await hub.add("mary")
        assert isinstance(hub.store, Slow)
        hub.store.looks = 0
        hub.store.down.close()
        failures: list[Exception] = []

        async def look() -> None:
            try:
                await hub.writer.routes()
            except Unavailable as error:
                failures.append(error)

        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(look)
            await settle()
            tasks.start_soon(look)
            john = hub.begin_to_add("john")
            await settle()
            hub.store.load_errors = [Unavailable("down")]
            hub.store.down.open()
        assert hub.store.looks == 1
        assert len(failures) == len({id(error) for error in failures}) == 21
        await settle()
        assert isinstance(john.error, Unavailable)


async def test_who_looks_with_others_may_go_away() -> None:
    class Slow(MemoryStore):
        down = Gate()

        async def load(self) -> Snapshot:
            await self.down.pass_through()
            return await super().load()

    async with running_hub(Slow()) as hub:
        await hub.add("mary")
        assert isinstance(hub.store, Slow)
        hub.store.down.close()
        found: list[object] = []

        async def look(scope: anyio.CancelScope) -> None:
            with scope:
                found.append(await hub.writer.routes())

        first, second = anyio.CancelScope(), anyio.CancelScope()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(look, first)
            await settle()
            tasks.start_soon(look, second)
            await settle()
            first.cancel()
            await settle()
            assert first.cancelled_caught
            hub.store.down.open()
        assert found == [{spec("mary"): route("mary")}]


async def test_what_was_stored_before_the_store_failed_is_not_told_as_failed() -> None:
    """One route of a burst is refused, and in the midst of sorting it out the store goes down."""

    class Picky(MemoryStore):
        left = 1

        async def apply(self, batch: Batch) -> None:
            if any("bad" in key.name for key in batch.puts):
                raise RecordRefused("no bad names here")
            if not self.left:
                raise Unavailable("down")
            self.left -= 1
            await super().apply(batch)

    async with running_hub(Picky()) as hub:
        names = ["u1", "u2", "u3", "bad", "u4", "u5"]
        callers = {name: hub.begin_to_add(name) for name in names}
        while any(caller.waits for caller in callers.values()):
            await settle()
        stored = {name for name in names if record_name(spec(name)) in hub.targets()}
        assert stored == {name for name, caller in callers.items() if caller.returned}
        assert 0 < len(stored) < len(names) - 1
        failed = {type(callers[name].error) for name in {*names} - stored}
        assert failed <= {Unavailable, RecordRefused}
        assert Unavailable in failed


async def test_a_repair_after_the_end_is_refused_not_waited_for() -> None:
    async with running_hub() as hub:
        await hub.add("mary")
        hub.store.records.clear()
        await hub.writer.routes()
        await hub.writer.aclose()
        with anyio.fail_after(5), pytest.raises(WriterClosed):
            await hub.writer.repair()


async def test_routes_that_cannot_be_stored_do_not_take_the_others_along() -> None:
    class Picky(MemoryStore):
        async def apply(self, batch: Batch) -> None:
            if any("bad" in key.name for key in batch.puts):
                raise RecordRefused("no bad names here")
            await super().apply(batch)

    async with running_hub(Picky()) as hub:
        names = [*(f"u{number}" for number in range(60)), "bad1", "bad2"]
        callers = {name: hub.begin_to_add(name) for name in names}
        while any(caller.waits for caller in callers.values()):
            await settle()
        refused = {name for name, caller in callers.items() if caller.error is not None}
        assert refused == {"bad1", "bad2"}
        assert isinstance(callers["bad1"].error, RecordRefused)
        assert hub.targets().keys() == {record_name(spec(f"u{number}")) for number in range(60)}
        assert len(hub.store.applied) < 10
        assert hub.live.waiting == []


async def test_a_look_that_was_cancelled_hides_no_drift() -> None:
    """A store may tell a difference but once."""

    class TellsOnce(MemoryStore):
        told = False

        async def load(self) -> Snapshot:
            self.told = True
            found = await super().load()
            await anyio.lowlevel.checkpoint()
            return found

        async def intact(self) -> bool:
            return self.told

    async with running_hub(TellsOnce()) as hub:
        await hub.add("mary")
        complete = dict(hub.store.records)
        hub.store.records.clear()
        assert isinstance(hub.store, TellsOnce)
        hub.store.told = False
        with anyio.CancelScope() as scope:
            hub.store.on_load = scope.cancel
            await hub.writer.routes()
        assert scope.cancelled_caught
        hub.store.on_load = lambda: None
        assert dict(await hub.writer.routes()) == {}
        await hub.writer.repair()
        assert hub.store.records == complete


async def test_a_store_that_is_broken_when_a_lost_answer_is_looked_into() -> None:
    async with running_hub() as hub:
        await hub.add("mary")
        hub.store.lost_answers = [Unavailable("no answer")]
        with pytest.raises(Unavailable):
            await hub.add("john")
        hub.store.load_errors = [StoreCorrupt("line 3")]
        await hub.add("ann")
        assert hub.targets().keys() >= {record_name(spec("ann")), record_name(spec("mary"))}


async def test_a_generation_that_is_gone_is_written_again() -> None:
    async with running_hub() as hub:
        await hub.add("mary")
        await hub.add("john")
        hub.store.generation = 0  # the marker alone was deleted by hand
        await hub.writer.routes()
        await hub.writer.repair()
        assert hub.store.generation == 3
        assert hub.live.asked[-1] == 3


async def test_a_refusal_in_the_midst_of_a_batch_is_looked_into() -> None:
    """A server may take less at once than its option says, and find out late."""
    async with running_hub() as hub:
        hub.store.lost_answers = [RecordRefused("too large")]
        with pytest.raises(RecordRefused):
            await hub.add("mary")
        await hub.delete("mary")
        assert hub.targets() == {}


async def test_what_a_batch_waits_for_is_written_while_it_waits() -> None:
    """Somebody deleted all after it was stored: Traefik can't show it before that is repaired."""
    async with running_hub() as hub:
        await hub.add("mary")
        hub.live.gate.close()
        john = hub.begin_to_add("john")
        await settle()
        hub.store.records.clear()
        hub.store.generation = 0
        await hub.writer.routes()
        async with anyio.create_task_group() as group:
            group.start_soon(hub.writer.repair)
            await settle()
            assert set(hub.targets()) == {record_name(spec(name)) for name in ("mary", "john")}
            hub.live.gate.open()
        assert john.error is None


async def test_what_traefik_never_showed_is_looked_into_before_the_next_change() -> None:
    async with running_hub() as hub:
        await hub.add("mary")
        hub.live.failures = [NotLive("somebody deleted it")]
        with pytest.raises(NotLive):
            await hub.add("john")
        hub.store.records.clear()
        hub.store.generation = 0
        await hub.add("ada")
        assert set(hub.targets()) == {record_name(spec(n)) for n in ("mary", "john", "ada")}
