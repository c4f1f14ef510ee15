"""tools/check_links.py: no link of the documentation leads nowhere, and one that does is found."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
sys.path.append(str(ROOT / "tools"))

from check_links import check_markdown, check_mentions, check_site  # noqa: E402


def test_every_link_of_the_repository_leads_somewhere() -> None:
    assert [*check_markdown(ROOT), *check_mentions(ROOT)] == []


PAGE = "# A page\n\n## What it's for\n\n## What it's for\n\n### `c.Code_here`\n"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "page.md").write_text(PAGE)
    shutil.copy(ROOT / "docs" / "images" / "dashboard.png", tmp_path / "pages")
    return tmp_path


@pytest.mark.parametrize(
    "link",
    [
        "pages/page.md",
        "pages/page.md#what-its-for",
        "pages/page.md#what-its-for-1",
        "pages/page.md#ccode_here",
        "#here",
        "pages",
        "https://traefik.io/x?y=z#a",
        "http://127.0.0.1:8099/dashboard/",
        "mailto:mary@example.org",
    ],
)
def test_a_link_that_leads_somewhere(repository: Path, link: str) -> None:
    (repository / "README.md").write_text(f"# Here\n\nA [link]({link}).\n")
    assert [*check_markdown(repository)] == []


@pytest.mark.parametrize(
    ("link", "told"),
    [
        ("pages/gone.md", "no such file"),
        ("pages/page.md#what-it-is-for", "no heading of page.md"),
        ("#there", "no heading of README.md"),
        ("../elsewhere.md", "outside the repository"),
        ("pages/_build/page.md", "no such file"),
        ("https://", "no host"),
        ("https://traefik", "no host"),
        ("http://traefik.io", "neither https nor a file"),
        ("mailto:mary", "no address"),
    ],
)
def test_a_link_that_leads_nowhere(repository: Path, link: str, told: str) -> None:
    (repository / "README.md").write_text(f"# Here\n\n- A\n  [link]({link}).\n")
    (found,) = check_markdown(repository)
    assert found.startswith(f"README.md:3: {link}: ")
    assert told in found


@pytest.mark.parametrize(
    "text",
    [
        "![A picture](pages/gone.png)",
        '<img src="pages/gone.png">',
        "```{include} pages/gone.md\n```",
        "```{toctree}\npages/gone\n```",
        "```{toctree}\n:hidden:\n\nIts name <pages/gone>\n```",
        "| a |\n| --- |\n| [x](pages/gone.md) |",
    ],
)
def test_other_things_that_name_a_file(repository: Path, text: str) -> None:
    (repository / "README.md").write_text(text + "\n")
    assert len([*check_markdown(repository)]) == 1
    (repository / "README.md").write_text(text.replace("gone.", "page.").replace("gone", "page"))
    (repository / "pages" / "page.png").touch()
    assert [*check_markdown(repository)] == []


def test_a_comment_that_names_a_page_which_is_gone(repository: Path) -> None:
    (repository / "docs").mkdir()
    (repository / "docs" / "moved.md").touch()
    (repository / "code.py").write_text("# as docs/" + "moved.md says\n")
    assert [*check_mentions(repository)] == []
    (repository / "docs" / "moved.md").unlink()
    (found,) = check_mentions(repository)
    assert found.startswith("code.py:1: ")


@pytest.mark.parametrize(
    ("html", "told"),
    [
        ('<a href="other.html#part">x</a>', ""),
        ('<a href="https://traefik.io">x</a>', ""),
        ('<img src="data:image/gif;base64,AA==">', ""),
        ('<a href="other.html#gone">x</a>', "nothing in other.html"),
        ('<a href="#gone">x</a>', "nothing in page.html"),
        ('<a href="gone.html">x</a>', "no such file"),
        ('<img src="gone.svg">', "no such file"),
        ('<script src="https://cdn.example.org/x.js"></script>', "fetched from elsewhere"),
        ('<link rel="stylesheet" href="//fonts.example.org/x">', "fetched from elsewhere"),
        ('<link rel="canonical" href="https://example.org/page.html">', ""),
    ],
)
def test_a_built_site(tmp_path: Path, html: str, told: str) -> None:
    (tmp_path / "other.html").write_text('<h2 id="part">A part</h2>')
    (tmp_path / "page.html").write_text(html)
    found = "\n".join(check_site(tmp_path))
    assert told in found
    assert bool(found) == bool(told)
