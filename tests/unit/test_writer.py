"""Group commit: what a caller waits for, and what it costs."""

from __future__ import annotations

import pytest

from traefikhub.writer import WriterClosed
from unit.memory_store import MemoryStore, route, running_hub, settle, spec

pytestmark = pytest.mark.anyio


async def test_a_change_returns_when_it_is_live_not_before() -> None:
    async with running_hub() as hub:
        hub.live.gate.close()
        caller = hub.begin_to_add("mary")
        await settle()
        assert hub.targets() == {"g_user_mary": "http://10.0.0.1:1"}
        assert caller.waits
        hub.live.gate.open()
        await settle()
        assert caller.returned
        assert hub.live.asked == [hub.store.generation]


async def test_what_traefik_shows_counts_only_once_the_store_has_it_for_good() -> None:
    async with running_hub() as hub:
        hub.store.applying.close()
        caller = hub.begin_to_add("mary")
        await hub.live.until_asked(1)
        assert hub.live.waiting == []  # it was answered, while the store is busy
        assert caller.waits
        repeated = hub.begin_to_add("mary")
        await settle()
        assert repeated.waits
        hub.store.applying.open()
        await settle()
        assert caller.returned
        assert repeated.returned
        assert hub.live.asked == [1]


async def test_routes_can_be_read_while_traefik_is_asked() -> None:
    async with running_hub() as hub:
        hub.live.gate.close()
        caller = hub.begin_to_add("mary")
        await settle()
        assert dict(await hub.writer.routes()) == {spec("mary"): route("mary")}
        assert caller.waits


async def test_a_delete_returns_when_it_is_live_not_before() -> None:
    async with running_hub() as hub:
        await hub.add("mary")
        hub.live.gate.close()
        caller = hub.begin_to_delete("mary")
        await settle()
        assert hub.store.records == {}
        assert caller.waits
        hub.live.gate.open()
        await settle()
        assert caller.returned


async def test_a_burst_goes_out_in_few_batches() -> None:
    async with running_hub() as hub:
        callers = [hub.begin_to_add(f"u{number}") for number in range(500)]
        while any(caller.waits for caller in callers):
            await settle()
        assert all(caller.returned for caller in callers)
        assert len(hub.targets()) == 500
        assert len(hub.store.applied) <= 2


async def test_what_comes_while_a_batch_is_on_its_way_goes_out_as_one() -> None:
    async with running_hub() as hub:
        hub.live.gate.close()
        first = hub.begin_to_add("first")
        await settle()
        others = [hub.begin_to_add(f"u{number}") for number in range(50)]
        others.append(hub.begin_to_delete("first"))
        await settle()
        assert len(hub.store.applied) == 1
        hub.live.gate.open()
        while any(caller.waits for caller in others):
            await settle()
        assert first.returned
        assert all(caller.returned for caller in others)
        assert len(hub.store.applied) == 2
        assert hub.live.asked == [1, 2]
        assert "user_first" not in hub.targets()


async def test_the_last_change_of_a_route_in_a_batch_counts() -> None:
    async with running_hub() as hub:
        hub.store.applying.close()
        hub.begin_to_add("blocker")
        await settle()
        callers = [
            hub.begin_to_add("mary", "http://10.0.0.1:1"),
            hub.begin_to_delete("mary"),
            hub.begin_to_add("mary", "http://10.0.0.2:2"),
        ]
        await settle()
        hub.store.applying.open()
        await settle()
        assert all(caller.returned for caller in callers)
        assert hub.targets()["g_user_mary"] == "http://10.0.0.2:2"


async def test_a_change_that_says_nothing_new_writes_and_asks_nothing() -> None:
    async with running_hub() as hub:
        await hub.add("mary")
        asked = list(hub.live.asked)
        hub.live.gate.close()  # it would wait for ever
        await hub.add("mary")
        await hub.delete("absent")
        assert len(hub.store.applied) == 1
        assert hub.live.asked == asked


async def test_a_changed_target_or_changed_data_is_new() -> None:
    async with running_hub() as hub:
        await hub.writer.change(spec("mary"), route("mary", data=1))
        await hub.writer.change(spec("mary"), route("mary", data=2))
        await hub.writer.change(spec("mary"), route("mary", "http://10.0.0.2:2", data=2))
        assert len(hub.store.applied) == 3
        assert await hub.writer.routes() == {
            spec("mary"): route("mary", "http://10.0.0.2:2", data=2)
        }


async def test_a_repeated_change_that_is_still_on_its_way_waits_with_it() -> None:
    async with running_hub() as hub:
        hub.live.gate.close()
        first = hub.begin_to_add("mary")
        await settle()
        second = hub.begin_to_add("mary")
        await settle()
        assert second.waits
        hub.live.gate.open()
        await settle()
        assert first.returned
        assert second.returned
        assert len(hub.store.applied) == 1


async def test_a_settled_route_does_not_wait_for_somebody_elses_batch() -> None:
    async with running_hub() as hub:
        await hub.add("mary")
        hub.live.gate.close()
        other = hub.begin_to_add("john")
        await settle()
        await hub.add("mary")
        assert other.waits


async def test_a_caller_that_is_cancelled_does_not_cancel_the_others() -> None:
    async with running_hub() as hub:
        hub.store.applying.close()
        callers = [hub.begin_to_add(name) for name in ("mary", "john")]
        await settle()
        callers[0].scope.cancel()
        await settle()
        assert callers[0].scope.cancelled_caught
        hub.store.applying.open()
        await settle()
        assert callers[1].returned
        assert hub.targets().keys() == {"g_user_mary", "x_user_john"}


# --- start and end -----------------------------------------------------------------------------


async def test_a_restarted_hub_has_its_routes_and_writes_nothing() -> None:
    store = MemoryStore()
    async with running_hub(store) as hub:
        await hub.add("mary")
        await hub.add("john")
        routes = dict(await hub.writer.routes())
    async with running_hub(store) as hub:
        assert dict(await hub.writer.routes()) == routes
        assert hub.writer.generation == 2
        await hub.writer.wait_live()
        await hub.add("mary")
    assert len(store.applied) == 2


async def test_restoring_writes_what_is_missing_without_waiting_for_traefik() -> None:
    store = MemoryStore()
    async with running_hub(store) as hub:
        await hub.add("mary")
    complete = dict(store.records)
    for key in complete:
        if key.section == "http/routers":
            del store.records[key]
    async with running_hub(store) as hub:
        assert store.records == complete
        assert hub.live.asked == []


async def test_waiting_for_what_is_live_already_asks_nothing() -> None:
    async with running_hub() as hub:
        await hub.add("mary")
        await hub.writer.wait_live()
        assert hub.live.asked == [1]


async def test_closing_fails_those_who_wait_and_those_who_come() -> None:
    async with running_hub() as hub:
        hub.live.gate.close()
        in_flight = hub.begin_to_add("mary")
        await settle()
        gathering = hub.begin_to_add("john")
        await settle()
        await hub.writer.aclose()
        await settle()
        assert isinstance(in_flight.error, WriterClosed)
        assert isinstance(gathering.error, WriterClosed)
        assert hub.live.waiting == []
        with pytest.raises(WriterClosed):
            await hub.add("late")
        await hub.writer.aclose()
        assert hub.targets().keys() == {"g_user_mary"}


async def test_closing_while_the_store_is_busy_leaves_no_question_behind() -> None:
    async with running_hub() as hub:
        hub.live.gate.close()
        hub.store.applying.close()
        caller = hub.begin_to_add("mary")
        await hub.live.until_asked(1)
        assert hub.live.waiting == [1]
        await hub.writer.aclose()
        await settle()
        assert isinstance(caller.error, WriterClosed)
        assert hub.live.waiting == []


async def test_a_change_before_the_start_is_refused() -> None:
    async with running_hub() as hub:
        await hub.writer.aclose()
        with pytest.raises(WriterClosed, match=r"start\(\)"):
            await hub.delete("mary")
