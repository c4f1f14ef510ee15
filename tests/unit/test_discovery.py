"""Finding a store, with distributions that are really there."""

from __future__ import annotations

import importlib
import itertools
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from traefikhub.stores import (
    ENTRY_POINT_GROUP,
    RouteStore,
    StoreNotFound,
    installed_stores,
    resolve_store,
)
from traefikhub_backends.toml_file import TomlFileStore

Install = Callable[..., str]

GOOD = """
from traefikhub.stores import Batch, RouteStore, Snapshot

class MyStore(RouteStore):
    provider_name = "mine"
    def provider_config(self): return {}
    async def open(self, *, read_only=False): pass
    async def close(self): pass
    async def load(self): return Snapshot({}, 0)
    async def apply(self, batch): pass

class NoStore:
    pass

instance = NoStore()
"""

_numbers = itertools.count()


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Installs a distribution with one module and any number of stores; returns the module.

    Names must differ from test to test: stevedore remembers entry points for the process's life.
    """
    modules: list[str] = []

    def install(source: str = GOOD, *, dist: str = "", **stores: str) -> str:
        module = f"throwaway_{next(_numbers)}"
        dist = dist or module.replace("_", "-")
        site = tmp_path / module
        info = site / f"{dist.replace('-', '_')}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {dist}\nVersion: 1.0\n")
        lines = [f"{name} = {module}:{attribute}\n" for name, attribute in stores.items()]
        (info / "entry_points.txt").write_text("".join([f"[{ENTRY_POINT_GROUP}]\n", *lines]))
        (info / "RECORD").write_text("")
        (site / f"{module}.py").write_text(source)
        monkeypatch.syspath_prepend(str(site))
        importlib.invalidate_caches()
        modules.append(module)
        return module

    yield install
    for module in modules:
        sys.modules.pop(module, None)


def refusal(store: Any) -> str:
    with pytest.raises(StoreNotFound) as caught:
        resolve_store(store)
    return str(caught.value)


def test_the_default_store_is_found_by_its_name() -> None:
    assert resolve_store("toml-file") is TomlFileStore
    assert [each.distribution for each in installed_stores() if each.name == "toml-file"] == [
        "traefikhub"
    ]


def test_another_packages_store_is_found_by_its_name(install: Install) -> None:
    module = install(found_by_name="MyStore")
    found = resolve_store("found_by_name")
    assert issubclass(found, RouteStore)
    assert (found.__module__, found.__name__) == (module, "MyStore")


def test_listing_imports_nothing(install: Install) -> None:
    module = install("raise RuntimeError('imported')", dist="list-me", listed="MyStore")
    (listed,) = (each for each in installed_stores() if each.name == "listed")
    assert str(listed) == "listed (list-me 1.0)"
    assert listed.target == f"{module}:MyStore"
    assert module not in sys.modules


def test_an_unknown_name_lists_what_is_there_and_what_an_extra_brings(install: Install) -> None:
    install(dist="some-dist", known_one="MyStore")
    message = refusal("unknown")
    assert "c.TraefikProxy.store = 'unknown'" in message
    assert "toml-file (traefikhub" in message
    assert "known_one (some-dist 1.0)" in message
    assert 'pip install "traefikhub[etcd]"' in message
    assert 'pip install "traefikhub[consul]"' in message


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import no_such_library_at_all", "no_such_library_at_all"),
        ("raise RuntimeError('sorry')", "RuntimeError: sorry"),
        ("assert not 'usable'", "AssertionError"),
        ("import sys; sys.exit('needs a licence')", "SystemExit: needs a licence"),
        ("this is no Python", "SyntaxError"),
        ("", "AttributeError"),
    ],
    ids=["missing-library", "error", "assertion", "exit", "syntax", "no-class"],
)
def test_a_broken_store_names_its_distribution_and_the_reason(
    install: Install, source: str, reason: str
) -> None:
    name = f"broken_{next(_numbers)}"
    module = install(source, dist="broken-dist", **{name: "MyStore"})
    with pytest.raises(StoreNotFound) as caught:
        resolve_store(name)
    message = str(caught.value)
    assert "broken-dist 1.0" in message
    assert f"{module}:MyStore" in message
    assert reason in message
    assert "toml-file" in message  # a way out
    assert caught.value.__cause__ is not None


def test_a_broken_neighbour_hides_nothing(install: Install) -> None:
    install("import sys; sys.exit(3)", broken_neighbour="MyStore")
    module = install(beside_broken="MyStore")
    assert resolve_store("beside_broken").__module__ == module
    assert resolve_store("toml-file") is TomlFileStore


def test_two_distributions_with_one_name_are_both_named(install: Install) -> None:
    first = install(dist="first-dist", contested="MyStore")
    second = install(dist="second-dist", contested="MyStore")
    message = refusal("contested")
    assert f"first-dist 1.0 ({first}:MyStore)" in message
    assert f"second-dist 1.0 ({second}:MyStore)" in message
    assert resolve_store(f"{second}:MyStore").__module__ == second  # the way out it tells of


@pytest.mark.parametrize("attribute", ["NoStore", "instance"])
def test_a_registered_thing_that_is_no_store_is_refused(install: Install, attribute: str) -> None:
    name = f"no_store_{attribute.lower()}"
    module = install(dist="odd-dist", **{name: attribute})
    message = refusal(name)
    assert f"{module}:{attribute} of odd-dist 1.0" in message
    assert "traefikhub.stores.RouteStore" in message


@pytest.mark.parametrize("separator", [".", ":"])
def test_a_dotted_path_needs_no_registration(install: Install, separator: str) -> None:
    module = install()
    assert resolve_store(f"{module}{separator}MyStore").__module__ == module


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("no_such_module.MyStore", "no_such_module"),
        ("no_such_module:MyStore", "no_such_module"),
        ("traefikhub.stores.NoSuchStore", "NoSuchStore"),
        ("traefikhub.stores:Batch", "is not a store"),
        ("traefikhub.stores.Batch", "is not a store"),
        (".", "can't be imported"),
        (":", "can't be imported"),
        (".relative.Store", "can't be imported"),
    ],
)
def test_a_dotted_path_that_leads_nowhere_is_refused(path: str, reason: str) -> None:
    message = refusal(path)
    assert f"c.TraefikProxy.store = {path!r}" in message
    assert reason in message


def test_a_dotted_path_to_a_module_that_exits_is_refused(install: Install) -> None:
    module = install("raise SystemExit('no display')")
    assert "SystemExit: no display" in refusal(f"{module}.MyStore")


@pytest.mark.parametrize("name", ["nope", "no_such_module.MyStore"])
def test_where_a_name_was_given_is_told(name: str) -> None:
    with pytest.raises(StoreNotFound, match=f"^--to {name}"):
        resolve_store(name, origin=f"--to {name}")


def test_a_class_is_taken_as_it_is() -> None:
    assert resolve_store(TomlFileStore) is TomlFileStore


@pytest.mark.parametrize("thing", [int, 7, None, TomlFileStore()])
def test_what_is_neither_name_nor_store_class_is_refused(thing: Any) -> None:
    message = refusal(thing)
    assert "c.TraefikProxy.store" in message
    assert "is not a store" in message


def test_a_store_that_lacks_a_method_fails_when_it_is_made() -> None:
    class Half(RouteStore):
        provider_name = "half"

    with pytest.raises(TypeError, match="apply"):
        Half()  # type: ignore[abstract]


def test_the_interface_needs_neither_jupyterhub_nor_a_shipped_store_nor_a_client() -> None:
    heavy = ("jupyterhub", "traefikhub_backends", "etcd", "consul", "tornado", "sqlalchemy")
    code = (
        "import sys, traefikhub.stores\n"
        f"print(*(name for name in sys.modules if name.split('.')[0] in {heavy!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


# --- what a store says of itself -------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "server", "module"),
    [
        ("toml-file", "", ""),
        ("etcd", "etcd 3.4 or later", "pyetcd"),
        ("etcd", "etcd 3.4 or later", "google"),  # protobuf, which pyetcd doesn't declare
        ("etcd", "etcd 3.4 or later", "google.protobuf"),
        ("consul", "consul 1.8 or later", "consul"),
    ],
)
def test_a_store_says_what_it_needs(
    monkeypatch: pytest.MonkeyPatch, name: str, server: str, module: str
) -> None:
    store = resolve_store(name)
    assert store.server == server
    assert store.missing() == ""
    if module:
        monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed
        assert store.missing().endswith(f'pip install "traefikhub[{name}]"')


def test_a_store_that_says_nothing_of_itself_needs_nothing(install: Install) -> None:
    store = resolve_store(f"{install()}.MyStore")
    assert (store.server, store.missing()) == ("", "")
