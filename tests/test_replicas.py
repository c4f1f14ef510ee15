"""Several Traefiks that others run, one Hub."""

from __future__ import annotations

import logging
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from prometheus_client import REGISTRY
from traitlets.config import Application

from conftest import MakeProxy
from support import Backend, ask, free_port, hub_app, run_traefik
from traefikhub import TraefikProxy
from traefikhub.traefik import NotLive, TraefikUnusable

pytestmark = pytest.mark.anyio

METRICS = {"prometheus": {"manualRouting": True, "addServicesLabels": True}}


class Traefiks:
    """Traefiks on loopback addresses of their own, which read one directory of routes."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.routes = directory / "run"
        self.routes.mkdir(mode=0o700)
        self.port, self.api_port = free_port(), free_port()

    def users(self, number: int) -> str:
        return f"http://127.0.0.{number}:{self.port}"

    def api(self, number: int) -> str:
        return f"http://127.0.0.{number}:{self.api_port}"

    @contextmanager
    def run(self, number: int, **static: Any) -> Iterator[subprocess.Popen[bytes]]:
        place = self.directory / f"traefik-{number}"
        place.mkdir(exist_ok=True)
        config = {
            "api": {},
            "providers": {
                "providersThrottleDuration": "0s",
                "file": {"directory": str(self.routes), "watch": True},
            },
            "entryPoints": {
                "http": {"address": f"127.0.0.{number}:{self.port}"},
                "auth_api": {"address": f"127.0.0.{number}:{self.api_port}"},
            },
        }
        with run_traefik(place, config | static) as process:
            yield process


@pytest.fixture
def traefiks(tmp_path: Path) -> Traefiks:
    return Traefiks(tmp_path)


@pytest.fixture
def make(make_proxy: MakeProxy, traefiks: Traefiks) -> MakeProxy:
    """Makes proxies for Traefiks 2 and 3, unless told otherwise."""

    def proxy(**options: Any) -> TraefikProxy:
        defaults: dict[str, Any] = {
            "should_start": False,
            "public_url": f"http://127.0.0.2:{traefiks.port}",
            "traefik_api_url": [traefiks.api(2), traefiks.api(3)],
            "replica_timeout": 2,
            "log": logging.getLogger("traefikhub-test"),
        }
        return make_proxy(**defaults | options)

    return proxy


async def who(url: str) -> Any:
    status, body = await anyio.to_thread.run_sync(ask, f"{url}/user/mary/")
    return body["name"] if status == 200 else status


def up(url: str) -> float | None:
    return REGISTRY.get_sample_value("traefikhub_replica_up", {"replica": url})


async def until(condition: Callable[[], Any]) -> None:
    """The proxy's own looks go on meanwhile."""
    with anyio.fail_after(60):
        while not condition():
            await anyio.sleep(0.05)


def told(caplog: pytest.LogCaptureFixture, *words: str) -> bool:
    return any(all(x in each.getMessage() for x in words) for each in caplog.records)


async def test_a_route_is_live_when_all_serve_it(
    make: MakeProxy, traefiks: Traefiks, backend: Callable[[str], Backend]
) -> None:
    proxy, servers = make(), [backend(name) for name in "abcdefgh"]
    with traefiks.run(2), traefiks.run(3):
        for server in servers:
            await proxy.add_route("/user/mary/", server.url, {})
            assert [await who(traefiks.users(each)) for each in (2, 3)] == [server.name] * 2
        await proxy.delete_route("/user/mary/")
        assert [await who(traefiks.users(each)) for each in (2, 3)] == [404, 404]
        assert up(traefiks.api(2)) == up(traefiks.api(3)) == 1
        stored = REGISTRY.get_sample_value("traefikhub_generation_stored")
        for each in (2, 3):
            labels = {"replica": traefiks.api(each)}
            assert REGISTRY.get_sample_value("traefikhub_replica_generation", labels) == stored


async def test_one_that_hangs_holds_nobody_up_for_long_and_comes_back(
    make: MakeProxy,
    traefiks: Traefiks,
    backend: Callable[[str], Backend],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    proxy = make(check_route_timeout=120)
    with traefiks.run(2), traefiks.run(3) as hanging:
        await proxy.add_route("/user/mary/", backend("a").url, {})
        hanging.send_signal(signal.SIGSTOP)
        with anyio.fail_after(60):  # half of what it may wait for one alone
            await proxy.add_route("/user/mary/", backend("b").url, {})
            assert await who(traefiks.users(2)) == "b"
            assert up(traefiks.api(3)) == 0
            assert told(caplog, traefiks.api(3), "does not count")
            for name in "cdefghijkl":
                await proxy.add_route("/user/mary/", backend(name).url, {})
        hanging.send_signal(signal.SIGCONT)
        await until(lambda: up(traefiks.api(3)) == 1)
        assert told(caplog, traefiks.api(3), "serves all routes again")
        assert await who(traefiks.users(3)) == "l"
        await proxy.add_route("/user/mary/", backend("m").url, {})
        assert await who(traefiks.users(3)) == "m"


async def test_one_that_dies_is_noticed_though_nothing_changes(
    make: MakeProxy,
    traefiks: Traefiks,
    backend: Callable[[str], Backend],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    proxy = make()
    with traefiks.run(2):
        with traefiks.run(3):
            await proxy.add_route("/user/mary/", backend("a").url, {})
        await until(lambda: up(traefiks.api(3)) == 0)
        assert up(traefiks.api(2)) == 1
        lines = [each for each in caplog.records if "does not count" in each.getMessage()]
        assert [each.levelno for each in lines] == [logging.WARNING]
        assert "refused" in lines[0].getMessage()
        with traefiks.run(3):
            await until(lambda: up(traefiks.api(3)) == 1)
            assert await who(traefiks.users(3)) == "a"
            await proxy.add_route("/user/mary/", backend("b").url, {})
            assert await who(traefiks.users(3)) == "b"
    assert len([each for each in caplog.records if "does not count" in each.getMessage()]) < 4


async def test_without_any_a_call_fails_and_the_next_works(
    make: MakeProxy, traefiks: Traefiks, backend: Callable[[str], Backend]
) -> None:
    proxy = make(check_route_timeout=2)
    with traefiks.run(2), traefiks.run(3):
        await proxy.add_route("/user/mary/", backend("a").url, {})
    with pytest.raises(NotLive) as caught:
        await proxy.add_route("/user/mary/", backend("b").url, {})
    assert traefiks.api(2) in str(caught.value)
    assert traefiks.api(3) in str(caught.value)
    proxy.check_route_timeout = 30
    with traefiks.run(3):
        await until(lambda: up(traefiks.api(3)) == 1)
        await proxy.add_route("/user/mary/", backend("c").url, {})
        assert await who(traefiks.users(3)) == "c"


async def test_a_load_balancer_can_tell_one_that_has_read_the_store(
    make: MakeProxy, traefiks: Traefiks, tmp_path: Path
) -> None:
    proxy = make(traefik_api_url=[traefiks.api(2)])
    (tmp_path / "empty").mkdir()

    async def status(number: int, path: str = "/ping") -> int:
        url = f"{traefiks.api(number)}{path}"
        return (await anyio.to_thread.run_sync(ask, url))[0]

    empty = {"file": {"directory": str(tmp_path / "empty")}}
    ping = {"manualRouting": True}
    with traefiks.run(2, ping=ping), traefiks.run(3, providers=empty, ping=ping):
        await proxy.add_route("/user/mary/", "http://127.0.0.1:1", {})
        assert await status(2) == 200
        assert await status(2, "/api/version") == 401
        with anyio.fail_after(30):
            while await status(3) != 404:
                await anyio.sleep(0.1)


async def test_nothing_leads_to_a_ping_that_one_lacks(make: MakeProxy, traefiks: Traefiks) -> None:
    """Its log would have an error at every reload."""
    proxy = make()
    with traefiks.run(2, ping={"manualRouting": True}), traefiks.run(3):
        await proxy.add_route("/user/mary/", "http://127.0.0.1:1", {})
        assert "ping@internal" not in (traefiks.routes / "routes.toml").read_text()


async def test_one_that_is_not_there_at_the_start_costs_a_warning(
    make: MakeProxy,
    traefiks: Traefiks,
    backend: Callable[[str], Backend],
    caplog: pytest.LogCaptureFixture,
) -> None:
    proxy = make()
    with traefiks.run(2):
        await proxy.add_route("/user/mary/", backend("a").url, {})
        assert up(traefiks.api(3)) == 0
        assert told(caplog, traefiks.api(3), "does not count", "refused")
        assert await who(traefiks.users(2)) == "a"


async def test_one_that_reads_something_else_is_named(
    make: MakeProxy,
    traefiks: Traefiks,
    tmp_path: Path,
    backend: Callable[[str], Backend],
    caplog: pytest.LogCaptureFixture,
) -> None:
    proxy = make()
    (tmp_path / "else").mkdir()
    other = {"file": {"directory": str(tmp_path / "else")}}
    with traefiks.run(2), traefiks.run(3, providers=other):
        await proxy.add_route("/user/mary/", backend("a").url, {})
        assert await who(traefiks.users(2)) == "a"
        assert told(caplog, traefiks.api(3), "does not count", "no router for the API yet")


async def test_a_name_stands_for_all_its_addresses_and_is_looked_up_again(
    make: MakeProxy,
    traefiks: Traefiks,
    backend: Callable[[str], Backend],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("traefikhub.traefik.replica_watch._LOOKUP_SECONDS", 0.3)
    numbers = [2]
    real = socket.getaddrinfo

    def resolve(host: Any, port: Any, *arguments: Any, **options: Any) -> Any:
        if host != "traefik.example":
            return real(host, port, *arguments, **options)
        if not numbers:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [x for n in numbers for x in real(f"127.0.0.{n}", port, *arguments, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    proxy = make(traefik_api_url=f"http://traefik.example:{traefiks.api_port}")
    with traefiks.run(2):
        await proxy.add_route("/user/mary/", backend("a").url, {})
        with traefiks.run(3):
            numbers.append(3)
            await until(lambda: up(traefiks.api(3)) == 1)
            assert await who(traefiks.users(3)) == "a"
            await proxy.add_route("/user/mary/", backend("b").url, {})
            assert [await who(traefiks.users(each)) for each in (2, 3)] == ["b", "b"]
            numbers.clear()  # what was known stays
            await until(lambda: told(caplog, "traefik.example can't be resolved"))
            await proxy.add_route("/user/mary/", backend("c").url, {})
            assert [await who(traefiks.users(each)) for each in (2, 3)] == ["c", "c"]
            numbers.append(3)
            await until(lambda: up(traefiks.api(2)) is None)
            assert told(caplog, traefiks.api(2), "no longer among")
        # The last one that is known is gone.
        numbers.append(2)
        await until(lambda: up(traefiks.api(2)) == 1)
        await proxy.add_route("/user/mary/", backend("d").url, {})
        assert await who(traefiks.users(2)) == "d"


async def test_activity_is_the_sum_of_all(
    make: MakeProxy, traefiks: Traefiks, backend: Callable[[str], Backend]
) -> None:
    hub = SimpleNamespace(host="http://127.0.0.1:9", base_url="/hub/", routespec="/")
    proxy = make(hub=hub)

    async def used(name: str) -> datetime:
        text = (await proxy.get_all_routes())[f"/user/{name}/"]["data"]["last_activity"]
        return datetime.fromisoformat(text[:-1]).replace(tzinfo=timezone.utc)

    with traefiks.run(2, metrics=METRICS), traefiks.run(3, metrics=METRICS):
        for name in ("mary", "john", "idle"):
            await proxy.add_route(f"/user/{name}/", backend(name).url, {})
        await used("idle")  # the first look, which knows nothing of before
        await anyio.sleep(0.01)  # times are rounded up, to milliseconds
        before = datetime.now(timezone.utc)
        idle = await used("idle")
        assert idle < before
        assert (await anyio.to_thread.run_sync(ask, f"{traefiks.users(2)}/user/mary/"))[0] == 200
        assert (await anyio.to_thread.run_sync(ask, f"{traefiks.users(3)}/user/john/"))[0] == 200
        assert await used("mary") >= before
        assert await used("john") >= before
        assert await used("idle") == idle


async def test_activity_of_one_that_counts_nothing_is_not_known(
    make: MakeProxy, traefiks: Traefiks, caplog: pytest.LogCaptureFixture
) -> None:
    hub = SimpleNamespace(host="http://127.0.0.1:9", base_url="/hub/", routespec="/")
    proxy = make(hub=hub)
    with traefiks.run(2, metrics=METRICS), traefiks.run(3):
        await proxy.add_route("/user/mary/", "http://127.0.0.1:1", {})
        assert "last_activity" not in (await proxy.get_all_routes())["/user/mary/"]["data"]
        assert told(caplog, traefiks.api(3), "metrics.prometheus", "c.TraefikProxy.last_activity")
        assert not told(caplog, f"Traefik at {traefiks.api(2)}", "counts no requests")
        # No router that would be broken, and told of in that Traefik's log at every reload.
        assert "prometheus@internal" not in (traefiks.routes / "routes.toml").read_text()


async def test_activity_is_not_reported_too_low_while_one_is_silent(
    make: MakeProxy, traefiks: Traefiks, backend: Callable[[str], Backend]
) -> None:
    """Users may still come through it."""
    hub = SimpleNamespace(host="http://127.0.0.1:9", base_url="/hub/", routespec="/")
    proxy = make(hub=hub)

    async def used() -> str:
        routes = await proxy.get_all_routes()
        return str(routes["/user/mary/"]["data"]["last_activity"])

    async def is_still() -> bool:
        before = await used()
        await anyio.sleep(0.1)
        return await used() == before

    with traefiks.run(2, metrics=METRICS):
        with traefiks.run(3, metrics=METRICS) as silent:
            await proxy.add_route("/user/mary/", backend("mary").url, {})
            await used()
            assert await is_still()
            silent.send_signal(signal.SIGSTOP)
            await until(lambda: up(traefiks.api(3)) == 0)
            assert not await is_still()
        # It is gone now, and refuses connections.
        with anyio.fail_after(60):
            while not await is_still():
                await anyio.sleep(0.1)


@pytest.mark.parametrize(
    ("arguments", "urls"),
    [
        (['=["http://a:1", "http://b:1"]'], ("http://a:1", "http://b:1")),
        (["=http://a:1", "=http://b:1"], ("http://a:1", "http://b:1")),
        (["=http://a:1"], ("http://a:1",)),
    ],
)
def test_the_command_line_takes_several(arguments: list[str], urls: tuple[str, ...]) -> None:
    app = Application()
    app.classes = [TraefikProxy]
    app.parse_command_line([f"--TraefikProxy.traefik_api_url{each}" for each in arguments])
    assert TraefikProxy(app=hub_app(), config=app.config).api_urls == urls


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"traefik_api_url": []}, "traefik_api_url = \\[\\] is empty"),
        ({"traefik_api_url": ["http://127.0.0.1:1", "nonsense"]}, "'nonsense' is not a URL"),
    ],
)
async def test_lists_that_are_none(
    make_proxy: MakeProxy, options: dict[str, Any], words: str
) -> None:
    for should_start in (False, True):
        proxy = make_proxy(should_start=should_start, **options)
        if should_start:
            with pytest.raises(TraefikUnusable, match=r"c\.TraefikProxy\.traefik_api_url"):
                await proxy.start()
        else:
            with pytest.raises(TraefikUnusable, match=words):
                await proxy.get_all_routes()


async def test_the_hub_starts_one_only(make_proxy: MakeProxy) -> None:
    proxy = make_proxy(traefik_api_url=["http://127.0.0.1:1", "http://127.0.0.2:1"])
    with pytest.raises(TraefikUnusable, match=r"lists 2 .*c\.TraefikProxy\.should_start = False"):
        await proxy.start()


async def test_a_name_that_nobody_knows(make_proxy: MakeProxy) -> None:
    proxy = make_proxy(
        should_start=False, check_route_timeout=1, traefik_api_url="http://no.such.invalid:8099"
    )
    with pytest.raises(NotLive, match=r"no\.such\.invalid.*c\.TraefikProxy\.traefik_api_url"):
        await proxy.get_all_routes()
