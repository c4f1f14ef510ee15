"""The relay of the tests of outages hides nothing but what it is told to hide."""

import socket
import struct
from contextlib import suppress
from typing import Final

import pytest

from servers.relay import Relay

RESET: Final = struct.pack("ii", 1, 0)


@pytest.mark.parametrize("how", ["closes", "resets"])
def test_a_server_that_ends_a_connection_ends_it_for_the_client(how: str) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        Relay(f"127.0.0.1:{server.getsockname()[1]}") as relay,
    ):
        host, port = relay.endpoint.split(":")
        with socket.create_connection((host, int(port)), timeout=10) as client:
            other, _ = server.accept()
            client.sendall(b"ping")
            assert other.recv(4) == b"ping"
            if how == "resets":
                other.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            other.close()
            with suppress(ConnectionResetError):
                assert client.recv(1) == b""
