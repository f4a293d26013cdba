"""Patterns over tags: the same tags as Python's own matcher finds, in bounded time, and compared rightly."""

from __future__ import annotations

import re
import time
from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regproxy.errors import InvalidTag
from regproxy.oci.expressions import MAX_LENGTH
from regproxy.oci.tag_patterns import EVERYTHING, MAX_PLACES, TagPattern

SIGNS = "abv019._-"
tags = st.text("abv019_", min_size=1, max_size=1).flatmap(
    lambda first: st.text(SIGNS, max_size=8).map(lambda rest: first + rest)
)
atoms = st.sampled_from(
    ["a", "b", "v", "0", "1", ".", r"\.", r"\d", r"\w", r"\D", r"\W", "[ab]", "[^a]", "[0-9]", "[a-b_-]", "-"]
)
expressions = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map("|".join).map("({})".format),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{1,}", "{0,2}"])).map(
            lambda pair: f"(?:{pair[0]}){pair[1]}"
        ),
    ),
    max_leaves=8,
)
globs = st.lists(st.sampled_from([*SIGNS, "*", "?", "[ab]", "[!a]"]), min_size=1, max_size=8).map("".join)


def pattern_of(text: str) -> TagPattern | None:
    try:
        return TagPattern.parse(text)
    except InvalidTag:
        return None


@given(expressions, st.lists(tags, min_size=5, max_size=20))
def test_an_expression_matches_what_pythons_does(text: str, names: list[str]) -> None:
    found = pattern_of(f"/{text}/")
    for name in names:
        expected = re.fullmatch(text, name, re.ASCII) is not None
        assert (found is not None and found.matches(name)) == expected


@given(globs, st.lists(tags, min_size=5, max_size=20))
def test_a_glob_matches_what_fnmatch_does(text: str, names: list[str]) -> None:
    found = pattern_of(text)
    for name in names:
        assert (found is not None and found.matches(name)) == fnmatchcase(name, text)


patterns = expressions.map("/{}/".format) | globs


@given(patterns, patterns, st.lists(tags, min_size=5, max_size=20))
def test_what_covers_another_matches_all_that_it_does(one: str, other: str, names: list[str]) -> None:
    left, right = pattern_of(one), pattern_of(other)
    if left is None or right is None:
        return
    if left.covers(right):
        assert all(left.matches(name) for name in names if right.matches(name))
    if left.is_everything:
        assert all(map(left.matches, names))
    assert left.covers(left)
    assert EVERYTHING.covers(left)


@pytest.mark.parametrize(
    ("earlier", "later", "covers"),
    [
        ("*", "v1", True),
        ("/.*/", "*", True),
        ("/^.+$/", "*", True),
        ("**", "*", True),
        ("/[a-zA-Z0-9_][a-zA-Z0-9._-]*/", "*", True),
        ("v*", "v1.*", True),
        ("v*", r"/v\d+\.\d+/", True),
        (r"/v?\d+\.\d+\.\d+.*/", "v1.2.3*", True),
        ("v1.*", "v*", False),
        ("v*", "*", False),
        ("/.*a/", "*b", False),
        ("?*", "*", True),
        ("??*", "*", False),
    ],
)
def test_compared(earlier: str, later: str, covers: bool) -> None:
    assert TagPattern.parse(earlier).covers(TagPattern.parse(later)) == covers


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "//",
        "/v",
        "/(/",
        "/a)/",
        "/a**/",
        "/a*?/",
        "/*/",
        "/{2}/",
        "/a{2/",
        "/a{5,2}/",
        "/a{999}/",
        "/a{1,1000}/",
        "/[/",
        "/[]/",
        "/[b-a]/",
        r"/[^\d\D]/",
        r"/\s/",
        r"/(a)\1/",
        "/(?=a)/",
        "/(?i)a/",
        "/a\\/",
        "/a$b/",
        "/a^/",
        "/é/",
        "a/b",
        "a b",
        "-v*",
        ".x",
        "[",
        "[]",
        "[b-a]",
        "a\n",
        "/" + "a" * (MAX_LENGTH + 1) + "/",
        "a" * (MAX_LENGTH + 1),
        "/" + "(" * 40 + "a" + ")" * 40 + "/",
    ],
)
def test_what_is_no_pattern_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(InvalidTag) as caught:
        TagPattern.parse(text)
    assert len(str(caught.value)) < 120
    assert "é" not in str(caught.value)


CATASTROPHES = [
    "/(a+)+b/",
    "/(a|a)*b/",
    "/(a|aa)+b/",
    "/(.*)*b/",
    "/(a?){128}a{128}/",
    "/.*.*.*.*.*.*.*.*b/",
    "/((a{100}){100}){100}/",
    "/(((((){128}){128}){128}){128}){128}/",
    "/(((a?){128}){128}){128}/",
    "*a" * 60,
]


@pytest.mark.parametrize("text", CATASTROPHES)
def test_no_pattern_takes_long(text: str) -> None:
    """Of these some take Python's own matcher longer than there is time."""
    began = time.process_time()
    found = pattern_of(text)
    if found is not None:
        assert len(found._follow) <= MAX_PLACES + 1
        for name in ("a" * 128, "a" * 127 + "c", "ab" * 64):
            found.matches(name)
        found.covers(EVERYTHING)
        TagPattern.parse("*a*b*c").covers(found)
    assert time.process_time() - began < 2


def test_a_pattern_beyond_comparing_covers_nothing() -> None:
    """Its automaton has more states than are looked at: no rule behind it is called unreachable."""
    many = TagPattern.parse("/.*a.{16}/")
    assert not many.covers(TagPattern.parse("/.*a.{15}[ab]/"))
    assert not TagPattern.parse("/.*a.{12}/").covers(EVERYTHING)
