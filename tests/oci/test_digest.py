"""A digest that exists is safe in a path."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regproxy.errors import InvalidDigest
from regproxy.oci.digest import Digest

SHA256 = "sha256:" + "a" * 64


@given(st.binary(max_size=100), st.sampled_from(["sha256", "sha512"]))
def test_what_is_made_of_content_parses_and_matches(content, algorithm):
    digest = Digest.of(content, algorithm)
    assert Digest.parse(str(digest)) == digest
    assert digest.matches(content)
    assert not digest.matches(content + b"x")
    running = digest.hasher()
    running.update(content)
    assert running.hexdigest() == digest.hex == hashlib.new(algorithm, content).hexdigest()


@pytest.mark.parametrize(
    "text",
    [
        "", "sha256", "sha256:", "a" * 64, SHA256[:-1], SHA256 + "a", SHA256.upper(), "sha256:" + "A" * 64,
        "sha256:" + "g" * 64, "sha512:" + "a" * 64, "sha256:" + "a" * 128, "md5:" + "a" * 32,
        "sha384:" + "a" * 96, SHA256 + "\n", " " + SHA256, "sha256:" + "../" * 21 + "a",
        "sha256:" + "٣" * 64, "sha256:" + "a" * 63 + "\0", "sha256+b64u:" + "a" * 43,
    ],
)  # fmt: skip
def test_anything_else_is_refused_without_echo(text):
    with pytest.raises(InvalidDigest) as caught:
        Digest.parse(text)
    assert not text or text not in str(caught.value) or text == "sha256" or text == "sha256:"


@given(st.text(max_size=200))
def test_arbitrary_text_parses_only_when_it_prints_the_same(text):
    try:
        digest = Digest.parse(text)
    except InvalidDigest:
        return
    assert str(digest) == text
