"""The tree of routers and the flat list, on real Traefiks: every request lands alike."""

from __future__ import annotations

import http.client
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from urllib.parse import quote, urlsplit

import anyio
import pytest

from conftest import MakeProxy
from support import Backend, free_port
from traefikhub import TraefikProxy

pytestmark = pytest.mark.anyio

MakeBackend = Callable[[str], Backend]

ALPHABET = "abc01-_.~+@:;,'(&=*%`\" \\é中😀{|A"


def routespecs(chance: random.Random) -> list[str]:
    """As a hub grown odd has them: crowds that share prefixes, names of every kind, named servers,
    services."""
    users = [f"user{number}" for number in range(120)]
    users += [f"first.last{number}@uni.test" for number in range(60)]
    users += [f"oidc:{number}" for number in range(50)]
    users += ["".join(chance.choices(ALPHABET, k=chance.randint(1, 6))) for _ in range(80)]
    paths = ["/", "/services/a/", "/services/a/b/", "/user/user7/lab/", "/user/user7//"]
    paths += [f"/user/{quote(name, safe='@~')}/" for name in dict.fromkeys(users) if name != "."]
    paths += [f"/user/user1/server{number}/" for number in range(40)]
    return paths


def routespecs_of_hosts(chance: random.Random) -> list[str]:
    """As a hub has them that gives each user a domain."""
    hosts = [f"user{number}.hub.test" for number in range(100)]
    hosts += [f"x{''.join(chance.choices('ab01-', k=3))}z.hub.test" for _ in range(40)]
    users = [f"{host}/user/{host.partition('.')[0]}/" for host in dict.fromkeys(hosts)]
    one = [f"user1.hub.test/user/user1/lab{number}/" for number in range(40)]
    return ["/", "hub.test/", "services.hub.test/services/a/", *users, *one]


def requests_for(specs: Iterable[str], chance: random.Random) -> list[tuple[str, str]]:
    """Host and path of requests at, below, above and beside each route, escaped in many ways."""

    def respelled(path: str) -> str:
        plain = [char for char in path if char.isalnum() and char.isascii()]
        char = chance.choice(plain) if plain and "%" not in path else ""
        return path.replace(char, f"%{ord(char):02x}", 1) if char else path

    made = []
    for spec in specs:
        host, slash, path = spec.partition("/")
        path = slash + path
        host = host or chance.choice(["hub.test", "user1.hub.test", "user7.hub.test", "x.test"])
        made += [
            (host, path),
            (host.upper(), respelled(path) + "lab?x=1"),
            (host, path.rstrip("/") or "/"),
            (host, path[:-1] + "x/" if path[:-1] else "/x/"),
            (host, path[: len(path) // 2].rpartition("/")[0] + "/"),
        ]
    return made


def landings(proxy: TraefikProxy, requests: Iterable[tuple[str, str]]) -> list[tuple[int, bytes]]:
    """Status and body of each, over one connection; paths go out just as they are."""
    connection = http.client.HTTPConnection(urlsplit(proxy.public_url).netloc, timeout=10)
    found = []
    try:
        for host, path in requests:
            connection.putrequest("GET", path, skip_host=True)
            connection.putheader("Host", host)
            connection.endheaders()
            response = connection.getresponse()
            found.append((response.status, response.read().split(b'"headers"')[0]))
    finally:
        connection.close()
    return found


@pytest.mark.parametrize("of_hosts", [False, True], ids=["paths", "hosts"])
async def test_tree_and_list_serve_alike(
    make_proxy: MakeProxy, backend: MakeBackend, tmp_path: Path, of_hosts: bool
) -> None:
    chance = random.Random(20261123)
    specs = routespecs_of_hosts(chance) if of_hosts else routespecs(chance)
    server = backend("one")
    tree = make_proxy(host_routing=of_hosts)
    flat = make_proxy(
        host_routing=of_hosts,
        routing="flat",
        run_dir=str(tmp_path / "flat"),
        public_url=f"http://127.0.0.1:{free_port()}",
        traefik_api_url=f"http://127.0.0.1:{free_port()}",
    )

    async def put(number: int, spec: str) -> None:
        # The path of the target tells which route a request took.
        for proxy in (tree, flat):
            await proxy.add_route(spec, f"{server.url}/route{number}", {})

    async def drop(spec: str) -> None:
        for proxy in (tree, flat):
            await proxy.delete_route(spec)

    async def require_alike() -> int:
        requests = requests_for(specs, chance)
        mine = await anyio.to_thread.run_sync(landings, tree, requests)
        theirs = await anyio.to_thread.run_sync(landings, flat, requests)
        pairs = zip(requests, mine, theirs, strict=True)
        assert not [(asked, *answers) for asked, *answers in pairs if answers[0] != answers[1]]
        return sum(status == 200 for status, _ in mine)

    await tree.start()
    await flat.start()
    async with anyio.create_task_group() as crowd:
        for number, spec in enumerate(specs):
            crowd.start_soon(put, number, spec)
    assert await require_alike() == 5 * len(specs)

    for spec in specs[:3]:
        await drop(spec)
    assert 0 < await require_alike() < 5 * len(specs)  # nothing is left for what "/" served

    async with anyio.create_task_group() as crowd:
        for spec in specs[::2]:
            crowd.start_soon(drop, spec)
    assert await require_alike()
    for number, spec in enumerate(specs[::40]):
        await put(number, spec)
    assert await require_alike()
