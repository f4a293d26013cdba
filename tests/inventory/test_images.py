"""Which images there are, what they take, and what of them is missing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regproxy.eviction.holdings import Holdings, Tagged, Thing
from regproxy.inventory.images import EVERYTHING, Row, Wanted, rows
from regproxy.oci.images import ImagePattern

NGINX, REDIS = "docker.io/library/nginx", "docker.io/library/redis"


def thing(repository: str, digest: str, manifest: bool = False, size: int = 1, sent: int = 0) -> Thing:
    return Thing(repository, digest, manifest, 5.0, 2, size, sent)


def wanted(text: str) -> Wanted:
    return Wanted(ImagePattern.parse(text))


HELD = Holdings(
    10.0,
    [
        thing(NGINX, "index", True, 1, 10),
        thing(NGINX, "amd64", True, 1, 20),
        thing(NGINX, "config", size=2, sent=30),
        thing(NGINX, "layer", size=100, sent=40),
        thing(NGINX, "old", True, 1),
        thing(NGINX, "alone", size=7),
        thing(REDIS, "image", True, 1),
        thing(REDIS, "layer", size=100),
    ],
    [
        Tagged(NGINX, "1.29", "index", 9.0, 41, 1000),
        Tagged(NGINX, "latest", "index", 3.0, 1),
        Tagged(NGINX, "gone", "nowhere", 3.0, 1),
        Tagged(NGINX, "broken", None, 3.0, 1),
        Tagged(REDIS, "7", "image", 3.0, 1),
    ],
    {
        "index": ("amd64", "arm64"),
        "amd64": ("config", "layer"),
        "old": ("lost", "layer"),
        "image": ("layer",),
    },
)


def found(asked: Wanted = EVERYTHING, pinned: frozenset[str] = frozenset()) -> dict[str, Row]:
    return {row.key: row for row in rows(HELD, pinned, asked)}


def test_each_tag_and_each_untagged_manifest_is_an_image() -> None:
    """Not the child of an index, nor a blob."""
    assert set(found()) == {
        f"{NGINX}:1.29",
        f"{NGINX}:latest",
        f"{NGINX}:gone",
        f"{NGINX}:broken",
        f"{NGINX}@old",
        f"{REDIS}:7",
    }


def test_an_image_is_all_that_is_cached_of_it() -> None:
    row = found()[f"{NGINX}:1.29"]
    assert (row.digest, row.disk_bytes, row.used_s, row.pulls) == ("index", 104, 9.0, 41)
    assert row.sent_bytes == 1000 + 10 + 20 + 30 + 40
    untagged = found()[f"{NGINX}@old"]
    assert (untagged.disk_bytes, untagged.pulls, untagged.used_s) == (101, 2, 5.0)


def test_a_platform_that_nobody_asked_for_is_not_missed_but_a_layer_is() -> None:
    missing = {key: row.missing for key, row in found().items()}
    assert missing == {
        f"{NGINX}:1.29": 0,
        f"{NGINX}:latest": 0,
        f"{NGINX}:gone": 1,
        f"{NGINX}:broken": 1,
        f"{NGINX}@old": 1,
        f"{REDIS}:7": 0,
    }


@pytest.mark.parametrize(
    ("asked", "keys"),
    [
        (wanted(f"{NGINX}:1.*"), {f"{NGINX}:1.29"}),
        (wanted(f"{NGINX}:l*"), {f"{NGINX}:latest"}),
        (wanted("docker.io/**:7"), {f"{REDIS}:7"}),
        (wanted("ghcr.io/**"), set()),
        (Wanted(digest="amd64"), {f"{NGINX}:1.29", f"{NGINX}:latest"}),
        (Wanted(digest="layer"), {f"{NGINX}:1.29", f"{NGINX}:latest", f"{NGINX}@old", f"{REDIS}:7"}),
        (Wanted(digest="nowhere"), {f"{NGINX}:gone"}),
    ],
)
def test_images_are_meant_by_pattern_or_by_a_part(asked: Wanted, keys: set[str]) -> None:
    assert set(found(asked)) == keys


def test_an_image_is_pinned_by_its_tag_or_by_its_manifest() -> None:
    kept = found(pinned=frozenset({f"{NGINX}:latest", f"{REDIS}@image"}))
    assert {key for key, row in kept.items() if row.pinned} == {f"{NGINX}:latest", f"{REDIS}:7"}


NAMES = st.sampled_from("abcdef")


@given(
    st.dictionaries(NAMES, st.lists(NAMES, max_size=4).map(tuple)),
    st.dictionaries(NAMES, st.booleans()),
    st.lists(st.tuples(st.sampled_from(["1", "2"]), NAMES), unique_by=lambda tag: tag[0]),
)
def test_whatever_names_what_every_tag_is_told_once_and_nothing_counts_twice(
    names: dict[str, tuple[str, ...]], things: dict[str, bool], tags: list[tuple[str, str]]
) -> None:
    """Manifests that name each other in a circle included."""
    held = Holdings(
        1.0,
        [thing(NGINX, digest, manifest) for digest, manifest in things.items()],
        [Tagged(NGINX, tag, digest, 1.0, 1) for tag, digest in tags],
        names,
    )
    found = list(rows(held, frozenset()))
    assert sorted(row.tag for row in found if row.tag is not None) == sorted(tag for tag, _ in tags)
    assert len({row.key for row in found}) == len(found)
    assert all(0 <= row.disk_bytes <= len(things) and row.missing <= 6 for row in found)
