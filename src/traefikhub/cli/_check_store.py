"""Whether the store can be reached, read and written, and how fast. Takes over nothing."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from traefikhub.cli._findings import Finding, fault, fine, skipped, warning
from traefikhub.cli._scratch import NoPlace, NotRemoved, scratch_place
from traefikhub.stores import Batch, Key, KeyValueStore, RouteStore, Snapshot, StoreError, place_of
from traefikhub.table import routes_of

__all__ = ["look_at_guard", "look_at_store", "look_at_writing"]

_WRITES: Final = 5
_SLOW_MS: Final = 250.0
_RECORD: Final = Key("jupyterhub/meta", "check")


async def look_at_store(store: RouteStore) -> tuple[Finding, Snapshot | None]:
    """Read all that is there."""
    name = type(store).__name__
    fix = f"mend what it says; the options of the store are those of c.{name}"
    began = time.monotonic()
    try:
        try:
            await store.open(read_only=True)
            opened = time.monotonic()
            snapshot = await store.load()
            loaded = time.monotonic()
        finally:
            with suppress(StoreError):
                await store.close()
    except StoreError as error:
        return fault("store", error, fix), None
    routes = len(routes_of(snapshot.records))
    return (
        fine(
            "store",
            f"{name}: {routes} route{'' if routes == 1 else 's'}, generation "
            f"{snapshot.generation}; opened in {_ms(opened - began)}, read in "
            f"{_ms(loaded - opened)}",
        ),
        snapshot,
    )


async def look_at_writing(store: RouteStore) -> list[Finding]:
    """Write something in a scratch place beside what the Hub has there, and remove it."""
    check, name = "store, writing", type(store).__name__
    has_file = store.provider_name == "file" and store.has_trait("path")
    if not (isinstance(store, KeyValueStore) or has_file):
        return [
            skipped(
                check,
                f"{name} can be written in no other place than the Hub's, and that would be taken "
                "over from a Hub that runs",
            )
        ]
    findings = []
    own = getattr(store, "prefix", "")
    if isinstance(store, KeyValueStore):
        try:
            await store.prove_writable()
        except StoreError as error:
            return [
                fault(
                    check,
                    error,
                    f"give this user the rights that the documentation of {name} has, on all keys "
                    f"below {own}/, or mend what it says",
                )
            ]
    try:
        async with scratch_place(store) as place:
            findings.append(await _write(check, place.store, place.name))
    except NotRemoved as error:
        findings.append(warning(check, error, "remove it by hand"))
    except NoPlace as error:
        mend = "let the Hub's user write there, and run this check as that user"
        findings.append(fault(check, error, mend) if has_file else skipped(check, str(error)))
    except StoreError as error:
        # Its rights may well end with the Hub's own prefix, as they should.
        findings.append(
            warning(
                check,
                f"it can't be tried beside what the Hub has there: {error}",
                f"none is needed: this user may write below {own}/, where the Hub writes",
            )
        )
    return findings


def look_at_guard(store: RouteStore) -> Iterator[Finding]:
    """Whether others may write there: whoever may can lead each user's requests anywhere."""
    if why := store.unguarded:
        yield warning(
            "store, access",
            f"{why}, and it works without: whoever reaches {place_of(store)} can lead users' "
            "requests elsewhere, with their cookies",
            "let it ask for a user or token (the page Least privilege of the documentation), or "
            "see that only the Hub and Traefik reach it",
        )


async def _write(check: str, store: RouteStore, place: str) -> Finding:
    times = []
    try:
        await store.open()
        await store.load()
        for number in range(1, _WRITES + 1):
            began = time.monotonic()
            await store.apply(Batch(number, {_RECORD: {"number": number}}))
            times.append(time.monotonic() - began)
    finally:
        with suppress(StoreError):
            await store.close()
    took = statistics.median(times)
    found = f"a small change takes {_ms(took)} (median of {_WRITES}, in {place})"
    if took * 1000 > _SLOW_MS:
        return warning(
            check,
            found,
            "each login waits that long at least: use a store that is nearer, or a faster disk",
        )
    return fine(check, found)


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.{0 if seconds > 0.01 else 1}f} ms"
