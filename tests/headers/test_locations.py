"""Where a reference leads, character for character."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regproxy.errors import InvalidTarget
from regproxy.headers.locations import MAX_LOCATION_LENGTH, resolve, rooted
from regproxy.headers.origins import Origin

HERE = "https://a.example/v2/x/blobs/y?old=1"


@pytest.mark.parametrize(
    ("reference", "url"),
    [
        ("https://B.example:443/p?q", "https://b.example/p?q"),
        ("HTTPS://b.example", "https://b.example/"),
        ("https://b.example?q=1", "https://b.example/?q=1"),
        ("https://b.example?", "https://b.example/?"),
        ("https://b.example#x", "https://b.example/"),
        ("http://[::1]:81/%FF", "http://[::1]:81/%FF"),
        ("//b.example/x/../y", "https://b.example/x/../y"),
        ("/x/../y?a=%zz", "https://a.example/x/../y?a=%zz"),
        ("z?a=../b", "https://a.example/v2/x/blobs/z?a=../b"),
        ("../z", "https://a.example/v2/x/z"),
        ("./", "https://a.example/v2/x/blobs/"),
        ("../../../../z", "https://a.example/z"),
        ("z;p?", "https://a.example/v2/x/blobs/z;p?"),
        ("?new=%2f", "https://a.example/v2/x/blobs/y?new=%2f"),
        ("#part", "https://a.example/v2/x/blobs/y?old=1"),
        ("/\\b.example/x", "https://a.example/\\b.example/x"),
    ],
)
def test_resolved(reference: str, url: str) -> None:
    assert resolve(HERE, reference) == url


def test_from_a_bare_origin() -> None:
    assert resolve("https://a.example", "x") == "https://a.example/x"
    assert resolve("https://a.example?q", "x") == "https://a.example/x"


@pytest.mark.parametrize(
    "reference",
    [
        "",
        "https:x",
        "https:/x",
        "ftp://b.example/",
        "javascript:alert(1)",
        "https://user@b.example/",
        "https://b.example\\@c.example/",
        "https://b.example:0/",
        "https://b.example:65536/",
        "https://b.example%2fc/",
        "https://",
        "///x",
        "/a b",
        "/\r\nX: y",
        "/\0",
        "/ä",
        "/" + "x" * MAX_LOCATION_LENGTH,
    ],
)
def test_refused(reference: str) -> None:
    with pytest.raises(InvalidTarget):
        resolve(HERE, reference)


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="#"), max_size=80))
def test_what_follows_an_origin_is_exact(rest: str) -> None:
    assert resolve(HERE, f"https://b.example/{rest}") == f"https://b.example/{rest}"
    if not rest.startswith("/"):
        assert resolve(HERE, f"/{rest}") == f"https://a.example/{rest}"


@given(st.text(max_size=80))
def test_any_reference_is_resolved_or_refused(reference: str) -> None:
    try:
        url = resolve(HERE, reference)
    except InvalidTarget:
        return
    origin, target = Origin.split(url)
    assert url == f"{origin}{target}"
    assert target == rooted(target)
    assert url.isascii()
