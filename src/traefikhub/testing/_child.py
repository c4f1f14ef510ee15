"""A writer in a process of its own, to be killed. ``python -m traefikhub.testing._child``."""

from __future__ import annotations

import json
import sys

import anyio

from traefikhub.stores import Batch, Document, Key, RouteStore, resolve_store

__all__ = ["RECORDS", "batch_of", "describe", "swap_of", "write_forever"]

RECORDS = [Key("jupyterhub/routes", f"r{number}") for number in range(10)]


def describe(store: RouteStore) -> str:
    """A store as an argument of this program: its class, and the options that were set."""
    options = {name: getattr(store, name) for name in store.traits(config=True)}
    options["run_dir"] = store.run_dir
    path = f"{type(store).__module__}:{type(store).__qualname__}"
    return json.dumps({"store": path, "options": options})


def batch_of(generation: int) -> Batch:
    """Every record says the same, so that half a batch shows."""
    documents: dict[Key, Document] = {key: {"generation": generation} for key in RECORDS}
    return Batch(generation, documents)


def swap_of(generation: int) -> Batch:
    """Replaces one set of records by another, so that puts and deletes that come apart show."""
    sets = [[Key("jupyterhub/routes", f"{word}{n}") for n in range(10)] for word in ("odd", "even")]
    new, old = sets if generation % 2 else sets[::-1]
    documents: dict[Key, Document] = {key: {"generation": generation} for key in new}
    return Batch(generation, documents, frozenset(old))


async def write_forever(description: str) -> None:
    """Take the store over and write; tell each generation that was acknowledged."""
    what = json.loads(description)
    async with resolve_store(what["store"])(**what["options"]) as store:
        generation = (await store.load()).generation
        while True:
            generation += 1
            await store.apply(swap_of(generation))
            print(generation, flush=True)  # noqa: T201  (the parent reads it)


if __name__ == "__main__":
    anyio.run(write_forever, sys.argv[1])
