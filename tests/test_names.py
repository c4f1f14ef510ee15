"""Every name that JupyterHub accepts, in every encoding that a client may choose, on real Traefiks.

Where a request must land is worked out here from decoded names alone, not from the project's rules.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote, unquote

import anyio.to_thread
import pytest
from jupyterhub import orm
from jupyterhub.auth import Authenticator
from jupyterhub.user import User
from jupyterhub.utils import subdomain_hook_idna, subdomain_hook_legacy, url_escape_path

from conftest import MakeProxy
from support import hub_app
from traefikhub import TraefikProxy
from wire import Line, WireServers

pytestmark = pytest.mark.anyio

NAMES = [
    *("mary", "mary2", "mar", "Mary", "MARY", "ma", "m", "0", "-", "_", "~", "a.b", "a..b", "..a"),
    # Each reserved character of URLs, and those that mean something in rules, templates, keys.
    *(f"q{char}z" for char in ":?#[]@!$&'()*+,;=%"),
    *(f"q{char}z" for char in '"\\`{}|^<> .-_~'),
    *("q", "qz", "qzz", "qAz", "q%41z", "q%2Fz", "q%2fz", "q%252Fz", "%2e%2e%2fhub", "q%", "%q"),
    *("john+test@example.com", "john test@example.com", "oidc:123", "DOMAIN\\mary", "a=b&c=d"),
    *("it's (her) & his = 100%", "wild*card~$!", "{{x}}", '{{ env "HOME" }}', "$1", "${1}", ".*"),
    *("a`) || PathPrefix(`hub", 'a") || HostRegexp(".*', "a') || Host(`x`)", "(?i)mary"),
    *(
        "^mary$",
        "mary|hub",
        "[a-z]+",
        "\\x2fhub",
        "mary)(",
        "\\",
        '"',
        "'",
        "`",
        "&&",
        "!",
        "@file",
    ),
    *(
        "tab\there",
        "line\nfeed",
        "nul\0",
        "del\x7f",
        "bom\ufeff",
        "\ufeffbom",
        "\u200bzero",
        "x\u2028y",
    ),
    *(
        "é",
        "e\u0301",
        "É",
        "ß",
        "ss",
        "ſ",
        "s",
        "K",
        "\u212a",
        "k",
        "İ",
        "日本",
        "😀",
        "ظبي",
        "\U0010ffff",
    ),
    *("ä@ö:ü", "ж" * 127, "x" * 255, "a b", "a+b", "a%20b", "a%2Bb", "api", "hub", "user"),
]

ALPHABET = "abA0-_.~:?#[]@!$&'()*+,;=%\"\\`{}|^<> é日😀\t"
LITERAL = "!$&'()*+,;=:@~"
"""Besides letters, digits and ``-._``, what a path may hold as it is (RFC 3986, pchar)."""


def random_names(chance: random.Random, count: int) -> list[str]:
    made = ("".join(chance.choices(ALPHABET, k=chance.randint(1, 8))) for _ in range(count))
    return [name for name in made if Authenticator().validate_username(name)]


def all_names() -> list[str]:
    return list(dict.fromkeys(NAMES + random_names(random.Random(5), 60)))


@pytest.fixture(scope="module")
def jupyterhub_user() -> Iterator[Callable[..., User]]:
    """Makes JupyterHub's own users, in a database of their own."""
    session = orm.new_session_factory("sqlite:///:memory:")()

    def make(name: str, **settings: Any) -> User:
        found = session.query(orm.User).filter_by(name=name).first() or orm.User(name=name)
        session.add(found)
        session.commit()
        return User(found, {"base_url": "/", "hub": SimpleNamespace(base_url="/hub/")} | settings)

    yield make
    session.close()
    session.get_bind().dispose()


def proxy_spec(user: User, server_name: str) -> str:
    """As JupyterHub makes it for a spawner."""
    if server_name and server_name not in user.orm_spawners:
        # JupyterHub 6 takes no such names for new servers, but starts those that 5 has left.
        user.db.add(orm.Spawner(name=server_name, user=user.orm_user))
        user.db.commit()
    spec: str = user.spawners[server_name].proxy_spec
    return spec


def spellings(name: str, chance: random.Random) -> dict[str, str]:
    """A name in a path, as clients may write it."""

    def encoded(char: str, form: str = "%{:02X}") -> str:
        return "".join(form.format(byte) for byte in char.encode())

    def some(share: float) -> str:
        def piece(char: str) -> str:
            if chance.random() > share and ((char.isascii() and char.isalnum()) or char in literal):
                return char
            return encoded(char, chance.choice(["%{:02X}", "%{:02x}"]))

        return "".join(map(piece, name))

    literal = LITERAL + "-._"
    return {
        "JupyterHub": url_escape_path(name),
        "encodeURIComponent": quote(name, safe="~!*'()"),
        "as little as is legal": quote(name, safe=LITERAL),
        "as much as is legal": "".join(map(encoded, name)),
        "lower case": "".join(encoded(char, "%{:02x}") for char in name),
        "unreserved alone": "".join(
            encoded(char)
            if char.isascii() and (char.isalnum() or char in "-._~")
            else quote(char, safe=LITERAL)
            for char in name
        ),
        "reserved alone": quote(name, safe=""),
        # Not legal, but sent: the URL standard of browsers leaves these in paths.
        "browser": quote(name, safe=LITERAL + "|[]^"),
        **{f"random {share}": some(share) for share in (0.1, 0.3, 0.5, 0.7, 0.9)},
    }


BELOW = (
    # One for each of the routers that the error pages put above all routes, and the bare name.
    ("/lab/tree/x%2Fy?a=b", "Accept: text/html"),
    ("/api/kernels", "Accept: application/json"),
    ("/files/x", "Accept: */*"),
    ("", "Accept: text/html"),
    ("/", "Accept: */*"),
)


@dataclass
class Matrix:
    """Routes, by decoded segments, and how many requests landed where they belong."""

    routes: Mapping[tuple[str, ...], str]
    asked: int = 0

    def owner(self, path: str) -> str:
        """The server of the longest route that begins a path."""
        segments = tuple(map(unquote, path.partition("?")[0].split("/")[1:]))
        return next(
            self.routes[segments[:end]]
            for end in range(len(segments), -1, -1)
            if segments[:end] in self.routes
        )

    def check(self, url: str, requests: Iterable[tuple[str, str]]) -> None:
        """Send all; fail with what went astray."""
        astray: list[tuple[object, ...]] = []
        with Line(url) as line:
            for path, field in requests:
                self.asked += 1
                head = f"GET {path} HTTP/1.1\r\nHost: hub.test\r\n{field}\r\n\r\n"
                answer = line.ask(head.encode())
                if answer.status != 200:
                    astray.append((path, field, answer.status))
                    continue
                arrived = answer.arrived
                wanted = self.owner(path)
                same = unquote(arrived.path) == unquote(path)
                if arrived.name != wanted or not same:
                    astray.append((path, field, arrived.name, arrived.path))
        assert not astray, f"{len(astray)} of {self.asked}: {astray[:5]}"


async def put_all(proxy: TraefikProxy, servers: WireServers, specs: Mapping[str, str]) -> None:
    """A server for each routespec, of the name given."""
    async with anyio.create_task_group() as group:
        for spec, name in specs.items():
            group.start_soon(proxy.add_route, spec, servers.add(name), {"name": name})


def test_jupyterhub_accepts_these_names() -> None:
    validate = Authenticator().validate_username
    assert not [name for name in all_names() if not validate(name)]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("routing", ["tree", "flat"])
async def test_every_name_in_every_encoding_reaches_its_own_server(
    make_proxy: MakeProxy,
    servers: WireServers,
    jupyterhub_user: Callable[..., User],
    request: pytest.FixtureRequest,
    routing: str,
) -> None:
    names = all_names()
    hub = SimpleNamespace(host=servers.add("hub"), base_url="/hub/", routespec="/")
    proxy = make_proxy(hub=hub, routing=routing)
    await proxy.start()

    specs = {"/": "hub"}
    routes: dict[tuple[str, ...], str] = {(): "hub"}
    urls: dict[str, list[str]] = {}
    # Each name for a user; for a server of mary; and all names for servers of others.
    pairs = [(name, "") for name in names] + [("mary", name) for name in names]
    pairs += zip(names, names[1:] + names[:1], strict=True)
    for user_name, server_name in dict.fromkeys(pairs):
        user = jupyterhub_user(user_name)
        server = f"{user_name!r} {server_name!r}"
        spec = proxy_spec(user, server_name)
        specs[spec] = server
        routes[("user", user_name, server_name) if server_name else ("user", user_name)] = server
        urls[server] = [user.server_url(server_name)]  # where JupyterHub's redirects lead
    assert len(specs) == len(routes) > 400
    await put_all(proxy, servers, specs)

    chance = random.Random(20261123)
    matrix = Matrix(routes)

    def of_a_route(segments: tuple[str, ...]) -> Iterator[tuple[str, str]]:
        ways = [spellings(segment, chance) for segment in segments[1:]]
        for number, way in enumerate(ways[0]):
            path = "/user/" + "/".join(spelled[way] for spelled in ways)
            # For users, each spelling with all that may follow; for servers, with one of them.
            for below, field in BELOW if len(ways) == 1 else BELOW[number % len(BELOW) :][:1]:
                yield path + below, field

    def beside_a_route(segments: tuple[str, ...]) -> Iterator[tuple[str, str]]:
        *above, name = segments
        others = [
            f"{name}x",
            name[:-1],
            name.swapcase(),
            name + "%",
            quote(name, safe=""),
            "x" + name,
        ]
        for other in others:
            for way in ("JupyterHub", "as much as is legal"):
                path = "/".join(["", *map(url_escape_path, above), spellings(other, chance)[way]])
                yield path + "/lab", "Accept: text/html"

    def ask() -> None:
        url = proxy.public_url
        for server, found in urls.items():
            for path in found:
                assert matrix.owner(path) == server
                matrix.check(url, [(path, "Accept: text/html"), (path + "lab", "Accept: */*")])
        for segments in list(routes)[1:]:
            matrix.check(url, of_a_route(segments))
        for segments in list(routes)[1:]:
            matrix.check(url, beside_a_route(segments))
        matrix.check(url, [("/hub/home", "Accept: */*"), ("/", "Accept: */*")])

    await anyio.to_thread.run_sync(ask)
    counts = {"names": len(names), "routes": len(specs), "requests": matrix.asked}
    request.node.user_properties.extend(counts.items())


LABEL = re.compile(r"(?:[a-z0-9_-]+\.)+test")
HOOKS = {"idna": subdomain_hook_idna, "legacy": subdomain_hook_legacy}


@pytest.mark.parametrize("routing", ["tree", "flat"])
@pytest.mark.parametrize("hook", HOOKS)
async def test_every_name_has_its_own_host(
    make_proxy: MakeProxy,
    servers: WireServers,
    jupyterhub_user: Callable[..., User],
    request: pytest.FixtureRequest,
    hook: str,
    routing: str,
) -> None:
    domain = "hub.test"
    # Of names that differ in case alone, JupyterHub makes one host; of a few, none that could be.
    names = [
        name
        for name in all_names()
        if name.lower() == name and LABEL.fullmatch(HOOKS[hook](name, domain, kind="user"))
    ]
    assert len(names) > 100
    settings = {
        "subdomain_host": f"http://{domain}:8000",
        "domain": domain,
        "subdomain_hook": HOOKS[hook],
    }
    hub = SimpleNamespace(host=servers.add("hub"), base_url="/hub/", routespec=f"{domain}/")
    proxy = make_proxy(
        app=hub_app(subdomain_host=settings["subdomain_host"]), hub=hub, routing=routing
    )
    await proxy.start()

    specs = {"/": "elsewhere", f"{domain}/": "hub"}
    users = {name: jupyterhub_user(name, **settings) for name in names}
    for name, user in users.items():
        specs[proxy_spec(user, "")] = f"{name!r}"
        specs[proxy_spec(user, "my lab")] = f"{name!r} my lab"
    assert len(specs) == 2 + 2 * len(names)
    await put_all(proxy, servers, specs)

    chance = random.Random(20261123)
    hosts = {name: user.domain for name, user in users.items()}
    assert len(set(hosts.values())) == len(hosts)

    def ask() -> int:
        astray = []
        asked = 0
        with Line(proxy.public_url) as line:

            def expect(host: str, path: str, wanted: str) -> None:
                nonlocal asked
                asked += 1
                field = chance.choice(BELOW)[1]
                head = f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{field}\r\n\r\n"
                answer = line.ask(head.encode())
                found = answer.arrived
                if (found.name, found.all("Host")) != (wanted, [host]):
                    astray.append((host, path, wanted, found))

            for name, host in hosts.items():
                for way in spellings(name, chance).values():
                    spelled = chance.choice([host, host.upper(), host.title()])
                    spelled += chance.choice(["", ":8000", ":443"])
                    expect(spelled, f"/user/{way}/lab", repr(name))
                    expect(spelled, f"/user/{way}/my%20lab/lab", f"{name!r} my lab")
                other = chance.choice([domain, f"x{host}", f"x.{host}", f"{host}x", "hub.test.x"])
                path = f"/user/{url_escape_path(name)}/lab"
                expect(other, path, "hub" if other == domain else "elsewhere")
                # Nobody has a share in another's host.
                stranger = chance.choice([each for each in hosts if each != name])
                expect(hosts[stranger], path, "elsewhere")
                expect(host, "/", "elsewhere")
        assert not astray, f"{len(astray)} of {asked}: {astray[:5]}"
        return asked

    counts = {"names": len(names), "routes": len(specs)}
    counts["requests"] = await anyio.to_thread.run_sync(ask)
    request.node.user_properties.extend(counts.items())


@pytest.mark.parametrize(
    ("hook", "name"), [("idna", "\u017f"), ("legacy", "a..b"), ("legacy", ".x"), ("legacy", "x.")]
)
async def test_a_host_that_could_never_be_asked_for_is_refused(
    make_proxy: MakeProxy, jupyterhub_user: Callable[..., User], hook: str, name: str
) -> None:
    """JupyterHub makes them; a browser turns the first into the host of another user."""
    subdomains = {"subdomain_host": "http://hub.test", "domain": "hub.test"}
    proxy = make_proxy(app=hub_app(subdomain_host="http://hub.test"))
    await proxy.start()
    user = jupyterhub_user(name, **subdomains, subdomain_hook=HOOKS[hook])
    with pytest.raises(ValueError, match="no host name"):
        await proxy.add_route(user.proxy_spec, "http://127.0.0.1:1", {})
    assert await proxy.get_all_routes() == {}
