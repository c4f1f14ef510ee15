"""A Traefik before 3.7. Run by ``nox -s compat`` only."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from conftest import MakeProxy
from support import Backend, ask, free_port
from test_error_pages import hub_at

pytestmark = pytest.mark.anyio


@pytest.fixture
def hub() -> Iterator[Backend]:
    made = Backend("hub")
    yield made
    made.close()


async def test_it_is_told_and_nothing_else_lacks(
    make_proxy: MakeProxy, hub: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    proxy = make_proxy(hub=hub_at(hub.url))
    proxy.log = logging.getLogger("traefikhub")
    with caplog.at_level(logging.WARNING):
        await proxy.start()
    told = [each for each in caplog.messages if "can't show the Hub's error pages" in each]
    assert len(told) == 1
    assert "3.7.0 and later can" in told[0]
    await proxy.add_hub_route(proxy.hub)
    await proxy.add_route("/jhub/user/gone/", f"http://127.0.0.1:{free_port()}", {})
    await proxy.add_route("/jhub/user/mary/", hub.url, {})
    headers = {"Accept": "text/html"}
    assert ask(f"{proxy.public_url}/jhub/user/gone/", **headers) == (502, "Bad Gateway")
    assert ask(f"{proxy.public_url}/jhub/user/mary/", **headers)[0] == 200
    assert ask(f"{proxy.public_url}/jhub/hub/home", **headers)[0] == 200
