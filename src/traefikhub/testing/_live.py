"""Promise 7: a real Traefik on the store's provider."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Final

import anyio

from traefikhub.stores import Batch, Document, Key, RecordRefused
from traefikhub.testing._certificates import Certificates
from traefikhub.testing._hooks import Hooks
from traefikhub.testing._promises import Promise, proves
from traefikhub.testing._run import run
from traefikhub.testing._traefik import run_backend, run_traefik

__all__ = ["LiveTests"]

_GRACE, _COUNTED = 5, 45
"""Generations. When Traefik starts it may read several times, whatever is written meanwhile."""


_SWITCHING_SECONDS: Final = 0.05
"""Traefik's entry points take a new configuration one after another, some milliseconds apart. What
it missed when it read stays missing until the next change."""


def _route(name: str, path: str, target: str) -> dict[Key, Document]:
    rule = f'PathPrefix("{path}")'
    return {
        Key("http/services", name): {"loadBalancer": {"servers": [{"url": target}]}},
        Key("http/routers", name): {
            "rule": rule,
            "priority": len(rule),
            "entryPoints": ["http"],
            "service": name,
        },
        Key("jupyterhub/routes", name): {"routespec": path, "data": {"none": None, "{{": []}},
    }


def _certificate(directory: Path) -> dict[Key, Document]:
    """Traefik's own. Without one it makes another at each change, and a change takes ten times as
    long."""
    made = Certificates.make(directory)
    default: Document = {"certFile": made.server_cert, "keyFile": made.server_key}
    return {Key("tls/stores", "default"): {"defaultCertificate": default}}


class LiveTests(Hooks):
    """What is in the store is what Traefik does."""

    @proves(Promise.REAL)
    def test_traefik_serves_what_was_applied(self, server: Any, prefix: str) -> None:
        """Routes come, change and go; Traefik's log stays free of errors."""

        async def work() -> None:
            async with self._prepared_store(prefix, server) as store:
                with run_backend() as target:
                    await store.apply(Batch(1, _route("first", "/first/", target)))
                    with run_traefik(store) as traefik:
                        traefik.wait_for(1)
                        assert traefik.ask("/first/x")[0] == 200, "an applied route is not served"
                        many: dict[Key, Document] = {}
                        for number in range(100):
                            many |= _route(f"user_u{number}", f"/user/u{number}/", target)
                        await store.apply(Batch(2, many, frozenset(_route("first", "", ""))))
                        traefik.wait_for(2)
                        for number in (0, 50, 99):
                            path = f"/user/u{number}/lab"
                            assert traefik.ask(path)[0] == 200, f"{path} is not served"
                        assert traefik.ask("/first/x")[0] == 404, "a deleted route is served"
                        await store.apply(Batch(3, {}, frozenset(many)))
                        traefik.wait_for(3)
                        assert traefik.ask("/user/u50/lab")[0] == 404, "a deleted route is served"
                        assert not traefik.complaints(), (
                            f"Traefik complains of what was applied: {traefik.complaints()}"
                        )

        run(work)

    @proves(Promise.REAL)
    def test_what_a_generation_brings_is_served_when_it_shows(
        self, server: Any, prefix: str
    ) -> None:
        """A caller takes its route for live then. Where Traefik reads in pieces while others write,
        it may find the new marker, and miss what was put before it."""

        async def work(directory: Path) -> None:
            known = _certificate(directory)
            async with self._prepared_store(prefix, server) as store:
                with run_backend() as target:
                    for number in range(300):
                        known |= _route(f"user_u{number}", f"/user/u{number}/", target)
                    await store.apply(Batch(1, known))
                    with run_traefik(store) as traefik:
                        dead = []
                        for number in range(_GRACE + _COUNTED):
                            path, generation = f"/late/u{number}/", number + 2
                            records = _route(f"late_u{number}", path, target)
                            await store.apply(Batch(generation, records))
                            traefik.wait_for(generation)
                            if traefik.ask(path)[0] == 200 or number < _GRACE:
                                continue
                            await anyio.sleep(_SWITCHING_SECONDS)
                            if traefik.ask(path)[0] != 200:
                                dead.append(path)
                        assert not dead, (
                            f"{len(dead)} of {_COUNTED} routes, such as {dead[0]}, were not served "
                            "when Traefik showed the generation that they came with"
                        )

        with tempfile.TemporaryDirectory() as directory:
            run(lambda: work(Path(directory)))

    @proves(Promise.REAL)
    def test_traefik_keeps_the_order_of_long_lists(self, server: Any, prefix: str) -> None:
        """Twelve middlewares run in the order in which they were given, or are refused."""
        names: list[Document] = [f"m{number}" for number in range(12)]
        records: dict[Key, Document] = {
            Key("http/middlewares", str(name)): {"addPrefix": {"prefix": f"/{name}"}}
            for name in names
        }
        records |= _route("long", "/long/", "http://127.0.0.1:1")
        records[Key("http/routers", "long")] = {
            "rule": 'PathPrefix("/long/")',
            "entryPoints": ["http"],
            "service": "long",
            "middlewares": names,
        }

        async def work() -> None:
            async with self._prepared_store(prefix, server) as store:
                try:
                    await store.apply(Batch(1, records))
                except RecordRefused:
                    return
                with run_traefik(store) as traefik:
                    traefik.wait_for(1)
                    found = traefik.router("long").get("middlewares", [])
                    seen = [each.partition("@")[0] for each in found]
                    assert seen == names, f"a list of {names} is {seen} to Traefik"

        run(work)

    @proves(Promise.REAL)
    def test_traefik_knows_records_by_the_names_they_were_given(
        self, server: Any, prefix: str
    ) -> None:
        """Whatever name a store accepts, Traefik sees; two names are never taken for one."""
        names = [
            *("case", "Case", "with space", "dot.ted", "ünïcødé", 'quo"te', "back\\slash", "tick`"),
            *(
                "42",
                "a@b",
                "a=b",
                "per%cent",
                "[table]",
                "{{x}}",
                "#x",
                "semi;colon",
                "plus+",
                "'single'",
            ),
        ]

        async def work() -> None:
            accepted = set()
            async with self._prepared_store(prefix, server) as store:
                await store.apply(Batch(1, _route("plain", "/plain/", "http://127.0.0.1:1")))
                generation = 1
                for number, name in enumerate(names):
                    records = _route(name, f"/n{number}/", "http://127.0.0.1:1")
                    try:
                        await store.apply(Batch(generation + 1, records))
                    except RecordRefused:
                        continue
                    generation += 1
                    accepted.add(name)
                with run_traefik(store) as traefik:
                    traefik.wait_for(generation)
                    for kind in ("routers", "services"):
                        wanted = accepted | {"plain"}
                        assert traefik.names(kind) == wanted, (
                            f"the store accepted the {kind} {sorted(wanted)}, Traefik has "
                            f"{sorted(traefik.names(kind))}"
                        )
                    assert not traefik.complaints(), f"Traefik complains: {traefik.complaints()}"

        run(work)
