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

from traefikhub.threads import in_thread
from traefikhub.traefik._errors import ApiRejected, NotLive, TraefikError
from traefikhub.traefik.api import TraefikApi
from traefikhub.traefik.binary import Version
from traefikhub.traefik.endpoints import Endpoint, find_endpoints

__all__ = ["Replica", "ReplicaStanding", "Replicas"]

_T = TypeVar("_T")

_SETTING: Final = "c.TraefikProxy.traefik_api_url"
_LOOKUP_PAUSE: Final = 0.5


class Replica:
    """One Traefik, as it is known at the moment.

    name: its URL, with the address in the place of a name.
    api: for those who wait for a generation.
    aside: the same API on a connection of its own, for looks meanwhile.
    counts: whether a change is live only when this one serves it.
    reached: whether it answered the last question.
    served: the newest generation that it was seen to serve; 0 for none.
    version: None if it never told.
    told: the kind of trouble that was told of it since it last counted.
    since: when it was found, or ceased to count; of ``time.monotonic``.
    left: cancelled when it is no longer among those that are configured.
    """

    def __init__(self, endpoint: Endpoint, make_api: Callable[[Endpoint], TraefikApi]) -> None:
        self.endpoint = endpoint
        self.name = endpoint.shown.rstrip("/")
        self.api = make_api(endpoint)
        self.aside = make_api(endpoint)
        self.counts = False
        self.reached = False
        self.served = 0
        self.version: Version | None = None
        self.told: type[Exception] | None = None
        self.since = time.monotonic()
        self.left = anyio.CancelScope()

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
        endpoints, problems = await in_thread(find_endpoints, self._urls, known, abandon=True)
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
        replica.counts = replica.reached = True
        again = " again" if replica.told else ""
        replica.told = None
        self._log.info(
            "Traefik at %s serves all routes%s (generation %d)", replica.name, again, replica.served
        )
        self._stir()

    def leave_out(self, replica: Replica, why: Exception | str) -> None:
        """From now on changes don't wait for it."""
        if replica.counts:
            replica.counts, replica.since = False, time.monotonic()
            self._tell(replica, why)
            self._stir()

    def late(self, replica: Replica, why: Exception) -> None:
        """One that doesn't count still can't. Told once of each kind, and not in its first
        moments."""
        if time.monotonic() - replica.since > self.patience and replica.told is not type(why):
            self._tell(replica, why)

    def _tell(self, replica: Replica, why: Exception | str) -> None:
        replica.told = type(why) if isinstance(why, Exception) else NotLive
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
            left = max(deadline - anyio.current_time(), 0.1)
            return await replica.api.version(timeout=left)

        versions, failures, _ = await self._ask(ask, lambda: self.members)
        if not versions:
            raise _together(failures)
        for replica, version in versions.items():
            replica.counts, replica.reached, replica.version = True, True, version
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
