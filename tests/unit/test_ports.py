"""Addresses, and whether one can listen there."""

from __future__ import annotations

import socket

import pytest

from traefikhub.traefik import TraefikUnusable
from traefikhub.traefik.ports import listen_address, require_apart, require_free


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://:8000", ":8000"),
        ("http://:8000/base/", ":8000"),
        ("http://127.0.0.1:8000/", "127.0.0.1:8000"),
        ("https://0.0.0.0:443", "0.0.0.0:443"),
        ("http://[::]:8000", "[::]:8000"),
        ("http://[::1]", "[::1]:80"),
        ("http://Hub.Example", "hub.example:80"),
        ("https://hub.example", "hub.example:443"),
    ],
)
def test_a_url_tells_where_to_listen(url: str, address: str) -> None:
    assert listen_address(url, "c.X.y") == address


@pytest.mark.parametrize(
    "url",
    [
        "",
        "8000",
        ":8000",
        "127.0.0.1:8000",
        "ftp://host:21",
        "http://",
        "http:///path",
        "http:8000",
        "http://host:port",
        "http://host:99999",
        "http://host:-1",
        "http://[::1:80",
        "http://user:secret@host:80",
        "http+unix://%2Frun%2Fhub.sock",
    ],
)
def test_what_is_no_such_url_is_refused_naming_the_setting(url: str) -> None:
    with pytest.raises(TraefikUnusable, match=r"^c\.X\.y = ") as caught:
        listen_address(url, "c.X.y")
    assert repr(url) in str(caught.value)


def test_a_unix_socket_is_told_to_be_one() -> None:
    with pytest.raises(TraefikUnusable, match="unix socket"):
        listen_address("http+unix://%2Frun%2Fhub.sock", "c.X.y")


def listening(host: str, family: socket.AddressFamily = socket.AF_INET) -> socket.socket:
    return socket.create_server((host, 0), family=family)


def refusal(address: str) -> str:
    with pytest.raises(TraefikUnusable, match=r"c\.X\.y") as caught:
        require_free(address, "c.X.y")
    return str(caught.value)


def test_a_taken_port_is_told_and_a_freed_one_is_free() -> None:
    with listening("127.0.0.1") as taken:
        port = taken.getsockname()[1]
        for host in ("127.0.0.1", "0.0.0.0", "", "localhost"):
            message = refusal(f"{host}:{port}")
            assert "taken by another program" in message
            assert f"{host}:{port}" in message
    require_free(f"127.0.0.1:{port}", "c.X.y")
    require_free(f":{port}", "c.X.y")


def test_asking_keeps_the_port_free() -> None:
    with listening("127.0.0.1") as taken:
        port = taken.getsockname()[1]
    for _ in range(3):
        require_free(f"127.0.0.1:{port}", "c.X.y")
    socket.create_server(("127.0.0.1", port)).close()


def test_a_port_taken_on_ipv6_is_told() -> None:
    try:
        taken = listening("::1", socket.AF_INET6)
    except OSError:  # this machine has no IPv6: then it has no such address
        require_free(":0", "c.X.y")
        return
    with taken:
        port = taken.getsockname()[1]
        assert "taken by another program" in refusal(f"[::1]:{port}")
        assert "taken by another program" in refusal(f":{port}")
    require_free(f"[::1]:{port}", "c.X.y")


def test_an_address_of_another_machine_is_told() -> None:
    assert "no such address" in refusal("192.0.2.1:8000")


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a..b", "x" * 70 + ".example"])
def test_a_host_without_an_address_is_told(host: str) -> None:
    message = refusal(f"{host}:8000")
    assert repr(host) in message
    assert "has no address" in message


@pytest.mark.parametrize(
    ("address", "other", "same"),
    [
        ("127.0.0.1:8000", "127.0.0.1:8000", True),
        (":8000", "127.0.0.1:8000", True),
        ("127.0.0.1:8000", "[::]:8000", True),
        ("0.0.0.0:8000", "localhost:8000", True),
        ("localhost:8000", "127.0.0.1:8000", True),
        ("127.0.0.1:8000", "127.0.0.1:8001", False),
        ("127.0.0.1:8000", "127.0.0.2:8000", False),
        ("0.0.0.0:8000", "[::1]:8000", False),
        ("a..b:8000", "127.0.0.1:8000", False),
    ],
)
def test_one_address_for_two_is_told(address: str, other: str, same: bool) -> None:
    if not same:
        require_apart(address, "c.X.y", other, "c.Z.y")
        return
    with pytest.raises(TraefikUnusable, match=r"c\.X\.y and c\.Z\.y"):
        require_apart(address, "c.X.y", other, "c.Z.y")
