"""Amounts as people read them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regproxy.cli.amounts import count_text, plural, rate_text, share_text, size_text, span_text


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.00 KiB"),
        (1536, "1.50 KiB"),
        (1023 * 1024, "1023 KiB"),
        (1024 * 1024 - 1, "1.00 MiB"),
        (53 << 20, "53.0 MiB"),
        (345 << 30, "345 GiB"),
        (2**63, "8.00 EiB"),
    ],
)
def test_sizes(amount: int, text: str) -> None:
    assert size_text(amount) == text
    assert rate_text(amount) == f"{text}/s"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.9, "0s"),
        (59.9, "59s"),
        (60, "1m"),
        (200, "3m 20s"),
        (3600, "1h"),
        (3601, "1h"),
        (93_784, "1d 2h"),
        (-5, "0s"),
        (math.inf, "> 100 years"),
        (math.nan, "> 100 years"),
    ],
)
def test_spans(seconds: float, text: str) -> None:
    assert span_text(seconds) == text


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [(0, 0, "-"), (0, 5, "0 %"), (1, 3, "33 %"), (9999, 10_000, "99 %"), (5, 5, "100 %")],
)
def test_shares(part: int, whole: int, text: str) -> None:
    """All but a little is never told as all."""
    assert share_text(part, whole) == text


def test_counts_and_their_words() -> None:
    assert count_text(1_234_567) == "1,234,567"
    assert [plural(number, "reader") for number in (0, 1, 2)] == ["0 readers", "1 reader", "2 readers"]
    assert [plural(number, "entry") for number in (1, 2000)] == ["1 entry", "2,000 entries"]


@given(st.floats(0, 2**64))
def test_every_amount_is_a_few_signs_of_ascii(amount: float) -> None:
    for text in (size_text(amount), span_text(amount)):
        assert text.isascii()
        assert 0 < len(text) <= 12
