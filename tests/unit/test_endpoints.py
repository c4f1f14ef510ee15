"""Where Traefiks are: URLs, names, addresses."""

from __future__ import annotations

import socket
import threading
from typing import Any

import pytest

from traefikhub.traefik.endpoints import Endpoint, find_endpoints

pytestmark = pytest.mark.anyio

NAMES = {
    "one.example": ["10.0.0.1"],
    "two.example": ["10.0.0.2", "10.0.0.1"],
    "both.example": ["fd00::7", "10.0.0.7"],
    "six.example": ["fd00::6"],
}


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    known = dict(NAMES)

    def resolve(host: str, *_: Any, **__: Any) -> list[Any]:
        if host not in known:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        kinds = {True: socket.AF_INET6, False: socket.AF_INET}
        return [(kinds[":" in each], socket.SOCK_STREAM, 6, "", (each, 0)) for each in known[host]]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return known


@pytest.mark.parametrize(
    ("urls", "shown"),
    [
        (["http://10.0.0.1:8099"], ["http://10.0.0.1:8099"]),
        (["http://[fd00::1]:8099"], ["http://[fd00::1]:8099"]),
        (["http://localhost:8099"], ["http://localhost:8099"]),
        (["http://two.example:8099"], ["http://10.0.0.1:8099", "http://10.0.0.2:8099"]),
        (["https://two.example/x"], ["https://10.0.0.1/x", "https://10.0.0.2/x"]),
        # One of each kind is one Traefik.
        (["http://both.example:1"], ["http://10.0.0.7:1"]),
        (["http://six.example:1"], ["http://[fd00::6]:1"]),
        # One Traefik by two names.
        (
            ["http://one.example:1", "http://two.example:1"],
            ["http://10.0.0.1:1", "http://10.0.0.2:1"],
        ),
        (["http://10.0.0.1:1/", "http://10.0.0.1:1"], ["http://10.0.0.1:1/"]),
        (["http://10.0.0.1:1", "http://10.0.0.1:2"], ["http://10.0.0.1:1", "http://10.0.0.1:2"]),
    ],
)
async def test_each_address_is_one(urls: list[str], shown: list[str]) -> None:
    found, problems = await find_endpoints(urls)
    assert [each.shown for each in found] == shown
    assert not problems


async def test_a_name_that_is_lost_keeps_its_addresses(names: dict[str, list[str]]) -> None:
    urls = ["http://two.example:1", "http://six.example:1"]
    known, _ = await find_endpoints(urls)
    del names["two.example"]
    names["six.example"] = ["fd00::8"]
    found, problems = await find_endpoints(urls, known)
    assert [each.shown for each in found] == [
        "http://10.0.0.1:1",
        "http://10.0.0.2:1",
        "http://[fd00::8]:1",
    ]
    assert len(problems) == 1
    assert problems[0].startswith("two.example can't be resolved: ")
    assert (await find_endpoints(["http://two.example:1"]))[0] == ()


def test_no_password_is_shown() -> None:
    assert Endpoint("http://ada:secret@one.example:1/x").shown == "http://one.example:1/x"
    assert Endpoint("http://ada:secret@one.example:1/x", "10.0.0.1").shown == "http://10.0.0.1:1/x"


async def test_a_name_server_that_hangs_hides_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: release.wait(60) and [])
    monkeypatch.setattr("traefikhub.traefik.endpoints._SECONDS", 0.2)
    try:
        found, problems = await find_endpoints(["http://hangs.example:1", "http://10.0.0.1:1"])
    finally:
        release.set()
    assert [each.shown for each in found] == ["http://10.0.0.1:1"]
    assert problems == ("hangs.example can't be resolved: no answer within 0.2 s",)
