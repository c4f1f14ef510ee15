"""Traefik's metrics: what is counted for whom, and what is no answer."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traefikhub.traefik import Credentials, TraefikError
from traefikhub.traefik.metrics import MetricsUnavailable, Scrape, parse_metrics, scrape

# From Traefik 3.7.15, shortened. The series of "ok" without TLS, that of "secret" with it.
SAMPLE = b"""\
# HELP process_resident_memory_bytes Resident memory size in bytes.
# TYPE process_resident_memory_bytes gauge
process_resident_memory_bytes 1.73191168e+08
# HELP process_start_time_seconds Start time of the process since unix epoch in seconds.
# TYPE process_start_time_seconds gauge
process_start_time_seconds 1.79544099792e+09
# HELP traefik_service_request_duration_seconds How long it took to process the request.
# TYPE traefik_service_request_duration_seconds histogram
traefik_service_request_duration_seconds_count{code="200",method="GET",service="a_ok@file"} 9
# HELP traefik_service_requests_total How many HTTP requests processed on a service.
# TYPE traefik_service_requests_total counter
traefik_service_requests_total{code="101",method="GET",protocol="websocket",service="a_ok@file"} 2
traefik_service_requests_total{code="200",method="GET",protocol="http",service="a_ok@file"} 1
traefik_service_requests_total{code="200",method="GET",protocol="http",service="a_ok@etcd"} 7
traefik_service_requests_total{code="200",method="GET",protocol="http",service="secret@file"} 1e+06
traefik_service_requests_total{code="200",method="GET",protocol="sse",service="p@internal"} 3
# HELP traefik_service_requests_tls_total How many HTTP requests with TLS processed on a service.
# TYPE traefik_service_requests_tls_total counter
traefik_service_requests_tls_total{service="secret@file",tls_cipher="TLS_X",tls_version="1.3"} 4
"""
COUNTED = (1795440997.92, {"a_ok": 3, "secret": 1_000_004})


def series(service: str, count: str = "1") -> bytes:
    """A line as Prometheus' library writes it for a service of any name."""
    escaped = service.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
    return (
        f'traefik_service_requests_total{{code="200",method="GET",service="{escaped}"}} {count}\n'
    ).encode()


def test_both_counters_of_a_service_are_added() -> None:
    assert parse_metrics([SAMPLE], "file") == COUNTED


@given(st.lists(st.integers(0, len(SAMPLE)), max_size=6))
def test_blocks_may_end_anywhere(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(SAMPLE)]
    blocks = [SAMPLE[a:b] for a, b in pairwise(edges)]
    assert parse_metrics(blocks, "file") == COUNTED


@given(st.lists(st.text('a@file"\\,={} \nés', max_size=30), unique=True, max_size=5))
def test_strangers_of_any_name_are_told_from_ours(names: list[str]) -> None:
    text = SAMPLE + b"".join(series(f"{name}@docker") for name in names)
    assert parse_metrics([text], "file") == COUNTED
    assert parse_metrics([text], "docker")[1] == dict.fromkeys(names, 1)


@pytest.mark.parametrize("name", ['x,service="a_ok@file', 'service="a_ok@file",x="', "a_ok@file\\"])
def test_a_stranger_that_looks_like_ours(name: str) -> None:
    assert parse_metrics([SAMPLE + series(f"{name}@docker", "5")], "file") == COUNTED


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"<html>\n",
        b"# nothing\n",
        SAMPLE.replace(b"process_start", b"process_end"),
        SAMPLE[:-1],
        SAMPLE + series("a@file", "NaN"),
        SAMPLE + series("a@file", "1e999"),
        SAMPLE + series("a@file", "-1"),
        SAMPLE + series("a@file", "1.2.3"),
        SAMPLE + b"traefik_service_requests_total{}\n",
        SAMPLE + b'traefik_service_requests_total{service="a} 1\n',
        SAMPLE + b'traefik_service_requests_total{code="200"} 1\n',
        SAMPLE + b"process_start_time_seconds soon\n",
        b"x" * (2 << 20),
    ],
    ids=lambda text: repr(text[-40:]),
)
def test_what_is_not_understood_is_no_zero(text: bytes) -> None:
    blocks = [text[at : at + 65536] for at in range(0, len(text), 65536)]
    with pytest.raises(ValueError):  # noqa: PT011 - its text is for the log
        parse_metrics(blocks, "file")


# --- over HTTP -------------------------------------------------------------------------------


def chunked(body: bytes, size: int = 100) -> bytes:
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%s\r\n" % (len(each), each) for each in [*pieces, b""])


def measured(body: bytes, length: int | None = None) -> bytes:
    length = len(body) if length is None else length
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (length, body)


@contextmanager
def serving(*answers: bytes, hang: bool = False) -> Iterator[tuple[str, list[bytes]]]:
    """A server with one answer for each connection, and the questions it was put."""
    questions: list[bytes] = []
    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for answer in answers:
                connection, _ = listener.accept()
                with connection:
                    question = b""
                    while not question.endswith(b"\r\n\r\n"):
                        question += connection.recv(4096)
                    questions.append(question)
                    connection.sendall(answer)
                    if hang:
                        done.wait(60)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/metrics", questions
        finally:
            done.set()
            thread.join(60)


@pytest.mark.anyio
@pytest.mark.parametrize("answer", [chunked(SAMPLE), measured(SAMPLE)], ids=["chunked", "measured"])
async def test_a_scrape(answer: bytes) -> None:
    with serving(answer) as (url, questions):
        assert await scrape(url, "file", timeout=60) == Scrape((url, COUNTED[0]), COUNTED[1])
    assert questions[0].startswith(b"GET /metrics HTTP/1.1\r\n")
    assert b"Authorization" not in questions[0]


@pytest.mark.anyio
async def test_the_next_credentials_after_a_401() -> None:
    users = [Credentials("ada", "old"), Credentials("ada", "new")]
    rejected = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"
    with serving(rejected, chunked(SAMPLE)) as (url, questions):
        found = await scrape(url, "file", credentials=users, timeout=60)
    assert found.requests == COUNTED[1]
    for user, question in zip(users, questions, strict=True):
        assert f"Authorization: {user.header()}\r\n".encode() in question


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"", "closed"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "SSH"),
        (b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n", r"'ada' \(401\)"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "404"),
        (measured(b"<html>\n"), "when Traefik started"),
        (measured(SAMPLE, len(SAMPLE) + 1), "IncompleteRead"),
        (chunked(SAMPLE)[:-40], "IncompleteRead"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + SAMPLE, "how long"),
    ],
)
async def test_no_answer_is_an_error_with_the_address_and_no_password(
    answer: bytes, why: str
) -> None:
    with serving(answer) as (url, _):
        hidden = url.replace("://", "://eve:s3cret@")
        user = Credentials("ada", "pa55word")
        with pytest.raises(MetricsUnavailable, match=why) as caught:
            await scrape(hidden, "file", credentials=[user], timeout=60)
    assert isinstance(caught.value, TraefikError)
    assert url in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert "pa55word" not in str(caught.value)


@pytest.mark.anyio
@pytest.mark.parametrize("answer", [b"", measured(SAMPLE, len(SAMPLE) + 1)], ids=["no", "half"])
async def test_one_that_hangs_is_given_up(answer: bytes) -> None:
    late = pytest.raises(MetricsUnavailable, match=r"within 0\.2 s")
    with serving(answer, hang=True) as (url, _), late:
        await scrape(url, "file", timeout=0.2)


@pytest.mark.anyio
async def test_nobody_listens_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(MetricsUnavailable, match=f"http://127.0.0.1:{port}/metrics"):
        await scrape(f"http://127.0.0.1:{port}/metrics", "file", timeout=60)


@pytest.mark.anyio
async def test_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("traefikhub.traefik.metrics._LARGEST", 1000)
    large = pytest.raises(MetricsUnavailable, match="the answer has more than")
    with serving(chunked(SAMPLE)) as (url, _), large:
        await scrape(url, "file", timeout=60)
