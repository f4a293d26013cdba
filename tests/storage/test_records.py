"""Links, tags, maps: what was written comes back; anything else is None, whatever the bytes."""

from __future__ import annotations

import json
import os
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regproxy.extents import Extents
from regproxy.interfaces import Kind, Link, Meaning, TagRecord, Validator
from regproxy.oci.digest import Digest
from regproxy.oci.manifest import Descriptor
from regproxy.oci.media_type import BLOB_TYPE, OCI_INDEX
from regproxy.oci.tag import Tag
from regproxy.storage.links import clean_media_type, decode_link, encode_link, read_link
from regproxy.storage.maps import Commitment, SpoolMap, decode_map, encode_map
from regproxy.storage.records import read_record
from regproxy.storage.store import DiskStore
from regproxy.storage.tags import MAX_HISTORY, MAX_TAG_BYTES, carry_on, decode_tag, encode_tag
from tests.storage.conftest import DIGEST, NGINX, Folder, fill
from tests.storage.test_layout import digests, repositories

sizes = st.integers(0, 2**63 - 1)
times = st.floats(0, 1e10)
types = st.sampled_from([BLOB_TYPE, OCI_INDEX, "a/b"])
links = st.builds(Link, sizes, sizes, types, times, st.sampled_from(["fetch", "head"]))
etags = st.none() | st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=50)
tag_records = st.builds(
    TagRecord,
    st.builds(Descriptor, digests, sizes, types),
    etags,
    times,
    st.lists(st.builds(Meaning, digests, times, times), max_size=MAX_HISTORY).map(tuple),
)
commitments = st.none() | st.builds(
    Commitment, sizes, sizes, st.dictionaries(repositories, times, max_size=3)
)
validators = st.none() | st.builds(
    Validator, repositories, st.text("!#abc~", max_size=20).map(lambda tag: f'"{tag}"')
)
islands = st.lists(st.tuples(st.integers(0, 50), st.integers(1, 50)), max_size=4).map(
    lambda gaps: tuple(Extents((100 * n + a, 100 * n + a + b) for n, (a, b) in enumerate(gaps)))
)
maps = st.builds(
    SpoolMap,
    digests,
    st.none() | sizes,
    st.lists(repositories, max_size=3).map(tuple),
    commitments,
    st.just(()),
    times,
    validators,
) | st.builds(SpoolMap, digests, st.just(1000), there=islands)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(links)
def test_links_come_back(link: Link) -> None:
    """In one line."""
    assert decode_link(encode_link(link)) == link
    assert encode_link(link).count(b"\n") == 1


@given(tag_records)
def test_tag_records_come_back(record: TagRecord) -> None:
    """History and all, within the size that is read."""
    assert decode_tag(encode_tag(record)) == record
    assert len(encode_tag(record)) < MAX_TAG_BYTES


@given(maps)
def test_maps_come_back(spool: SpoolMap) -> None:
    """With sources and what was committed."""
    assert decode_map(encode_map(spool)) == spool


@given(st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode()))
def test_arbitrary_bytes_are_no_record(content: bytes) -> None:
    """And raise nothing."""
    assert decode_link(content) is None
    assert decode_tag(content) is None
    assert decode_map(content) is None


KEYS = {
    decode_link: encode_link(Link(1, 2, "a/b", 3.0, "fetch")),
    decode_tag: encode_tag(TagRecord(Descriptor(DIGEST, 1, "a/b"), "x", 2.0, (Meaning(DIGEST, 1.0, 2.0),))),
    decode_map: encode_map(
        SpoolMap(
            DIGEST,
            9,
            (NGINX,),
            Commitment(1, 2, {NGINX: 3.0}),
            ((0, 1), (3, 9)),
            4.0,
            Validator(NGINX, '"a"'),
        )
    ),
}


@given(st.sampled_from(list(KEYS)), st.data())
def test_one_odd_field_raises_nothing_and_is_never_taken_over(
    decode: Callable[[bytes], object], data: st.DataObject
) -> None:
    """The record is None, or the value was a good one."""
    record = json.loads(KEYS[decode])
    key = data.draw(st.sampled_from(sorted(record)))
    record[key] = data.draw(json_values)
    decode(json.dumps(record).encode())


@pytest.mark.parametrize(
    "change",
    [
        {"size": -1},
        {"size": True},
        {"size": "1"},
        {"size": 1.0},
        {"size": 2**63},
        {"mtime_ns": None},
        {"since": float("nan")},
        {"since": float("inf")},
        {"since": 10**400},
        {"since": -1},
        {"since": True},
        {"type": "a/b\r\nX: y"},
        {"type": ""},
        {"type": "a/b; c=d"},
        {"source": "guess"},
        {"source": []},
    ],
)
def test_a_link_with_an_odd_field_is_none(change: dict[str, object]) -> None:
    """Nothing half good is believed."""
    assert decode_link(json.dumps({**json.loads(KEYS[decode_link]), **change}).encode()) is None


def test_media_types_are_safe_in_a_header() -> None:
    """What an upstream sent and is none becomes the one that says nothing."""
    assert clean_media_type("application/x\r\nSet-Cookie: a") == BLOB_TYPE
    assert clean_media_type(OCI_INDEX) == OCI_INDEX


def test_only_small_regular_files_are_read(tmp_path: Path) -> None:
    """No symbolic link, no pipe, no folder, nothing large."""
    good = tmp_path / "good"
    good.write_bytes(KEYS[decode_link])
    assert read_link(good) is not None
    (tmp_path / "link").symlink_to(good)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(b" " * 5000 + KEYS[decode_link])
    for name in ("link", "pipe", "large", ".", "none", "good/below"):
        assert read_link(tmp_path / name) is None, name
    assert read_record(good, 10) is None


@pytest.mark.parametrize("content", [b"", b"{}", b"\0" * 100, b"[" * 4000, b"{" * 10000])
async def test_a_broken_link_on_disk_is_a_miss_and_written_again(
    folder: Folder, store: DiskStore, content: bytes
) -> None:
    """The bytes are still there."""
    await fill(store)
    path = folder.root.joinpath("repositories/docker.io/library/nginx/_layers/sha256", DIGEST.hex)
    path.write_bytes(content)
    assert store.link(NGINX, DIGEST) is None
    await store.grant(NGINX, DIGEST, Kind.BLOB, "a/b", "head", store.stamp(NGINX))
    assert await store.blobs.stat(NGINX, DIGEST) > 0


def at(number: int) -> Digest:
    return Digest.of(b"%d" % number)


LATEST = Tag.parse("latest")


def meant(number: int, first_s: float, last_s: float) -> Meaning:
    return Meaning(at(number), first_s, last_s)


def record_of(number: int, checked_s: float) -> TagRecord:
    return TagRecord(Descriptor(at(number), 1, "a/b"), None, checked_s)


def test_history_keeps_the_last_twenty_with_their_times() -> None:
    """The present one last; one that comes back was first seen when it was."""
    record = None
    for number in range(30):
        record = carry_on(record, record_of(number, float(number)))
    assert record is not None
    assert record.history == tuple(meant(number, number, number) for number in range(10, 30))
    again = carry_on(carry_on(record, record_of(15, 90.0)), record_of(15, 99.0))
    assert again.history == (*(one for one in record.history if one.digest != at(15)), meant(15, 15, 99))


def test_ten_thousand_moves_leave_twenty() -> None:
    """However often a tag moves, its record stays as small."""
    record = None
    for number in range(10_000):
        record = carry_on(record, record_of(number, float(number)))
        if number % 1000 == 999:
            record = decode_tag(encode_tag(record))
    assert record is not None
    assert record.history == tuple(meant(number, number, number) for number in range(9980, 10_000))
    assert len(encode_tag(record)) < 4096


def test_a_record_of_before_last_seen_was_known_is_read() -> None:
    """As if each digest was last seen when it was first."""
    old = json.loads(KEYS[decode_tag]) | {"history": [[str(at(1)), 1.0], [str(at(2)), 5.0]]}
    found = decode_tag(json.dumps(old).encode())
    assert found is not None
    assert found.history == (meant(1, 1, 1), meant(2, 5, 5))


def test_of_a_long_history_the_end_is_read() -> None:
    """As far as a record is read at all."""
    long = [[str(at(number)), 1.0, 2.0] for number in range(100)]
    found = decode_tag(json.dumps(json.loads(KEYS[decode_tag]) | {"history": long}).encode())
    assert found is not None
    assert found.history == tuple(meant(number, 1, 2) for number in range(80, 100))


async def test_a_history_of_ten_thousand_entries_costs_nothing(folder: Folder, store: DiskStore) -> None:
    """Somebody wrote it: it is not even read, and the tag is unknown until it is asked for again."""
    await store.set_tag(NGINX, LATEST, record_of(1, 1.0))
    path = folder.root / "repositories/docker.io/library/nginx/_tags/latest"
    long = [[str(at(number)), 1.0, 2.0] for number in range(10_000)]
    path.write_text(json.dumps(json.loads(KEYS[decode_tag]) | {"history": long}))
    assert path.stat().st_size > 500_000
    tracemalloc.start()
    try:
        began = time.process_time()
        assert [store.tag(NGINX, LATEST) for _ in range(100)] == [None] * 100
        took, (_, most) = time.process_time() - began, tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert took < 1
    assert most < 4 * MAX_TAG_BYTES
    await store.set_tag(NGINX, LATEST, record_of(2, 3.0))
    known = store.tag(NGINX, LATEST)
    assert known is not None
    assert known.history == (meant(2, 3, 3),)


async def test_tags_on_disk(folder: Folder, store: DiskStore) -> None:
    """Written, carried on, listed, dropped; also when somebody removed their folder."""
    assert store.tag(NGINX, LATEST) is None
    assert await store.tags(NGINX) == ()
    for number in (1, 2):
        await store.set_tag(NGINX, LATEST, TagRecord(Descriptor(at(number), 1, "a/b"), '"e"', float(number)))
    await store.set_tag(NGINX, Tag.parse("_1.0"), TagRecord(Descriptor(at(3), 1, "a/b"), None, 3.0))
    known = store.tag(NGINX, LATEST)
    assert known == TagRecord(Descriptor(at(2), 1, "a/b"), '"e"', 2.0, (meant(1, 1, 1), meant(2, 2, 2)))
    (folder.root / "repositories/docker.io/library/nginx/_tags/.x.tmp").touch()
    assert await store.tags(NGINX) == ("_1.0", "latest")
    await store.drop_tag(NGINX, LATEST)
    await store.drop_tag(NGINX, LATEST)
    assert await store.tags(NGINX) == ("_1.0",)


async def test_an_etag_that_is_no_header_is_left_out(store: DiskStore) -> None:
    """The record itself is good."""
    await store.set_tag(NGINX, LATEST, TagRecord(Descriptor(at(1), 1, "a/b"), "a\r\nb", 1.0))
    known = store.tag(NGINX, LATEST)
    assert known is not None
    assert known.etag is None
