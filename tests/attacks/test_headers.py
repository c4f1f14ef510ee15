"""Headers by which a visitor claims to be somebody else."""

from __future__ import annotations

import pytest

from attacks.conftest import Site

pytestmark = pytest.mark.anyio

# What Traefik tells of a visitor, so that a server believes it; and what it tells here.
TOLD = {
    "X-Forwarded-For": ["127.0.0.1"],
    "X-Forwarded-Proto": ["http"],
    "X-Forwarded-Host": ["h"],
    "X-Forwarded-Port": ["80"],
    "X-Real-Ip": ["127.0.0.1"],
    "X-Forwarded-Prefix": [],
    "X-Forwarded-Method": [],
    "X-Forwarded-Uri": [],
    "X-Forwarded-Tls-Client-Cert": [],
    "X-Forwarded-Tls-Client-Cert-Info": [],
}

# Nobody in front of a server sets these, so nobody replaces them.
PASS = [
    *("X-Forwarded-User", "X-Forwarded-Ssl", "X-Forwarded-Scheme", "X-Forwarded", "X-Client-Ip"),
    *("Forwarded", "Via", "True-Client-Ip", "X-Original-Url", "X-Rewrite-Url", "Remote-User"),
    *("X-Remote-User", "X-Auth-Request-User", "X-Http-Method-Override", "Proxy", "X-Host"),
]

TRUSTING = pytest.mark.parametrize(
    "site",
    [{}, {"trusted_proxies": ["10.0.0.0/8", "::1"]}, {"trusted_proxies": ["127.0.0.1"]}],
    indirect=True,
    ids=["nobody-trusted", "others-trusted", "we-are-trusted"],
)


async def fields_of(site: Site, *lines: str) -> dict[str, list[str]]:
    """The header fields of a request as mary's server gets them, names in lower case."""
    head = "".join(f"{line}\r\n" for line in ("GET /user/mary/ HTTP/1.1", "Host: h", *lines))
    end = "" if "connection:" in head.lower() else "Connection: close\r\n"
    if not end:  # the request's own Connection is what the test is about
        head += "\r\nGET /user/mary/ HTTP/1.1\r\nHost: h\r\nConnection: close\r\n"
    got = await site.send(f"{head}{end}\r\n".encode("latin-1"))
    assert set(got) == {"mary GET /user/mary/"}
    found: dict[str, list[str]] = {}
    for name, value in site.servers["mary"].requests[0].fields:
        found.setdefault(name.lower(), []).append(value)
    return found


def told(fields: dict[str, list[str]]) -> dict[str, list[str]]:
    return {name: fields.get(name.lower(), []) for name in TOLD}


def is_trusted(site: Site) -> bool:
    return "127.0.0.1" in site.proxy.trusted_proxies


@TRUSTING
@pytest.mark.parametrize("name", TOLD)
async def test_claims_of_strangers_are_replaced(site: Site, name: str) -> None:
    if is_trusted(site):
        found = told(await fields_of(site, f"{name}: evil"))
        assert "evil" in found[name][0]
        assert found | {name: TOLD[name]} == TOLD
        return
    for lines in (
        [f"{name}: evil"],
        [f"{name.lower()}: evil", f"{name.upper()}: worse"],
        [f"{name}:", f"{name}: evil"],
        [f"{name}: 1.2.3.4,\r\n evil"],
    ):
        assert told(await fields_of(site, *lines)) == TOLD


@TRUSTING
@pytest.mark.parametrize(
    "name",
    [
        *("X_Forwarded_For", "x-forwarded_for", "HTTP_X_FORWARDED_FOR", "X.Forwarded.For"),
        *("X~Forwarded~For", "X!Forwarded-For", "X_Real_Ip", "X_Forwarded_Proto"),
        *("X_FORWARDED_HOST", "X_Forwarded_User", "Remote_User", "X_Forwarded_Tls_Client_Cert"),
    ],
)  # fmt: skip
async def test_aliases_are_dropped_even_from_those_who_are_trusted(site: Site, name: str) -> None:
    fields = await fields_of(site, f"{name}: evil")
    assert not [value for values in fields.values() for value in values if "evil" in value]
    assert told(fields) == TOLD


@TRUSTING
@pytest.mark.parametrize(
    "line",
    [
        *("X-Forwarded-For : evil", "X-Forwarded-For\t: evil", "X Forwarded-For: evil"),
        *("X-Forwarded-For\0: evil", "X-Forwarded-F\xf6r: evil", "X/Forwarded/For: evil"),
        *("(X): evil", "X\r-Forwarded-For: evil"),
    ],
)
async def test_names_that_are_none_are_refused(site: Site, line: str) -> None:
    head = f"GET /user/mary/ HTTP/1.1\r\nHost: h\r\n{line}\r\nConnection: close\r\n\r\n"
    assert await site.send(head.encode("latin-1")) == ["400"]
    assert site.arrived() == []


@TRUSTING
@pytest.mark.parametrize(
    "connection",
    [
        "Connection: X-Forwarded-For",
        "Connection: x-forwarded-for, X-Real-Ip, X-Forwarded-Proto, X-Forwarded-Host",
        "Connection: keep-alive, X-Forwarded-For, Host, X-Forwarded-Port",
        "Connection: X-Forwarded-For\r\nConnection: X-Forwarded-Proto",
        'Connection: "X-Forwarded-For", X_Forwarded_For',
        "Connection: Upgrade, X-Forwarded-For, X-Forwarded-Host",
        "Proxy-Connection: X-Forwarded-For",
        "Keep-Alive: X-Forwarded-For",
    ],
)
async def test_what_the_proxy_tells_is_not_hop_by_hop(site: Site, connection: str) -> None:
    """Else a server would take the visitor for one who came without a proxy."""
    fields = await fields_of(site, connection, "X-Forwarded-For: 1.2.3.4", "X-Keep: 1")
    before = ["1.2.3.4, "] if is_trusted(site) else [""]
    assert told(fields) == TOLD | {"X-Forwarded-For": [f"{before[0]}127.0.0.1"]}
    assert fields["host"] == ["h"]
    assert fields["x-keep"] == ["1"]


async def test_a_visitor_may_drop_own_headers_only(site: Site) -> None:
    fields = await fields_of(site, "Connection: Cookie, Authorization", "Cookie: a=b", "X-Keep: 1")
    assert "cookie" not in fields
    assert fields["x-keep"] == ["1"]


@pytest.mark.parametrize("name", PASS)
async def test_other_claims_pass_and_no_server_may_believe_them(site: Site, name: str) -> None:
    """The same as with configurable-http-proxy; SECURITY.md says so."""
    assert (await fields_of(site, f"{name}: evil"))[name.lower()] == ["evil"]
