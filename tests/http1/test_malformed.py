"""Every line that is no HTTP has a cause, in our words alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regproxy.http1.malformed import fault_in_header, fault_in_request_line


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"GET /v2/ HTTP/1.1\nHost: a", "bare CR, LF"),
        (b"GET /v2/", "one space"),
        (b"GET  /v2/ HTTP/1.1", "one space"),
        (b"G(T /v2/ HTTP/1.1", "method"),
        (b"PRI * HTTP/2.0", "no other version"),
        (b"GET /\xff HTTP/1.1", "percent-encoded"),
    ],
)
def test_request_lines(line: bytes, words: str) -> None:
    assert words in fault_in_request_line(line)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"Host: a\nX: y", "bare CR, LF"),
        (b"no colon", "a colon and a value"),
        (b"Host : a", "right behind it"),
        (b": a", "right behind it"),
        (b"Content-Length: +5", "Content-Length"),
        (b"transfer-encoding: gzip", "Transfer-Encoding"),
    ],
)
def test_headers(line: bytes, words: str) -> None:
    assert words in fault_in_header(line)


@given(st.binary())
def test_any_line_has_a_cause(line: bytes) -> None:
    assert fault_in_request_line(line).isascii()
    assert fault_in_header(line).isascii()
