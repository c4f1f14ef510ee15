"""The driver's end of a Hub process, with processes that are none."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from faults.hub_control import HubControl, StartFailed
from faults.record import History, Outcome

_HUB = """
import os, time
print('{"id": 0, "ok": null}', flush=True)
os.close(1)
time.sleep(60)
"""


def test_what_is_asked_of_a_hub_that_was_killed_is_lost_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while it is not yet known that it has ended: nobody would ever answer."""
    program = tmp_path / "hub"
    program.write_text(f"#!{sys.executable}\n{_HUB}")
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))
    history = History()

    async def ask() -> Outcome:
        hub = HubControl({}, tmp_path / "log", history, patience=5)
        try:
            await hub.start(cleanup_proxy=True)
            await asyncio.sleep(0.3)  # its output ends, but it doesn't
            assert hub.pid
            return (await hub.call("ping", {})).outcome
        finally:
            await hub.kill()

    assert asyncio.run(ask()) is Outcome.LOST
    assert [call.outcome for call in history.calls] == [Outcome.OK, Outcome.LOST]


def test_a_hub_that_ends_instead_of_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")

    async def start() -> None:
        await HubControl({}, tmp_path / "log", History()).start(cleanup_proxy=True)

    with pytest.raises(StartFailed):
        asyncio.run(start())
