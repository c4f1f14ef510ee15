"""Stores for tests, and what to put into them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
from traefikhub.stores import Batch, Document, Key, StoreUnavailable

from servers import PASSWORD, RedisServer, rules
from traefikhub_redis import RedisStore

__all__ = ["ROUTES", "batch", "names", "opened", "options", "routes", "until_done"]

ROUTES = "jupyterhub/routes"


def options(server: RedisServer, prefix: str, **more: Any) -> dict[str, Any]:
    """Of a store whose user has the rights of the README."""
    server.add_user(prefix, *rules(prefix))
    return {
        "url": server.url,
        "prefix": prefix,
        "username": prefix,
        "password": PASSWORD,
    } | more


@asynccontextmanager
async def opened(*, read_only: bool = False, **more: Any) -> AsyncIterator[RedisStore]:
    store = RedisStore(**more)
    await store.open(read_only=read_only)
    try:
        yield store
    finally:
        await store.close()


def batch(generation: int, name: str, document: Document = "here") -> Batch:
    return Batch(generation, {Key(ROUTES, name): document})


async def names(store: RedisStore) -> set[str]:
    return {name for name, _ in (await store.load()).section(ROUTES)}


def routes(count: int, target: str = "http://127.0.0.1:1") -> dict[Key, Document]:
    """Records such as the proxy makes of as many routes."""
    found: dict[Key, Document] = {}
    for number in range(count):
        name, path = f"user_u{number}", f"/user/u{number}/"
        found[Key("http/services", name)] = {"loadBalancer": {"servers": [{"url": target}]}}
        found[Key("http/routers", name)] = {
            "rule": f'PathPrefix("{path}")',
            "priority": str(len(path)),
            "entryPoints": ["http"],
            "service": name,
        }
        found[Key(ROUTES, name)] = {"routespec": path, "data": {"user": f"u{number}"}}
    return found


async def until_done(call: Callable[[], Any], seconds: float = 30) -> None:
    """Call again while the store is unavailable: what its callers do after an outage."""
    with anyio.fail_after(seconds):
        while True:
            try:
                await call()
            except StoreUnavailable:
                await anyio.sleep(0.05)
            else:
                return
