"""Bytes for a disk that may refuse them, and be read again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regproxy.fill.tail import Tail
from regproxy.testing.bodies import Feed, MemoryBlob
from tests.proxy.world import Seen

CONTENT = bytes(range(256)) * 4


def tail_of(content: bytes = CONTENT) -> Tail:
    return Tail(MemoryBlob(Feed.whole(content)))


@given(
    st.lists(st.integers(1, 200), max_size=12),
    st.integers(0, len(CONTENT)),
    st.integers(0, len(CONTENT)),
    st.integers(1, 300),
)
def test_what_has_not_landed_is_read_again(reads: list[int], landed: int, offset: int, again: int) -> None:
    tail = tail_of()
    taken = sum(len(tail.read(count) or b"") for count in reads)
    landed = min(landed, taken)
    offset = min(max(offset, landed), taken)
    tail.landed(landed)
    tail.rewind(offset)
    got = bytearray()
    while chunk := tail.read(again):
        assert len(chunk) <= again
        got += chunk
    assert got == CONTENT[offset:]


def test_only_what_is_under_way_is_held() -> None:
    tail = tail_of()
    for offset in range(64, len(CONTENT), 64):
        tail.read(64)
        assert sum(map(len, tail._taken)) <= 128
        tail.landed(offset - 64)


def test_nothing_is_remembered_after_it() -> None:
    tail = tail_of()
    tail.read(64)
    tail.rewind(0)
    while tail.read(64):
        assert not tail._taken


def test_it_is_ready_while_there_is_something_to_read_again() -> None:
    feed = Feed(100)
    feed.give(b"x" * 10)
    tail = Tail(MemoryBlob(feed))
    tail.read(10)
    assert Seen(tail.ready()).waiting
    other = Tail(MemoryBlob(feed))
    other.read(10)
    other.rewind(0)
    assert not Seen(other.ready()).waiting


@pytest.mark.parametrize("read", [True, False])
def test_closing_lets_go(read: bool) -> None:
    feed = Feed.whole(CONTENT)
    blob = MemoryBlob(feed)
    tail = Tail(blob)
    if read:
        tail.read(1)
    tail.close()
    assert feed.open_count == 0
    assert read or blob.closed
