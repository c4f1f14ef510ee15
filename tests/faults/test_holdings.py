"""What the store must hold: whatever is missing, left over or different is told."""

from __future__ import annotations

import pytest

from faults.holdings import Holdings
from traefikhub.activity import to_records
from traefikhub.base import CERTIFICATE_KEY, api_records, certificate_record, generation_records
from traefikhub.rules import record_name
from traefikhub.stores import Document, Key, Records
from traefikhub.table import ROUTES_SECTION, Route
from traefikhub.traefik.users_entry_point import question_for
from unit.memory_store import MemoryStore

URL = "http://hub.test:8081"
FIRST = {
    **api_records("auth_api", ["traefikhub:hash"]),
    **certificate_record("cert", "key"),
    **generation_records("http", question_for("secret", "X")),
}
ROUTES = [Route("/", URL, {}), Route("/user/a/", "http://a.test/below", {"user": "a"})]
NAME = record_name("/user/a/")


def amiss(held: Records, *, stopped: bool = False) -> list[str]:
    """How these differ from what they should be."""
    return list(Holdings(URL, FIRST).amiss(held, MemoryStore(), stopped))


def whole() -> dict[Key, Document]:
    """All that stand for two routes."""
    return dict(Holdings(URL, FIRST).records(ROUTES))


def test_nothing_is_amiss() -> None:
    held = whole()
    assert len(held) > 10
    assert not amiss(held)
    assert not amiss({**held, **to_records({"/user/a/": 1})}, stopped=True)


def test_each_record_counts() -> None:
    for key in whole():
        without = {other: document for other, document in whole().items() if other != key}
        assert amiss(without), key
        assert amiss({**whole(), key: {"other": "document"}}), key


@pytest.mark.parametrize(
    "section", ["http/routers", "http/services", "http/middlewares", ROUTES_SECTION]
)
def test_what_a_deleted_route_left(section: str) -> None:
    held = dict(Holdings(URL, FIRST).records(ROUTES[:1]))
    held[Key(section, NAME)] = whole()[Key(section, NAME)]
    assert amiss(held)


def test_what_may_not_change() -> None:
    assert amiss({**whole(), CERTIFICATE_KEY: {}}) == ["tls/stores/default differs"]


def test_when_routes_were_used_is_kept_while_the_hub_is_away_and_only_then() -> None:
    kept = to_records({"/user/a/": 1})
    assert amiss({**whole(), **kept})
    assert amiss(whole(), stopped=True)
    assert amiss({**whole(), **to_records({"/user/gone/": 1})}, stopped=True)
