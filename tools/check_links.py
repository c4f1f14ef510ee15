"""Follow every link of the documentation without a network: ``python tools/check_links.py [SITE]``.

In the Markdown files, as a code host shows them: a link leads to a file of the repository, and to a
heading that is there. In the built site, if its directory is given: every link, picture, style and
script is there, so is what an anchor names, and nothing is fetched from elsewhere. A link to
another site has to be a complete https URL; whether it answers, ``nox -s docs -- --online`` asks.
"""

from __future__ import annotations

import itertools
import os
import re
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT: Final = Path(__file__).resolve().parents[1]

_MADE: Final = {"_build", "_generated", "_diagrams", "build", "dist", "node_modules"}
"""Directories that are no part of the repository, beside those that begin with a dot."""

_MENTIONED: Final = re.compile(
    r"(?<![\w/.*-])((?:docs|tools|benchmarks|plugins)/[\w/-]+\.(?:md|py|svg|png|json|toml))\b"
)
"""What looks like a file of the repository; ``tests/`` and ``src/`` are in other packages, too."""

_LOADS: Final = {
    **{"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src"},
    "object": "data",
}
"""What a browser fetches by itself, by tag and attribute; and ``link``, but for some kinds."""

_NOT_LOADED: Final = {"canonical", "next", "prev", "search", "index", "author", "copyright"}


def main(arguments: list[str]) -> int:
    """Print each link that leads nowhere; the exit code says whether there is one."""
    wrong = [*check_markdown(ROOT), *check_mentions(ROOT)]
    files = len(_pages(ROOT))
    if arguments:
        wrong += check_site(Path(arguments[0]))
        files += len([*Path(arguments[0]).rglob("*.html")])
    for line in wrong:
        sys.stdout.write(f"{line}\n")
    sys.stdout.write(f"{len(wrong)} of the links in {files} files lead nowhere\n")
    return 1 if wrong else 0


# --- Markdown -------------------------------------------------------------------------------------


def check_markdown(root: Path) -> Iterator[str]:
    """What is wrong, file by file."""
    for page in _pages(root):
        for line, link in _links_of(page):
            if why := _why_not(page, link, root):
                yield f"{page.relative_to(root)}:{line}: {link}: {why}"


def _files(root: Path) -> Iterator[Path]:
    for directory, below, names in os.walk(root):
        here = Path(directory).relative_to(root)
        below[:] = sorted(name for name in below if _is_kept(here / name))
        yield from (root / here / name for name in sorted(names) if _is_kept(here / name))


def _pages(root: Path) -> list[Path]:
    return [path for path in _files(root) if path.suffix == ".md"]


def _is_kept(path: Path) -> bool:
    hidden = any(part.startswith(".") and part != ".github" for part in path.parts)
    return not hidden and not _MADE & set(path.parts)


def _links_of(page: Path) -> Iterator[tuple[int, str]]:
    """Links, pictures, and files that the site includes, with the line of their paragraph."""
    line = 1
    for token in _tokens(page.read_text(encoding="utf-8")):
        line = token.map[0] + 1 if token.map else line
        for each in [token, *(token.children or ())]:
            if link := each.attrs.get("href") or each.attrs.get("src"):
                yield line, str(link)
        if token.type == "html_block":
            for link in re.findall(r"""(?:href|src)=["']([^"']+)""", token.content):
                yield line, link
        included = re.fullmatch(r"\{(literal)?include\} (\S+)", token.info.strip())
        if included and "_generated/" not in included[2]:
            yield line, included[2]
        if token.info.strip() == "{toctree}":
            for entry in re.findall(r"^(?:.+ <)?([\w/-]+)>?$", token.content, re.M):
                yield line, f"{entry}.md"


def _why_not(page: Path, link: str, root: Path) -> str:
    """Why a link leads nowhere; empty if it does."""
    found = urlsplit(link)
    if found.scheme or found.netloc:
        return _why_not_outside(link)
    target = page.parent / unquote(found.path) if found.path else page
    target = target.resolve()
    if not target.is_relative_to(root):
        return "outside the repository"
    if not target.exists():
        return "there is no such file"
    if not _is_kept(target.relative_to(root)):
        return "made by a build, not in the repository"
    anchor = unquote(found.fragment)
    if anchor and target.suffix == ".md" and anchor not in _anchors(target.read_text("utf-8")):
        return f"no heading of {target.name} has that anchor"
    return ""


def _why_not_outside(link: str) -> str:
    found = urlsplit(link)
    if found.scheme == "mailto":
        return "" if re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", found.path) else "no address"
    is_local = found.hostname in ("localhost", "127.0.0.1")
    if found.scheme != "https" and not (found.scheme == "http" and is_local):
        return "neither https nor a file"
    if is_local or re.fullmatch(r"([\w-]+\.)+[a-z]{2,}", found.hostname or ""):
        return "" if not re.search(r"[\s<>\"{}|\\^`]", link) else "a character that no URL has"
    return "no host"


@cache
def _tokens(text: str) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(text)


@cache
def _anchors(text: str) -> frozenset[str]:
    """Of headings, as code hosts and the site name them; targets such as ``(TraefikProxy.store)=``
    of the pages that are made from the code are the site's alone."""
    names: dict[str, int] = {}
    found: set[str] = set()
    tokens = _tokens(text)
    for token, inner in itertools.pairwise(tokens):
        if token.type == "heading_open":
            shown = "".join(
                each.content
                for each in inner.children or ()
                if each.type in ("text", "code_inline")
            )
            name = re.sub(r"[^\w\- ]", "", shown.strip().lower()).replace(" ", "-")
            count = names[name] = names.get(name, -1) + 1
            found.add(f"{name}-{count}" if count else name)
        elif token.type == "html_block":
            found.update(re.findall(r"""\b(?:id|name)=["']([^"']+)""", token.content))
    return frozenset(found)


def check_mentions(root: Path) -> Iterator[str]:
    """Files of the repository that code, a comment or a page names, but which aren't there."""
    for path in _files(root):
        if path.suffix in (".md", ".py", ".toml", ".yml", ".yaml", ".cff"):
            lines = path.read_text(encoding="utf-8").splitlines()
            for number, line in enumerate(lines, 1):
                for name in _MENTIONED.findall(line):
                    if not (root / name).exists() and not (path.parent / name).exists():
                        yield f"{path.relative_to(root)}:{number}: {name}: there is no such file"


# --- the site -------------------------------------------------------------------------------------


class _Page(HTMLParser):
    """What a page links to, what it loads, and the anchors that it has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[tuple[int, str]] = []
        self.loads: list[tuple[int, str]] = []
        self.anchors: set[str] = {"", "top"}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Called for each."""
        found: Mapping[str, str | None] = dict(attrs)
        self.anchors.update(filter(None, (found.get("id"), found.get("name"))))
        line = self.getpos()[0]
        if tag == "a" and (link := found.get("href")):
            self.links.append((line, link))
        elif tag == "link" and not _NOT_LOADED & set((found.get("rel") or "").split()):
            self.loads.append((line, found.get("href") or ""))
        elif tag in _LOADS and (link := found.get(_LOADS[tag])):
            self.loads.append((line, link))


def check_site(site: Path) -> Iterator[str]:
    """What is wrong in a directory of HTML pages."""
    pages = {
        path.resolve(): _Page(path.read_text("utf-8"))
        for path in site.rglob("*.html")
        if "_static" not in path.parts  # the theme's templates
    }
    if not pages:
        yield f"{site}: there is no page"
    for path, page in sorted(pages.items()):
        name = path.relative_to(site.resolve())
        for line, link in page.loads:
            if urlsplit(link).scheme not in ("", "data") or link.startswith("//"):
                yield f"{name}:{line}: {link}: fetched from elsewhere"
        for line, link in (*page.links, *page.loads):
            if why := _why_not_on_site(path, link, pages):
                yield f"{name}:{line}: {link}: {why}"


def _why_not_on_site(path: Path, link: str, pages: Mapping[Path, _Page]) -> str:
    found = urlsplit(link)
    if found.scheme or found.netloc:
        return ""  # the Markdown said it
    target = (path.parent / unquote(found.path)).resolve() if found.path else path
    if not target.exists():
        return "there is no such file"
    known = pages.get(target)
    if known and unquote(found.fragment) not in known.anchors:
        return f"nothing in {target.name} has that anchor"
    return ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
