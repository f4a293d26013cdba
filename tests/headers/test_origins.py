"""Origins: the boundary of a credential."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regproxy.errors import InvalidTarget
from regproxy.headers.origins import Origin


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://a.example/v2/", Origin("https", "a.example", 443)),
        ("https://A.Example:443", Origin("https", "a.example", 443)),
        ("http://a.example/?x=1", Origin("http", "a.example", 80)),
        ("https://a.example:8443/x", Origin("https", "a.example", 8443)),
        ("http://[::1]:5000/", Origin("http", "::1", 5000)),
    ],
)
def test_origin_of(url: str, origin: Origin) -> None:
    assert Origin.of(url) == origin


@pytest.mark.parametrize(
    "url",
    [
        "",
        "a.example",
        "/v2/",
        "//a.example/",
        "ftp://a.example/",
        "file:///etc/passwd",
        "https://",
        "https://user@a.example/",
        "https://user:secret@a.example/",
        "https://:secret@a.example/",
        "https://a.example:port/",
        "https://[::1/",
        "https://a.example:0/",
        "https://a.example:65536/",
        "https://a.example:/",
        "https://a.example\\b.example/",
        "https://a b/",
        "https://a%2eb/",
    ],
)
def test_not_an_origin(url: str) -> None:
    with pytest.raises(InvalidTarget):
        Origin.of(url)


def test_every_part_counts() -> None:
    origins = {
        Origin.of(url)
        for url in ("https://a.example", "http://a.example", "https://b.example", "https://a.example:444")
    }
    assert len(origins) == 4
    assert Origin.of("https://a.example").secure
    assert not Origin.of("http://a.example").secure


@pytest.mark.parametrize(
    "text", ["https://a.example", "http://a.example:81", "https://[::1]:5000", "http://[::1]"]
)
def test_text_and_back(text: str) -> None:
    assert str(Origin.of(text)) == text


@given(st.text(max_size=100))
def test_any_text_is_an_origin_or_refused(text: str) -> None:
    for url in (text, "https://" + text, "http://a" + text):
        try:
            origin = Origin.of(url)
        except InvalidTarget:
            continue
        assert origin.scheme in ("http", "https")
        assert origin.host


def test_a_scheme_is_case_insensitive():
    assert Origin.of("HTTPS://Registry.Example") == Origin("https", "registry.example", 443)


@pytest.mark.parametrize("rest", ["", "/", "?", "/%FF?x=%zz", "/{[|]}^", "#x", "?a=https://b.example/@"])
def test_only_the_start_is_read(rest: str) -> None:
    """What follows an origin may hold any bytes, and comes back as it is."""
    assert Origin.split(f"https://a.example{rest}") == (Origin("https", "a.example", 443), rest)
