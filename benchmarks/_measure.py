"""Everything that is measured of one contestant, from an empty store to ten thousand routes."""

from __future__ import annotations

import http.client
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks._backend import Backend, Missing, free_ports, page
from benchmarks._changes import measure_burst, measure_changes, measure_served, measure_stalls
from benchmarks._child import HubFailed, HubProcess
from benchmarks._contestants import Contestant, Place
from benchmarks._echo import messages_per_second
from benchmarks._load import put_load_on
from benchmarks._plan import Plan
from benchmarks._results import Results, percentile
from benchmarks._routes import path_of, spec_of
from benchmarks._servers import opened_server
from benchmarks._subject import NEW_USERS, Subject

__all__ = ["measure", "opened_place"]

_HUB_PAGE = "/hub/login"


def measure(contestant: Contestant, plan: Plan, backend: Backend, results: Results) -> None:
    """Measure one contestant; results are there as far as it came, also after an error.

    Raises:
        Missing: something isn't installed.
        UnsupportedByProxy: the installed version can't do it.
        HubFailed: it doesn't work.
    """
    contestant.check()
    with opened_place(contestant) as place:
        with HubProcess(contestant.python, place.directory, contestant.programs) as hub:
            subject = Subject(contestant, plan, place, backend, hub, results)
            remembers = subject.start()["remembers"]
            for size in plan.sizes:
                _measure_size(subject, size)
            hub.ask("stop")
        if not contestant.load_only:
            with HubProcess(contestant.python, place.directory, contestant.programs) as hub:
                subject.hub = hub
                with subject.tried("cold start"):
                    _measure_cold_start(subject, remembers=remembers)


@contextmanager
def opened_place(contestant: Contestant) -> Iterator[Place]:
    """Free ports, an empty directory, and the store's server."""
    with (
        tempfile.TemporaryDirectory(prefix="traefikhub-bench-") as directory,
        opened_server(contestant.server) as server,
    ):
        public, api = (f"http://127.0.0.1:{port}" for port in free_ports(2))
        yield Place(Path(directory), public, api, server)


def _measure_size(subject: Subject, size: int) -> None:
    subject.fill(size)
    if wrong := subject.count_wrong():
        raise HubFailed(f"with {size} routes, {wrong} of 40 users don't reach their servers")
    subject.record("memory", hub=subject.hub.hub_mib(), proxy=subject.hub.proxy_mib())
    _measure_load(subject)
    if subject.contestant.load_only:
        return
    plan = subject.plan
    if size in plan.messages_at:
        _measure_messages(subject)
    with subject.tried("get_all_routes"):
        _measure_list(subject)
    measure_changes(subject)
    if plan.served:
        measure_served(subject)
    if size in plan.stalls_at:
        measure_stalls(subject)
    if size == plan.sizes[0]:
        measure_burst(subject)


def _measure_load(subject: Subject) -> None:
    plan, directory = subject.plan, subject.place.directory
    users = [path_of(number) for number in range(subject.routes)]
    for what, paths in (("user requests", users), ("hub requests", [_HUB_PAGE])):
        try:
            if what == "user requests" and subject.routes in plan.warm_up_at:
                put_load_on(subject.port, paths, 1, directory)
            load = put_load_on(subject.port, paths, plan.load, directory)
        except Missing as missing:
            subject.results.missing["requests/s"] = str(missing)
            return
        subject.record(
            what, per_second=load.per_second, p50=load.p50, p99=load.p99, errors=load.errors
        )
    subject.record("memory under load", proxy=subject.hub.proxy_mib())


def _measure_messages(subject: Subject) -> None:
    room = {"first": NEW_USERS, "count": 1, "at_once": 1}
    target = subject.backend.url(subject.backend.echo)
    subject.hub.ask("change", what="add", target=target, **room)
    subject.hub.settle()
    path = f"{spec_of(NEW_USERS)}api/kernels/channels"
    per_second, latencies = messages_per_second(subject.port, path, subject.plan.load)
    subject.record(
        "websocket",
        per_second=per_second,
        p50=1e3 * statistics.median(latencies),
        p99=1e3 * percentile(latencies, 0.99),
    )
    subject.hub.ask("change", what="delete", target=target, **room)
    subject.hub.settle()


def _measure_list(subject: Subject) -> None:
    answers: list[dict[str, Any]] = []
    deadline = time.monotonic() + subject.plan.budget
    while len(answers) < 10 and (len(answers) < 3 or time.monotonic() < deadline):
        answers.append(subject.hub.ask("list", watch=False))
    if answers[-1]["routes"] != subject.routes + 1:
        raise HubFailed(f"get_all_routes has {answers[-1]['routes']} of {subject.routes + 1}")
    subject.record(
        "get_all_routes",
        p50=1e3 * statistics.median(answer["seconds"] for answer in answers),
        cpu=1e3 * statistics.median(answer["cpu"] for answer in answers),
    )


def _measure_cold_start(subject: Subject, *, remembers: bool) -> None:
    """From the start of the proxy in a new Hub until the last user is served."""
    started = time.perf_counter()
    answer = subject.start()
    note = ""
    if not remembers:
        note = "it has no memory: the Hub adds every route again"
        added = subject.hub.ask(
            "fill",
            first=0,
            count=subject.routes,
            target=subject.backend.url(subject.backend.user),
        )
        answer["cpu"] += added["cpu"]
    connection = http.client.HTTPConnection("127.0.0.1", subject.port, timeout=30)
    served = {subject.backend.user, subject.backend.moved}
    while page(connection, path_of(subject.routes - 1)) not in served:
        if time.perf_counter() - started > 300:
            raise HubFailed("cold start: the last user is not served")
        time.sleep(0.01)
    connection.close()
    subject.record(
        "cold start",
        note=note,
        seconds=time.perf_counter() - started,
        cpu=1e3 * answer["cpu"],
        stall=1e3 * answer["stall"],
        stall_busy=1e3 * answer["stall_busy"],
        hub=subject.hub.hub_mib(),
    )
