"""One question put again and again until it is answered, without disturbing who is asked."""

from __future__ import annotations

import http.client
import math
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from traefikhub.traefik._errors import ApiRejected, NotLive

__all__ = ["MISREAD", "Pace", "Poll"]

MISREAD: Final = (ValueError, KeyError, TypeError, RecursionError, OverflowError)
"""What reading an answer raises that is not the one awaited."""

_REJECTED_SECONDS: Final = 3.0
"""How long a 401 is taken for a password that is just being replaced."""

_EARLIEST: Final = 0.005
_SHORTEST_STEP: Final = 0.00005
_LONGEST_STEP: Final = 0.25


class Pace:
    """When to ask whether Traefik has reloaded, learned from the last reloads.

    A question too early takes from the reload, one too late costs its caller. The aim is somewhat
    before the shortest of the last few reloads ended. Until then there are few questions, lest a
    reload much shorter than those go unseen; after it, one after each growing part of the time
    that has passed: one per cent, two per cent, … So a reload like the last ones is noticed within
    a few per cent of its time, and one that takes a thousand times as long costs fifty questions.
    """

    def __init__(self) -> None:
        self._recent: deque[float] = deque(maxlen=4)

    @property
    def aim(self) -> float:
        """Seconds after which an answer is likely; 0 if nothing is known."""
        return 0.7 * min(self._recent, default=0.0)

    def pause(self, passed: float, late: int) -> float:
        """Seconds until the next question.

        Args:
            passed: the seconds until now.
            late: how many questions were put after the aim.
        """
        if (early := self.aim - passed) > 0:
            return min(early, max(passed, _EARLIEST))
        return min(max(0.01 * late * passed, _SHORTEST_STEP), _LONGEST_STEP)

    def note(self, seconds: float, late: int) -> None:
        """A reload was seen after so many seconds, and so many questions after the aim."""
        # What the first question there found may have been there for long.
        self._recent.append(seconds if late > 1 else 0.7 * seconds)


class Poll:
    """One question, put again and again until it is answered.

    Args:
        ask: puts it; returns None for "not yet".
        what: what is waited for, for the error.
        where: who is asked, for the error.

    trouble: what went wrong the last time, for the end of a sentence; empty if nothing did.
    """

    def __init__(self, ask: Callable[[], Any], what: Callable[[], str], where: str) -> None:
        self._ask = ask
        self._what = what
        self._where = where
        self._rejected_since: float | None = None
        self.trouble = ""
        self.cancelled = threading.Event()

    def until_answered(
        self, timeout: float, pace: Pace, possible: threading.Event | None = None
    ) -> Any:
        """The first answer that is not None, noted in ``pace``.

        Args:
            timeout: in seconds.
            pace: when to ask.
            possible: from when on the time counts; None for now.

        Raises:
            NotLive: there was none in time, or the poll was cancelled.
            ApiRejected: no credentials are accepted.
        """
        started = time.monotonic()
        deadline = started + timeout if possible is None else math.inf
        late = 0
        pause = min(pace.pause(0.0, late), timeout)
        while not self.cancelled.wait(pause):
            late += time.monotonic() - started >= pace.aim
            answer = self._once()
            now = time.monotonic()
            if answer is not None:
                pace.note(now - started, late)
                return answer
            if deadline == math.inf and possible and possible.is_set():
                deadline = now + timeout
            if now >= deadline:
                break
            pause = min(pace.pause(now - started, late), deadline - now)
        raise NotLive(
            f"Traefik at {self._where} did not show {self._what()} within {timeout:g} s"
            f"{self.trouble}"
        )

    def _once(self) -> Any:
        try:
            answer = self._ask()
        except ApiRejected as error:
            now = time.monotonic()
            self._rejected_since = self._rejected_since or now
            if now - self._rejected_since > _REJECTED_SECONDS:
                raise
            self.trouble = f"; {error}"
        except (OSError, http.client.HTTPException) as error:
            self.trouble = f"; the last request failed: {error or type(error).__name__}"
            if isinstance(error, ssl.SSLCertVerificationError):
                self.trouble += " (c.TraefikProxy.traefik_api_ca says who may have signed it)"
        except MISREAD as error:
            self.trouble = f"; the last answer was not the one awaited: {error}"
        else:
            self.trouble, self._rejected_since = "", None
            return answer
        return None
