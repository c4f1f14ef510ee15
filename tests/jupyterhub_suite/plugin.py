"""Points JupyterHub's MockHub to traefikhub; a pytest plugin, loaded with ``-p``.

Their fixtures stay as they are: each module starts one MockHub, and with it one Traefik. Here it
gets the configuration that an admin would write, a directory, ports, and, for a store that is a
server, that server.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from importlib.metadata import version
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any, Final

import psutil
import pytest
from jupyterhub.utils import maybe_future, random_port
from traitlets.config import Config

from jupyterhub_suite.stores import STORES

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["deselected_tests"]

# Started in the background by a shell, a process ignores this, and so would its user servers, which
# JupyterHub ends with it.
signal.signal(signal.SIGINT, signal.default_int_handler)

_TABLE: Final = Path(__file__).with_name("deselected.toml")
_OURS: Final = "traefikhub"
_THEIRS: Final = "configurable-http-proxy"


def pytest_addoption(parser: pytest.Parser) -> None:
    """The store, and for comparison JupyterHub's default proxy."""
    group = parser.getgroup("jupyterhub's suite")
    group.addoption("--store", choices=sorted(STORES), default="toml-file", help="for the routes")
    group.addoption(
        "--proxy",
        choices=[_OURS, _THEIRS],
        default=_OURS,
        help=f"{_THEIRS}, found on PATH, for comparison: all as JupyterHub ships it",
    )


def deselected_tests(jupyterhub_version: str) -> dict[str, str]:
    """Of ``deselected.toml``, what is about that version: test, as ``file::name``, and reason."""
    major = int(jupyterhub_version.partition(".")[0])
    table = tomllib.loads(_TABLE.read_text())
    return {test: entry["why"] for test, entry in table.items() if major in entry["jupyterhub"]}


def _name_of(item: pytest.Item) -> str:
    """``file::name``, without parameters."""
    return f"{item.path.name}::{getattr(item, 'originalname', None) or item.name}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Take out the tests of the table, and refuse a table that names tests which don't exist."""
    if config.getoption("--proxy") == _THEIRS:
        return
    table = deselected_tests(version("jupyterhub"))
    out = [item for item in items if _name_of(item) in table]
    # With "file::test" as an argument, the rest of the file isn't collected.
    whole = [] if any("::" in arg for arg in config.args) else {item.path.name for item in items}
    expected = {name for name in table if name.partition("::")[0] in whole}
    if absent := expected - {_name_of(item) for item in out}:
        raise pytest.UsageError(f"{_TABLE.name} names tests that don't exist: {sorted(absent)}")
    items[:] = [item for item in items if _name_of(item) not in table]
    config.hook.pytest_deselected(items=out)
    config.stash[_DESELECTED] = [(_name_of(item), table[_name_of(item)]) for item in out]


_DESELECTED: Final = pytest.StashKey[list[tuple[str, str]]]()


def pytest_report_header(config: pytest.Config) -> str:
    """What runs through what."""
    proxy, store = config.getoption("--proxy"), config.getoption("--store")
    through = f"{_OURS} {version(_OURS)}, store {store}" if proxy == _OURS else proxy
    return f"jupyterhub {version('jupyterhub')} through {through}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Each deselected test, with the reason."""
    for nodeid, why in terminalreporter.config.stash.get(_DESELECTED, []):
        terminalreporter.write_line(f"DESELECTED {nodeid} - {why}")


@pytest.fixture(scope="session", autouse=True)
def proxy_of_mockhub(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """Every MockHub begins with our configuration; what a test passes on top of it wins."""
    from jupyterhub.tests.mocking import MockHub  # takes a second, so not for --help

    original = MockHub.__init__
    ours = pytestconfig.getoption("--proxy") == _OURS
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        store = STORES[pytestconfig.getoption("--store")] if ours else None
        server = stack.enter_context(store(tmp_path_factory.mktemp("store"))) if store else None

        # Jupyter Server refuses to start as root, who runs the tests in many a CI.
        jupyter_config = tmp_path_factory.mktemp("jupyter_config")
        settings = {"ServerApp": {"allow_root": os.geteuid() == 0}}
        (jupyter_config / "jupyter_server_config.json").write_text(json.dumps(settings))

        def init(hub: Any, *args: Any, **kwargs: Any) -> None:
            directory = tmp_path_factory.mktemp("hub")
            config = Config()
            # By default in /tmp, by the user's name: shared with whoever tests here, too.
            config.SimpleLocalProcessSpawner.home_dir_template = f"{directory}/{{username}}"
            config.Spawner.environment = {"JUPYTER_CONFIG_PATH": str(jupyter_config)}
            if server:
                _use_traefikhub(config, directory / "jupyterhub-traefik")
                config.merge(server(directory.name))
            config.merge(kwargs.pop("config", {}))
            original(hub, *args, config=config, **kwargs)

        patch.setattr(MockHub, "__init__", init)
        if ours and not iscoroutinefunction(stop := MockHub.stop):
            patch.setattr(MockHub, "stop", _after_its_proxy(stop))
        yield


def _after_its_proxy(stop: Callable[[Any], None]) -> Callable[[Any], None]:
    """For JupyterHub 5, whose MockHub stops everything in a thread, on an event loop of its own.

    No Hub but that mock does so, and JupyterHub 6 no longer: a proxy whose tasks live on the loop
    on which it was started can't wait for them on another one.
    """

    def stop_both(hub: Any) -> None:
        loop, stopped_before = hub.io_loop.asyncio_loop, hub._stop_called
        if loop.is_running():  # a test shuts it down by the API; the fixture comes here again
            stop(hub)
            return
        loop.run_until_complete(maybe_future(hub.proxy.stop()))
        stop(hub)
        if stopped_before:
            return
        # That only asked the loop to cancel all its tasks. If the first that it gets to run are
        # those in which pytest-asyncio closes it, they are what is cancelled.
        with suppress(asyncio.CancelledError):
            loop.run_until_complete(asyncio.sleep(_SHUTDOWN_SECONDS))

    return stop_both


_SHUTDOWN_SECONDS: Final = 10.0
"""At most: the Hub's shutdown cancels the one that waits for it."""


def _use_traefikhub(config: Config, run_dir: Path) -> None:
    config.JupyterHub.proxy_class = _OURS
    config.TraefikProxy.run_dir = str(run_dir)
    config.TraefikProxy.traefik_api_url = f"http://127.0.0.1:{random_port()}"
    config.TraefikProxy.grace_seconds = 1  # for open connections, at the end of each module


@pytest.fixture(scope="module", autouse=True)
def no_proxy_left(proxy_of_mockhub: None) -> Iterator[None]:
    """A Hub's end is the end of its Traefik. Autouse, so it looks after ``app`` is gone."""
    yield
    left = [process for process in psutil.Process().children() if _is_traefik(process)]
    commands = [process.cmdline() for process in left]
    for process in left:
        process.kill()
    assert not left, f"left behind: {commands}"


def _is_traefik(process: psutil.Process) -> bool:
    return process.status() != psutil.STATUS_ZOMBIE and "traefik" in process.name()
