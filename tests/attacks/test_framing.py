"""Request smuggling: Traefik and a server always agree where a request ends."""

from __future__ import annotations

import pytest

from attacks.conftest import Site
from attacks.recorder import Ambiguous, take

pytestmark = pytest.mark.anyio

HOST = "Host: h\r\n"
POST = f"POST /user/mary/a HTTP/1.1\r\n{HOST}"
GET = f"GET /user/mary/a HTTP/1.1\r\n{HOST}"
EVIL = f"GET /user/ada/evil HTTP/1.1\r\n{HOST}\r\n"
SIZE = len(EVIL)
# It ends each conversation that isn't ended before.
LAST = f"GET /user/mary/last HTTP/1.1\r\n{HOST}Connection: close\r\n\r\n"
H2C = "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"
END = "0\r\n\r\n"
CHUNKED = "Transfer-Encoding: chunked\r\n"
BOTH = f"Content-Length: {len(END) + SIZE}\r\n"

MARY_LAST = "mary GET /user/mary/last"
# The second request is the sender's own, who might as well have sent it alone.
SPLIT = ["mary POST /user/mary/a", "ada GET /user/ada/evil", MARY_LAST]
BODY = [f"mary POST /user/mary/a {EVIL!r}", MARY_LAST]
ABC = ["mary POST /user/mary/a 'abc'", MARY_LAST]
PLAIN = ["mary GET /user/mary/a", MARY_LAST]


def length(*values: str) -> str:
    return "".join(f"Content-Length: {value}\r\n" for value in values)


CASES: dict[str, tuple[str, list[str]]] = {
    # --- two lengths
    "CL.TE, short": (f"{POST}{length('4')}{CHUNKED}\r\n{END}{EVIL}", SPLIT),
    "CL.TE, long": (f"{POST}{BOTH}{CHUNKED}\r\n{END}{EVIL}", SPLIT),
    "TE.CL": (f"{POST}{CHUNKED}{length('4')}\r\n{SIZE:x}\r\n{EVIL}\r\n{END}", BODY),
    "two CL, alike": (f"{POST}{length('3', '3')}\r\nabc", ABC),
    "two CL": (f"{POST}{length('0', str(SIZE))}\r\n{EVIL}", ["400"]),
    "CL, list": (f"{POST}{length('3, 3')}\r\nabc", ["400"]),
    # --- lengths that are none
    "CL, plus": (f"{POST}{length('+3')}\r\nabc", ["400"]),
    "CL, hex": (f"{POST}{length('0x3')}\r\nabc", ["400"]),
    "CL, negative": (f"{POST}{length('-1')}\r\nabc", ["400"]),
    "CL, empty": (f"{POST}{length('')}\r\n{EVIL}", ["400"]),
    "CL, overflow": (f"{POST}{length('18446744073709551619')}\r\nabc", ["400"]),
    "CL, blank before colon": (f"{POST}Content-Length : {SIZE}\r\n\r\n{EVIL}", ["400"]),
    "CL, underscore": (f"{POST}Content_Length: {SIZE}\r\n\r\n{EVIL}", SPLIT),
    "CL, hop-by-hop": (f"{POST}Connection: Content-Length\r\n{length('3')}\r\nabc", ABC),
    "CL, folded": (f"{POST}Content-Length:\r\n 3\r\n\r\nabc", ABC),
    "CL of a GET": (f"{GET}{length(str(SIZE))}\r\n{EVIL}",
                    [f"mary GET /user/mary/a {EVIL!r}", MARY_LAST]),
    "CL of a HEAD": (f"HEAD /user/mary/a HTTP/1.1\r\n{HOST}{length(str(SIZE))}\r\n{EVIL}",
                     [f"mary HEAD /user/mary/a {EVIL!r}", MARY_LAST]),
    # --- Transfer-Encoding in disguise
    **{f"TE, {name}": (f"{POST}{BOTH}Transfer-Encoding:{value}\r\n\r\n{END}{EVIL}", SPLIT)
       for name, value in {"blanks": "   chunked  ", "capitals": " CHUNKED", "no blank": "chunked",
                           "tab": " \tchunked"}.items()},
    **{f"TE, {name}": (f"{POST}{BOTH}Transfer-Encoding: {value}\r\n\r\n{END}{EVIL}", ["501"])
       for name, value in {"letter before": "xchunked", "list": "chunked, identity",
                           "list, last": "identity, chunked", "comma": ",chunked",
                           "folded": "chunked\r\n ", "quoted": '"chunked"',
                           "parameter": "chunked;q=1", "identity": "identity",
                           "unknown": "cow"}.items()},
    **{f"TE, {name}": (f"{POST}{BOTH}Transfer-Encoding: {value}\r\n\r\n{END}{EVIL}", ["400"])
       for name, value in {"vertical tab": "\x0bchunked", "null": "chunked\0"}.items()},
    "two TE": (f"{POST}{CHUNKED}Transfer-Encoding: identity\r\n\r\n{END}{EVIL}", ["501"]),
    "TE, hop-by-hop": (f"{POST}Connection: Transfer-Encoding\r\n{CHUNKED}\r\n3\r\nabc\r\n{END}",
                       ABC),
    "TE, underscore": (f"{POST}{BOTH}Transfer_Encoding: chunked\r\n\r\n{END}{EVIL}",
                       [f"mary POST /user/mary/a {END + EVIL!r}", MARY_LAST]),
    **{f"TE, name with {name}": (f"{POST}{BOTH}{field}: chunked\r\n\r\n{END}{EVIL}", ["400"])
       for name, field in {"blank": "Transfer-Encoding ", "tab": "Transfer-Encoding\t",
                           "blank before": " Transfer-Encoding", "null": "\0Transfer-Encoding",
                           "CR": "X: y\rTransfer-Encoding"}.items()},
    "TE after a bare LF": (f"{POST}{BOTH}X: y\n{CHUNKED}\r\n{END}{EVIL}", SPLIT),
    "TE in HTTP/1.0": (f"{POST}Connection: keep-alive\r\n{CHUNKED}\r\n{END}{EVIL}".replace(
        "/1.1", "/1.0", 1), ["mary POST /user/mary/a", "400"]),
    # --- chunks: what the sender breaks off reaches nobody as a whole request
    **{f"chunk, {name}": (f"{POST}{CHUNKED}\r\n{chunks}{EVIL}",
                          ["mary POST /user/mary/a 'abc'", "ada GET /user/ada/evil", MARY_LAST])
       for name, chunks in {
           "extension": f"3;a=b\r\nabc\r\n{END}",
           "blank after size": f"3 \r\nabc\r\n{END}",
           "trailers": "3\r\nabc\r\n0\r\nContent-Length: 9\r\nX-Real-Ip: 1.2.3.4\r\n\r\n",
           "odd trailer": "3\r\nabc\r\n0\r\nTransfer-Encoding : x\r\n\r\n",
       }.items()},
    **{f"chunk, {name}": (f"{POST}{CHUNKED}\r\n{chunks}{EVIL}", ["500"])
       for name, chunks in {
           "LF in extension": f"3;a\nabc\r\n{END}",
           "quoted extension": f'3;a="\r\n"\r\nabc\r\n{END}',
           "long extension": f"3;{'a' * 20_000}\r\nabc\r\n{END}",
           "LF after size": "3\nabc\n0\n\n",
           "CR after size": "3\rabc\r0\r\r",
           "0x": f"0x3\r\nabc\r\n{END}",
           "plus": f"+3\r\nabc\r\n{END}",
           "negative": f"-3\r\nabc\r\n{END}",
           "overflow": f"10000000000000003\r\nabc\r\n{END}",
           "many zeros": f"{'0' * 30}3\r\nabc\r\n{END}",
           "blank before size": f" 3\r\nabc\r\n{END}",
           "longer than said": f"3\r\nabcX\r\n{END}",
           "no CRLF at its end": f"3\r\nabcXX{END}",
       }.items()},
    # --- heads
    "bare LF": (GET.replace("\r\n", "\n") + "\n", PLAIN),
    "bare LF in a value": (f"{GET}X: a\n\n{EVIL}",
                           ["mary GET /user/mary/a", "ada GET /user/ada/evil", MARY_LAST]),
    "bare CR in a value": (f"{GET}X: a\r\r{EVIL}", ["400"]),
    "null in a value": (f"{GET}X: a\0b\r\n\r\n", ["400"]),
    "folded line": (f"{GET}X: a\r\n b\r\n\r\n", PLAIN),
    "folded first line": (f"GET /user/mary/a HTTP/1.1\r\n X: y\r\n{HOST}\r\n", ["400"]),
    "no colon": (f"{GET}Broken\r\n\r\n", ["400"]),
    "no name": (f"{GET}: x\r\n\r\n", ["400"]),
    "two Host": (f"{GET}Host: x\r\n\r\n", ["400"]),
    "blank before Host's colon": ("GET /user/mary/a HTTP/1.1\r\nHost : h\r\n\r\n", ["400"]),
    "HTTP/0.9": ("GET /user/mary/a\r\n\r\n", ["400"]),
    "HTTP/1.2": (GET.replace("/1.1", "/1.2") + "\r\n", PLAIN),
    "HTTP/2.0 in text": (GET.replace("/1.1", "/2.0") + "\r\n", ["505"]),
    "HTTP/1.1x": (GET.replace("/1.1", "/1.1x") + "\r\n", ["400"]),
    "two blanks": (GET.replace(" ", "  ", 1) + "\r\n", ["400"]),
    "tabs for blanks": (GET.replace(" ", "\t", 2) + "\r\n", ["400"]),
    "a fourth word": (GET.replace(" HTTP", " /user/ada/ HTTP") + "\r\n", ["400"]),
    "escaped CRLF in the path": (
        GET.replace("/a ", "/a%0d%0aX:%20y ") + "\r\n",
        ["mary GET /user/mary/a%0D%0AX:%20y", MARY_LAST]),
    "empty lines before": (f"\r\n\r\n{GET}\r\n", ["400"]),
    "odd method": (GET.replace("GET", "G\x01T") + "\r\n", ["400"]),
    # --- tunnels
    "CONNECT": (f"CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\n\r\n{EVIL}", ["501"]),
    "CONNECT with a path": (f"CONNECT /user/mary/a HTTP/1.1\r\n{HOST}\r\n{EVIL}", ["501"]),
    "Upgrade: h2c": (
        f"{GET}Connection: Upgrade, HTTP2-Settings\r\n{H2C}\r\n{EVIL}",
        ["mary GET /user/mary/a", "ada GET /user/ada/evil", MARY_LAST]),
    "a websocket that is refused": (
        f"{GET}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n{EVIL}",
        ["mary GET /user/mary/a", "ada GET /user/ada/evil", MARY_LAST]),
    # --- many on one connection
    "pipelining": (
        "".join(f"GET /user/{name}/{n} HTTP/1.1\r\n{HOST}\r\n" for n, name in enumerate(
            ["mary", "ada", "mary", "user7", "ada"])),
        ["mary GET /user/mary/0", "ada GET /user/ada/1", "mary GET /user/mary/2",
         "crowd GET /user/user7/3", "ada GET /user/ada/4", MARY_LAST]),
    "pipelining after a body": (
        f"{POST}{length('3')}\r\nabc{EVIL}", [ABC[0], "ada GET /user/ada/evil", MARY_LAST]),
    "HTTP/1.0, kept alive": (
        f"GET /user/mary/a HTTP/1.0\r\n{HOST}Connection: keep-alive\r\n\r\n{EVIL}",
        ["mary GET /user/mary/a", "ada GET /user/ada/evil", MARY_LAST]),
    "HTTP/1.0": (f"GET /user/mary/a HTTP/1.0\r\n{HOST}\r\n{EVIL}", ["mary GET /user/mary/a"]),
    "Expect: 100-continue": (f"{POST}Expect: 100-continue\r\n{length(str(SIZE))}\r\n{EVIL}",
                             ["100", *BODY]),
    "Expect something else": (f"{POST}Expect: x\r\n{length(str(SIZE))}\r\n{EVIL}",
                              ["417"]),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
async def test_nobody_gets_a_request_that_was_not_sent_to_them(site: Site, case: str) -> None:
    data, expected = CASES[case]
    got = await site.send((data + LAST).encode("latin-1"))
    assert got == expected
    assert sorted(site.arrived()) == sorted(each for each in expected if " " in each)
    assert site.faults() == []
    await site.require_all_served()


@pytest.mark.parametrize(
    "data",
    [
        *(b"GET / HTTP/1.1\nHost: h\r\n\r\n", b"GET / HTTP/1.1\r\nHost : h\r\n\r\n"),
        b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\n\r\n",
    ],
)
def test_the_servers_of_these_tests_would_notice(data: bytes) -> None:
    with pytest.raises(Ambiguous):
        take(data)
