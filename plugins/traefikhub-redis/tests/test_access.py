"""Who may use the server, and which servers may be used."""

from __future__ import annotations

import inspect
import logging
import re
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from traefikhub.cli._scratch import NoPlace, scratch_place
from traefikhub.stores import (
    Batch,
    Key,
    StoreError,
    StoreUnavailable,
    installed_stores,
    resolve_store,
)
from traefikhub.testing import Certificates

from servers import ADMIN, PASSWORD, WRONG, RedisServer, free_port, rules
from stores import ROUTES, batch, names, opened, options, routes
from traefikhub_redis import RedisStore

pytestmark = pytest.mark.anyio

HERE = Path(__file__).parent


def test_the_store_is_found_by_its_name() -> None:
    assert resolve_store("redis") is RedisStore
    assert [each.distribution for each in installed_stores() if each.name == "redis"] == [
        "traefikhub-redis"
    ]


def test_the_store_stands_on_the_public_interface_alone() -> None:
    source = Path(inspect.getfile(RedisStore)).parent
    imported = {
        found
        for file in source.glob("*.py")
        for found in re.findall(r"(?:from|import) (traefikhub[\w.]*)", file.read_text())
    }
    assert {name for name in imported if not name.startswith("traefikhub_redis")} == {
        "traefikhub.stores"
    }


# --- options -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"url": ""}, "url must be redis://host"),
        ({"url": "127.0.0.1:6379"}, "url must be"),
        ({"url": "http://127.0.0.1:6379"}, "url must be"),
        ({"url": "unix:///run/redis.sock"}, "url must be"),
        ({"url": "redis://127.0.0.1:port"}, "url must be"),
        ({"url": "redis://127.0.0.1/one"}, "url must be"),
        ({"url": "redis://127.0.0.1/0?password=x"}, "url must be"),
        ({"url": "redis://a:1,b:2/0"}, "exactly one"),
        ({"url": f"redis://hub:{PASSWORD}@127.0.0.1"}, r"RedisStore\.password"),
        ({"username": "hub"}, "password is not"),
        ({"ca_cert": "ca.pem"}, "rediss://"),
        ({"url": "rediss://a", "client_cert": "client.pem"}, "need each other"),
        ({"url": "rediss://a", "ca_cert": "/nowhere/ca.pem"}, "ca_cert: /nowhere/ca.pem: No such"),
        ({"url": "rediss://a", "ca_cert": __file__}, "ca_cert: "),
        (
            {"url": "rediss://a", "client_cert": __file__, "client_key": __file__},
            r"client_cert, \.client_key: ",
        ),
        ({"prefix": "hub[1]"}, r"prefix = 'hub\[1\]' holds"),
        ({"prefix": "hub*"}, "patterns"),
        ({"prefix": "hub\udcff"}, r"c\.RedisStore\.prefix holds .* no Unicode"),
        ({"username": "\udcff", "password": PASSWORD}, r"c\.RedisStore\.username holds"),
        ({"password": f"{PASSWORD}\udcff"}, r"c\.RedisStore\.password holds"),
        ({"url": f"redis://{PASSWORD}\udcff/0"}, r"c\.RedisStore\.url holds"),
        ({"url": "rediss://a", "ca_cert": "\udcff"}, r"c\.RedisStore\.ca_cert holds"),
    ],
)
async def test_options_that_make_no_sense(given: dict[str, Any], complaint: str) -> None:
    with pytest.raises(StoreError, match=complaint) as caught:
        await RedisStore(**given).open()
    assert not isinstance(caught.value, StoreUnavailable)
    assert PASSWORD not in "".join(traceback.format_exception(caught.value))


def test_traefik_is_told_only_what_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert RedisStore().provider_config() == {
        "redis": {"rootKey": "traefik", "endpoints": ["127.0.0.1:6379"]}
    }
    monkeypatch.chdir(tmp_path)
    store = RedisStore(
        prefix="hub", url="rediss://[::1]:1/3", username="u", password="p", ca_cert="ca.pem"
    )
    assert store.provider_config() == {
        "redis": {
            "rootKey": "hub",
            "endpoints": ["[::1]:1"],
            "db": 3,
            "username": "u",
            "password": "p",
            "tls": {"insecureSkipVerify": False, "ca": str(tmp_path / "ca.pem")},
        }
    }


async def test_another_database(server: RedisServer, prefix: str) -> None:
    server.add_user(prefix, *rules(prefix), "+select")
    its = options(server, prefix) | {"url": server.url.replace("/0", "/3")}
    async with opened(**its) as store:
        await store.apply(batch(1, "a"))
        assert await names(store) == {"a"}
    assert not any(key.startswith(prefix) for key in server.dump())
    with pytest.raises(StoreError, match=r"no such database.*c\.RedisStore\.url"):
        await RedisStore(**its | {"url": server.url.replace("/0", "/99")}).open()


# --- users ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"password": WRONG}, r"is refused: wrong password.*\(c\.RedisStore\.username, \.password"),
        ({"username": "nobody"}, r"'nobody' is refused"),
        ({"username": "", "password": WRONG}, r"'default' is refused"),
        ({"username": "", "password": ""}, r"asks for a password \(c\.RedisStore\.username"),
        ({"prefix": "elsewhere"}, r"lacks a right.*README"),
    ],
)
async def test_a_user_who_may_not(
    server: RedisServer,
    prefix: str,
    changed: dict[str, str],
    complaint: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(StoreUnavailable, match=complaint) as caught:
        await RedisStore(**options(server, prefix) | changed).open()
    assert server.endpoint in str(caught.value)
    told = "".join(traceback.format_exception(caught.value)) + caplog.text + repr(caught.value)
    assert PASSWORD not in told
    assert WRONG not in told


async def test_a_password_for_a_server_without(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    with RedisServer(kind, tmp_path / "open") as server:
        with pytest.raises(StoreUnavailable, match=r"has no password; set none"):
            await RedisStore(url=server.url, password=PASSWORD).open()
        async with opened(url=server.url, turn_off_events=True) as store:
            await store.apply(batch(1, "a"))
    assert PASSWORD not in caplog.text


def test_the_readme_has_the_rules_that_are_tested() -> None:
    readme = HERE.parent / "README.md"
    if not readme.exists():
        pytest.skip("the README is not here: these tests were copied elsewhere")
    own = RedisStore().scratch_prefix("x")
    more = f"ACL SETUSER traefikhub '~{own}*' '&__keyspace*:{own}*'"
    assert more in readme.read_text()
    found = re.search(
        r"ACL SETUSER traefikhub on '>PASSWORD' \\\n(.*?)\n```", readme.read_text(), re.S
    )
    assert found
    assert re.findall(r"[^\s'\\]+", found[1]) == rules("traefik")


# A test of Traefik does without each in turn.
OF_TRAEFIK = {"+exists", "+scan"}


@pytest.mark.parametrize(
    "missing",
    [rule for rule in rules("x") if rule.startswith("+") and rule not in OF_TRAEFIK],
)
async def test_every_right_is_needed(server: RedisServer, prefix: str, missing: str) -> None:
    """Without one, the store says so at once, or at the latest when it reads."""
    name = f"{prefix}-{missing[1:]}"
    server.add_user(name, *(rule for rule in rules(prefix) if rule != missing))
    store = RedisStore(url=server.url, prefix=prefix, username=name, password=PASSWORD)
    if missing == "+info":  # for checks alone
        async with store:
            await store.apply(batch(1, "a"))
        return
    if missing == "+eval":  # until redis forgets the script
        server.do("SCRIPT", "FLUSH")

    async def use() -> None:
        async with store:
            await store.apply(Batch(1, {Key(ROUTES, "a"): 1}))
            await store.apply(Batch(2, {}, frozenset({Key(ROUTES, "a")})))
            await store.load()

    with pytest.raises(StoreUnavailable, match="lacks a right"):
        await use()


@pytest.mark.parametrize("prefix", ["hub", "scratch", "s", "try/hub"])
async def test_a_place_to_try_the_store(server: RedisServer, prefix: str) -> None:
    """As ``traefikhub check`` and ``bench`` do. It needs the rights that the README has for it."""
    its = options(server, f"{prefix}-{server.kind}")
    scratch = RedisStore(**its).scratch_prefix("x1")
    assert scratch == RedisStore(**its).scratch_prefix("x2")
    assert not scratch.startswith(its["prefix"])
    user = its["username"]
    with pytest.raises(StoreUnavailable, match="lacks a right") as caught:
        await RedisStore(**its | {"prefix": scratch}).open()
    assert f"ACL SETUSER {user} '~{scratch}*' '&__keyspace*:{scratch}*'" in str(caught.value)
    server.do("ACL", "SETUSER", user, f"~{scratch}*", f"&__keyspace*:{scratch}*")
    async with opened(**its) as live:
        await live.apply(batch(1, "here"))
        before = server.dump()
        async with scratch_place(RedisStore(**its)) as place:
            async with place.store as store:
                await store.apply(Batch(1, routes(3)))
            assert server.dump() != before
            with pytest.raises(NoPlace, match=f"below {scratch}/ already"):
                async with scratch_place(RedisStore(**its)):
                    pass
        assert server.dump() == before


@pytest.mark.usefixtures("newer_kind")
@pytest.mark.parametrize("rule", ["~{0}/jupyterhub/* %R~{0}*", "~{0}*"])
async def test_a_user_who_may_write_some_keys_only(
    server: RedisServer, prefix: str, rule: str
) -> None:
    """The whole batch is refused: redis doesn't undo the part of a script that it allowed."""
    name = f"{prefix}-some"
    keys = rule.format(prefix).split()
    server.add_user(name, *keys, *(each for each in rules(prefix) if not each.startswith("~")))
    async with opened(url=server.url, prefix=prefix, username=name, password=PASSWORD) as store:
        before = server.dump()
        if len(keys) == 1:
            await store.apply(Batch(1, routes(3)))
            return
        with pytest.raises(StoreUnavailable, match="lacks a right"):
            await store.apply(Batch(1, routes(3)))
        assert server.dump() == before


# --- what a server should be like ----------------------------------------------------------------


async def test_a_user_who_may_turn_events_on(server: RedisServer, prefix: str) -> None:
    """Traefik would."""
    its: dict[str, Any] = {"url": server.url, "prefix": prefix, "password": ADMIN}
    before = server.dump()
    with pytest.raises(StoreError, match=r"may CONFIG SET notify-.*turn_off_events = True"):
        await RedisStore(**its).open()
    assert server.dump() == before
    async with opened(read_only=True, **its) as reader:
        await reader.load()
    async with opened(turn_off_events=True, **its) as store:
        server.do("CONFIG", "SET", "notify-keyspace-events", "KEA")  # as Traefik does
        await store.apply(batch(1, "a"))
        assert server.do("CONFIG", "GET", "notify-keyspace-events")[1] == b""


@pytest.mark.parametrize("asks", [False, True], ids=["", "config-get"])
@pytest.mark.parametrize(
    ("events", "loud"),
    [("KEA", True), ("K$", True), ("Kg", True), ("AE", False), ("Kx", False), ("Ehlz", False)],
)
async def test_events_that_are_on(
    own_server: RedisServer, events: str, loud: bool, asks: bool
) -> None:
    """The fix is named, as a command and as a line of redis.conf."""
    own_server.do("CONFIG", "SET", "notify-keyspace-events", events)
    its = options(own_server, "hub")
    if asks:
        own_server.add_user("asks", *rules("hub"), "+config|get")
        its["username"] = "asks"
    before = own_server.dump()
    if not loud:
        async with opened(**its):
            return
    fix = (
        r'"redis-cli CONFIG SET notify-keyspace-events \'\'", and the line "notify-keyspace-events'
    )
    with pytest.raises(StoreError, match=fix):
        await RedisStore(**its).open()
    assert own_server.dump() == before
    own_server.do("CONFIG", "SET", "notify-keyspace-events", "")
    async with opened(**its) as store:
        await store.apply(batch(1, "a"))


async def test_turning_off_what_one_may_not(server: RedisServer, prefix: str) -> None:
    with pytest.raises(StoreError, match="turn_off_events = False"):
        await RedisStore(turn_off_events=True, **options(server, prefix)).open()


async def test_a_replica(own_server: RedisServer) -> None:
    its = options(own_server, "hub")
    async with opened(**its) as store:
        await store.apply(batch(1, "a"))
        own_server.do("REPLICAOF", "127.0.0.1", "1")
        before = own_server.dump()
        with pytest.raises(StoreUnavailable, match=r"read-only replica.*must name its primary"):
            await store.apply(batch(2, "b"))
        with pytest.raises(StoreError, match=r"is a replica.*127\.0\.0\.1:1"):
            await RedisStore(**its).open()
        async with opened(read_only=True, **its) as reader:
            assert await names(reader) == {"a"}
        assert own_server.dump() == before
        own_server.do("REPLICAOF", "NO", "ONE")
        await store.apply(batch(2, "b"))


async def test_a_cluster(tmp_path: Path, newer_kind: str) -> None:
    # By default 10,000 above the other, where the kernel gives ports to anybody.
    port = str(free_port())
    with RedisServer(
        newer_kind, tmp_path / "cluster", cluster_enabled="yes", cluster_port=port
    ) as server:
        for slots in (False, True):
            if slots:
                server.do("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
            with pytest.raises(StoreError, match="is a Redis Cluster"):
                await RedisStore(url=server.url).open()


async def test_a_cache(own_server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    its = options(own_server, "hub")
    async with opened(**its):
        assert "maxmemory" not in caplog.text
    own_server.do("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    async with opened(**its):  # without a limit it evicts nothing
        assert "CONFIG SET maxmemory-policy noeviction" in caplog.text
    own_server.do("CONFIG", "SET", "maxmemory", "100mb")
    with pytest.raises(StoreError, match="CONFIG SET maxmemory-policy noeviction"):
        await RedisStore(**its).open()
    own_server.do("CONFIG", "SET", "maxmemory-policy", "volatile-lru")
    async with opened(**its) as store:  # routes have no end of their own
        await store.apply(batch(1, "a"))


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"appendonly": "no"}, "appendonly yes"),
        ({"appendfsync": "no"}, "appendfsync always"),
        ({"appendfsync": "everysec"}, "appendfsync always"),
        ({}, None),
    ],
)
async def test_what_is_durable(
    tmp_path: Path,
    kind: str,
    settings: dict[str, str],
    complaint: str | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with RedisServer(kind, tmp_path / "own", guarded=True, **settings) as server:
        server.add_user("asks", *rules("hub"), "+config|get")
        its = options(server, "hub") | {"username": "asks"}
        async with opened(**its):
            pass
        told = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
        assert len(told) == (complaint is not None)
        if complaint:
            assert complaint in told[0]
            assert "redis.conf" in told[0]
        caplog.clear()
        async with opened(read_only=True, **its):
            pass
        assert not [each for each in caplog.records if each.levelname == "WARNING"]


async def test_what_can_not_be_seen_is_told(
    server: RedisServer, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with opened(**options(server, prefix)):
        assert "no right to CONFIG GET" in caplog.text
        assert "no right to INFO" not in caplog.text
    server.add_user("blind", *(rule for rule in rules(prefix) if rule != "+info"))
    async with opened(**options(server, prefix) | {"username": "blind"}):
        assert "no right to INFO" in caplog.text


# --- TLS -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates.make(tmp_path_factory.mktemp("certificates"))


def encrypted_server(
    kind: str, directory: Path, certificates: Certificates, **more: str
) -> RedisServer:
    """With a port of its own for TLS."""
    return RedisServer(
        kind,
        directory,
        guarded=True,
        tls_port=str(free_port()),
        tls_cert_file=certificates.server_cert,
        tls_key_file=certificates.server_key,
        tls_ca_cert_file=certificates.ca,
        **more,
    )


@pytest.fixture(scope="module")
def encrypted(
    kind: str, tmp_path_factory: pytest.TempPathFactory, certificates: Certificates
) -> Iterator[RedisServer]:
    """Wants a client certificate, and a password."""
    with encrypted_server(kind, tmp_path_factory.mktemp("tls"), certificates) as shared:
        yield shared


def tls_options(server: RedisServer, certificates: Certificates, prefix: str) -> dict[str, Any]:
    return options(server, prefix) | {
        "url": server.tls_url,
        "ca_cert": certificates.ca,
        "client_cert": certificates.client_cert,
        "client_key": certificates.client_key,
    }


async def test_with_a_client_certificate(
    encrypted: RedisServer, certificates: Certificates, prefix: str
) -> None:
    async with opened(**tls_options(encrypted, certificates, prefix)) as store:
        await store.apply(batch(1, "a"))
        assert await names(store) == {"a"}


async def test_certificates_that_do_not_fit(
    encrypted: RedisServer, certificates: Certificates, tmp_path: Path, prefix: str
) -> None:
    right = tls_options(encrypted, certificates, prefix)
    other = Certificates.make(tmp_path / "other")
    for changed in (
        {"ca_cert": other.ca},
        {"ca_cert": ""},  # the machine's authorities don't know this one
        {"client_cert": other.client_cert, "client_key": other.client_key},
        {"client_cert": "", "client_key": ""},
        {"url": encrypted.tls_url.replace("127.0.0.1", "127.0.0.2")},
    ):
        with pytest.raises(StoreUnavailable, match=r"127\.0\.0\..*\.ca_cert, \.client_cert"):
            await RedisStore(timeout=1, **right | changed).open()
    plain = {"ca_cert": "", "client_cert": "", "client_key": ""}
    url = encrypted.tls_url.replace("rediss", "redis")
    with pytest.raises(StoreUnavailable, match="could not be used"):
        await RedisStore(timeout=1, **right | plain | {"url": url}).open()
    with pytest.raises(StoreUnavailable, match="could not be used"):
        await RedisStore(
            timeout=1, **right | {"url": encrypted.url.replace("redis:", "rediss:")}
        ).open()
    with pytest.raises(StoreError, match=r"client_cert, \.client_key"):
        await RedisStore(**right | {"client_key": other.client_key}).open()


async def test_with_the_machines_authorities(
    kind: str,
    certificates: Certificates,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", certificates.ca)
    with encrypted_server(kind, tmp_path / "tls", certificates, tls_auth_clients="no") as server:
        async with opened(**options(server, "hub") | {"url": server.tls_url}) as store:
            await store.apply(batch(1, "a"))
