"""The last bytes of a transfer, and the hash states between them."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from regproxy.fill import window
from regproxy.fill.window import SMALL_BYTES, WINDOW_BYTES, Point, Window

PIECES = st.lists(st.binary(min_size=1, max_size=60), min_size=1, max_size=40)


def hashed(before: bytes) -> Point:
    return Point(len(before), hashlib.sha256(before))


@given(st.binary(max_size=50), PIECES)
def test_each_piece_knows_the_hash_of_what_is_before_it(before: bytes, pieces: list[bytes]) -> None:
    window.WINDOW_BYTES, window.SMALL_BYTES = 300, 40
    try:
        seen = Window(hashed(before))
        content = before
        for piece in pieces:
            start = seen.start_after(len(piece))
            seen.add(piece)
            content += piece
            assert seen.start == start
            assert seen.front == len(content)
            assert seen.front - seen.start <= 300 + 60
            for offset in range(seen.start, seen.front):
                found = seen.at(offset)
                point = found.point
                assert found.content == content[point.offset : found.stop]
                assert point.offset <= offset < found.stop
                assert point.hasher is not None
                assert point.hasher.digest() == hashlib.sha256(content[: point.offset]).digest()
        assert seen.end.hasher is not None
        assert seen.end.hasher.digest() == hashlib.sha256(content).digest()
    finally:
        window.WINDOW_BYTES, window.SMALL_BYTES = WINDOW_BYTES, SMALL_BYTES


@given(PIECES, st.integers(0, 3000))
def test_what_is_forgotten_was_not_needed(pieces: list[bytes], offset: int) -> None:
    seen = Window(Point(0, None))
    for piece in pieces:
        seen.add(piece * 1000)
    content = b"".join(piece * 1000 for piece in pieces)
    offset = min(offset * 100, len(content))
    seen.forget(offset)
    assert seen.start <= offset
    assert seen.front == len(content)
    if offset < len(content):
        found = seen.at(offset)
        assert content[found.point.offset : found.stop] == found.content


def test_without_a_hash_there_is_none() -> None:
    seen = Window(Point(7, None))
    seen.add(b"abc")
    assert (seen.start, seen.front, seen.end.hasher) == (7, 10, None)
