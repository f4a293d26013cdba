"""Ranges, judged against the bytes that they mean (R32)."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regproxy.headers.ranges import Everything, Span, Unsatisfiable, choose_range, parse_content_range

SIZES = st.integers(0, 50)
NUMBERS = st.integers(0, 60)


def expected(content: bytes, first: int | None, last: int | None) -> bytes | None:
    """By RFC 9110 14.1.2, by indexing; None for unsatisfiable."""
    if first is None:
        assert last is not None
        found = content[-last:] if last else b""
    else:
        found = content[first : len(content) if last is None else last + 1]
    return found or None


@given(SIZES, st.none() | NUMBERS, st.none() | NUMBERS)
def test_one_range_means_its_bytes(size: int, first: int | None, last: int | None) -> None:
    content = bytes(range(size))
    if first is None and last is None:
        return
    header = f"bytes={'' if first is None else first}-{'' if last is None else last}"
    wanted = choose_range(header, size)
    if first is not None and last is not None and last < first:
        assert wanted == Everything()
        return
    want = expected(content, first, last)
    if want is None:
        assert wanted == Unsatisfiable()
    else:
        assert isinstance(wanted, Span)
        assert content[wanted.start : wanted.stop] == want
        assert wanted.length == len(want)


@given(SIZES, st.text())
def test_any_text_gives_a_span_within_the_content(size: int, text: str) -> None:
    wanted = choose_range(text, size)
    if isinstance(wanted, Span):
        assert 0 <= wanted.start < wanted.stop <= size


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=a-b",
        "bytes=0-1,3-4",
        "items=0-1",
        "bytes=-1-2",
        "bytes=1--2",
        "bytes=+1-2",
        "bytes=0x1-2",
        "bytes=\u0661-\u0662",
        "bytes=0-1\n",
        "bytes=" + "9" * 21 + "-",
        "0-1",
    ],
)
def test_odd_headers_mean_everything(header: str | None) -> None:
    assert choose_range(header, 10) == Everything()


@pytest.mark.parametrize("header", ["bytes=0-0", "BYTES=0-0", "bytes = 0-0", "bytes=0-0 "])
def test_spellings_of_one_range(header: str) -> None:
    assert choose_range(header, 10) == Span(0, 1)


def test_unknown_size_means_everything() -> None:
    assert choose_range("bytes=5-6", None) == Everything()


def test_long_near_misses_cost_nothing() -> None:
    began = time.perf_counter()
    for header in ("bytes" + " " * 50_000, "bytes=" + "\t" * 50_000 + "x", "bytes=" + "1" * 50_000):
        assert choose_range(header, 10) == Everything()
    assert time.perf_counter() - began < 0.5


@given(st.integers(0, 10**12), st.integers(1, 10**12), st.integers(0, 10**12))
def test_content_range_is_read_as_it_is_written(start: int, length: int, after: int) -> None:
    span = Span(start, start + length)
    total = span.stop + after
    assert parse_content_range(span.content_range(total)) == (span, total)
    assert parse_content_range(f"bytes {start}-{span.stop - 1}/*") == (span, None)


@pytest.mark.parametrize(
    "header", ["", "bytes 0-1", "bytes 1-0/5", "bytes 0-5/5", "bytes */5", "bytes 0-1/x", "items 0-1/5"]
)
def test_contradictory_content_range_is_none(header: str) -> None:
    assert parse_content_range(header) is None


@given(st.text())
def test_content_range_of_any_text_is_consistent(text: str) -> None:
    found = parse_content_range(text)
    if found is not None:
        span, total = found
        assert span.length > 0
        assert total is None or span.stop <= total
