"""The toml-file store's content: what a change leaves alone, and reading back what was written."""

from __future__ import annotations

import sys
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traefikhub.stores import (
    GENERATION_HEADER,
    GENERATION_MARKER,
    Document,
    Key,
    RecordRefused,
    Snapshot,
)
from traefikhub_backends import _toml_read
from traefikhub_backends._toml_content import Content
from traefikhub_backends._toml_read import read
from traefikhub_backends._toml_text import TextError, parse, render

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

# Few names, so that batches put, replace and delete the same ones; odd ones among them.
names = st.sampled_from(
    [f"user_{number}" for number in range(8)]
    + ["", "a.b", 'a"b', "{{", "a = 1", "é", "[x]", "\x7f"]
)
sections = ["http/routers", "http/services", "jupyterhub/routes", "jupyterhub/meta"]
texts = st.sampled_from(["", "{{", "{a = 1}", 'a"b', "\x7f\x00\n\u2028", "[http.routers.x]", "é"])
scalars = st.booleans() | st.integers(-(2**63), 2**63 - 1) | texts | st.sampled_from([-0.0, 1e300])
documents: st.SearchStrategy[Document] = st.dictionaries(
    names | st.sampled_from(["rule", "X-Header"]),
    st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
        max_leaves=5,
    ),
    max_size=4,
)
keys = st.builds(Key, st.sampled_from(sections), names)
batches = st.lists(
    st.tuples(st.dictionaries(keys, documents, max_size=8), st.sets(keys, max_size=4)), max_size=6
)


def put(content: Content, puts: Mapping[Key, Document], *, generation: int = 1) -> Content:
    return content.after(generation, {key: render(key, doc) for key, doc in puts.items()})


def text_of(content: Content) -> bytes:
    return b"".join(content.pieces())


def snapshot_of(content: Content) -> Snapshot:
    return read(text_of(content))[1]


def meaning(text: bytes) -> object:
    """What a parser that knows nothing of us reads, without regard to order."""
    return tomllib.loads(text.decode())


@given(batches)
def test_step_by_step_gives_what_building_at_once_gives(
    changes: list[tuple[dict[Key, Document], set[Key]]],
) -> None:
    content = Content()
    expected: dict[Key, Document] = {}
    for generation, (puts, gone) in enumerate(changes, start=1):
        deletes = gone - puts.keys()
        expected = {key: doc for key, doc in expected.items() if key not in deletes} | puts
        before, earlier = content, text_of(content) if content.generation else b""
        rendered = {key: render(key, document) for key, document in puts.items()}
        content = content.after(generation, rendered, deletes)

        assert snapshot_of(content) == Snapshot(expected, generation)
        at_once = put(Content(), expected, generation=generation)
        assert meaning(text_of(content)) == meaning(text_of(at_once))
        # The version before is still whole: a load may be at it.
        assert not earlier or text_of(before) == earlier


@given(st.dictionaries(keys, documents, max_size=12))
def test_what_was_written_is_read_back_alike_fast_and_slowly(records: dict[Key, Document]) -> None:
    text = text_of(put(Content(), records, generation=7))
    assert repr_of(read(text)[1]) == repr_of(Snapshot(records, 7))
    assert repr_of(parse(text)) == repr_of(Snapshot(records, 7))


def repr_of(snapshot: Snapshot) -> str:
    """Tells 1, 1.0 and True apart; without regard to the order of names."""

    def ordered(value: object) -> object:
        if isinstance(value, dict):
            return sorted((repr(name), ordered(item)) for name, item in value.items())
        return [ordered(item) for item in value] if isinstance(value, list) else repr(value)

    return repr((snapshot.generation, ordered(snapshot.records)))


@given(st.data())
def test_an_edited_file_reads_as_the_toml_parser_reads_it(data: st.DataObject) -> None:
    """The fast way never takes for right what the parser takes for wrong or for something else."""
    records = data.draw(st.dictionaries(keys, documents, max_size=5))
    lines = text_of(put(Content(), records, generation=7)).split(b"\n")
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(lines) - 1))
        what = data.draw(st.sampled_from(["drop", "repeat", "move", "replace"]))
        line = lines[place]
        if what == "drop":
            del lines[place]
        elif what == "repeat":
            lines.insert(data.draw(st.integers(0, len(lines))), line)
        elif what == "move":
            lines.insert(data.draw(st.integers(0, len(lines) - 1)), lines.pop(place))
        else:
            old, new = data.draw(
                st.sampled_from(
                    [(b"1", b"2"), (b'"', b"'"), (b" ", b"  "), (b"user", b"User"),
                     (b"[http", b"[[http"), (b"7", b"nan"), (b"http", b"h2"), (b"]", b".x]")]
                )
            )  # fmt: skip
            lines[place] = line.replace(old, new, 1)
        if not lines:
            return
    text = b"\n".join(lines)
    try:
        slow = parse(text)
    except TextError:
        with pytest.raises(TextError):
            read(text)
        return
    assert repr_of(read(text)[1]) == repr_of(slow)


USUAL: dict[Key, Document] = {
    Key("http/services", "user_mary"): {"loadBalancer": {"servers": [{"url": "http://é:1"}]}},
    Key("http/routers", "user_mary"): {
        "rule": 'PathRegexp("^/user/mary(?:/|$)") && Header("{{", "x")',
        "priority": 12,
        "entryPoints": ["http"],
        "middlewares": [],
    },
    Key("http/middlewares", "m"): {"headers": {"customResponseHeaders": {"X-One": ""}}},
    Key("http/middlewares", "empty"): {"compress": {}},
    Key("jupyterhub/routes", "user_mary"): {"data": {"a": None}, "routespec": "/user/mary/"},
    Key("jupyterhub/meta", "mine"): [1, 2.5],
    Key("tls", "certificates"): [{"certFile": "a", "stores": ["b"]}],
    Key("tls/stores", "default"): {"defaultCertificate": {"certFile": "-----BEGIN\nEND-----\n"}},
}


def test_a_file_as_written_needs_no_toml_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    text = text_of(put(Content(), USUAL, generation=3))
    monkeypatch.delattr(_toml_read, "parse")
    content, snapshot = read(text)
    assert snapshot == Snapshot(USUAL, 3)
    assert text_of(content) == text


def test_a_change_leaves_most_pieces_alone() -> None:
    records: dict[Key, Document] = {
        Key(section, f"user_{number}"): {"n": number}
        for section in ("http/routers", "jupyterhub/routes")
        for number in range(2000)
    }
    before = put(Content(), records, generation=1)
    after = put(before, {Key("http/routers", "user_7"): {"n": 0}}, generation=2)
    same = {id(piece) for piece in before.pieces()}
    new = [piece for piece in after.pieces() if id(piece) not in same]
    # The bucket of the record, the two headings, and the end with the generation.
    assert len(new) <= 4
    assert sum(map(len, new)) < len(text_of(after)) / 50


def test_the_generation_stands_last() -> None:
    content = put(Content(), USUAL, generation=3)
    content = put(content, {Key("http/middlewares", "later"): {"compress": {}}}, generation=4)
    text = text_of(content).decode()
    assert text.endswith("\ntraefikhub__end = 4\n")
    assert text.index(GENERATION_MARKER.name) > text.index("[http.middlewares.later.compress]")
    tree = tomllib.loads(text)
    marker = tree["http"]["middlewares"][GENERATION_MARKER.name]
    assert marker == {"headers": {"customResponseHeaders": {GENERATION_HEADER: "4"}}}


def test_deletes_leave_nothing_behind() -> None:
    content = put(Content(), USUAL, generation=1).after(2, {}, USUAL)
    content = content.after(3, {}, [Key("no/such", "\ud800"), *USUAL])
    assert snapshot_of(content) == Snapshot({}, 3)
    assert text_of(content) == text_of(Content(3))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Key("tls", "certificates"), Key("tls", "more")),
        (Key("http", "routers"), Key("http/routers", "x")),
        (Key("jupyterhub", "routes"), Key("jupyterhub/routes", "x")),
    ],
)
def test_two_records_in_one_place_are_refused(one: Key, other: Key) -> None:
    content = put(Content(), {one: [], other: {} if "/" in other.section else []})
    with pytest.raises(RecordRefused, match=one.name):
        content.require_room()
    content.after(2, {}, [other]).require_room()


def test_a_batch_is_checked_when_it_is_read() -> None:
    """JSON's NaN would come through the fast way."""
    text = text_of(put(Content(), {Key("jupyterhub/routes", "x"): 1.5}))
    with pytest.raises(TextError, match="no JSON number"):
        read(text.replace(b'"1.5"', b'"NaN"'))
    with pytest.raises(TextError, match="no section"):
        read(text.replace(b"[jupyterhub.routes]", b"[jupyterhub.2nd]"))
