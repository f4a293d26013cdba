"""JSON whose structure is bounded before it is parsed."""

from __future__ import annotations

import time

import pytest

from regproxy.oci.documents import BadDocument, read_document


def test_what_is_within_is_read() -> None:
    assert read_document(b'{"a": ["b", 1]}', 2, 7) == {"a": ["b", 1]}


@pytest.mark.parametrize(("openings", "parts"), [(1, 100), (2, 6)])
def test_what_is_beyond_is_not(openings: int, parts: int) -> None:
    with pytest.raises(BadDocument, match="more values"):
        read_document(b'{"a": ["b", 1]}', openings, parts)


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 5000, b"\xff", b"1" * 5000, b"nul"])
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
