"""Status and headers, judged."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regproxy.errors import Denied, NotFound, Throttled, UpstreamError, UpstreamFailed
from regproxy.upstream.answers import (
    MAX_BLOB_BYTES,
    content_length,
    is_absurd_length,
    judge,
    judge_form,
)

NOW = 1_795_500_000.0


@given(st.integers(0, 999))
def test_only_200_is_an_answer(status: int) -> None:
    error = judge("up", "a.example", "manifest x:y", status)
    assert (error is None) == (status == 200)
    if error is not None:
        assert "a.example" in str(error)
        assert str(status) in str(error)


@pytest.mark.parametrize(
    ("status", "error"),
    [(404, NotFound), (410, NotFound), (401, Denied), (403, Denied), (429, Throttled), (502, UpstreamFailed)],
)
def test_kinds(status: int, error: type[UpstreamError]) -> None:
    assert type(judge("up", "a.example", "x", status)) is error


def test_throttled_keeps_the_wish() -> None:
    error = judge("up", "a.example", "x", 429, "20", NOW)
    assert isinstance(error, Throttled)
    assert error.retry_after_s == 20


@pytest.mark.parametrize(
    ("content_type", "coding", "good"),
    [
        (None, None, True),
        ("application/octet-stream", "identity", True),
        ("text/plain", "Identity", True),
        ("text/html", None, False),
        ("TEXT/HTML;charset=utf-8", None, False),
        ("application/xhtml+xml", None, False),
        (None, "gzip", False),
        (None, "identity, gzip", False),
    ],
)
def test_forms(content_type: str | None, coding: str | None, good: bool) -> None:
    assert (judge_form("up", "a.example", "x", content_type, coding) is None) is good


@pytest.mark.parametrize(
    ("header", "length"), [(None, None), ("12", 12), ("+1", None), ("-1", None), ("1e3", None), ("٣", None)]
)
def test_content_length(header: str | None, length: int | None) -> None:
    assert content_length(header) == length


@pytest.mark.parametrize(
    ("header", "absurd"),
    [
        ("0", False),
        (str(MAX_BLOB_BYTES), False),
        ("0" * 50 + str(MAX_BLOB_BYTES), False),
        (str(MAX_BLOB_BYTES + 1), True),
        (f" {2**63} ", True),
        ("9" * 5000, True),
        ("", False),
        ("-1", False),
        ("x" * 50, False),
        ("٣" * 50, False),
    ],
)
def test_absurd_lengths(header: str, absurd: bool) -> None:
    assert is_absurd_length(header) is absurd
