"""Who brings which bytes: nobody the same as another, and nothing is forgotten."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from regproxy.extents import Extents
from regproxy.fill import pieces
from regproxy.fill.shares import Shares

MIB = 1024 * 1024
SIZE = 100 * MIB
offsets = st.integers(0, SIZE)


class Sharing(RuleBasedStateMachine):
    """A first connection and those beside it, each of which brings a part of its piece."""

    def __init__(self) -> None:
        super().__init__()
        self.shares = Shares(SIZE)
        self.offset = 0
        self.held: list[tuple[int, int]] = []
        self.brought = Extents()

    @rule(bytes_s=st.floats(0, 200 * MIB), connections=st.integers(2, 8))
    def split(self, bytes_s: float, connections: int) -> None:
        assert self.shares.split(self.offset, connections, bytes_s) == bool(self.shares.missing)

    @rule(count=st.integers(0, 20 * MIB))
    def first_brings(self, count: int) -> None:
        assert self.shares.border is not None
        self.offset = min(self.shares.border, self.offset + count)

    @rule(start=offsets)
    def give_up(self, start: int) -> None:
        assert self.shares.border is not None
        if self.offset < start < self.shares.border:
            self.shares.give_up(start)

    @rule()
    def give_back(self) -> None:
        self.shares.give_back()

    @rule(start=offsets, length=st.integers(1, 20 * MIB))
    def ask(self, start: int, length: int) -> None:
        self.shares.ask(start, start + length)

    @rule(which=st.sampled_from(["urgent", "next", "all"]))
    def take(self, which: str) -> None:
        first = self.shares.missing.first
        if which == "urgent":
            taken = self.shares.take_urgent()
            assert taken is None or taken[1] - taken[0] <= pieces.USUAL_PIECE_BYTES
        else:
            taken = self.shares.take_all() if which == "all" else self.shares.take_next(3, 8.0 * MIB)
            assert (taken is None) == (first is None)
            assert taken is None or first is None or taken[0] == first[0]
        if taken is not None:
            self.held.append(taken)

    @precondition(lambda self: self.held)
    @rule(part=st.floats(0, 1))
    def bring(self, part: float) -> None:
        start, stop = self.held.pop()
        reached = start + int(part * (stop - start))
        self.brought.add(start, reached)
        self.shares.put_back(reached, stop)

    @invariant()
    def every_byte_is_somebodys(self) -> None:
        assert self.shares.border is not None
        everything = Extents([(0, self.shares.border), *self.held, *self.brought, *self.shares.missing])
        assert list(everything) == [(0, SIZE)]
        total = self.shares.border + self.brought.total + self.shares.missing.total
        assert total + sum(stop - start for start, stop in self.held) == SIZE, "and nobody else's"


TestSharing = Sharing.TestCase
