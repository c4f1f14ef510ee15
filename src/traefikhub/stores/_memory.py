"""Keep the garbage collector from stopping the Hub while very many objects are made."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["paused_gc"]

_lock = threading.Lock()
_pauses = 0
_resume = False


@contextmanager
def paused_gc() -> Iterator[None]:
    """No automatic collection within the block, in any thread.

    Reading ten thousand routes makes some 200,000 dicts and lists, none of them garbage. Each full
    collection on the way looks at all of them and at everything that the Hub has, and holds the
    interpreter for 50 to 100 ms.
    """
    global _pauses, _resume
    with _lock:
        if _pauses == 0:
            _resume = gc.isenabled()
            gc.disable()
        _pauses += 1
    try:
        yield
    finally:
        with _lock:
            _pauses -= 1
            if _pauses == 0 and _resume:
                if gc.get_freeze_count() == 0:
                    # What was made meanwhile becomes old without being looked at; else the next
                    # collection of the young would look at all of it, for tens of milliseconds.
                    gc.freeze()
                    gc.unfreeze()
                gc.enable()
