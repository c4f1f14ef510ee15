"""A server turned hostile: what it answers hurts nobody but its own visitors."""

from __future__ import annotations

import pytest

from attacks.conftest import Site

pytestmark = pytest.mark.anyio

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
EVIL = b"HTTP/1.1 200 OK\r\nX-Told: [evil]\r\nContent-Length: 4\r\n\r\nevil"
HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"

ANSWERS: dict[str, tuple[bytes, list[str]]] = {
    "a second answer": (OK + EVIL, ["200"]),
    "a hundred more": (OK + EVIL * 100, ["200"]),
    "a second answer, delayed by 100": (b"HTTP/1.1 100 Continue\r\n\r\n" + OK + EVIL, ["200"]),
    "shorter than sent": (HEAD + b"Content-Length: 0\r\n\r\n" + EVIL, ["200"]),
    "204 with a body": (b"HTTP/1.1 204 No\r\n\r\n" + EVIL, ["204"]),
    "304 with a body": (b"HTTP/1.1 304 No\r\nContent-Length: 9\r\n\r\n" + EVIL, ["304"]),
    "after the last chunk": (HEAD + CHUNKED + b"\r\n2\r\nhi\r\n0\r\n\r\n" + EVIL, ["200"]),
    "CL and TE": (HEAD + CHUNKED + b"Content-Length: 1\r\n\r\n2\r\nhi\r\n0\r\n\r\n", ["200"]),
    "two CL": (HEAD + b"Content-Length: 2\r\nContent-Length: 0\r\n\r\nhi" + EVIL, ["500"]),
    "negative CL": (HEAD + b"Content-Length: -1\r\n\r\n" + EVIL, ["500"]),
    "CL, plus": (HEAD + b"Content-Length: +2\r\n\r\nhi" + EVIL, ["500"]),
    "unknown TE": (HEAD + b"Transfer-Encoding: cow\r\n\r\n" + EVIL, ["500"]),
    "no colon": (HEAD + b"Broken\r\n\r\n", ["500"]),
    "null in a header": (HEAD + b"X: a\0b\r\nContent-Length: 0\r\n\r\n", ["500"]),
    "no status": (b"HTTP/1.1 OK\r\n\r\n", ["500"]),
    "no HTTP": (b"hello\r\n\r\n", ["500"]),
    "HTTP/2.0 in text": (b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", ["200"]),
    "101 unasked": (b"HTTP/1.1 101 X\r\nConnection: Upgrade\r\n\r\n" + EVIL, ["500"]),
    "a header of 11 MB": (HEAD + b"X: " + b"a" * 11_000_000, ["500"]),
}  # fmt: skip


@pytest.mark.parametrize("case", ANSWERS)
async def test_what_a_server_says_stays_in_its_own_answer(site: Site, case: str) -> None:
    answer, expected = ANSWERS[case]
    site.servers["crowd"].answers = {"/user/user7/": answer}
    own = b"GET /user/user7/ HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
    got = [each for each in await site.send(own) if each != "100"]
    assert got == expected
    # The next visitor of the same server, too, gets the own answer.
    other = b"GET /user/user8/next HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
    for _ in range(3):
        assert await site.send(other) == ["crowd GET /user/user8/next"]
    await site.require_all_served()
