"""Status and headers, judged."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regproxy.errors import Denied, NotFound, Throttled, UpstreamError, UpstreamFailed
from regproxy.upstream.answers import (
    MAX_BLOB_BYTES,
    MAX_RETRY_AFTER_S,
    content_length,
    is_absurd_length,
    judge,
    judge_form,
    retry_after_s,
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


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("", None),
        ("17", 17),
        (" 0 ", 0),
        ("99999999999", MAX_RETRY_AFTER_S),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("Tue, 24 Nov 2026 05:20:30 GMT", 30 + 0),
        ("Tue, 24 Nov 2020 05:20:30 GMT", 0),
        ("Tue, 24 Nov 2099 05:20:30 GMT", MAX_RETRY_AFTER_S),
        ("Tue, 99 Nov 2026 99:99:99 GMT", None),
        ("9" * 5000, None),
    ],
)
def test_retry_after(header: str | None, seconds: int | None) -> None:
    """Seconds or a date, at most an hour (R91)."""
    from datetime import datetime, timezone

    now = datetime(2026, 11, 24, 5, 20, 0, tzinfo=timezone.utc).timestamp()
    assert retry_after_s(header, now) == seconds


@given(st.text(max_size=80))
def test_any_retry_after_is_read(header: str) -> None:
    found = retry_after_s(header, NOW)
    assert found is None or 0 <= found <= MAX_RETRY_AFTER_S


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
