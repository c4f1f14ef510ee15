"""Fixtures for tests with real processes. Whatever a fixture starts, it ends."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import settings

from servers.stores import KEY_VALUE_STORES, KeyValueServer, key_value_server
from support import Backend, free_port, hub_app
from traefikhub import TraefikProxy
from wire import WireServers

# A process that a shell has started in the background, or nohup, ignores these, and so would the
# Hubs that it starts: they would not end when they are told to.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# How long an example takes says nothing where other programs run, too.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """JupyterHub's event loop is asyncio's."""
    return "asyncio"


@pytest.fixture
def backend() -> Iterator[Callable[[str], Backend]]:
    """Makes backends."""
    made: list[Backend] = []

    def make(name: str) -> Backend:
        made.append(Backend(name))
        return made[-1]

    yield make
    for each in made:
        each.close()


MakeProxy = Callable[..., TraefikProxy]


@pytest.fixture
async def make_proxy(tmp_path: Path) -> AsyncIterator[MakeProxy]:
    """Makes proxies as JupyterHub does, all for the same directory and ports."""
    made: list[TraefikProxy] = []
    port, api_port = free_port(), free_port()

    def make(**options: Any) -> TraefikProxy:
        app = options.pop("app", None) or hub_app()
        defaults: dict[str, Any] = {
            "public_url": f"http://127.0.0.1:{port}",
            "traefik_api_url": f"http://127.0.0.1:{api_port}",
            "run_dir": str(tmp_path / "run"),
            "grace_seconds": 1,
            "host_routing": bool(app.subdomain_host),
        }
        made.append(TraefikProxy(app=app, **defaults | options))
        return made[-1]

    yield make
    for proxy in made:
        await proxy.stop()


@pytest.fixture
def servers() -> Iterator[WireServers]:
    """Servers that see every byte."""
    made = WireServers()
    yield made
    made.close()


@pytest.fixture
async def proxy(make_proxy: MakeProxy) -> TraefikProxy:
    """A proxy that has been started."""
    started = make_proxy()
    await started.start()
    return started


@pytest.fixture(params=KEY_VALUE_STORES)
def key_value(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[KeyValueServer]:
    """A server of each kind. To outlive the proxies, it stands before ``make_proxy``."""
    with key_value_server(request.param, tmp_path / "server") as running:
        yield running


@pytest.fixture
def hub_directory(tmp_path: Path) -> Iterator[Path]:
    """A directory; every process that was started in it ends with the test."""
    yield tmp_path
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.cwd().startswith(str(tmp_path)):
                process.kill()


_TOLD_LINES = 40


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What Traefik said last, beside the report of a test that failed."""
    report = yield
    directory = getattr(item, "funcargs", {}).get("tmp_path")
    if report.failed and isinstance(directory, Path):
        for log in sorted(directory.rglob("traefik.log")):
            lines = log.read_text(errors="replace").splitlines()[-_TOLD_LINES:]
            report.sections.append((str(log.relative_to(directory)), "\n".join(lines)))
    return report


@pytest.fixture(autouse=True)
def no_process_left() -> Iterator[None]:
    """No test may leave a child process behind."""
    before = set(psutil.Process().children(recursive=True))
    yield
    left = [
        process
        for process in set(psutil.Process().children(recursive=True)) - before
        if process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    ]
    names = [process.cmdline() for process in left]
    for process in left:
        process.kill()
    assert not left, f"processes left behind: {names}"
