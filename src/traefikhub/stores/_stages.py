"""In which order the records of a batch may be written, and in which transactions. Pure.

Whoever reads in the midst of a batch must find no router that names what isn't there. A server
that takes a batch in one transaction gives that for nothing. Others get *stages*: transactions
that may be made in any order, or all at once, as soon as the stage before is done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from traefikhub.stores._batch import Key, is_private
from traefikhub.stores._errors import RecordRefused

__all__ = ["Change", "Stage", "Step", "delete_order", "marker_step", "put_order", "stages"]

_ROUTERS: Final = "http/routers"
_NAMES: Final = {
    "service": "http/services",
    "middlewares": "http/middlewares",
    "parentRefs": _ROUTERS,
}
"""The fields by which a router names others, and the sections of those."""

_TRANSPORTS: Final = {f"{layer}/serversTransports" for layer in ("http", "tcp")}
"""What services name, and who name nothing themselves."""

# Nothing of one turn is written before all of those before it.
_LOOSE_PUTS, _PUTS, _DELETES, _LOOSE_DELETES, _MARKER = range(5)


class Change(NamedTuple):
    """A put, or a delete if ``value`` is None, of one key below the prefix."""

    path: str
    value: str | None


Stage = list[list[Change]]
"""Transactions that may be made in any order, or at once."""


class Step(NamedTuple):
    """The changes of one record, and when they may be made.

    size: bytes of keys and values.
    turn: after all steps of earlier turns.
    after: records of this batch that come before this one, or in the same transaction.
    """

    key: Key
    changes: list[Change]
    size: int
    turn: int
    after: Sequence[Key]


def _step(key: Key, changes: list[Change], turn: int, after: Sequence[Key] = ()) -> Step:
    size = sum(_bytes(path) + _bytes(value or "") for path, value in changes)
    return Step(key, changes, size, turn, after)


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode(errors="surrogateescape"))


# --- order -----------------------------------------------------------------------------------

_Own = Mapping[Key, Mapping[str, str]]
"""Records, and the keys of each."""

_Changes = Callable[[Key], list[Change]]


class _Families:
    """Some records, parted by routers: those that one router alone needs, and the others.

    names: of each router, which of the records it names.
    namers: of each record that is named, by which routers.
    followers: of each router, the records that may come and go with it.
    loose: what belongs to no router, or to several.
    """

    def __init__(self, own: _Own) -> None:
        self.names = {
            key: [named for named in _named_by(paths) if named in own]
            for key, paths in own.items()
            if key.section == _ROUTERS
        }
        self.namers: dict[Key, list[Key]] = {}
        for router, named in self.names.items():
            for each in named:
                self.namers.setdefault(each, []).append(router)
        # Services and middlewares may name each other, too.
        others = (key for key in own if key.section != _ROUTERS and not is_private(key.section))
        mentioned = {_bare(value) for key in others for value in own[key].values()}
        self.followers: dict[Key, list[Key]] = {router: [] for router in self.names}
        self.loose: list[Key] = []
        for key in own:
            if key.section == _ROUTERS:
                continue
            leaders = [] if key.name in mentioned else self.namers.get(key, [])
            if is_private(key.section):
                leaders = [Key(_ROUTERS, key.name)]
            if len(leaders) == 1 and leaders[0] in self.names:
                self.followers[leaders[0]].append(key)
            else:
                self.loose.append(key)

    def above(self, router: Key) -> list[Key]:
        """The routers above one, from the top down."""
        found: list[Key] = []
        self._climb(router, {router}, found)
        return found

    def _climb(self, key: Key, seen: set[Key], found: list[Key]) -> None:
        for parent in self.names[key]:
            if parent in self.names and parent not in seen:  # they may name each other in a circle
                seen.add(parent)
                self._climb(parent, seen, found)
                found.append(parent)

    def whole_above(self, router: Key) -> list[Key]:
        """The same, each with its fallback."""
        return [
            each
            for parent in self.above(router)
            for each in (parent, fallback_of(parent))
            if each in self.names and each != router
        ]


def fallback_of(router: Key) -> Key:
    """What serves the requests that a router above others takes, and that none of those wants:
    while it is missing, they get a 404."""
    return Key(router.section, f"{router.name}_rest")


def _named_by(paths: Mapping[str, str]) -> Iterator[Key]:
    """What a router with these keys names."""
    for path, value in paths.items():
        if section := _NAMES.get(path.split("/", 4)[3]):
            yield Key(section, _bare(value))


def _bare(name: str) -> str:
    """Without the provider that may stand behind it."""
    return name.partition("@")[0]


def put_order(own: _Own, changes: _Changes) -> Iterator[list[Step]]:
    """Groups of steps: each router with what it alone names, and with all routers above it.

    So a router above others comes several times. It needs to be written once; but to write it
    again costs less than to wait until it is written.

    Args:
        own: the records to put, and the keys that they are going to have.
        changes: those of one record.
    """
    families = _Families(own)
    transports = [key for key in families.loose if key.section in _TRANSPORTS]
    for key in (*transports, *(key for key in families.loose if key.section not in _TRANSPORTS)):
        # Which of them a service names is not worth looking up: there are few, and seldom.
        after = [] if key.section in _TRANSPORTS else transports
        yield [_step(key, changes(key), _LOOSE_PUTS, after)]
    steps = {
        router: [
            *(_step(key, changes(key), _PUTS) for key in followers if not is_private(key.section)),
            _step(router, changes(router), _PUTS, families.names[router]),
            *(_step(key, changes(key), _PUTS) for key in followers if is_private(key.section)),
        ]
        for router, followers in families.followers.items()
    }
    ends = [router for router in steps if router not in families.namers]
    ways = [(families.whole_above(router), router) for router in ends]
    covered = {router for above, _ in ways for router in above}
    ways += [
        (families.whole_above(router), router)
        for router in steps
        if router in families.namers and router not in covered
    ]
    for above, router in sorted(ways):  # those with the same above them together
        yield [step for each in (*above, router) for step in steps[each]]


def delete_order(own: _Own, changes: _Changes) -> Iterator[list[Step]]:
    """Groups of steps: each router with what it alone names; those above others in the end.

    Args:
        own: the records to delete, and the keys that they had.
        changes: those of one record.
    """
    families = _Families(own)
    fallbacks = {fallback_of(router) for router in families.names} & families.names.keys()
    leading = {router for router in families.names if fallback_of(router) in fallbacks}
    leading |= families.names.keys() & families.namers.keys()
    ends = [router for router in families.names if router not in leading | fallbacks]
    above = sorted(leading, key=lambda router: (-len(families.above(router)), router))

    def steps(router: Key) -> list[Step]:
        return [
            _step(router, changes(router), _DELETES, families.namers.get(router, ())),
            *(_step(key, changes(key), _DELETES, [router]) for key in families.followers[router]),
        ]

    for router in (*ends, *above):
        fallback = fallback_of(router)
        yield [*(steps(fallback) if fallback in fallbacks else []), *steps(router)]
    for key in families.loose:
        yield [_step(key, changes(key), _LOOSE_DELETES)]


def marker_step(key: Key, changes: list[Change]) -> Step:
    """That of the generation marker, after all others."""
    return _step(key, changes, _MARKER)


# --- transactions ----------------------------------------------------------------------------


def stages(
    groups: Iterable[Sequence[Step]], limit: int, most: int | None, *, repeat: bool
) -> list[Stage]:
    """Fill transactions. What fits into one is not torn apart, neither groups nor records.

    The last stage is one transaction, which ends with the generation marker.

    Args:
        groups: in an order in which they may be made one after another. A step that comes again
            need not be made again.
        limit: how many changes a transaction takes.
        most: how many bytes of keys and values; None for any number.
        repeat: whether to make it again nevertheless, for fewer stages.

    Raises:
        RecordRefused: one change is too large by itself.
    """
    filling = _Filling(limit, most, repeat)
    for group in groups:
        filling.add(group)
    filling.close()
    return filling.stages


class _Filling:
    """Transactions that are being filled."""

    def __init__(self, limit: int, most: int | None, repeat: bool) -> None:
        self._limit = limit
        self._most = most
        self._repeat = repeat
        self.stages: list[Stage] = []
        self._places: dict[Key, int] = {}  # of each record, the stage after it
        self._torn: set[Key] = set()
        self._free = [0] * (_MARKER + 1)  # of each turn, the stage after it
        self._changes: list[Change] = []  # these four are of the transaction that is open
        self._size = 0
        self._steps: dict[Key, Step] = {}
        self._stage = 0

    def add(self, group: Sequence[Step]) -> None:
        """Add what is best made at once."""
        if not self._fits(steps := self._lacking(group)):
            self.close()
            steps = self._lacking(group)
        if self._fits(steps):
            for step in steps:
                self._put(step)
            return
        for step in group:
            if step.key in self._places or step.key in self._steps:
                continue
            if not self._fits([step]):
                self.close()
            if self._fits([step]):
                self._put(step)
            else:
                self._tear(step)

    def _lacking(self, group: Sequence[Step]) -> list[Step]:
        """The steps that must go into the transaction that is open."""
        return [
            step
            for step in group
            if step.key not in self._steps and (self._repeat or step.key not in self._places)
        ]

    def _tear(self, step: Step) -> None:
        self._torn.add(step.key)
        for change in step.changes:
            piece = _step(step.key, [change], step.turn, step.after)
            if not self._fits([piece]):
                self.close()
            if not self._fits([piece]):
                raise RecordRefused(
                    f"{change.path}: {piece.size} bytes are more than the server takes at once "
                    f"({self._most})"
                )
            self._put(piece)

    def _fits(self, steps: Sequence[Step]) -> bool:
        number = len(self._changes) + sum(len(step.changes) for step in steps)
        size = self._size + sum(step.size for step in steps)
        return number <= self._limit and (self._most is None or size <= self._most)

    def _put(self, step: Step) -> None:
        if not step.changes:
            return
        # What is in the same transaction happens at once.
        elsewhere = (key for key in step.after if key not in self._steps or key in self._torn)
        earliest = [*self._free[: step.turn], *(self._places.get(key, 0) for key in elsewhere)]
        self._stage = max(self._stage, *earliest, 0)
        self._changes += step.changes
        self._size += step.size
        self._steps[step.key] = step

    def close(self) -> None:
        """Nothing more goes into the transaction that is open."""
        if not self._changes:
            return
        if self._stage == len(self.stages):
            self.stages.append([])
        self.stages[self._stage].append(self._changes)
        for key, step in self._steps.items():
            self._places[key] = max(self._places.get(key, 0), self._stage + 1)
            self._free[step.turn] = max(self._free[step.turn], self._stage + 1)
        self._changes, self._size, self._steps, self._stage = [], 0, {}, 0
