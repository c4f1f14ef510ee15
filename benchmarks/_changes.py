"""Changes of the routing table: how long the Hub waits for them, and when users see them."""

from __future__ import annotations

import http.client
import statistics
import time
from typing import Any, Final

from benchmarks._backend import page
from benchmarks._child import HubFailed
from benchmarks._results import percentile
from benchmarks._routes import path_of
from benchmarks._subject import NEW_USERS, Subject

__all__ = ["CHANGES", "measure_burst", "measure_changes", "measure_served", "measure_stalls"]

CHANGES: Final = ("add", "update", "delete")


def measure_changes(subject: Subject) -> None:
    """Latency and the Hub's computing time of each kind of change, by calls in flight."""
    plan = subject.plan
    for at_once in plan.at_once[subject.routes]:
        # At least one call for each in flight must end.
        expected = subject.expected("add", at_once)
        if expected > plan.limit or (at_once > 1 and subject.is_late and expected > 1):
            for what in CHANGES:
                subject.leave_out(
                    what, at_once, sum(subject.expected(each, at_once) for each in CHANGES)
                )
            continue
        added = max(plan.calls, 2 * at_once)
        for what in CHANGES:
            limits = {"budget": plan.budget, "least": plan.least} if what != "delete" else {}
            answer = _change(subject, what, added, at_once, **limits)
            each_ms = [1e3 * seconds for seconds in answer["each"]]
            count = len(each_ms)
            if what == "add":
                added = count  # all of them are deleted, whatever time that takes
            subject.pace[what, subject.routes, at_once] = answer["seconds"] / count
            subject.record(
                what,
                at_once,
                p50=statistics.median(each_ms),
                p99=percentile(each_ms, 0.99),
                calls=count,
                per_second=count / answer["seconds"],
                cpu=1e3 * answer["cpu"] / count,
            )
            subject.hub.settle()


def measure_burst(subject: Subject) -> None:
    """Many new routes, all at once."""
    count = subject.plan.burst
    expected = subject.expected("add", count)
    if expected > 6 * subject.plan.limit:
        subject.leave_out("burst", count, expected)
        return
    answer = _change(subject, "add", count, count, watch=True)
    subject.record(
        "burst",
        count,
        seconds=answer["seconds"],
        cpu=1e3 * answer["cpu"],
        stall=1e3 * answer["stall"],
        stall_busy=1e3 * answer["stall_busy"],
    )
    subject.hub.settle()
    _change(subject, "delete", count, 100)
    subject.hub.settle()


def measure_stalls(subject: Subject) -> None:
    """For how long each operation holds the event loop. Runs by itself: to look costs time."""
    at_once = 10 if subject.expected("add", 10) < subject.plan.limit / 3 else 1
    for what in CHANGES:
        answer = _change(subject, what, at_once, at_once, watch=True)
        _record_stall(subject, what, at_once, answer)
        subject.hub.settle()
    with subject.tried("stall in get_all_routes"):
        _record_stall(subject, "get_all_routes", 1, subject.hub.ask("list", watch=True))
    with subject.tried("stall in get_route"):
        _record_stall(subject, "get_route", 1, subject.hub.ask("get", number=0))


def _record_stall(subject: Subject, what: str, at_once: int, answer: dict[str, Any]) -> None:
    subject.record(
        f"stall in {what}",
        at_once,
        stall=1e3 * answer["stall"],
        stall_busy=1e3 * answer["stall_busy"],
    )


def measure_served(subject: Subject) -> None:
    """From the call until a request through the proxy shows the change; the call itself may end
    earlier, or later."""
    ports = dict(zip(CHANGES, (subject.backend.user, subject.backend.moved), strict=False))
    ports["delete"] = subject.backend.hub  # the Hub answers for users who have no server
    if subject.is_late:
        for what in CHANGES:
            subject.leave_out(f"{what} until served", 1, subject.expected(what, 1))
        return
    took: dict[str, list[float]] = {what: [] for what in CHANGES}
    deadline = time.monotonic() + 3 * subject.plan.budget
    for number in range(NEW_USERS, NEW_USERS + subject.plan.served):
        if took["delete"] and time.monotonic() > deadline:
            break
        for what in CHANGES:
            took[what].append(_until_served(subject, what, number, ports[what]))
            subject.hub.settle()
    for what, seconds in took.items():
        subject.record(
            f"{what} until served", p50=1e3 * statistics.median(seconds), calls=len(seconds)
        )


def _until_served(subject: Subject, what: str, number: int, port: int) -> float:
    target = subject.backend.url(port)
    connection = http.client.HTTPConnection("127.0.0.1", subject.port, timeout=10)
    path = path_of(number)
    page(connection, path)  # so that the connection is open
    deadline = time.monotonic() + 120
    started = time.perf_counter()
    subject.hub.begin("change", what=what, target=target, first=number, count=1, at_once=1)
    try:
        while page(connection, path) != port:
            if time.monotonic() > deadline:
                raise HubFailed(f"{what}: never served")
            time.sleep(0.0005)
        return time.perf_counter() - started
    finally:
        connection.close()
        subject.hub.finish("change")


def _change(subject: Subject, what: str, count: int, at_once: int, **limits: Any) -> dict[str, Any]:
    port = subject.backend.user if what == "add" else subject.backend.moved
    return subject.hub.ask(
        "change",
        what=what,
        target=subject.backend.url(port),
        first=NEW_USERS,
        count=count,
        at_once=at_once,
        **limits,
    )
