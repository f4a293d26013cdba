"""Warning: 299, read from anybody and written for people (R52, R93)."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regproxy.headers.warnings import (
    MAX_WARNING_BYTES,
    MAX_WARNINGS,
    read_warnings,
    warning_value,
    warning_values,
)


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        (['299 - "gone soon"'], ("gone soon",)),
        (['299 registry.example "gone soon"'], ("gone soon",)),
        (['299 - "a \\"quoted\\" \\\\ word"'], ('a "quoted" \\ word',)),
        (['299 - "with a date" "Wed, 21 Oct 2026 07:28:00 GMT"'], ("with a date",)),
        (['299 - "a", 299 - "b"', '299 - "a"', '299 - "c"'], ("a", "b", "c")),
        (['110 - "Response is Stale", 299 - "a"'], ("a",)),
        (['299 - ""', '299 - "  "'], ()),
        (["299 - bare", "299", "", "x", '"', '299 - "open', '299 - "open\\', '2999 - "x"'], ()),
        (['299 - "good", rubbish, 299 - "behind it"'], ("good",)),
        (
            ['299 - "tab\there\x1b[2J\r\nSet-Cookie: a=b \u2028\ufffd\x7f"'],
            ("tab?here?[2J??Set-Cookie: a=b ???",),
        ),
    ],
)
def test_what_is_read(headers: list[str], found: tuple[str, ...]) -> None:
    assert read_warnings(headers) == found


def is_safe(value: str) -> bool:
    inner = value[7:-1].replace("\\\\", "").replace('\\"', "")
    framed = value.startswith('299 - "') and value.endswith('"')
    return framed and all(" " <= sign <= "~" for sign in value) and not set(inner) & {'"', "\\"}


@given(st.lists(st.text(max_size=60) | st.just('299 - "' + "x" * 6000 + '"'), max_size=20))
def test_anything_is_read_and_what_comes_of_it_is_safe_and_bounded(headers: list[str]) -> None:
    found = read_warnings(headers)
    assert len(found) <= MAX_WARNINGS
    values = warning_values(found)
    assert all(map(is_safe, values))
    assert len(values) == len(found), "what was kept can be said"


@given(st.lists(st.text(max_size=5000), max_size=6), st.integers(0, 5))
def test_all_together_are_bounded_ours_first(sentences: list[str], repeated: int) -> None:
    values = warning_values(sentences + sentences[:repeated])
    assert sum(map(len, values)) <= MAX_WARNING_BYTES
    assert all(map(is_safe, values))
    assert values[:1] == [warning_value(sentence) for sentence in sentences[:1]]
    assert len(values) <= len(set(sentences))


@given(
    st.lists(
        st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=200), max_size=5
    )
)
def test_what_is_written_is_read_as_it_was(sentences: list[str]) -> None:
    kept = list(dict.fromkeys(sentence.strip() for sentence in sentences if sentence.strip()))
    assert read_warnings(warning_values(kept)) == tuple(kept)


def test_an_escape_is_never_cut_in_two() -> None:
    for length in range(2030, 2050):
        assert is_safe(warning_value('"' * length))
        assert is_safe(warning_value("x" + "\\" * length))


def test_hostile_headers_are_read_in_linear_time() -> None:
    hostile = ["299" + " " * 8000, '299 - "' + "\\" * 8000, '299 - "a" ' + '"' * 8000, ", " * 4000] * 8
    began = time.perf_counter()
    read_warnings(hostile)
    assert time.perf_counter() - began < 1.0


def test_what_is_read_of_them_is_bounded_together() -> None:
    """Hundreds of short ones in each of many headers would cost 40 ms an answer."""
    flood = ['199 - "x" ' * 200] * 20
    assert read_warnings([*flood, '299 - "last"']) == ()
    assert read_warnings(['299 - "first"', *flood]) == ("first",)
