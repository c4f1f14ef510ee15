"""Stores that break one promise each, to see that the conformance suite notices."""

from __future__ import annotations

from typing import Any

from traefikhub.stores import Batch, Document, FencedError, Key, Snapshot
from traefikhub.table import merge
from traefikhub_backends.toml_file import TomlFileStore

__all__ = [
    "Complacent",
    "Forgetful",
    "HalfHearted",
    "Intrusive",
    "Lazy",
    "Merging",
    "Misleading",
    "Straggling",
    "Swallowing",
    "Unfenced",
]


class Forgetful(TomlFileStore):
    """Loses one record of every larger batch."""

    async def apply(self, batch: Batch) -> None:
        puts = dict(batch.puts)
        if len(puts) > 2:
            puts.popitem()
        await super().apply(Batch(batch.generation, puts, batch.deletes))


class Complacent(TomlFileStore):
    """Is sure that nobody else ever writes."""

    async def intact(self) -> bool:
        return True


class Merging(TomlFileStore):
    """Lays a put upon what was there."""

    async def apply(self, batch: Batch) -> None:
        old = (await self.load()).records
        puts = {
            key: merge(old[key], document) if key in old else document
            for key, document in batch.puts.items()
        }
        await super().apply(Batch(batch.generation, puts, batch.deletes))


class HalfHearted(TomlFileStore):
    """Applies a batch in two halves."""

    async def apply(self, batch: Batch) -> None:
        items = list(batch.puts.items())
        half = len(items) // 2
        await super().apply(Batch(batch.generation, dict(items[:half])))
        await super().apply(Batch(batch.generation, dict(items[half:]), batch.deletes))


class Straggling(TomlFileStore):
    """Puts first, and deletes in a second step."""

    async def apply(self, batch: Batch) -> None:
        await super().apply(Batch(batch.generation, batch.puts))
        await super().apply(Batch(batch.generation, {}, batch.deletes))


class Lazy(TomlFileStore):
    """Acknowledges first, and writes with every third batch."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._waiting: list[Batch] = []

    async def apply(self, batch: Batch) -> None:
        self._waiting.append(batch)
        if len(self._waiting) == 3:
            await self._flush()

    async def _flush(self) -> None:
        while self._waiting:
            await super().apply(self._waiting.pop(0))

    async def load(self) -> Snapshot:
        await self._flush()
        return await super().load()

    async def close(self) -> None:
        await self._flush()
        await super().close()


class Unfenced(TomlFileStore):
    """Takes the file back whenever it lost it."""

    async def apply(self, batch: Batch) -> None:
        try:
            await super().apply(batch)
        except FencedError:
            await super().open()
            await super().apply(batch)


class Swallowing(TomlFileStore):
    """Logs that it was fenced, and reports success."""

    async def apply(self, batch: Batch) -> None:
        try:
            await super().apply(batch)
        except FencedError as error:
            self.log.info("ignored: %s", error)


class Intrusive(TomlFileStore):
    """Writes what it gets into a neighbour's place, too."""

    async def apply(self, batch: Batch) -> None:
        await super().apply(batch)
        neighbour = TomlFileStore(path=self.path.replace(".toml", "2.toml"))
        await neighbour.open(read_only=True)
        found = await neighbour.load()
        await neighbour.close()
        if found.generation:
            async with neighbour:
                extra: dict[Key, Document] = {Key("jupyterhub/notes", "intruder"): True}
                await neighbour.apply(Batch(found.generation + 1, extra))


class Misleading(TomlFileStore):
    """Tells Traefik to look elsewhere."""

    def provider_config(self) -> dict[str, Document]:
        return {"file": {"filename": f"{self.path}.elsewhere", "watch": True}}
