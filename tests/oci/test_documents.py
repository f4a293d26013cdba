"""JSON whose structure is bounded before it is parsed."""

from __future__ import annotations

import time

import pytest

from regproxy.oci.documents import MAX_DIGITS, BadDocument, read_document


def test_what_is_within_is_read() -> None:
    assert read_document(b'{"a": ["b", 1]}', 2, 7) == {"a": ["b", 1]}


@pytest.mark.parametrize(("openings", "parts"), [(1, 100), (2, 6)])
def test_what_is_beyond_is_not(openings: int, parts: int) -> None:
    with pytest.raises(BadDocument, match="more values"):
        read_document(b'{"a": ["b", 1]}', openings, parts)


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 5000, b"\xff", b"nul"])
def test_no_document(content: bytes) -> None:
    with pytest.raises(BadDocument, match="not JSON"):
        read_document(content, 10_000, 10_000)


@pytest.mark.parametrize("unit", [b"[],", b"{},", b'"",', b"1,", b"["])
def test_refusing_is_quick(unit: bytes) -> None:
    """4 MiB that would take seconds are counted in 10 ms."""
    content = b"[" + unit * (4 * 1024 * 1024 // len(unit))
    began = time.process_time()
    with pytest.raises(BadDocument):
        read_document(content, 20_000, 100_000)
    assert time.process_time() - began < 0.1


def test_numbers_are_as_long_as_somebody_can_mean() -> None:
    """Reading a whole number costs the square of its digits; of 4 MiB of them 90 ms."""
    assert read_document(b'{"size": 123456789012345678901234567890}', 10, 10)["size"] > 2**64
    assert read_document(b"[" + b"7" * MAX_DIGITS + b"]", 10, 10) == [int("7" * MAX_DIGITS)]
    for text in (b"[%b]", b"-%b", b'{"x": "%b"}', b"0.%b"):
        with pytest.raises(BadDocument, match="a number"):
            read_document(text % (b"1234567890" * 52)[: MAX_DIGITS + 1], 10, 10)
