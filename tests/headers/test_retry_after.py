"""How long an upstream wants to be left alone (R91)."""

from __future__ import annotations

from email.utils import formatdate

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from regproxy.headers.retry_after import MAX_RETRY_AFTER_S, retry_after_s

NOW = 1_760_000_000.0
YEAR_S = 365 * 86_400


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("", None),
        ("0", 0),
        ("17", 17),
        (" 17 ", 17),
        ("17.9", 17),
        (str(YEAR_S), MAX_RETRY_AFTER_S),
        ("9" * 18, MAX_RETRY_AFTER_S),
        ("9" * 70, None),
        ("-5", None),
        ("1e9", None),
        ("nan", None),
        ("soon", None),
        ("17 seconds", None),
        ("\N{SUPERSCRIPT TWO}", None),
        (formatdate(NOW + 30, usegmt=True), 30),
        (formatdate(NOW + YEAR_S, usegmt=True), MAX_RETRY_AFTER_S),
        (formatdate(NOW - 30, usegmt=True), 0),
        ("Mon, 01 Jan 0001 00:00:00 +2359", 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", MAX_RETRY_AFTER_S),
        ("Fri, 31 Dec 9999 23:59:59 -2359", MAX_RETRY_AFTER_S),
    ],
)
def test_what_it_means(header: str | None, seconds: int | None) -> None:
    assert retry_after_s(header, NOW) == seconds


@given(header=st.one_of(st.text(max_size=200), st.integers().map(str)), wall_s=st.floats(0, 1e11))
@example(header="Thu, 01 Jan 99999 00:00:00 GMT", wall_s=NOW)
@example(header="1 1 1 1:1:1 99999999", wall_s=NOW)
def test_whatever_is_sent_it_is_bounded(header: str, wall_s: float) -> None:
    found = retry_after_s(header, wall_s)
    assert found is None or 0 <= found <= MAX_RETRY_AFTER_S
