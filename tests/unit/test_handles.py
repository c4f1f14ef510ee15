"""Processes are told from later ones with the same id, and nothing else is ever signalled."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from support import wait_until
from traefikhub.traefik.handles import Child, Stranger, birth_of, is_suspended


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "600"])
    yield process
    process.kill()
    process.wait()


@pytest.fixture(params=["pidfd", "pid"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With and without what Linux alone has."""
    if request.param == "pid":
        monkeypatch.delattr(os, "pidfd_open", raising=False)
    elif not hasattr(os, "pidfd_open"):
        pytest.skip("this system has no pidfd_open")
    return str(request.param)


def test_a_stranger_is_watched_to_its_end(sleeper: subprocess.Popen[bytes], way: str) -> None:
    stranger = Stranger(sleeper.pid, birth_of(sleeper.pid))
    assert not stranger.ended()
    stranger.send(signal.SIGTERM)
    # Not reaped yet: its id is still taken, by nothing that runs.
    wait_until(stranger.ended, "its end", 5)
    sleeper.wait()
    assert stranger.ended()
    stranger.send(signal.SIGKILL)
    stranger.close()
    stranger.close()


def test_another_of_the_same_id_is_no_stranger_of_ours(
    sleeper: subprocess.Popen[bytes], way: str
) -> None:
    with pytest.raises(ProcessLookupError):
        Stranger(sleeper.pid, birth_of(os.getpid()))
    assert sleeper.poll() is None


def test_one_that_is_gone(sleeper: subprocess.Popen[bytes], way: str) -> None:
    birth = birth_of(sleeper.pid)
    sleeper.kill()
    sleeper.wait()
    assert birth_of(sleeper.pid) == ""
    with pytest.raises(ProcessLookupError):
        Stranger(sleeper.pid, birth)


def test_births_differ_and_stay(sleeper: subprocess.Popen[bytes]) -> None:
    births = [birth_of(os.getpid()) for _ in range(2)]
    assert births[0] == births[1] != ""
    assert birth_of(sleeper.pid) != births[0]


@pytest.mark.parametrize(
    ("code", "said"),
    [("raise SystemExit(3)", "exited with code 3"), ("", "exited with code 0")],
)
def test_how_a_child_ended(code: str, said: str) -> None:
    child = Child(subprocess.Popen([sys.executable, "-c", code]))
    assert wait_until(child.ended, "its end") == said
    child.send(signal.SIGTERM)


def test_a_child_that_is_killed(sleeper: subprocess.Popen[bytes]) -> None:
    child = Child(sleeper)
    child.send(signal.SIGKILL)
    assert wait_until(child.ended, "its end") == "was ended by signal 9"


def test_suspended_is_told_from_sleeping(sleeper: subprocess.Popen[bytes]) -> None:
    assert not is_suspended(sleeper.pid)
    sleeper.send_signal(signal.SIGSTOP)
    wait_until(lambda: is_suspended(sleeper.pid), "it to stop")
    sleeper.send_signal(signal.SIGCONT)
    wait_until(lambda: not is_suspended(sleeper.pid), "it to go on")
