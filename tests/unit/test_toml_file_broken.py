"""The toml-file store before a file that it can't read: it says where, and loses nothing."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from traefikhub.stores import Batch, Document, Key, Snapshot, StoreCorrupt
from traefikhub_backends.toml_file import TomlFileStore

pytestmark = pytest.mark.anyio

RECORDS: dict[Key, Document] = {
    Key("http/services", "user_mary"): {"loadBalancer": {"servers": [{"url": "http://é:1"}]}},
    Key("http/routers", "user_mary"): {"rule": 'Path("/x")', "service": "user_mary"},
    Key("jupyterhub/routes", "user_mary"): {"data": {"user": "mary"}, "none": None},
    Key("tls", "certificates"): [{"certFile": "a"}],
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "routes.toml"


@pytest.fixture
async def good(path: Path) -> bytes:
    """A file of generation 123."""
    async with TomlFileStore(path=str(path)) as store:
        await store.apply(Batch(123, RECORDS))
    return path.read_bytes()


def files(path: Path) -> set[str]:
    return {file.name for file in path.parent.iterdir()}


async def refusal(path: Path) -> str:
    """What a store says that can't open the file; checks that the file was left alone."""
    before = path.read_bytes()
    with pytest.raises(StoreCorrupt) as caught:
        await TomlFileStore(path=str(path)).open()
    assert path.read_bytes() == before
    return str(caught.value)


@pytest.mark.parametrize("put", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
async def test_what_is_no_file_is_not_waited_for(
    path: Path, good: bytes, put: Callable[[Path], None]
) -> None:
    async with TomlFileStore(path=str(path)) as store:
        await store.load()
        path.unlink()
        put(path)
        with anyio.fail_after(10):
            with pytest.raises(StoreCorrupt, match="it is no regular file"):
                await store.load()
            await store.apply(Batch(124))
        assert path.read_bytes().startswith(good[:20])
        assert (await store.load()).records == RECORDS


async def test_a_broken_file_is_named_with_its_line_and_kept(path: Path, good: bytes) -> None:
    lines = good.decode().splitlines(keepends=True)
    lines.insert(4, "this is no TOML\n")
    broken = "".join(lines).encode()
    path.write_bytes(broken)
    message = await refusal(path)
    assert f"{path}, line 5:" in message
    (aside,) = path.parent.glob("routes.toml.broken-*")
    assert str(aside) in message
    assert aside.read_bytes() == broken
    assert aside.stat().st_mode & 0o777 == 0o600
    await refusal(path)
    assert files(path) == {"routes.toml", aside.name}  # one copy, no lock, no temporary file


@pytest.mark.parametrize(
    ("old", "new", "line_with"),
    [
        ("user_mary = ", "user_mary = 3 # ", "user_mary = 3"),
        ('user_mary = "{', 'user_mary = "[', 'user_mary = "['),
        ('rule = "', 'rule = 1979-05-27 # "', "[http.routers.user_mary]"),
        ("[tls]", "[http]\nother = 1\n[tls]", "other = 1"),
        ("[tls]", '["odd name".x]\na = 1\n[tls]', "a = 1"),
        ("[tls]", "[http.routers]\nmine = 1\n[tls]", "mine = 1"),
        ("# Written", "top = 1\n# Written", "top = 1"),
    ],
    ids=["number-for-json", "broken-json", "date", "value", "section", "no-table", "top"],
)
async def test_an_edited_record_that_is_none_is_named_with_its_line(
    path: Path, good: bytes, old: str, new: str, line_with: str
) -> None:
    edited = good.decode().replace(old, new, 1)
    assert edited != good.decode()
    path.write_text(edited)
    message = await refusal(path)
    found = re.search(r", line (\d+):", message)
    assert found
    assert line_with in edited.splitlines()[int(found.group(1)) - 1]


async def test_a_file_cut_short_anywhere_is_refused(path: Path, good: bytes) -> None:
    for length in range(len(good)):
        path.write_bytes(good[:length])
        store = TomlFileStore(path=str(path))
        await store.open(read_only=True)
        try:
            snapshot = await store.load()
        except StoreCorrupt:
            continue
        # Without its last newline the file says the same.
        assert (length, snapshot) == (len(good) - 1, Snapshot(RECORDS, 123))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"# only a comment\n",
        b'[http.routers.x]\nrule = "Path(`/x`)"\nservice = "x"\n',
        b"[jupyterhub.meta]\ntraefikhub__end = 1\n",
        b"[jupyterhub.meta]\ntraefikhub__end = true\n",
        b"[jupyterhub]\nroutes = 1\n",
        b"[http]\nrouters = [1]\n",
        b"\xff\xfe\x00",
        b"\x00" * 4096,
        b"{}",
        b"x = " + b"[" * 5000,
    ],
    ids=["empty", "newline", "comment", "foreign", "end-only", "end-true", "routes", "list",
         "no-utf8", "zeros", "json", "deep"],
)  # fmt: skip
async def test_what_is_not_our_file_never_counts_as_an_empty_table(
    path: Path, content: bytes
) -> None:
    path.write_bytes(content)
    message = await refusal(path)
    assert str(path) in message
    assert "line " in message or "was not written by traefikhub" in message


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ('[http.routers.x]\nrule = "Path(`/x`)"\n[tls.options.a]\n', "it holds [http], [tls]."),
        ('[[tls.certificates]]\ncertFile = "/s3cret"\n', "it holds [tls]."),
        ('debug = "s3cret"\n[api]\n[log]\n[ping]\n[entryPoints.web]\n',
         "it holds debug, [api], [log], [ping], …."),
        ("# to be filled in\n", "it holds nothing."),
        ("http:\n  routers:\n    x: s3cret\n", "it is no TOML ("),
        ('{"http": {"routers": {}}}', "it is no TOML ("),
        ("[jupyterhub.routes.router__2F]\nrouter = 's3cret'\n", "it holds [jupyterhub]."),
    ],
    ids=["dynamic", "certificates", "static", "comment", "yaml", "json", "earlier-proxy"],
)  # fmt: skip
async def test_a_file_of_somebody_else_names_the_settings_that_mend_it(
    path: Path, content: str, why: str
) -> None:
    path.write_text(content)
    message = await refusal(path)
    assert f"{path} was not written by traefikhub: {why}" in message
    assert "c.TomlFileStore.path" in message
    assert "c.TraefikProxy.extra_dynamic_config" in message
    assert "s3cret" not in message
    assert "Mend that line" not in message
    (aside,) = path.parent.glob("routes.toml.broken-*")
    assert str(aside) in message


async def test_what_is_left_of_our_own_file_is_no_file_of_somebody_else(
    path: Path, good: bytes
) -> None:
    for content in (
        *(good[:length] for length in range(len(good) - 2)),
        *(good[start:] + b"oops" for start in range(0, good.rindex(b"traefikhub__end"), 7)),
        bytes(len(good)),
    ):
        path.write_bytes(content)
        store = TomlFileStore(path=str(path))
        await store.open(read_only=True)
        with pytest.raises(StoreCorrupt, match=r"line \d+: .*Mend that line, or remove"):
            await store.load()


async def test_a_file_put_in_place_of_ours_while_the_hub_runs_is_kept_aside(path: Path) -> None:
    async with TomlFileStore(path=str(path)) as store:
        await store.apply(Batch(1, RECORDS))
        path.write_text("[http.routers.x]\n")
        with pytest.raises(StoreCorrupt, match="was not written by traefikhub"):
            await store.load()
        await store.apply(Batch(2))
        assert await store.load() == Snapshot(RECORDS, 2)
    (aside,) = path.parent.glob("routes.toml.broken-*")
    assert aside.read_text() == "[http.routers.x]\n"


async def test_line_numbers_of_bytes_that_are_no_text(path: Path, good: bytes) -> None:
    path.write_bytes(good.replace("é".encode(), b"\xff"))
    line = good[: good.index("é".encode())].count(b"\n") + 1
    assert f"line {line}:" in await refusal(path)


async def test_a_mended_file_is_read_again(path: Path, good: bytes) -> None:
    path.write_bytes(good + b"oops")
    await refusal(path)
    path.write_bytes(good)
    async with TomlFileStore(path=str(path)) as store:
        assert await store.load() == Snapshot(RECORDS, 123)


async def test_a_broken_file_does_not_cost_the_earlier_owner_its_place(path: Path) -> None:
    async with TomlFileStore(path=str(path)) as owner:
        await owner.apply(Batch(1, RECORDS))
        path.write_bytes(b"broken by hand")
        await refusal(path)
        await owner.apply(Batch(2))
        assert await owner.load() == Snapshot(RECORDS, 2)


async def test_a_file_broken_under_a_running_hub_is_kept_aside_and_replaced(path: Path) -> None:
    key = Key("jupyterhub/routes", "new")
    async with TomlFileStore(path=str(path)) as store:
        await store.apply(Batch(1, RECORDS))
        path.write_bytes(b"broken by hand")
        with pytest.raises(StoreCorrupt):
            await store.load()
        await store.apply(Batch(2, {key: 1}))
        assert await store.load() == Snapshot({**RECORDS, key: 1}, 2)
    (aside,) = path.parent.glob("routes.toml.broken-*")
    assert aside.read_bytes() == b"broken by hand"


async def test_a_file_rewritten_by_another_program_is_seen(path: Path, good: bytes) -> None:
    async with TomlFileStore(path=str(path)) as store:
        await store.load()
        path.write_bytes(good.replace(b"/x", b"/another"))
        changed: Document = {"rule": 'Path("/another")', "service": "user_mary"}
        assert (await store.load()).records == {
            **RECORDS,
            Key("http/routers", "user_mary"): changed,
        }
        await store.apply(Batch(124, deletes=frozenset({Key("tls", "certificates")})))
        assert (await store.load()).records[Key("http/routers", "user_mary")] == changed


async def test_a_file_removed_by_another_program_is_an_empty_store(path: Path, good: bytes) -> None:
    async with TomlFileStore(path=str(path)) as store:
        assert (await store.load()).generation == 123
        path.unlink()
        assert await store.load() == Snapshot({}, 0)
        await store.apply(Batch(124, RECORDS))
        assert await store.load() == Snapshot(RECORDS, 124)


async def test_what_broke_is_not_intact_until_it_is_loaded(path: Path) -> None:
    """The caller puts in what it misses, and may have forgotten what should go."""
    async with TomlFileStore(path=str(path)) as store:
        await store.load()
        await store.apply(Batch(1, RECORDS))
        path.write_text(path.read_text() + "[[")
        with pytest.raises(StoreCorrupt):
            await store.load()
        await store.apply(Batch(2, RECORDS))
        assert not await store.intact()
        await store.load()
        assert await store.intact()
