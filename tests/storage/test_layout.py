"""Paths: nothing leaves the root, nothing meets something else, everything is read back."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regproxy.errors import InvalidName
from regproxy.interfaces import Kind
from regproxy.oci.digest import HEX_LENGTH, Digest
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Tag
from regproxy.storage.layout import Layout, parse_blob, parse_link, parse_repository

ROOT = Path("/srv/store")
LAYOUT = Layout(ROOT)
digests = st.sampled_from(sorted(HEX_LENGTH)).flatmap(
    lambda name: st.text("0123456789abcdef", min_size=HEX_LENGTH[name], max_size=HEX_LENGTH[name]).map(
        lambda hex_digits: Digest.parse(f"{name}:{hex_digits}")
    )
)
components = st.from_regex(r"\A[a-z0-9]+((\.|_|__|-+)[a-z0-9]+){0,3}\Z").filter(lambda text: len(text) < 60)
upstreams = st.sampled_from(["docker.io", "a", "registry.example:5000", "blobs", "x-y.z"])
repositories = st.builds(
    lambda upstream, parts: Repository.parse(upstream, "/".join(parts)),
    upstreams,
    st.lists(components, min_size=1, max_size=3),
)
tags = st.from_regex(r"\A[a-zA-Z0-9_][a-zA-Z0-9._-]{0,20}\Z").map(Tag.parse)
kinds = st.sampled_from(list(Kind))


@given(repositories, digests, kinds, tags)
def test_every_path_is_plain_and_below_its_folder(
    repository: Repository, digest: Digest, kind: Kind, tag: Tag
) -> None:
    """No dots, no escapes."""
    places = {
        LAYOUT.blobs: [LAYOUT.blob(digest)],
        LAYOUT.quarantine: [LAYOUT.quarantined(digest)],
        LAYOUT.repositories / repository.upstream: [
            LAYOUT.link(repository, digest, kind),
            LAYOUT.tags(repository) / tag.name,
            LAYOUT.revoked(repository),
            LAYOUT.upstream_revoked(repository.upstream),
            LAYOUT.credential(repository.upstream),
        ],
    }
    for folder, paths in places.items():
        for path in paths:
            assert path.is_relative_to(folder)
            assert ".." not in path.parts
            assert all(not part.startswith(".") and len(part) <= 255 for part in path.parts)


@given(repositories, digests, kinds)
def test_links_and_blobs_are_read_back(repository: Repository, digest: Digest, kind: Kind) -> None:
    """The survey understands what the store wrote."""
    link = LAYOUT.link(repository, digest, kind).relative_to(LAYOUT.repositories).parts
    assert parse_link(link) == (repository, kind, digest)
    assert parse_blob(LAYOUT.blob(digest).relative_to(LAYOUT.blobs).parts) == digest
    assert (
        parse_repository(LAYOUT.repository(repository).relative_to(LAYOUT.repositories).parts) == repository
    )


@given(repositories, repositories, digests, tags)
def test_records_of_two_repositories_never_meet(
    one: Repository, other: Repository, digest: Digest, tag: Tag
) -> None:
    """Nested names do not either: our folders begin with an underscore."""
    records = {LAYOUT.link(one, digest, kind) for kind in Kind} | {
        LAYOUT.tags(one) / tag.name,
        LAYOUT.revoked(one),
    }
    assert len(records) == 4
    if one != other:
        assert LAYOUT.link(other, digest, Kind.BLOB) not in records
        assert LAYOUT.repository(other) not in records


@given(st.lists(st.text(max_size=70), max_size=7))
def test_strange_paths_parse_to_nothing(parts: list[str]) -> None:
    """Whatever lies around is not taken for ours."""
    link, blob = parse_link(parts), parse_blob(parts)
    assert link is None or LAYOUT.link(link[0], link[2], link[1]).parts[-len(parts) :] == tuple(parts)
    assert blob is None or LAYOUT.blob(blob).parts[-3:] == tuple(parts)


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "_x", "A", "a/../b", "a\0"])
def test_an_upstream_that_is_no_name_has_no_folder(name: str) -> None:
    """Also where no Repository was parsed."""
    with pytest.raises(InvalidName):
        LAYOUT.upstream_revoked(name)
    with pytest.raises(InvalidName):
        LAYOUT.credential(name)


def test_a_blob_in_the_wrong_folder_is_none() -> None:
    """Its first two digits name it."""
    digest = Digest.of(b"")
    assert parse_blob(["sha256", "00", digest.hex]) is None
