"""Globs over repository names."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regproxy.errors import InvalidName
from regproxy.oci.patterns import RepositoryPattern, matches_glob


@pytest.mark.parametrize(
    ("glob", "path"),
    [
        ("library/*", "library/nginx"),
        ("team-a/**", "team-a/app"),
        ("team-a/**", "team-a/deep/er/app"),
        ("team-a/**", "team-a"),
        ("**/secret-*", "secret-1"),
        ("**/secret-*", "a/b/secret-1"),
        ("**", "anything/at/all"),
        ("a/**/z", "a/z"),
        ("a/**/z", "a/b/c/z"),
        ("app-?", "app-1"),
        ("*", "one"),
        ("v*.*", "v1.2.3"),
    ],
)
def test_these_match(glob: str, path: str) -> None:
    assert RepositoryPattern.parse(glob).matches(path)


@pytest.mark.parametrize(
    ("glob", "path"),
    [
        ("library/*", "library/a/b"),
        ("library/*", "library"),
        ("library/*", "other/nginx"),
        ("team-a/**", "team-ab/app"),
        ("team-a/**", "x/team-a/app"),
        ("*", "one/two"),
        ("**/secret-*", "secret-1/public"),
        ("app-?", "app-12"),
        ("app.x", "appzx"),
        ("a/**/z", "a/b/c"),
    ],
)
def test_these_do_not(glob: str, path: str) -> None:
    assert not RepositoryPattern.parse(glob).matches(path)


@pytest.mark.parametrize(
    "text", ["", "/a", "a/", "a//b", "Team/*", "a**", "**a", "a b", "a:b", "[ab]", "a" * 256]
)
def test_what_could_never_match_is_refused(text: str) -> None:
    with pytest.raises(InvalidName):
        RepositoryPattern.parse(text)


def expression(glob: str) -> re.Pattern[str]:
    """The same glob as a slow regular expression, made in another way."""
    parts = []
    for component in glob.split("/"):
        if component == "**":
            parts.append("(?:[^/]+/)*")
        else:
            parts.append(re.escape(component).replace(r"\*", "[^/]*").replace(r"\?", "[^/]") + "/")
    return re.compile("".join(parts))


COMPONENTS = st.text(st.sampled_from("ab"), min_size=1, max_size=3)
GLOBS = st.lists(
    st.text(st.sampled_from("ab*?"), min_size=1, max_size=4).filter(lambda t: "**" not in t) | st.just("**"),
    min_size=1,
    max_size=4,
)


@given(GLOBS, st.lists(COMPONENTS, min_size=1, max_size=5))
def test_matching_is_what_the_words_say(glob: list[str], path: list[str]) -> None:
    text, name = "/".join(glob), "/".join(path)
    expected = expression(text).fullmatch(name + "/") is not None
    assert RepositoryPattern.parse(text).matches(name) == expected


def test_no_name_takes_long() -> None:
    """Near misses of many stars: what a regular expression would go back and forth over."""
    begun = time.process_time()
    assert not RepositoryPattern.parse("/".join(["**", "a"] * 20)).matches("/".join(["a"] * 120) + "/b")
    assert not matches_glob("*a" * 50 + "b", "a" * 128)
    assert time.process_time() - begun < 0.5
