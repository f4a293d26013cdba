"""Regular expressions over tags: what of Python's syntax can be matched in one pass over a tag.

Signs, ``.``, classes, ``\\d \\w``, groups, ``|``, ``* + ? {m,n}``. What needs going back (back references,
looking ahead or behind, possessive repeats) is refused, so that no expression of a settings file costs
a request more than the length of its tag times the expression's. Signs that no tag has are refused too:
whoever writes them means something else.
"""

from __future__ import annotations

import string
from typing import NoReturn, TypeAlias

import attrs

from regproxy.errors import InvalidTag

SIGNS = frozenset(string.ascii_letters + string.digits + "._-")
"""All that a tag may hold."""
MAX_LENGTH = 256
MAX_REPEATS = 128
"""The length of a tag: more repeats mean nothing."""
_MAX_DEPTH = 16
_DIGITS = frozenset(string.digits)
_WORD = frozenset(string.ascii_letters + string.digits + "_")
_CLASSES = {"d": _DIGITS, "D": SIGNS - _DIGITS, "w": _WORD, "W": SIGNS - _WORD}


@attrs.frozen(slots=True)
class OneOf:
    """One sign out of these."""

    signs: frozenset[str]


@attrs.frozen(slots=True)
class Joined:
    """One part behind the other; none: the empty text."""

    parts: tuple[Node, ...]


@attrs.frozen(slots=True)
class Either:
    """Any one of these."""

    ways: tuple[Node, ...]


@attrs.frozen(slots=True)
class Repeated:
    """``least`` to ``most`` times; None: any number."""

    part: Node
    least: int
    most: int | None


Node: TypeAlias = OneOf | Joined | Either | Repeated


def parse_expression(text: str) -> Node:
    """Read an expression that a tag is to match whole; :exc:`InvalidTag` says where it is none."""
    if len(text) > MAX_LENGTH:
        raise InvalidTag(f"expected at most {MAX_LENGTH} signs")
    reader = _Reader(text)
    reader.take("^")
    found = reader.alternatives(0)
    reader.take("$")
    if reader.more:
        reader.wrong("a bracket that nothing opened" if reader.next == ")" else "more behind the end, $")
    return found


def parse_glob(text: str) -> Node:
    """Read a glob: ``*`` for any signs, ``?`` for one, ``[a-c]`` and ``[!a-c]``; :exc:`InvalidTag`."""
    if len(text) > MAX_LENGTH:
        raise InvalidTag(f"expected at most {MAX_LENGTH} signs")
    reader = _Reader(text)
    parts: list[Node] = []
    while reader.more:
        if reader.take("*"):
            parts.append(Repeated(OneOf(SIGNS), 0, None))
        elif reader.take("?"):
            parts.append(OneOf(SIGNS))
        elif reader.take("["):
            parts.append(OneOf(reader.members("!")))
        else:
            parts.append(OneOf(frozenset({reader.sign()})))
    return Joined(tuple(parts))


class _Reader:
    """The text, and how far it is read."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    @property
    def more(self) -> bool:
        """Whether there is anything left."""
        return self._at < len(self._text)

    @property
    def next(self) -> str:
        """The next sign; empty at the end."""
        return self._text[self._at : self._at + 1]

    def wrong(self, what: str) -> NoReturn:
        """Say what is wrong and where, not what was written."""
        raise InvalidTag(f"{what} (sign {self._at + 1})")

    def take(self, wanted: str) -> bool:
        """Go past ``wanted`` if it comes next."""
        found = self._text.startswith(wanted, self._at)
        self._at += len(wanted) if found else 0
        return found

    def sign(self) -> str:
        """The next sign, one that a tag may hold."""
        found = self.next
        if found not in SIGNS:
            self.wrong("a sign that no tag has" if found else "it ends too early")
        self._at += 1
        return found

    def alternatives(self, depth: int) -> Node:
        """Up to the end, ``$`` or the bracket that closes."""
        if depth > _MAX_DEPTH:
            self.wrong(f"more than {_MAX_DEPTH} brackets inside each other")
        ways = [self._sequence(depth)]
        while self.take("|"):
            ways.append(self._sequence(depth))
        return ways[0] if len(ways) == 1 else Either(tuple(ways))

    def _sequence(self, depth: int) -> Node:
        parts: list[Node] = []
        while self.more and self.next not in "|)$":
            parts.append(self._repeated(self._atom(depth)))
        return Joined(tuple(parts))

    def _atom(self, depth: int) -> Node:
        if self.take("("):
            if self.next == "?" and not self.take("?:"):
                self.wrong("of groups with (? only (?: can be matched in one pass")
            inner = self.alternatives(depth + 1)
            if not self.take(")"):
                self.wrong("a bracket that is not closed")
            return inner
        if self.take("["):
            return OneOf(self.members("^"))
        if self.take("."):
            return OneOf(SIGNS)
        if self.next and self.next in "*+?{":
            self.wrong("nothing stands before it that could be repeated")
        return OneOf(self._escaped() if self.take("\\") else frozenset({self.sign()}))

    def _escaped(self) -> frozenset[str]:
        """What stands behind a backslash: a class, or a sign that stands for itself."""
        if self.next in _CLASSES and self.next:
            self._at += 1
            return _CLASSES[self._text[self._at - 1]]
        if self.next and self.next not in "._-":
            self.wrong(r"behind a backslash only d, D, w, W, '.', '_' and '-' have a meaning")
        return frozenset({self.sign()})

    def members(self, negation: str) -> frozenset[str]:
        """A class, up to its bracket."""
        negated = self.take(negation)
        found: set[str] = set()
        while not self.take("]"):
            found |= self._member()
        if not (chosen := SIGNS - found if negated else found):
            self.wrong("a class that no sign is in")
        return frozenset(chosen)

    def _member(self) -> frozenset[str]:
        if self.take("\\"):
            return self._escaped()
        first = self.sign()
        if self.next != "-" or self._text[self._at + 1 : self._at + 2] in ("]", ""):
            return frozenset({first})
        self._at += 1
        last = self.sign()
        if last < first:
            self.wrong("a range whose end comes before its beginning")
        return frozenset(sign for sign in SIGNS if first <= sign <= last)

    def _repeated(self, part: Node) -> Node:
        bounds = self._bounds()
        if bounds is None:
            return part
        if self.next and self.next in "*+?{":
            self.wrong("a repeat of a repeat: put the first one into brackets")
        return Repeated(part, *bounds)

    def _bounds(self) -> tuple[int, int | None] | None:
        for sign, bounds in (("*", (0, None)), ("+", (1, None)), ("?", (0, 1))):
            if self.take(sign):
                return bounds
        if not self.take("{"):
            return None
        least = self._number()
        most: int | None = least
        if self.take(","):
            most = None if self.next == "}" else self._number()
        if not self.take("}") or (most is not None and most < least):
            self.wrong("expected {2}, {2,} or {2,5}")
        return least, most

    def _number(self) -> int:
        start = self._at
        while self.next and self.next in string.digits:
            self._at += 1
        digits = self._text[start : self._at]
        if not 0 < len(digits) <= 3 or int(digits) > MAX_REPEATS:
            self.wrong(f"expected a number up to {MAX_REPEATS}")
        return int(digits)
