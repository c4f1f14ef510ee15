"""The pages of the reference that are made from the code: nothing lacks, and nothing is made up."""

from __future__ import annotations

import inspect
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from traitlets.config import Configurable

from traefikhub import stores
from traefikhub.cli._app import cli
from traefikhub.metrics import Metrics
from traefikhub.proxy import TraefikProxy
from traefikhub.stores import resolve_store
from traefikhub.testing import Promise, ServerStoreConformance

DOCS = Path(__file__).parent.parent / "docs"
sys.path.append(str(DOCS / "_ext"))

from generated import PAGES  # noqa: E402


def headings(page: str, level: str = "##") -> list[str]:
    return [
        line.removeprefix(level).strip()
        for line in PAGES[page]().splitlines()
        if line.startswith(f"{level} ")
    ]


@pytest.mark.parametrize("name", sorted(PAGES))
def test_a_page_of_the_site_shows_it(name: str) -> None:
    page = (DOCS / f"reference-{name}.md").read_text()
    assert f"```{{include}} _generated/{name}.md\n" in page
    assert f"\nreference-{name}\n" in (DOCS / "reference.md").read_text()


def test_every_option_has_a_heading_and_its_text() -> None:
    page = " ".join(PAGES["options"]().split())
    expected = []
    shipped = [resolve_store(name) for name in ("consul", "etcd", "toml-file")]
    classes: list[type[Configurable]] = [TraefikProxy, *shipped]
    for cls in classes:
        for name, trait in cls.class_traits(config=True).items():
            expected.append(f"`c.{cls.__name__}.{name}`")
            assert " ".join(trait.help.split()) in page
            assert trait.help, f"nobody says what {name} is"
    assert len(expected) > 60
    assert Counter(headings("options", "###")) == Counter(expected)


def commands(
    command: click.Command, ctx: click.Context
) -> Iterator[tuple[str, list[click.Parameter]]]:
    yield ctx.command_path, command.get_params(ctx)
    if isinstance(command, click.Group):
        for name in command.list_commands(ctx):
            inner = command.get_command(ctx, name)
            assert inner is not None
            yield from commands(inner, click.Context(inner, parent=ctx, info_name=name))


def test_every_command_is_there_with_each_argument_option_and_exit_code() -> None:
    page = PAGES["command"]()
    parts = dict(zip(headings("command"), re.split(r"^## .*$", page, flags=re.M)[1:], strict=True))
    expected = dict(commands(cli, click.Context(cli, info_name="traefikhub")))
    assert len(expected) > 15
    assert list(parts) == [f"`{path}`" for path in expected]
    for path, parameters in expected.items():
        part = parts[f"`{path}`"]
        for parameter in parameters:
            if isinstance(parameter, click.Option):
                for option in (*parameter.opts, *parameter.secondary_opts):
                    row = rf"^\| `[^`]*(?<![\w-]){re.escape(option)}(?![\w-])[^`]*` \| \S"
                    assert re.search(row, part, re.M), f"{path} {option}"
            else:
                usage = part.split("```")[1]
                wanted = [parameter.metavar or str(parameter.name).upper()]
                if isinstance(parameter.type, click.Choice) and not parameter.metavar:
                    wanted = list(parameter.type.choices)
                assert all(word in usage for word in wanted), f"{path} {parameter}"
    for code in (0, 1, 2):
        assert f"- `{code}`: " in parts["`traefikhub`"]


def test_every_metric_is_there_with_all_its_labels() -> None:
    registry = CollectorRegistry()
    kept = Metrics(registry)
    shown = generate_latest(registry).decode()
    names = re.findall(r"^# TYPE (traefikhub_\w+) ", shown, re.M)
    names = [name for name in names if not name.endswith("_created")]
    assert kept
    assert len(names) > 10
    assert [heading.strip("`") for heading in headings("metrics")] == sorted(names)
    # Where the code names one that shows only at times, it is there as well.
    source = (DOCS.parent / "src" / "traefikhub" / "metrics.py").read_text()
    page = PAGES["metrics"]()
    for name in re.findall(r'"(traefikhub_\w+)"', source):
        assert re.search(rf"^## `{name}(_total)?`$", page, re.M), name
    for label in {*re.findall(r"[{,](\w+)=", shown)} - {"le"}:
        assert f"- label `{label}`: `" in page
    assert "- label `state`: `stopped`, `fenced`, " in page


def test_every_public_name_of_the_store_interface_is_there_once() -> None:
    found = re.findall(
        r"^\.\. auto\w+:: traefikhub\.stores(?:\._\w+)?\.(\w+)", PAGES["interface"](), re.M
    )
    assert Counter(found) == Counter(stores.__all__)
    assert found.index("RouteStore") < found.index("KeyValueStore")
    assert found.index("StoreError") < found.index("FencedError")


def test_every_test_of_the_suite_stands_below_the_promise_that_it_proves() -> None:
    parts = re.split(r"^## ", PAGES["promises"](), flags=re.M)[1:]
    assert [part[0] for part in parts] == [str(promise.number) for promise in Promise]
    listed = [re.findall(r"^\| `(test_\w+)` \|", part, re.M) for part in parts]
    assert all(listed), "each promise has a test"
    suite = {
        name
        for name, _ in inspect.getmembers(ServerStoreConformance, inspect.isfunction)
        if name.startswith("test_")
    }
    assert Counter(name for part in listed for name in part) == Counter(suite)
    assert "test_opening_takes_over" in listed[Promise.FENCED.number - 1]
