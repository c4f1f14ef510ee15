"""``traefikhub bench`` as an admin meets it: what it tells, and that nothing of it is left."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest
from click.testing import CliRunner

from conftest import MakeProxy
from servers.etcd import EtcdServer
from servers.stores import KeyValueServer
from support import Backend, ask, free_port, traefik_processes, wait_until
from traefikhub.cli._bench import command
from traefikhub.cli._bench_measure import watched_loop
from traefikhub.cli._bench_run import Stopped, removal, until_told_to_stop
from traefikhub.cli._bench_values import Burst, Machine, Result, Table, Times, seconds_of
from traefikhub.cli._bench_verdict import summary, verdict
from traefikhub.stores import StoreUnavailable

BENCH = [sys.executable, "-m", "traefikhub.cli", "bench"]
SECONDS = 120


class Place:
    """A directory of a hub, and one for temporary files. Both are to be left as they are."""

    def __init__(self, directory: Path) -> None:
        self.hub, self.temporary = directory / "hub", directory / "tmp"
        self.hub.mkdir()
        self.temporary.mkdir()
        self.env = {**os.environ, "TMPDIR": str(self.temporary)}
        self.configure({})

    def configure(self, options: Mapping[str, object], code: str = "") -> None:
        """Write a configuration."""
        all_options: dict[str, object] = {"JupyterHub.proxy_class": "traefikhub", **options}
        lines = (f"c.{name} = {value!r}\n" for name, value in all_options.items())
        (self.hub / "jupyterhub_config.py").write_text("".join(lines) + code)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        return subprocess.run(
            [*BENCH, *arguments],
            cwd=self.hub,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )

    @contextmanager
    def running(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """Run it, and wait until its Traefik runs."""
        process = subprocess.Popen(
            [*BENCH, *arguments],
            cwd=self.hub,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            wait_until(lambda: process.poll() is not None or self.traefiks(), "its Traefik", 60)
            assert process.poll() is None, process.communicate()
            yield process
        finally:
            process.kill()
            process.communicate()
            left = traefik_processes(self.temporary)
            for each in left:
                each.kill()
            assert left == []

    def files(self) -> set[Path]:
        """All that there is."""
        return {*self.hub.rglob("*"), *self.temporary.rglob("*")}

    def traefiks(self) -> list[int]:
        """Those that were started with a temporary configuration."""
        return [each.pid for each in traefik_processes(self.temporary)]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A hub that was never started, with the default store."""
    return Place(tmp_path)


@contextmanager
def nothing_is_left(place: Place, dump: Callable[[], object] = dict) -> Iterator[None]:
    """Files, processes and keys are afterwards as they were before."""
    files, keys = place.files(), dump()
    yield
    assert place.files() == files
    assert place.traefiks() == []
    assert dump() == keys


def is_sane(times: dict[str, Any]) -> None:
    """Whether something was measured, and could have been so."""
    assert times["count"] >= 1
    assert 0 < times["median"] <= times["p95"] <= times["worst"] < SECONDS


def check_shape(told: dict[str, Any], sizes: list[int], *, on_server: bool) -> None:
    """All is there that scripts are promised."""
    assert set(told["versions"]) == {"traefikhub", "traefik", "store", "python"}
    assert all(told["versions"].values())
    assert told["machine"]["cores"] == os.cpu_count()
    assert 0 < told["machine"]["memory_free"] <= told["machine"]["memory"]
    assert told["on_server"] is on_server
    is_sane(told["write"])
    is_sane(told["round_trip" if on_server else "fsync"])
    assert told["fsync" if on_server else "round_trip"] is None
    assert [table["routes"] for table in told["tables"]] == sizes
    for table in told["tables"]:
        for part in ("live", "store", "reload", "hub"):
            is_sane(table[part])
        for part in ("store", "reload"):
            assert table[part]["worst"] <= table["live"]["worst"]
            assert table[part]["median"] <= table["live"]["median"]
        is_sane(table["burst"]["all"])
        is_sane(table["burst"]["one"])
        assert table["burst"]["routes"] == 50
        assert 1 <= table["burst"]["reloads"] <= 50
        assert table["burst"]["loop_held"] >= 0
        assert table["burst"]["one"]["worst"] <= table["burst"]["all"]["worst"]
    assert {each["limit"] for each in told["verdict"]} & {"store", "reload", "hub"}
    assert all(each["why"] and each["advice"] for each in told["verdict"])
    assert str(sizes[-1]) in told["summary"]
    assert told["seconds"] > 0


@pytest.mark.anyio
async def test_of_a_file_beside_the_running_hub(
    place: Place, make_proxy: MakeProxy, backend: Callable[[str], Backend]
) -> None:
    """With the very configuration of that hub, whose ports and directory are in use."""
    proxy = make_proxy(run_dir=str(place.hub / "run"))
    await proxy.start()
    place.configure(
        {
            "JupyterHub.bind_url": proxy.public_url,
            "TraefikProxy.run_dir": proxy.run_dir,
            "TraefikProxy.traefik_api_url": proxy.traefik_api_url,
        }
    )
    with nothing_is_left(place):
        answer = await anyio.to_thread.run_sync(
            place.run, "--quick", "--json", "--routes=40", "--routes=3"
        )
    assert answer.returncode == 0, answer.stderr
    assert answer.stderr == ""
    told = json.loads(answer.stdout)
    check_shape(told, [3, 40], on_server=False)
    assert told["store"] == "toml-file"
    assert told["notes"] == []
    await proxy.add_route("/user/bob/", backend("bob").url, {})
    url = f"{proxy.public_url}/user/bob/"
    assert (await anyio.to_thread.run_sync(ask, url))[1]["name"] == "bob"


def test_what_belongs_to_the_running_hub_is_left_alone(place: Place) -> None:
    """Ports, logs and files that the configuration names, and a Traefik that others run."""
    with TakenPort() as port:
        place.configure(
            {
                "JupyterHub.bind_url": f"http://127.0.0.1:{port}",
                "TraefikProxy.should_start": False,
                "TraefikProxy.traefik_api_url": f"http://127.0.0.1:{port}",
                "TraefikProxy.static_config_file": str(place.hub / "static.toml"),
                "TraefikProxy.access_log": str(place.hub / "access.log"),
                "TraefikProxy.extra_static_config": {
                    "providers": {"providersThrottleDuration": "20ms"},
                    "entryPoints": {"more": {"address": f"127.0.0.1:{port}"}},
                    "log": {"filePath": str(place.hub / "traefik.log")},
                },
                "TomlFileStore.path": str(place.hub / "kept" / "routes.toml"),
                "JupyterHub.subdomain_host": "https://hub.example",
            }
        )
        (place.hub / "kept").mkdir()
        (place.hub / "kept" / "routes.toml").write_text("# somebody's\n")
        with nothing_is_left(place):
            answer = place.run("--quick", "--routes=3")
    assert answer.returncode == 0, answer.stderr
    assert (place.hub / "kept" / "routes.toml").read_text() == "# somebody's\n"
    for text in ("should_start", "extra_static_config", "live after", "What limits", "Python 3."):
        assert text in answer.stdout


class TakenPort:
    """A port that is taken."""

    def __enter__(self) -> int:
        self._socket = socket.create_server(("127.0.0.1", 0))
        port: int = self._socket.getsockname()[1]
        return port

    def __exit__(self, *_: object) -> None:
        self._socket.close()


def options_of(server: KeyValueServer) -> dict[str, object]:
    """As a configuration file has them."""
    config = server.options["config"]
    return {"TraefikProxy.store": server.options["store"]} | {
        f"{section}.{name}": value for section in config for name, value in config[section].items()
    }


@pytest.mark.anyio
async def test_beside_a_running_hub_in_the_same_store(
    key_value: KeyValueServer,
    place: Place,
    make_proxy: MakeProxy,
    backend: Callable[[str], Backend],
) -> None:
    proxy = make_proxy(**key_value.options)
    await proxy.start()
    await proxy.add_route("/user/mary/", backend("mary").url, {})
    place.configure(options_of(key_value))
    with nothing_is_left(place, key_value.server.dump):
        answer = await anyio.to_thread.run_sync(place.run, "--quick", "--json", "--routes=12")
    assert answer.returncode == 0, answer.stderr
    told = json.loads(answer.stdout)
    check_shape(told, [12], on_server=True)
    assert told["place"].startswith("traefik-scratch-")
    await proxy.add_route("/user/bob/", backend("bob").url, {})  # it is not fenced
    for name in ("mary", "bob"):
        url = f"{proxy.public_url}/user/{name}/"
        assert (await anyio.to_thread.run_sync(ask, url))[1]["name"] == name


@pytest.mark.parametrize("store", ["toml-file", "etcd"])
def test_ctrl_c_leaves_nothing(place: Place, tmp_path: Path, store: str) -> None:
    with EtcdServer(tmp_path / "etcd") as server:
        server.put("traefik/kept", "as it is")
        if store == "etcd":
            place.configure(
                {"TraefikProxy.store": "etcd", "EtcdStore.endpoints": [server.endpoint]}
            )
        with (
            nothing_is_left(place, server.dump),
            place.running("--routes=10", "--routes=3000") as process,
        ):
            if store == "etcd":
                wait_until(lambda: is_midway(server.dump()), "keys of many routes", 60)
            else:
                wait_until(lambda: list(place.hub.rglob("routes.toml")), "a scratch file", 60)
            for _ in range(2):  # the second one changes nothing
                process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
            assert process.returncode == 130
            assert out == ""
            assert "Stopped" in err
            assert "Traceback" not in err


def is_midway(keys: dict[str, str]) -> bool:
    return sum(key.startswith("traefik-scratch-") for key in keys) > 100


def test_a_traefik_that_ends_at_once(place: Place, tmp_path: Path) -> None:
    """The store was written by then."""
    program = tmp_path / "traefik"
    program.write_text("#!/bin/sh\n[ $1 = version ] && echo Version: 3.7.15 || exit 7\n")
    program.chmod(0o700)
    with EtcdServer(tmp_path / "etcd") as server:
        place.configure(
            {
                "TraefikProxy.store": "etcd",
                "EtcdStore.endpoints": [server.endpoint],
                "TraefikProxy.traefik_command": str(program),
            }
        )
        with nothing_is_left(place, server.dump):
            before = server.revision()
            answer = place.run("--quick")
            assert server.revision() > before
    assert answer.returncode == 1
    assert "code 7" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_store_that_goes_down_meanwhile(place: Place, tmp_path: Path) -> None:
    with EtcdServer(tmp_path / "etcd") as server:
        place.configure(
            {
                "TraefikProxy.store": "etcd",
                "EtcdStore.endpoints": [server.endpoint],
                "EtcdStore.timeout": 1,
                "TraefikProxy.check_route_timeout": 3,
            }
        )
        with nothing_is_left(place), place.running("--routes=10") as process:
            server.stop()
            _, err = process.communicate(timeout=90)
    assert process.returncode == 1
    assert re.search("^    etcdctl del --prefix traefik-scratch-[0-9a-f]{8}/$", err, re.MULTILINE)
    assert server.endpoint in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("provider", "told"),
    [
        ("consul", "    consul kv delete -recurse 'my hub-scratch-1/'"),
        ("redis", "delete all keys that begin with my hub-scratch-1/"),
    ],
)
def test_how_to_delete_what_is_left(provider: str, told: str) -> None:
    assert removal(provider, "my hub-scratch-1/").endswith(told)


def test_a_store_that_is_down(place: Place) -> None:
    endpoint = f"127.0.0.1:{free_port()}"
    with nothing_is_left(place):
        answer = place.run(
            "--json",
            "--TraefikProxy.store=etcd",
            f"--EtcdStore.endpoints={endpoint}",
            "--EtcdStore.timeout=1",
        )
    assert answer.returncode == 1
    assert answer.stdout == ""
    assert endpoint in answer.stderr
    assert "c.EtcdStore.endpoints" in answer.stderr
    assert "Traceback" not in answer.stderr


NOWHERE = """
from traefikhub.stores import RouteStore, Snapshot

class Nowhere(RouteStore):
    provider_name = "http"
    def provider_config(self): return {}
    async def open(self, *, read_only=False): raise RuntimeError("nobody asked for this")
    async def close(self): pass
    async def load(self): return Snapshot({}, 0)
    async def apply(self, batch): pass

c.TraefikProxy.store = Nowhere
"""


def test_a_store_without_a_place_beside_the_hubs(place: Place) -> None:
    place.configure({}, NOWHERE)
    with nothing_is_left(place):
        answer = place.run()
    assert answer.returncode == 1
    assert "Nowhere can't be measured" in answer.stderr
    assert "Traceback" not in answer.stderr


@pytest.mark.parametrize("routes", ["0", "10001", "many"])
def test_sizes_that_make_no_sense(routes: str) -> None:
    answer = CliRunner().invoke(command, [f"--routes={routes}"])
    assert answer.exit_code == 2
    assert "--routes" in answer.output


@pytest.mark.anyio
async def test_an_error_in_a_burst_is_told_as_it_is() -> None:
    with pytest.raises(StoreUnavailable, match="down"):
        async with watched_loop():
            raise StoreUnavailable("it is down")


@pytest.mark.anyio
async def test_ctrl_c_does_not_end_the_cleaning_up() -> None:
    cleaned = []

    async def work() -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                os.kill(os.getpid(), signal.SIGINT)
                await anyio.sleep(0.05)
                cleaned.append(True)

    with pytest.raises(Stopped):
        await until_told_to_stop(work)
    assert cleaned


# --- the verdict ----------------------------------------------------------------------------------


def result(**values: Any) -> Result:
    """A measurement of an idle machine, in seconds; ``live`` is the sum of its parts."""
    parts = {name: values.pop(name, 0.001) for name in ("store", "reload", "hub")}
    machine = values.pop("machine", Machine(cores=4, load=0.1, memory=8 << 30, memory_free=4 << 30))
    routes = values.pop("routes", 1000)
    tables = [
        Table(
            routes=size,
            live=times(sum(parts.values()) * share),
            traefik_cpu=0.1,
            burst=Burst(
                routes=50,
                all=times(2 * sum(parts.values()) * share),
                one=times(sum(parts.values()) * share),
                reloads=2,
                loop_held=0.001,
            ),
            **{name: times(seconds * share) for name, seconds in parts.items()},
        )
        for size, share in ((routes, 1), (10, 0.1))
    ]
    defaults: dict[str, Any] = {
        "versions": {},
        "machine": machine,
        "store": "etcd",
        "on_server": True,
        "place": "traefik-scratch-0/",
        "throttle": 0.0,
        "write": times(0.002),
        "round_trip": times(0.0005),
        "tables": tables,
    }
    return Result(**defaults | values)


def times(seconds: float) -> Times:
    return Times(10, seconds, seconds, 2 * seconds)


@pytest.mark.parametrize(
    ("measured", "limits", "words"),
    [
        (result(reload=0.8), ["reload"], ["cores", "cull", "800 ms", "1000 routes"]),
        (result(reload=0.8, routes=5000), ["reload"], ["toml-file", "computes 100 ms", "it waits"]),
        (result(store=0.4, write=times(0.4), round_trip=times(0.39)), ["store"], ["nearer"]),
        (result(store=0.4, write=times(0.3)), ["store"], ["fsync", "faster disk", "300 ms"]),
        (result(store=0.4), ["store"], ["processors"]),
        (
            result(on_server=False, store=0.4, round_trip=None, fsync=times(0.19)),
            ["store"],
            ["local SSD", "c.TomlFileStore.path", "190 ms"],
        ),
        (
            result(on_server=False, store=0.4, round_trip=None, fsync=times(0.001)),
            ["store"],
            ["size of the file"],
        ),
        (
            result(reload=0.25, throttle=0.2),
            ["throttle"],
            ["traefik_providers_throttle_duration", "'0s'", "200 ms"],
        ),
        (result(reload=0.5, store=0.45), ["reload", "store"], []),
        (result(hub=0.5), ["hub"], ["processor"]),
        (
            result(machine=Machine(cores=2, load=6, memory=1 << 33, memory_free=1 << 32)),
            ["machine", "store", "reload", "hub"],
            ["load of 6.0", "2 cores", "quiet hour"],
        ),
        (
            result(reload=9, machine=Machine(cores=1, load=0, memory=1 << 33, memory_free=1 << 26)),
            ["machine", "reload"],
            ["64 of 8192 MiB", "1 core)"],
        ),
        (result(reload=9, tables=[]), [], []),
    ],
)
def test_the_verdict(measured: Result, limits: list[str], words: list[str]) -> None:
    found = verdict(measured)
    assert [each.limit.value for each in found] == limits
    text = " ".join(f"{each.why} {each.advice}" for each in found)
    for word in words:
        assert word in text


def test_shares_are_of_the_whole() -> None:
    found = verdict(result(reload=0.5, store=0.498, hub=0.002))
    assert [each.share for each in found] == [pytest.approx(0.5), pytest.approx(0.498)]


def test_what_nobody_notices_is_said_to_be_good() -> None:
    assert "nothing needs to be done" in summary(result())
    assert "nothing needs to be done" not in summary(result(reload=0.3))
    assert "302 ms" in summary(result(reload=0.3))
    assert summary(result(tables=[])) == ""


@pytest.mark.parametrize(
    ("duration", "seconds"),
    [("0s", 0), ("200ms", 0.2), ("1.5s", 1.5), ("1m30s", 90), ("2", 2), ("5µs", 5e-6), (3, 3)],
)
def test_durations_as_traefik_reads_them(duration: str | int, seconds: float) -> None:
    assert seconds_of(duration) == pytest.approx(seconds)


def test_the_median_and_the_95th_of_a_hundred() -> None:
    found = Times.of([float(number) for number in range(100, 0, -1)])
    assert found == Times(100, 50.5, 95.0, 100.0)
    assert Times.of([2.0]) == Times(1, 2.0, 2.0, 2.0)
