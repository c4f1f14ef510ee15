"""Several Traefiks as one: a change is live when each of them serves it that can be reached.

One that lags or is gone holds up a change for a bounded time, once. After that it doesn't count,
which is told, until it has caught up.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Final, NamedTuple, TypeVar

import anyio

from traefikhub.traefik._errors import ApiRejected, NotLive, TraefikError
from traefikhub.traefik.api import TraefikApi
from traefikhub.traefik.binary import Version
from traefikhub.traefik.endpoints import Endpoint, find_endpoints

__all__ = ["Replica", "ReplicaStanding", "Replicas"]

_T = TypeVar("_T")

_SETTING: Final = "c.TraefikProxy.traefik_api_url"
_LOOKUP_PAUSE: Final = 0.5
_STEADY_SECONDS: Final = 60.0


class Replica:
    """One Traefik, as it is known at the moment.

    name: its URL, with the address in the place of a name.
    api: for those who wait for a generation.
    aside: the same API on a connection of its own, for looks meanwhile.
    counts: whether a change is live only when this one serves it.
    has_counted: whether it ever did.
    reached: whether it answered the last question.
    gone: whether nothing listened there then: no request goes through it.
    served: the newest generation that it was seen to serve; 0 for none.
    version: None if it never told.
    told: the kind of trouble that was told of it since it last counted, and whether it answered.
    since: when it was found, or began or ceased to count; of ``time.monotonic``.
    relapses: how often in a row it ceased to count soon after it had begun to.
    well_since: from when on it serves all while it doesn't count; None if it doesn't.
    left: cancelled when it is no longer among those that are configured.
    """

    def __init__(self, endpoint: Endpoint, make_api: Callable[[Endpoint], TraefikApi]) -> None:
        self.endpoint = endpoint
        self.name = endpoint.shown.rstrip("/")
        self.api = make_api(endpoint)
        self.aside = make_api(endpoint)
        self.counts = False
        self.has_counted = False
        self.reached = False
        self.served = 0
        self.version: Version | None = None
        self.told: tuple[type[Exception], bool] | None = None
        self.gone = False
        self.since = time.monotonic()
        self.relapses = 0
        self.well_since: float | None = None
        self.left = anyio.CancelScope()

    def begin(self) -> None:
        """It counts."""
        self.counts = self.reached = self.has_counted = True
        self.gone, self.told, self.well_since = False, None, None
        self.since = time.monotonic()

    def cease(self) -> None:
        """It counts no longer."""
        now = time.monotonic()
        self.relapses = self.relapses + 1 if now - self.since < _STEADY_SECONDS else 0
        self.counts, self.since = False, now

    def missed(self, error: Exception) -> None:
        """It did not answer a question."""
        self.reached = False
        self.gone = isinstance(error.__cause__, ConnectionRefusedError)

    @property
    def is_steady(self) -> bool:
        """Whether it was well for long enough: one that counts for moments again and again would
        hold up changes each time."""
        needed = min(2.0**self.relapses - 1, _STEADY_SECONDS)
        return self.well_since is not None and time.monotonic() - self.well_since >= needed

    def close(self) -> None:
        """Close its connections, and end what goes on for it."""
        self.left.cancel()
        self.api.close()
        self.aside.close()


class ReplicaStanding(NamedTuple):
    """How a ``Replica`` stands."""

    name: str
    counts: bool
    served: int


class Replicas:
    """All the Traefiks that serve one Hub.

    Args:
        urls: of their APIs. A name that has several addresses stands for as many Traefiks.
        make_api: how to ask one.
        patience: seconds for which one that is late holds up what another one has done.
        log: where it is told who counts.

    live: the newest generation that was found live.
    """

    def __init__(
        self,
        urls: Sequence[str],
        make_api: Callable[[Endpoint], TraefikApi],
        *,
        patience: float,
        log: logging.Logger,
    ) -> None:
        self._urls = tuple(urls)
        self._make_api = make_api
        self.patience = patience
        self._log = log
        self._members: dict[str, Replica] = {}
        self._problems: tuple[str, ...] = ()
        self._changed = anyio.Event()
        self.live = 0

    @property
    def members(self) -> tuple[Replica, ...]:
        """All of them, whether they count or not."""
        return tuple(self._members.values())

    @property
    def counting(self) -> tuple[Replica, ...]:
        """Those that a change must be served by to be live."""
        return tuple(each for each in self._members.values() if each.counts)

    @property
    def _only(self) -> Replica | None:
        """The one that there is and will be, if so: to ask it alone is cheaper."""
        only = next(iter(self._members.values()), None)
        return only if len(self._urls) == 1 and only and not only.endpoint.address else None

    def standing(self) -> Sequence[ReplicaStanding]:
        """How each stands, for the metrics."""
        return [ReplicaStanding(each.name, each.counts, each.served) for each in self.members]

    def close(self) -> None:
        """Let go of all. Idempotent."""
        for replica in self._members.values():
            replica.close()
        self._members = {}

    # --- who there is ------------------------------------------------------------------------

    async def find(self) -> None:
        """Look up where they are now. Those of a name that can't be resolved stay as they are."""
        known = tuple(each.endpoint for each in self._members.values())
        endpoints, problems = await find_endpoints(self._urls, known)
        for each in problems:
            if each not in self._problems:
                self._log.warning("%s (%s)", each, _SETTING)
        if self._problems and not problems:
            self._log.info("All names in %s can be resolved again", _SETTING)
        self._problems = problems
        self._become({each.shown.rstrip("/"): each for each in endpoints})

    def _become(self, endpoints: Mapping[str, Endpoint]) -> None:
        begun = bool(self._members)
        for name in [each for each in self._members if each not in endpoints]:
            self._members.pop(name).close()
            self._log.info("Traefik at %s is no longer among those of %s", name, _SETTING)
        for name in endpoints:
            if name in self._members:
                continue
            self._members[name] = Replica(endpoints[name], self._make_api)
            if begun:
                self._log.info("Traefik at %s is new; it counts when it serves all routes", name)
        self._stir()

    def include(self, replica: Replica) -> None:
        """It serves all there is: from now on changes wait for it."""
        if replica.counts or self._members.get(replica.name) is not replica:
            return
        again = " again" if replica.has_counted else ""
        replica.begin()
        self._log.info(
            "Traefik at %s serves all routes%s (generation %d)", replica.name, again, replica.served
        )
        self._stir()

    def leave_out(self, replica: Replica, why: Exception | str) -> None:
        """From now on changes don't wait for it."""
        if replica.counts:
            replica.cease()
            self._tell(replica, why)
            self._stir()

    def late(self, replica: Replica, why: Exception) -> None:
        """One that doesn't count still can't. Told once of each kind, and not in its first
        moments."""
        kind = type(why), replica.reached
        if time.monotonic() - replica.since > self.patience and replica.told != kind:
            self._tell(replica, why)

    def _tell(self, replica: Replica, why: Exception | str) -> None:
        kind = type(why) if isinstance(why, Exception) else NotLive
        replica.told = kind, replica.reached
        self._log.warning(
            "Traefik at %s does not count: %s. %s",
            replica.name,
            why,
            "Until it serves all routes, changes don't wait for it, and a load balancer should "
            "lead nobody there"
            if self.counting
            else f"No other one does ({_SETTING}): changes fail until one serves all routes",
        )

    def _stir(self) -> None:
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    # --- what they are asked -----------------------------------------------------------------

    async def open(self, timeout: float) -> Mapping[str, Version]:
        """Find them, and ask each which version it is. Those that answer count from now on.

        Returns:
            By name, the versions of those that answered.

        Raises:
            NotLive: none answered in ``timeout`` seconds.
            ApiRejected: no credentials are accepted.
            TraefikUnusable: one is no release.
        """
        deadline = anyio.current_time() + timeout
        with anyio.move_on_at(deadline):
            await self.find()
            while not self._members:
                await anyio.sleep(_LOOKUP_PAUSE)
                await self.find()
        if not self._members:
            why = "; ".join(self._problems) or f"no name server answered within {timeout:g} s"
            raise NotLive(f"{why} ({_SETTING})")

        async def ask(replica: Replica) -> Version:
            left = max(round(deadline - anyio.current_time(), 1), 0.1)
            return await replica.api.version(timeout=left)

        versions, failures, _ = await self._ask(ask, lambda: self.members)
        if not versions:
            raise _together(failures)
        for replica, version in versions.items():
            replica.version = version
            replica.begin()
        for replica in self.members:
            if replica not in versions:
                late = f"it did not answer within {self.patience:g} s{replica.api.trouble}"
                self._tell(replica, failures.get(replica, late))
        return {replica.name: version for replica, version in versions.items()}

    async def wait_for_generation(
        self,
        generation: int,
        *,
        timeout: float,
        stored: threading.Event | None = None,
        newest: Callable[[], int] | None = None,
    ) -> None:
        """As ``TraefikApi.wait_for_generation``, of all that count. Once one serves it, the others
        have ``patience``; then they no longer count."""

        async def ask(replica: Replica) -> None:
            await replica.api.wait_for_generation(
                generation, timeout=timeout, stored=stored, newest=newest
            )
            replica.served = max(replica.served, generation)
            if replica.version is not None:
                self.include(replica)

        if only := self._only:
            await ask(only)
            self.live = max(self.live, generation)
            return
        while True:
            answers, failures, silent = await self._ask(ask, lambda: self.counting or self.members)
            if not answers:
                raise _together(failures)
            for replica in self.counting:
                if why := failures.get(replica):
                    self.leave_out(replica, why)
                elif replica in silent:
                    served = f"generation {replica.served}" if replica.served else "none"
                    self.leave_out(
                        replica,
                        f"it did not show generation {generation} within {self.patience:g} s of "
                        f"another one (last seen: {served}){replica.api.trouble}",
                    )
            # One may have caught up with what was before just now.
            if answers.keys() >= set(self.counting):
                break
        self.live = max(self.live, generation)

    async def served_generation(self) -> int:
        """The newest that any of them serves; 0 if none shows one.

        Raises:
            NotLive: none can be asked.
        """
        served, failures, _ = await self._ask(
            lambda replica: replica.api.served_generation(), lambda: self.counting or self.members
        )
        if not served:
            raise _together(failures)
        return max(served.values())

    async def ask_each(self, question: Callable[[TraefikApi], Awaitable[_T]]) -> Mapping[str, _T]:
        """By name, the answers of those that count and answer."""
        found, _, _ = await self._ask(lambda replica: question(replica.api), lambda: self.counting)
        return {replica.name: answer for replica, answer in found.items()}

    async def _ask(
        self,
        question: Callable[[Replica], Awaitable[_T]],
        whom: Callable[[], Collection[Replica]],
    ) -> tuple[dict[Replica, _T], dict[Replica, Exception], set[Replica]]:
        """Ask several at once, and those who join meanwhile.

        Returns:
            The answers, the errors, and who had done neither when the patience was over that began
            with the first answer.
        """
        answers: dict[Replica, _T] = {}
        failures: dict[Replica, Exception] = {}
        asked: set[Replica] = set()
        waiting: set[Replica] = set()
        patient_until = math.inf

        async def ask(replica: Replica) -> None:
            try:
                answers[replica] = await question(replica)
            except Exception as error:
                failures[replica] = error
            self._stir()

        async with anyio.create_task_group() as group:
            while True:
                changed = self._changed
                wanted = set(whom())
                for replica in wanted - asked:
                    asked.add(replica)
                    group.start_soon(ask, replica)
                waiting = wanted - answers.keys() - failures.keys()
                now = anyio.current_time()
                if answers:
                    patient_until = min(patient_until, now + self.patience)
                if not waiting or now >= patient_until:
                    break
                with anyio.move_on_at(patient_until):
                    await changed.wait()
            group.cancel_scope.cancel()
        return answers, failures, waiting - answers.keys() - failures.keys()


def _together(failures: Mapping[Replica, Exception]) -> Exception:
    """One error for those of all."""
    errors = list(failures.values())
    if not errors:
        return NotLive(f"no Traefik is known ({_SETTING})")
    for error in errors:
        if len(errors) == 1 or not isinstance(error, TraefikError):
            return error
    kind = ApiRejected if all(isinstance(each, ApiRejected) for each in errors) else NotLive
    return kind(f"None of {len(errors)} Traefiks: " + "; ".join(map(str, errors)))
