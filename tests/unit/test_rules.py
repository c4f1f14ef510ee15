"""Routespec to rule, priority and record name."""

from __future__ import annotations

import re
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from traefikhub.base import api_records
from traefikhub.rules import ParsedSpec, parse_routespec, record_name, rule_and_priority
from traefikhub.stores import GENERATION_MARKER
from unit.traefik_rules import Rule, seen_path

# --- strategies --------------------------------------------------------------------------------

HOSTILE = "aAbZ0/%?#.~-_+@!$&'()*,;=:[]{}|^\"\\<>` \t\n\x00\x7fé\u0130ſ日😀\ufeff\u2028\ufffd"
NEVER_LITERAL = "/?#%"
names = st.text(alphabet=st.sampled_from(HOSTILE) | st.characters(exclude_categories=["Cs"]))
segments = names.filter(bool)
paths = st.lists(segments, max_size=4).map(tuple)
small_paths = st.lists(st.text(alphabet="aA/%.", min_size=1, max_size=2), max_size=3).map(tuple)


@st.composite
def wire(draw: st.DrawFn, path: tuple[str, ...], *, end: str = "/") -> str:
    """A path as some client sends it: any character that need not be encoded may be, in capitals
    or not, octet by octet."""

    def encode(char: str) -> str:
        plain = char.isascii() and char.isprintable() and char not in NEVER_LITERAL + " "
        if plain and draw(st.booleans()):
            return char
        return "".join(
            f"%{octet:02X}" if draw(st.booleans()) else f"%{octet:02x}" for octet in char.encode()
        )

    return "/" + "/".join("".join(map(encode, part)) for part in path) + end


def spec_of(path: tuple[str, ...], host: str = "") -> str:
    """As JupyterHub writes a routespec."""
    return host + "/" + "".join(quote(part, safe="@~") + "/" for part in path)


def rule_of(routespec: str) -> Rule:
    return Rule.lex(rule_and_priority(parse_routespec(routespec))[0])


# --- parse_routespec ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("routespec", "expected"),
    [
        ("/", ParsedSpec("", ())),
        ("/user/mary/", ParsedSpec("", ("user", "mary"))),
        ("/user/m%40x%2Fy/", ParsedSpec("", ("user", "m@x/y"))),
        ("/user/%C3%A9/", ParsedSpec("", ("user", "é"))),
        ("/user/é/", ParsedSpec("", ("user", "é"))),
        ("//", ParsedSpec("", ("",))),
        ("/a//b/", ParsedSpec("", ("a", "", "b"))),
        ("mary.Hub.Example/", ParsedSpec("mary.hub.example", ())),
        ("hub.example:8000/user/x/", ParsedSpec("hub.example", ("user", "x"))),
        ("[::1]:8000/x/", ParsedSpec("[::1]", ("x",))),
        ("[::1]/x/", ParsedSpec("[::1]", ("x",))),
        ("[0:0:0:0:0:0:0:A]/x/", ParsedSpec("[::a]", ("x",))),
        ("a_b-c.example/x/", ParsedSpec("a_b-c.example", ("x",))),
    ],
)
def test_a_routespec_is_taken_apart(routespec: str, expected: ParsedSpec) -> None:
    assert parse_routespec(routespec) == expected


@pytest.mark.parametrize(
    "routespec",
    [
        "",
        "user",
        "/user/a",
        "hub.example",
        "/user/a b/",
        "/user/a\n/",
        "/user/a\x00/",
        "/user/a?b/",
        "/user/a#b/",
        "/user/%FF/",
        "/user/%ED%A0%80/",
        "/user/\ud800/",
        "ho st/x/",
        'x") || Host("y/x/',
        "x`/x/",
        "a..b/x/",
        ".a/x/",
        "host:/x/",
        "host:port/x/",
        "ho\u017ft/x/",  # the long s, which Python's IGNORECASE takes for an s
        "\u212belvin/x/",
        "user@host/x/",
        "[::1/x/",
        "[1.2.3.4]/x/",
        "[:::1]/x/",
        "*.hub.test/",
        "/%zz/",
        "/user/100%/",
        "/user/%4/",
    ],
)
def test_what_is_no_routespec_is_refused_and_named(routespec: str) -> None:
    with pytest.raises(ValueError, match="routespec") as caught:
        parse_routespec(routespec)
    assert repr(routespec) in str(caught.value)


def test_a_refused_character_comes_with_its_escape() -> None:
    with pytest.raises(ValueError, match=r"write ' ' as %20"):
        parse_routespec("/user/a b/")


# --- rule_and_priority -------------------------------------------------------------------------


@given(st.data(), paths, st.sampled_from(["", "/", "/lab", "/%2e%2E", "//", "/?", "/%2Fx"]))
@example(None, ("user", "\ufeff"), "/").via("Go's scanner refuses the byte order mark")
def test_a_route_gets_its_own_requests_in_every_encoding(
    data: st.DataObject | None, path: tuple[str, ...], below: str
) -> None:
    request = data.draw(wire(path, end="")) if data else "/" + "/".join(map(quote, path))
    if not path:
        request = ""
    assert rule_of(spec_of(path)).matches(request + (below.rstrip("?") or ("" if path else "/")))


@given(st.data(), small_paths | paths, small_paths | paths)
def test_a_route_gets_no_other_requests(
    data: st.DataObject, route: tuple[str, ...], other: tuple[str, ...]
) -> None:
    request = data.draw(wire(other))
    assert rule_of(spec_of(route)).matches(request) == (other[: len(route)] == route)


@given(st.data(), segments, segments)
def test_a_user_never_gets_the_requests_of_one_whose_name_goes_on(
    data: st.DataObject, name: str, more: str
) -> None:
    rule = rule_of(spec_of(("user", name)))
    assert not rule.matches(data.draw(wire(("user", name + more))))
    assert not rule.matches(data.draw(wire(("user", more + name))))


def test_a_name_that_looks_encoded_is_not_the_decoded_name() -> None:
    assert not rule_of("/user/a%2Fb/").matches("/user/a%252Fb/")
    assert not rule_of("/user/a%252Fb/").matches("/user/a%2fb/")
    assert not rule_of("/user/a%2Fb/").matches("/user/a/b/")
    assert rule_of("/user/a%2Fb/").matches("/user/a%2fb/")


def test_an_empty_last_segment_leaves_the_page_above_alone() -> None:
    assert rule_of("/user/a//").matches("/user/a//x")
    assert not rule_of("/user/a//").matches("/user/a/")
    assert not rule_of("//").matches("/")


@given(paths)
def test_a_name_can_neither_end_the_rule_nor_start_a_template(path: tuple[str, ...]) -> None:
    rule, _ = rule_and_priority(parse_routespec(spec_of(path, "hub.example")))
    lexed = Rule.lex(rule)  # fails on anything but the two calls
    assert lexed.host == "hub.example"
    ways = ["PathRegexp", "PathPrefix or Path", "PathPrefix"]
    assert lexed.function in (ways if path else [None])
    assert "`" not in rule
    assert "{{" not in rule
    assert not any(char < " " for char in rule)


def test_a_host_route_asks_for_its_host() -> None:
    rule = rule_of("mary.hub.example/user/mary/")
    assert rule.matches("/user/mary/", host="mary.hub.example")
    assert not rule.matches("/user/mary/", host="hub.example")
    assert rule_of("mary.hub.example/") == Rule("Host", "mary.hub.example", None, "")


def test_an_ipv6_host_is_matched_without_brackets() -> None:
    assert rule_of("[0::1]:8000/x/").host == "::1"


def test_the_default_route_takes_everything() -> None:
    assert rule_of("/").matches("/anything")


@given(small_paths, small_paths)
def test_the_deeper_of_two_matching_routes_goes_first(
    path: tuple[str, ...], more: tuple[str, ...]
) -> None:
    _, above = rule_and_priority(parse_routespec(spec_of(path)))
    _, below = rule_and_priority(parse_routespec(spec_of(path + more)))
    assert (below > above) if more else (below == above)


@given(paths)
def test_any_route_with_a_host_goes_before_any_without(path: tuple[str, ...]) -> None:
    _, hostless = rule_and_priority(parse_routespec(spec_of(path)))
    _, default_of_host = rule_and_priority(ParsedSpec("hub.example", ()))
    assert 1 <= hostless < default_of_host < 2**63


def test_the_model_of_traefik_sees_paths_as_the_facts_say() -> None:
    assert seen_path("/a%2fb%7e%c3%A9%40@%25%20") == "/a%2Fb~é%40@%25 "


# --- record_name -------------------------------------------------------------------------------

routespecs = st.builds(spec_of, paths, st.sampled_from(["", "hub.example", "HUB.example"]))
similar = st.text(alphabet="aA-_/%", max_size=6).map(lambda text: f"/{text}/")


@given(st.sets(routespecs | similar, min_size=2))
@example({"/user/x/lab/", "/user/x/Lab/"})
@example({"/a/b/", "/a_b/", "/a-b/", "/a%2Fb/", "/a%2fb/", "/a%5Fb/"})
@example({"/", "//", "/root/", "/root__/"})
@example({"/" + "a" * 200 + "/", "/" + "a" * 201 + "/"})
def test_names_are_distinct_though_case_is_ignored(specs: set[str]) -> None:
    assert len({record_name(spec).lower() for spec in specs}) == len(specs)


@given(routespecs | similar)
@example("/traefikhub/api/")
@example("/Traefikhub/")
def test_a_name_is_safe_in_keys_urls_and_toml_and_never_one_of_ours(spec: str) -> None:
    name = record_name(spec)
    assert re.fullmatch(r"[a-z0-9_-]{1,92}", name)
    assert name not in {key.name for key in (*api_records("api", []), GENERATION_MARKER)}
    assert not re.fullmatch(r"traefikhub__.{0,25}", name)  # a hash has 26


def test_a_plain_route_keeps_a_readable_name() -> None:
    assert record_name("/user/mary/") == "g_user_mary"
    assert record_name("/user/Mary@x/").startswith("h_user-mary-x")


def test_a_name_stays_the_same_from_release_to_release() -> None:
    # Else an upgraded Hub would write every record anew.
    assert record_name("/user/m%40x/") == "f_user-m-x__yg7gi4htijskcpchso2jqcdrnu"
