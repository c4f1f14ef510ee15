"""Which router stands below which: a compressed radix trie over the keys of all routes. Pure.

Traefik tries the routers of one level one after another. So the routes whose keys share a prefix
stand below a router for that prefix, a parent, as soon as they are more than ``fan_out``. The tree
depends on the set of routes alone, and one route more or less changes at most one parent's
children (besides the parents whose fallback that route is).

A parent never lets go of a request that it matches. What none of its children wants goes to its
fallback, the route with the longest key that begins the parent's prefix, or the default route.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, NamedTuple

__all__ = ["DEPTH", "FAN_OUT", "Parent", "RouteTree", "TreeChange"]

FAN_OUT: Final = 32
"""How many routes may share a prefix without a parent (measured: docs/benchmarks.md)."""

DEPTH: Final = 8
"""How many parents may stand above a route. Names of people need four."""

_DEFAULT: Final = "/"
"""The key of the route for what no other matches, of whatever host."""


@dataclass(frozen=True, slots=True)
class Parent:
    """A router that leads to others.

    prefix: what the keys of all routes below it begin with.
    above: the prefix of the parent that it stands below; empty for none.
    fallback: the routespec that serves what no route below it matches; None if there is none, or
        if it is the route of just this prefix, which stands below the parent itself.
    """

    prefix: str
    above: str
    fallback: str | None


class TreeChange(NamedTuple):
    """What may look different after an update.

    routes: the routespecs that came, or that may stand below another parent.
    parents: by prefix, the parent before and after.
    """

    routes: set[str]
    parents: dict[str, tuple[Parent | None, Parent | None]]


class _Node:
    """A place in the trie: a route's key, or one where keys part."""

    __slots__ = ("children", "count", "prefix", "route")

    def __init__(self, prefix: str, route: str | None, count: int) -> None:
        self.prefix = prefix
        self.route = route  # the routespec whose key the prefix is
        self.count = count  # routes here and below
        self.children: dict[str, _Node] | None = None  # by the next character

    def onward(self, key: str) -> _Node | None:
        """The only child that may have to do with a longer key: it goes on with the same
        character."""
        return self.children.get(key[len(self.prefix)]) if self.children else None

    def adopt(self, child: _Node) -> None:
        if self.children is None:
            self.children = {}
        self.children[child.prefix[len(self.prefix)]] = child

    def disown(self, child: _Node) -> None:
        assert self.children is not None
        del self.children[child.prefix[len(self.prefix)]]
        if not self.children:
            self.children = None


def _has_host(prefix: str) -> bool:
    return prefix[:1] not in ("", "/")


def _shared(one: str, other: str) -> str:
    """What two keys have in common."""
    length = 0
    for mine, theirs in zip(one, other, strict=False):
        if mine != theirs:
            break
        length += 1
    return one[:length]


class RouteTree:
    """The parents of a set of routes.

    Args:
        shortcut: the key of what deserves a router of its own at the top, the Hub's ``/hub/``.
        fan_out: how many routes may share a prefix without a parent.
        depth: how many parents may stand above each other.
    """

    def __init__(self, shortcut: str, *, fan_out: int = FAN_OUT, depth: int = DEPTH) -> None:
        self.shortcut_key = shortcut
        self._fan_out = fan_out
        self._depth = depth
        self._root = _Node("", None, 0)
        self._parents: dict[str, Parent] = {}
        self._hostless = 0  # routes without a host, besides the default
        self._rivals = 0  # routes with a host that claim some requests of the shortcut
        self._noted: set[str] = set()  # prefixes whose parent may have changed

    def update(self, removed: Iterable[str], added: Mapping[str, str]) -> TreeChange:
        """Take routes out, and put routes in.

        Args:
            removed: keys of routes that are there.
            added: routespecs by key; one that is there already is noted as changed.
        """
        for key in removed:
            self._remove(key)
        for key, routespec in added.items():
            self._insert(key, routespec)
        return self._collect(set(added.values()))

    def parents(self) -> Iterable[Parent]:
        """All parents."""
        return self._parents.values()

    def parent_of(self, key: str) -> str:
        """The prefix of the parent that a route stands below; empty for none."""
        *_, (node, above, depth) = self._way(key)
        return node.prefix if self._leads(node, depth) else above

    def shortcut(self) -> str | None:
        """The routespec that all requests of the shortcut go to, if that is but one."""
        route, last = None, self._root
        for last, _, _ in self._way(self.shortcut_key):
            route = last.route or route
        if last.prefix == self.shortcut_key:
            below = last.count > 1
        else:
            onward = last.onward(self.shortcut_key)
            below = onward is not None and onward.prefix.startswith(self.shortcut_key)
        return None if below or self._rivals else route

    # --- walks -------------------------------------------------------------------------------

    def _way(self, key: str) -> Iterator[tuple[_Node, str, int]]:
        """The nodes that begin a key, from the root, each with the parent above it and how many
        there are."""
        node: _Node | None = self._root
        above, depth = "", 0
        while node:
            yield node, above, depth
            if node.prefix == key:
                return
            if self._leads(node, depth):
                above, depth = node.prefix, depth + 1
            onward = node.onward(key)
            node = onward if onward and key.startswith(onward.prefix) else None

    def _leads(self, node: _Node, depth: int) -> bool:
        """Whether a node with so many parents above is a parent."""
        if node.count <= self._fan_out or depth >= self._depth or node.prefix in ("", "/"):
            return False
        if not _has_host(node.prefix):
            return True
        # Of one host and all hosts there would be many fallbacks. JupyterHub never mixes them.
        # And Traefik compares an IPv6 address without its brackets.
        in_address = node.prefix[0] == "[" and "/" not in node.prefix
        return not self._hostless and not in_address

    def _parent_at(self, prefix: str) -> Parent | None:
        cover = self._default() if _has_host(prefix) else None
        for node, above, depth in self._way(prefix):
            if node.prefix == prefix and self._leads(node, depth):
                return Parent(prefix, above, None if node.route else cover)
            cover = node.route or cover
        return None

    def _default(self) -> str | None:
        node = self._root.onward(_DEFAULT)
        return node.route if node and node.prefix == _DEFAULT else None

    def _big(self, node: _Node) -> Iterator[_Node]:
        """The nodes below one that may be parents."""
        for child in (node.children or {}).values():
            if child.count > self._fan_out:
                yield child
                yield from self._big(child)

    def _routes_directly_below(self, prefix: str) -> Iterator[str]:
        """The routes whose keys begin with a prefix, without those below a parent within."""
        node = self._root
        while len(node.prefix) < len(prefix):
            child = node.onward(prefix)
            if child is None:
                return
            node = child
        waiting = [node] if node.prefix.startswith(prefix) else []
        while waiting:
            node = waiting.pop()
            if node.prefix != prefix and node.prefix in self._parents:
                continue
            if node.route:
                yield node.route
            if node.children:
                waiting.extend(node.children.values())

    # --- changes -----------------------------------------------------------------------------

    def _insert(self, key: str, routespec: str) -> None:
        way = [node for node, _, _ in self._way(key)]
        last = way[-1]
        if last.prefix == key and last.route:
            last.route = routespec
            self._note_covered(last)
            return
        if last.prefix != key:
            if onward := last.onward(key):
                # They part in the midst of an edge, or the new route lies on it.
                branch = _Node(_shared(onward.prefix, key), None, onward.count)
                branch.adopt(onward)
                last.adopt(branch)
                way.append(branch)
                last = branch
                if onward.count > self._fan_out:
                    self._note_all(branch)
            if last.prefix != key:
                leaf = _Node(key, None, 0)
                last.adopt(leaf)
                way.append(leaf)
                last = leaf
        last.route = routespec
        for node in way:
            node.count += 1
            if node.count == self._fan_out + 1:
                self._note_all(node)
        self._note_covered(last)
        self._count(key, 1)

    def _remove(self, key: str) -> None:
        way = [node for node, _, _ in self._way(key)]
        last = way[-1]
        assert last.route, f"{key!r} is not in the tree"
        self._count(key, -1)
        last.route = None
        self._note_covered(last)
        for node in way:
            if node.count == self._fan_out + 1:
                self._note_all(node)
            node.count -= 1
        # At most the route's own node and the one above it have lost their purpose.
        for above, node in reversed(list(pairwise(way))[-2:]):
            if node.route or len(node.children or ()) > 1:
                break
            if node.count > self._fan_out:
                self._note_all(node)
            above.disown(node)
            for only in (node.children or {}).values():
                above.adopt(only)

    def _note_all(self, node: _Node) -> None:
        """A node begins or ceases to be a parent: so may those below it, for their depth."""
        self._noted.add(node.prefix)
        self._noted.update(big.prefix for big in self._big(node))

    def _note_covered(self, node: _Node) -> None:
        """Note the parents whose fallback is the route of a node, or would be."""
        if node.count > self._fan_out:
            self._noted.add(node.prefix)
        waiting = list((node.children or {}).values())
        while waiting:
            child = waiting.pop()
            if child.count > self._fan_out and not child.route:
                self._noted.add(child.prefix)
                waiting.extend((child.children or {}).values())
        if node.prefix == _DEFAULT:
            self._note_hosts()

    def _note_hosts(self) -> None:
        """Note all parents of routes with hosts."""
        for top in (self._root.children or {}).values():
            if _has_host(top.prefix) and top.count > self._fan_out:
                self._note_all(top)

    def _count(self, key: str, step: int) -> None:
        """Count a route among those that bar others from having parents, or a shortcut."""
        host, slash, path = key.partition("/")
        if not host and path:
            self._hostless += step
            if self._hostless == max(step, 0):  # the first came, or the last went
                self._note_hosts()
        path = slash + path
        if host and (self.shortcut_key.startswith(path) or path.startswith(self.shortcut_key)):
            self._rivals += step

    def _collect(self, routes: set[str]) -> TreeChange:
        """Compare all that was noted with what it was."""
        parents = {}
        turned = []
        for prefix in self._noted:
            before, after = self._parents.get(prefix), self._parent_at(prefix)
            parents[prefix] = before, after
            if (before is None) != (after is None):
                turned.append(prefix)
        for prefix, (_, after) in parents.items():
            if after:
                self._parents[prefix] = after
            else:
                self._parents.pop(prefix, None)
        self._noted.clear()
        for prefix in turned:
            routes.update(self._routes_directly_below(prefix))
        return TreeChange(routes, parents)
