"""Where a process has connections to, with real sockets of this process and of a child."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from traefikhub.traefik.connections import Resolver, open_targets, plain


def address(sock: socket.socket) -> tuple[str, int]:
    ip, port = sock.getsockname()[:2]
    return ip, port


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def seen(proof: int) -> frozenset[tuple[str, int]]:
    found = open_targets(os.getpid(), proof=proof)
    assert found is not None
    return found


def test_an_idle_connection_is_seen_until_it_is_closed(server: socket.socket) -> None:
    target = address(server)
    assert target not in seen(target[1])
    with socket.create_connection(target):
        assert target in seen(target[1])
    assert target not in seen(target[1])


def test_one_that_the_server_has_closed_is_still_held(server: socket.socket) -> None:
    """Its last answer may be on the way to the client."""
    target = address(server)
    with socket.create_connection(target) as client:
        server.accept()[0].close()
        assert client.recv(1) == b""
        assert target in seen(target[1])


def test_one_that_is_not_accepted_yet_is_seen(server: socket.socket) -> None:
    server.listen(0)
    target = address(server)
    clients = []
    try:
        for _ in range(4):  # more than fit into the queue: the last ones are in SYN_SENT
            clients.append(client := socket.socket())
            client.setblocking(False)
            client.connect_ex(target)
        assert target in seen(target[1])
    finally:
        for client in clients:
            client.close()


def test_an_ipv4_connection_of_an_ipv6_socket() -> None:
    with socket.socket(socket.AF_INET6) as listener, socket.socket(socket.AF_INET6) as client:
        try:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            listener.bind(("::", 0))
        except OSError:
            pytest.skip("no IPv6 here")
        listener.listen()
        port = address(listener)[1]
        client.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        client.connect(("::ffff:127.0.0.1", port))
        assert ("127.0.0.1", port) in seen(port)


CHILD = """\
import socket, sys
listener = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
print(listener.getsockname()[1], flush=True)
sys.stdin.read()
"""


def test_a_child_is_seen_apart_from_us(server: socket.socket) -> None:
    target = address(server)
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, str(target[1])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as child:
        assert child.stdout is not None
        port = int(child.stdout.readline())
        assert open_targets(child.pid, proof=port) == frozenset({target})
        assert target not in seen(target[1])
        assert open_targets(child.pid, proof=target[1]) is None, "that port is ours, not its own"
        child.communicate()
        assert open_targets(child.pid, proof=port) is None


def test_without_proof_nothing_is_known(server: socket.socket) -> None:
    target = address(server)
    with socket.create_connection(target):
        server.close()
        assert open_targets(os.getpid(), proof=target[1]) is None


@pytest.mark.parametrize(
    "error", [psutil.AccessDenied(1), psutil.NoSuchProcess(1), OSError("x"), RuntimeError("x")]
)
def test_an_error_is_none(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(psutil.Process, "net_connections", fail)
    assert open_targets(os.getpid(), proof=1) is None


@pytest.mark.parametrize(
    ("ip", "wanted"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("::ffff:127.0.0.1", "127.0.0.1"),
        ("::1", "::1"),
        ("2001:DB8:0:0::5", "2001:db8::5"),
        ("fe80::1%eth0", "fe80::1"),
    ],
)
def test_one_spelling(ip: str, wanted: str) -> None:
    assert plain(ip) == wanted


@pytest.mark.parametrize("text", ["", "localhost", "127.1", "a:b"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the text is the library's
        plain(text)


class Names:
    """getaddrinfo and a clock, both as the test says."""

    def __init__(self, **names: list[str]) -> None:
        self.names = names
        self.asked: list[str] = []
        self.now = 0.0
        self.takes = 0.0

    def lookup(self, host: str, port: None, **options: object) -> list[object]:
        self.asked.append(host)
        self.now += self.takes
        if host not in self.names:
            raise socket.gaierror(-2, "unknown")
        return [(0, 0, 0, "", (ip, 0)) for ip in self.names[host]]

    def resolver(self) -> Resolver:
        return Resolver(keep=60, lookup=self.lookup, clock=lambda: self.now)


def test_names_are_looked_up_when_the_answer_is_old() -> None:
    names = Names(a=["10.0.0.1", "::ffff:10.0.0.2"])
    resolver = names.resolver()
    for _ in range(2):
        assert resolver.resolve({"a"}, timeout=9) == {"a": {"10.0.0.1", "10.0.0.2"}}
    assert names.asked == ["a"]
    names.names["a"] = ["10.0.0.3"]
    names.now = 60
    assert resolver.resolve({"a"}, timeout=9) == {"a": {"10.0.0.3"}}


def test_a_name_without_address_is_left_out() -> None:
    names = Names(a=["10.0.0.1"])
    resolver = names.resolver()
    assert resolver.resolve({"a", "b"}, timeout=9) == {"a": {"10.0.0.1"}}
    del names.names["a"]
    names.now = 60
    assert resolver.resolve({"a", "b"}, timeout=9) == {}


def test_names_beyond_the_time_come_first_the_next_time() -> None:
    names = Names(a=["10.0.0.1"], b=["10.0.0.2"], c=["10.0.0.3"])
    resolver, found = names.resolver(), {}
    names.takes = 5
    for _ in range(3):
        found = resolver.resolve(["a", "b", "c"], timeout=1)
    assert found == {"a": {"10.0.0.1"}, "b": {"10.0.0.2"}, "c": {"10.0.0.3"}}
    assert names.asked == ["a", "b", "c"]
    names.now, names.takes = 100, 50
    found = resolver.resolve(["a", "b", "c"], timeout=60)
    assert names.asked[3:] == ["a", "b"]
    assert found["c"] == {"10.0.0.3"}


def test_the_systems_own_lookup() -> None:
    found = Resolver().resolve(["localhost", "no.such.name.invalid", "a..b"], timeout=60)
    assert set(found) == {"localhost"}
    assert found["localhost"] & {"127.0.0.1", "::1"}
