"""If-None-Match and If-Range against digests (R12, R33)."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regproxy.headers.conditionals import entity_tag, none_match_hits, range_holds, wants_confirmed
from regproxy.oci.digest import Digest

DIGEST = Digest.of(b"content")
OTHER = Digest.of(b"other")
DIGESTS = st.binary(max_size=8).map(Digest.of)


def test_entity_tag_is_quoted() -> None:
    assert entity_tag(DIGEST) == f'"{DIGEST}"'


@pytest.mark.parametrize(
    "header",
    [
        f'"{DIGEST}"',
        str(DIGEST),
        f'W/"{DIGEST}"',
        "*",
        f'"{OTHER}", "{DIGEST}"',
        f'W/"{OTHER}",W/"{DIGEST}"',
        f"{OTHER},{DIGEST}",
        f'"a,b", "{DIGEST}"',
    ],
)
def test_each_spelling_hits(header: str) -> None:
    assert none_match_hits(header, DIGEST)


@pytest.mark.parametrize(
    "header", [None, "", f'"{OTHER}"', f'"{DIGEST}x"', f'"x{DIGEST}"', str(DIGEST)[:-1], DIGEST.hex, "W/"]
)
def test_others_do_not(header: str | None) -> None:
    assert not none_match_hits(header, DIGEST)


@given(st.lists(DIGESTS), DIGESTS)
def test_a_list_hits_what_it_holds(listed: list[Digest], wanted: Digest) -> None:
    header = ", ".join(map(entity_tag, listed))
    assert none_match_hits(header, wanted) == (wanted in listed)


@given(st.text(alphabet=st.characters(blacklist_characters="*")))
def test_noise_never_hits(text: str) -> None:
    assert not none_match_hits(text, DIGEST)


def test_long_near_misses_cost_nothing() -> None:
    began = time.perf_counter()
    for header in ('W/"' * 5_000, '"' * 15_001, "W/" * 8_000, '"a' * 8_000, "," * 16_000):
        assert not none_match_hits(header, DIGEST)
    assert time.perf_counter() - began < 0.5


@pytest.mark.parametrize(
    ("header", "holds"),
    [
        (None, True),
        (f'"{DIGEST}"', True),
        (f' "{DIGEST}" ', True),
        (f'W/"{DIGEST}"', False),
        (str(DIGEST), False),
        ("*", False),
        (f'"{OTHER}"', False),
        ("Tue, 24 Nov 2026 00:00:00 GMT", False),
        ("", False),
    ],
)
def test_if_range_is_strong(header: str | None, holds: bool) -> None:
    assert range_holds(header, DIGEST) is holds


@pytest.mark.parametrize(
    ("cache_control", "pragma", "wants"),
    [
        (None, None, False),
        ("no-cache", None, True),
        ("No-Cache", None, True),
        ("max-age=0", None, True),
        ("max-age = 000", None, True),
        ('max-age="0"', None, True),
        ("no-store, no-cache", None, True),
        ("no-transform ,no-cache , no-store", None, True),
        ("max-age=01", None, False),
        ("max-age=3600", None, False),
        ("s-max-age=0", None, False),
        ("xno-cache", None, False),
        ("no-cachex", None, False),
        ('no-cache="Set-Cookie"', None, False),
        ("no-store", None, False),
        ("only-if-cached", None, False),
        ("", None, False),
        (None, "no-cache", True),
        (None, "x", False),
        ("max-age=60", "no-cache", False),
    ],
)
def test_what_a_client_says_that_wants_it_confirmed(
    cache_control: str | None, pragma: str | None, wants: bool
) -> None:
    """R54; Pragma counts alone only."""
    assert wants_confirmed(cache_control, pragma) is wants


def test_long_cache_controls_cost_nothing() -> None:
    began = time.perf_counter()
    for header in (" " * 60_000, "," * 60_000, ", " * 30_000, "max-age=" * 8_000, "max-age" + " " * 60_000):
        assert not wants_confirmed(header, None)
    assert time.perf_counter() - began < 0.5
