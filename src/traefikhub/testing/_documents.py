"""Hostile names and documents, for hypothesis, and when two documents are the same."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from traefikhub.stores import GENERATION_MARKER, Key

__all__ = ["NASTY", "private_records", "same", "traefik_records"]

NASTY = (
    *("", " ", "plain", "Plain", "PLAIN", "ünïcødé 😀", 'quo"te', "apo'strophe", "new\nline"),
    *("ta\tb", "slash/inside", "/", "//", "back\\slash", "`tick`", "{{template}}", "{{", "}}"),
    *("$(x)", "%2F", "%", "#comment", "a=b", "[table]", "dot.ted", "@file", "nul\x00", "\x7f\x1b"),
    *("\u2028", "e\u0301", "ﬁ", "ı", "K", "true", "null", "0", "-1", "1e3", "long " * 400),
)
"""Texts that have broken somebody's serialiser."""

_text = st.one_of(st.sampled_from(NASTY), st.text(st.characters(exclude_categories=["Cs"])))
_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**53), 2**53),
    st.floats(allow_nan=False, allow_infinity=False),
    _text,
)
_json = st.recursive(
    _scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=12), st.dictionaries(_text, inner, max_size=4)
    ),
    max_leaves=12,
)


def private_records() -> st.SearchStrategy[tuple[Key, Any]]:
    """A record that must come back exactly: any name, any JSON."""
    keys = st.builds(Key, st.sampled_from(["jupyterhub/routes", "jupyterhub/notes"]), _text)
    return st.tuples(keys, _json)


_word = st.text("abcdefghijklmnopqrstuvwxyz0123456789-_", min_size=1, max_size=12)
_values = st.recursive(
    st.one_of(st.booleans(), st.integers(-(2**53), 2**53), _text),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_word, inner, max_size=3)),
    max_leaves=6,
)


def traefik_records() -> st.SearchStrategy[tuple[Key, Any]]:
    """A record of a section that Traefik reads. Its name may differ from another's in case alone,
    and a store may refuse it."""
    sections = ["http/routers", "http/services", "http/middlewares", "tls/options"]
    names = st.one_of(_word, st.sampled_from(["case", "Case", "CASE"]), _text)
    keys = st.builds(Key, st.sampled_from(sections), names)
    documents = st.dictionaries(_word, _values, max_size=4)
    return st.tuples(keys.filter(lambda key: key != GENERATION_MARKER), documents)


def same(expected: object, found: object) -> bool:
    """Equal as JSON: 1, True and 1.0 are three."""
    return json.dumps(expected, sort_keys=True) == json.dumps(found, sort_keys=True)
