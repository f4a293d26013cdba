"""Which tags something is about: ``*``, a glob such as ``v1.*``, or an expression such as ``/v\\d+/``.

A pattern becomes an automaton whose states are sets of places in the pattern (Glushkov's), kept as
the bits of a number: matching takes one step for each sign of a tag, whatever the pattern. So two patterns
can be compared as well, which is how a rule that is never reached is found when the settings are read.
"""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from regproxy.errors import InvalidTag
from regproxy.oci.expressions import SIGNS, Either, Joined, Node, OneOf, parse_expression, parse_glob

MAX_PLACES = 512
_MAX_STEPS = 8192
MAX_COMPARED = 2000
"""So many states of two patterns are looked at; beyond it neither is said to cover the other."""
_FIRST = SIGNS - frozenset(".-")
"""What a tag may begin with."""
_START = 1
"""The state before the first sign: place 0, which no sign leads to."""


@attrs.frozen(slots=True)
class TagPattern:
    """Made by :meth:`parse`; ``text`` is as it was written."""

    text: str
    _follow: tuple[int, ...] = attrs.field(repr=False)
    """The places that may come behind each place."""
    _places: dict[str, int] = attrs.field(repr=False, hash=False)
    """The places that each sign may stand at."""
    _ends: int = attrs.field(repr=False)
    """The places that a match may end at."""

    @classmethod
    def parse(cls, text: str) -> TagPattern:
        """Read a pattern; :exc:`InvalidTag` where it is none, or no tag could ever match it."""
        if text.startswith("/") and (len(text) < 2 or not text.endswith("/")):
            raise InvalidTag("an expression begins and ends with /")
        tree = parse_expression(text[1:-1]) if text.startswith("/") else parse_glob(text)
        builder = _Builder()
        first, last, empty = builder.build(tree)
        builder.follow[0] = first
        found = cls(text, tuple(builder.follow), builder.places, last | (_START if empty else 0))
        if NOTHING.covers(found):
            raise InvalidTag("no tag matches it")
        return found

    def matches(self, tag: str) -> bool:
        """Whether the whole of ``tag`` is meant."""
        state = _START
        for sign in tag:
            state = self._step(state, sign)
            if not state:
                return False
        return state & self._ends != 0

    @property
    def is_everything(self) -> bool:
        """Whether it matches every tag."""
        return self.covers(EVERYTHING)

    def covers(self, other: TagPattern) -> bool:
        """Whether it matches each tag that ``other`` does; False too where that would take too long."""
        signs = {
            (self._places.get(sign, 0), other._places.get(sign, 0), sign in _FIRST): sign for sign in SIGNS
        }
        seen = {(_START, _START)}
        waiting = list(seen)
        while waiting:
            mine, theirs = waiting.pop()
            begun = (mine, theirs) != (_START, _START)
            if begun and theirs & other._ends and not mine & self._ends:
                return False
            for (_, _, may_begin), sign in signs.items():
                following = self._step(mine, sign), other._step(theirs, sign)
                if following[1] and (begun or may_begin) and following not in seen:
                    seen.add(following)
                    waiting.append(following)
            if len(seen) > MAX_COMPARED:
                return False
        return True

    def _step(self, state: int, sign: str) -> int:
        reached = 0
        for place in _bits(state):
            reached |= self._follow[place]
        return reached & self._places.get(sign, 0)


def _bits(state: int) -> Iterator[int]:
    while state:
        lowest = state & -state
        yield lowest.bit_length() - 1
        state ^= lowest


class _Builder:
    """Gives places to the signs of a tree, and says which may follow which."""

    def __init__(self) -> None:
        self.follow = [0]
        self.places: dict[str, int] = {}
        self._steps = 0

    def build(self, node: Node) -> tuple[int, int, bool]:
        """The places that ``node`` may begin at and end at, and whether it may be empty."""
        self._steps += 1
        if len(self.follow) > MAX_PLACES or self._steps > _MAX_STEPS:
            raise InvalidTag("too long, once its repeats are written out")
        if isinstance(node, OneOf):
            return self._place(node.signs)
        if isinstance(node, Joined):
            return self._join(node.parts)
        if isinstance(node, Either):
            first = last = 0
            empty = False
            for way in map(self.build, node.ways):
                first, last, empty = first | way[0], last | way[1], empty or way[2]
            return first, last, empty
        if node.most is None:
            whole = self._join((node.part,) * max(node.least - 1, 0))
            again = self.build(node.part)
            self._link(again[1], again[0])
            return self._behind(whole, (again[0], again[1], again[2] or node.least == 0))
        whole = self._join((node.part,) * node.least)
        for _ in range(node.most - node.least):
            first, last, _ = self.build(node.part)
            whole = self._behind(whole, (first, last, True))
        return whole

    def _place(self, signs: frozenset[str]) -> tuple[int, int, bool]:
        bit = 1 << len(self.follow)
        self.follow.append(0)
        for sign in signs:
            self.places[sign] = self.places.get(sign, 0) | bit
        return bit, bit, False

    def _join(self, parts: tuple[Node, ...]) -> tuple[int, int, bool]:
        whole = (0, 0, True)
        for part in parts:
            whole = self._behind(whole, self.build(part))
        return whole

    def _behind(self, left: tuple[int, int, bool], right: tuple[int, int, bool]) -> tuple[int, int, bool]:
        self._link(left[1], right[0])
        first = left[0] | (right[0] if left[2] else 0)
        last = right[1] | (left[1] if right[2] else 0)
        return first, last, left[2] and right[2]

    def _link(self, last: int, first: int) -> None:
        for place in _bits(last):
            self.follow[place] |= first


NOTHING = TagPattern("", (0,), {}, 0)
EVERYTHING = TagPattern.parse("*")
