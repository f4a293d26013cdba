"""Platforms of an index, as it says them and as people do."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regproxy.errors import InvalidRequest
from regproxy.oci import media_type as types
from regproxy.oci.digest import Digest
from regproxy.oci.manifest import Manifest
from regproxy.oci.platforms import Child, Platform, children, chosen
from regproxy.testing.images import make_index, sized_image

AMD64, ARM = Platform("linux", "amd64"), Platform("linux", "arm", "v7")
ONE, TWO, THREE = (Digest("sha256", letter * 64) for letter in "abc")


def index(*platforms: Any) -> Manifest:
    listed = [
        {"mediaType": types.OCI_MANIFEST, "size": 1, "digest": str(digest), "platform": said}
        for digest, said in zip((ONE, TWO, THREE), platforms, strict=False)
    ]
    content = json.dumps({"schemaVersion": 2, "manifests": listed}).encode()
    return Manifest(content, types.OCI_INDEX, Digest.of(content))


@pytest.mark.parametrize("text", ["linux/amd64", "linux/arm64/v8", "windows/amd64"])
def test_a_platform_is_written_as_docker_does(text: str) -> None:
    assert str(Platform.parse(text)) == text


@given(st.text(max_size=20))
def test_any_text_is_a_platform_or_refused(text: str) -> None:
    with suppress(InvalidRequest):
        assert str(Platform.parse(text)) == text


@pytest.mark.parametrize(
    "text", ["", "linux", "linux/", "/amd64", "a/b/c/d", "LINUX/amd64", "linux/am d64", "linux/amd64\n"]
)
def test_what_is_no_platform(text: str) -> None:
    with pytest.raises(InvalidRequest):
        Platform.parse(text)


def test_the_children_for_a_platform() -> None:
    found = children(
        index(
            {"os": "linux", "architecture": "amd64"}, {"os": "linux", "architecture": "arm", "variant": "v7"}
        )
    )
    assert chosen(found, [AMD64]) == [ONE]
    assert chosen(found, [Platform("linux", "arm")]) == [TWO]
    assert chosen(found, [Platform("linux", "arm", "v6")]) == []
    assert chosen(found, None) == [ONE, TWO]


def test_an_attestation_is_no_image_and_hostile_words_are_none() -> None:
    found = children(
        index({"os": "unknown", "architecture": "unknown"}, {"os": 7, "architecture": ["x"]}, "linux")
    )
    assert found == [Child(ONE, None), Child(TWO, None), Child(THREE, None)]


def test_of_an_index_without_platforms_the_first_will_do() -> None:
    assert chosen(children(index(None, None)), [AMD64]) == [ONE]


def test_what_is_no_index_has_no_children() -> None:
    content = b"{]"
    assert children(Manifest(content, types.OCI_INDEX, Digest.of(content))) == []
    assert children(sized_image(3000).manifest) == []
    assert len(children(make_index(sized_image(3000)).manifest)) == 1
