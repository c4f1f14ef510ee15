"""The way between a client and a server, for tests that bar it: a TCP relay of this process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Final

__all__ = ["Relay"]

_CHUNK: Final = 1 << 16


class Relay:
    """Passes bytes between its own ``endpoint`` and a server's. Use it as a context manager.

    It works in a thread of its own, so that a test may wait as it likes.

    Args:
        target: the server's ``host:port``. It need not listen yet.
    """

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="relay", daemon=True)
        self._lines: set[_Line] = set()
        # What is true of connections from now on.
        self._refuses = False
        self._delay = 0.0
        self._up = asyncio.Event()
        self._down = asyncio.Event()

    @property
    def url(self) -> str:
        """The endpoint of a server that speaks HTTP."""
        return f"http://{self.endpoint}"

    def __enter__(self) -> Relay:
        self._thread.start()
        self.endpoint = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # --- faults ------------------------------------------------------------------------------

    def stall(self) -> None:
        """Pass nothing on. What is sent meanwhile arrives when this is over."""

        def work() -> None:
            self._up.clear()
            self._down.clear()

        self._do(work)

    def mute(self) -> None:
        """Pass on what the client says, and keep the answers."""
        self._do(self._down.clear)

    def cut(self) -> None:
        """Reset all connections, and new ones at once."""

        def work() -> None:
            self._refuses = True
            self._reset()

        self._do(work)

    def forget(self) -> None:
        """Let all connections be without an end that hears them, as when a firewall forgets them.
        New ones work."""

        def work() -> None:
            for line in self._lines:
                line.deaf = True

        self._do(work)

    def slow_down(self, seconds: float) -> None:
        """Let each answer be late."""

        def work() -> None:
            self._delay = seconds

        self._do(work)

    def heal(self) -> None:
        """All is well again; what was kept arrives."""

        def work() -> None:
            self._refuses, self._delay = False, 0.0
            self._up.set()
            self._down.set()

        self._do(work)

    # --- in its thread -----------------------------------------------------------------------

    def _do(self, work: Callable[[], None]) -> None:
        done = threading.Event()

        def job() -> None:
            work()
            done.set()

        self._loop.call_soon_threadsafe(job)
        done.wait()

    async def _listen(self) -> str:
        self._up.set()
        self._down.set()
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _close(self) -> None:
        self._server.close()
        self._reset()
        me = asyncio.current_task()
        tasks = [task for task in asyncio.all_tasks() if task is not me]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _reset(self) -> None:
        for line in self._lines:
            line.reset()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = _Line(writer)
        self._lines.add(line)
        try:
            if self._refuses:
                return
            await self._up.wait()
            other_reader, other = await asyncio.open_connection(*self._target)
            line.other = other
            pumps = [
                self._pump(line, reader, other, self._up, slow=False),
                self._pump(line, other_reader, writer, self._down, slow=True),
            ]
            tasks = [asyncio.ensure_future(pump) for pump in pumps]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        except (OSError, asyncio.CancelledError):
            pass  # the server isn't there; or this relay ends
        finally:
            line.reset()
            self._lines.discard(line)

    async def _pump(
        self,
        line: _Line,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        gate: asyncio.Event,
        *,
        slow: bool,
    ) -> None:
        """Pass on what comes from one end, each piece as late as it should be."""
        pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def write() -> None:
            while True:
                due, piece = await pieces.get()
                await asyncio.sleep(due - self._loop.time())
                await gate.wait()
                if line.deaf:
                    continue
                if not piece:
                    return
                writer.write(piece)
                await writer.drain()

        async def read() -> None:
            while True:
                try:
                    piece = await reader.read(_CHUNK)
                except OSError:  # reset: as good as the end
                    piece = b""
                pieces.put_nowait((self._loop.time() + (self._delay if slow else 0), piece))
                if not piece:
                    return

        reading = asyncio.ensure_future(read())
        try:
            with suppress(OSError):
                await write()
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


class _Line:
    """One connection, and the other one that it is passed on to."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self.other: asyncio.StreamWriter | None = None
        self.deaf = False

    def reset(self) -> None:
        for writer in (self._writer, self.other):
            if writer is not None:
                writer.transport.abort()
