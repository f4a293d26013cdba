"""The strategies keep their word: the good ones parse, the malformed ones never do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regproxy.errors import InvalidDigest, InvalidName, InvalidRequest, InvalidTag
from regproxy.headers.ranges import choose_range
from regproxy.oci.digest import Digest
from regproxy.oci.manifest import Manifest
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Tag
from regproxy.testing import strategies
from regproxy.testing.images import Image


@given(strategies.digests(), strategies.repositories, strategies.tags)
def test_good_ones_parse(digest: Digest, repository: Repository, tag: Tag) -> None:
    assert Digest.parse(str(digest)) == digest
    assert Repository.parse(repository.upstream, repository.path) == repository
    assert Tag.parse(tag.name) == tag


@given(strategies.malformed_digests)
def test_malformed_digests_do_not(text: str) -> None:
    with pytest.raises(InvalidDigest):
        Digest.parse(text)


@given(strategies.malformed_tags)
def test_malformed_tags_do_not(text: str) -> None:
    with pytest.raises(InvalidTag):
        Tag.parse(text)


@given(strategies.malformed_paths)
def test_malformed_paths_do_not(text: str) -> None:
    with pytest.raises(InvalidName):
        Repository.parse("docker.io", text)


@given(st.sampled_from(strategies.NASTY).flatmap(strategies.encodings))
def test_nasty_text_is_nothing_in_any_spelling(text: str) -> None:
    for parse in (Tag.parse, Digest.parse, lambda name: Repository.parse("docker.io", name)):
        with pytest.raises(InvalidRequest):
            parse(text)


@given(strategies.range_headers, st.integers(0, 300))
def test_ranges_are_always_decided(header: str, size: int) -> None:
    assert choose_range(header, size) is not None


@given(strategies.images)
def test_images_are_whole(image: Image) -> None:
    blobs = set(image.all_blobs())
    manifests = {m.digest for m in image.all_manifests()}
    for manifest in image.all_manifests():
        assert Manifest.receive(manifest.content, manifest.media_type, manifest.digest) == manifest
        assert {named.digest for named in manifest.names()} <= blobs | manifests
