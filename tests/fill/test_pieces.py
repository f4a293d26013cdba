"""Plans for several connections: which bytes, how many of them, when to ask again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regproxy.extents import Extents
from regproxy.fill import pieces
from regproxy.fill.pieces import Look, border, next_piece, wants_another, worth

MIB = 1024 * 1024
offsets = st.integers(0, 400 * MIB)
speeds = st.floats(0, 200 * MIB)


@given(st.lists(st.tuples(offsets, offsets), max_size=5), st.integers(1, 16), speeds)
def test_pieces_are_the_lowest_missing_bytes_and_come_to_an_end(spans, connections, bytes_s):
    missing = Extents(spans)
    brought = Extents()
    while (piece := next_piece(missing, connections, bytes_s)) is not None:
        start, stop = piece
        assert missing.first is not None
        assert start == missing.first[0]
        assert start < stop <= missing.first[1]
        usual = max(pieces.USUAL_PIECE_BYTES, min(bytes_s / connections, pieces.MAX_PIECE_BYTES))
        assert stop - start <= usual + pieces.MIN_PIECE_BYTES
        assert stop - start >= pieces.MIN_PIECE_BYTES or stop == missing.first[1]
        missing.remove(start, stop)
        brought.add(start, stop)
    assert list(brought) == list(Extents(spans))
    assert not missing


@given(st.integers(2, 16), st.floats(MIB, 200 * MIB))
def test_all_come_to_the_end_together(connections, bytes_s):
    """As if each had the same speed: nobody has much left when the others are done."""
    missing = Extents([(0, 200 * MIB)])
    each_bytes_s = bytes_s / connections
    free_at = [0.0] * connections
    while (piece := next_piece(missing, connections, bytes_s)) is not None:
        missing.remove(*piece)
        free_at.sort()
        free_at[0] += (piece[1] - piece[0]) / each_bytes_s
    ideal_s = 200 * MIB / bytes_s
    assert max(free_at) <= ideal_s + 0.5 * pieces.PIECE_S + 2 * pieces.MIN_PIECE_BYTES / each_bytes_s


@given(offsets, offsets, st.integers(2, 8), speeds)
def test_the_first_goes_on_alone_for_a_while(offset, size, connections, bytes_s):
    if offset > size:
        offset, size = size, offset
    found = border(offset, size, connections, bytes_s)
    assert offset <= found <= size
    assert found > offset or offset == size


@pytest.mark.parametrize(
    ("look", "another", "had"),
    [
        (Look(1, 8 * MIB), True, 1),
        (Look(1, 64 * MIB), False, 1),
        (Look(2, 16 * MIB, 8 * MIB), True, 2),
        (Look(2, 9.7 * MIB, 8 * MIB), True, 2),
        (Look(2, 9.5 * MIB, 8 * MIB), False, 1),
        (Look(1, 8 * MIB, 0.0, pieces.BACKLOG_BYTES), False, 1),
        (Look(3, 70 * MIB, 60 * MIB), False, 3),
        (Look(4, 32 * MIB, 24 * MIB), False, 4),
        (Look(4, 24 * MIB, 24 * MIB), False, 3),
    ],
)
def test_another_one_while_it_adds_a_fifth(look, another, had):
    assert (wants_another(look, 4), worth(look)) == (another, had)


def test_one_each_where_more_are_not_wanted():
    assert not wants_another(Look(1, 1.0), 1)
