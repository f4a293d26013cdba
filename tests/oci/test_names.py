"""Repository names, tags and references: what is let in is safe as a path."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regproxy.errors import InvalidDigest, InvalidName, InvalidTag
from regproxy.oci.digest import Digest
from regproxy.oci.repository import Repository, is_upstream_name
from regproxy.oci.tag import Tag, parse_reference

GOOD_PATHS = [
    "a",
    "library/nginx",
    "a/b/c/d",
    "x__y",
    "x--y.z",
    "0",
    "manifests/blobs/tags",
    "a-----b",
    "a_b",
]
BAD_PATHS = [
    "", "/", "a/", "/a", "a//b", "A", "a/B", "-a", "a-", "_a", "a_", ".a", "a.", "a..b", "a___b", "a._b",
    "..", "a/../b", "a/./b", "a b", "a\n", "a\0", "a%2fb", "a\\b", "é", "a:b", "a@b", "a/_layers/x",
]  # fmt: skip


@pytest.mark.parametrize("path", GOOD_PATHS)
def test_names_of_the_spec_are_let_in(path):
    repository = Repository.parse("docker.io", path)
    assert str(repository) == f"docker.io/{path}"


@pytest.mark.parametrize("path", BAD_PATHS)
def test_other_names_are_refused(path):
    with pytest.raises(InvalidName):
        Repository.parse("docker.io", path)


def test_the_length_counts_the_host():
    Repository.parse("docker.io", "a" * 245)
    with pytest.raises(InvalidName):
        Repository.parse("docker.io", "a" * 246)


@pytest.mark.parametrize(
    "name", ["docker.io", "localhost:5000", "a", "127.0.0.1:5000", "x.y-z.example:65535"]
)
def test_upstreams_are_hosts_with_or_without_port(name):
    assert is_upstream_name(name)


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "a..b", "Docker.io", "a/b", "_a", "-a", "a:", "a:x", "[::1]", "a\n", "u@h", "a" * 256],
)
def test_other_upstream_names_are_refused(name):
    assert not is_upstream_name(name)
    with pytest.raises(InvalidName):
        Repository.parse(name, "a")


@given(st.text(alphabet="ab0._-/", max_size=40))
def test_no_component_that_is_let_in_can_climb_or_hide(path):
    try:
        repository = Repository.parse("docker.io", path)
    except InvalidName:
        return
    for component in repository.path.split("/"):
        assert component[0] not in "._-"
        assert ".." not in component


@pytest.mark.parametrize("tag", ["latest", "1.29", "_x", "A" * 128, "sha256-" + "a" * 64 + ".sig"])
def test_tags_of_the_spec_are_let_in(tag):
    assert str(Tag.parse(tag)) == tag


@pytest.mark.parametrize("tag", ["", ".x", "-x", "a" * 129, "a/b", "a b", "a\n", "..", "ä", "a:b", "a%20"])
def test_other_tags_are_refused(tag):
    with pytest.raises(InvalidTag):
        Tag.parse(tag)


def test_a_reference_with_a_colon_is_a_digest():
    digest = "sha256:" + "0" * 64
    assert parse_reference(digest) == Digest.parse(digest)
    assert parse_reference("latest") == Tag("latest")
    with pytest.raises(InvalidDigest):
        parse_reference("sha256:xyz")
    with pytest.raises(InvalidTag):
        parse_reference("..")


@pytest.mark.parametrize(
    "near_miss", ["a" * 255 + "!", "a-" * 120 + "!", "a/" * 120 + "!", "-" * 250, "a" + "_" * 250]
)
def test_a_long_near_miss_costs_nothing(near_miss):
    started = time.perf_counter()
    for _ in range(100):
        with pytest.raises(InvalidName):
            Repository.parse("d", near_miss)
    assert time.perf_counter() - started < 1.0
