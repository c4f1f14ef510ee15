"""A way to a server on which requests or answers can be held up."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

__all__ = ["Wire"]


class Wire:
    """Use it as a context manager; ``url`` leads through it to a port of this machine."""

    def __init__(self, port: int) -> None:
        self._far_port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}/0"
        self._sockets = [self._listener]
        self._threads: list[threading.Thread] = []
        self._held: dict[str, list[tuple[socket.socket, bytes]]] = {}
        self._cut = False
        self._start(self._accept)

    def _start(self, work: Callable[..., None], *arguments: Any) -> None:
        self._threads.append(threading.Thread(target=work, args=arguments, daemon=True))
        self._threads[-1].start()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                near, _ = self._listener.accept()
                if self._cut:
                    near.close()
                    continue
                far = socket.create_connection(("127.0.0.1", self._far_port))
                self._sockets += [near, far]
                self._start(self._carry, "requests", near, far)
                self._start(self._carry, "answers", far, near)

    def _carry(self, what: str, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if what in self._held:
                    self._held[what].append((target, data))
                    if what == "answers" and self._cut:
                        target.shutdown(socket.SHUT_RDWR)
                        self._held.clear()
                        self._cut = False
                else:
                    target.sendall(data)

    def hold(self, what: str) -> None:
        """From now on. ``what`` is "requests" or "answers"."""
        self._held[what] = []

    def deliver(self) -> None:
        """The requests that were held up, although who sent them has gone."""
        held, self._held = self._held["requests"], {}
        for target, data in held:
            with suppress(OSError):
                target.sendall(data)

    def lose_one_answer(self) -> None:
        """Cut the connection when the next answer comes, instead of carrying it."""
        self._cut = True
        self.hold("answers")

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in self._threads:
            thread.join()
