"""The file that says how far the scrub is: what is written is read, anything else is harmless."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regproxy.oci.digest import Digest
from regproxy.upkeep.record import (
    MAX_BAD,
    MAX_FILE_BYTES,
    REASONS,
    Bad,
    Ended,
    Pass,
    Record,
    RecordFile,
    decode,
    encode,
)

TIMES = st.floats(0, 9e10)
COUNTS = st.integers(0, 2**63 - 1)
PASSES = st.builds(Pass, TIMES, st.text("0123456789abcdef", max_size=128), COUNTS, COUNTS, COUNTS)
ENDED = st.builds(Ended, TIMES, TIMES, COUNTS, COUNTS, COUNTS, st.booleans())
BAD = st.builds(Bad, st.binary(max_size=4).map(Digest.of), TIMES, st.sampled_from(REASONS))
RECORDS = st.builds(
    Record,
    st.none() | TIMES,
    st.none() | PASSES,
    st.none() | PASSES,
    st.none() | ENDED,
    st.lists(BAD, max_size=MAX_BAD).map(tuple),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ("surveyed", "usual", "full", "last", "bad")


@given(RECORDS)
def test_what_is_written_is_read(record: Record) -> None:
    assert decode(encode(record)) == record
    assert len(encode(record)) < MAX_FILE_BYTES


@given(st.binary(max_size=200))
def test_any_bytes_are_no_harm(content: bytes) -> None:
    decode(content)


@given(RECORDS, st.dictionaries(st.sampled_from(FIELDS), JSON))
def test_a_field_that_is_wrong_costs_that_field_only(record: Record, wrong: dict[str, Any]) -> None:
    document = json.loads(encode(record)) | wrong
    found = decode(json.dumps(document).encode())
    assert found is not None
    assert encode(found)
    names = {"surveyed": "surveyed_s"}
    for field in set(FIELDS) - set(wrong):
        name = names.get(field, field)
        assert getattr(found, name) == getattr(record, name)


@given(RECORDS, st.data())
def test_bits_that_flip(record: Record, data: st.DataObject) -> None:
    content = bytearray(encode(record))
    for at in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4)):
        content[at] ^= 1 << data.draw(st.integers(0, 7))
    found = decode(bytes(content))
    assert found is None or isinstance(encode(found), bytes)


@pytest.mark.parametrize(
    "cursor", ["../../etc/passwd", "AB", "a" * 129, 7, None, "ab\n", "\u0660"], ids=lambda c: repr(c)[:12]
)
def test_a_cursor_that_is_none(cursor: object) -> None:
    passed = {"began_s": 1.0, "cursor": cursor, "blobs": 0, "bytes": 0, "bad": 0}
    found = decode(json.dumps({"version": 1, "usual": passed}).encode())
    assert found == Record()


def test_a_newer_version_is_not_guessed_at() -> None:
    assert decode(b'{"version":2}') is None


def test_on_disk(tmp_path: Path) -> None:
    file = RecordFile(tmp_path)
    assert file.read() == Record()
    record = Record(5.0, Pass(1.0, "ab", 1, 2, 0))
    file.write(record)
    assert file.read() == record
    assert os.listdir(tmp_path) == ["upkeep.json"]
    assert file.path.stat().st_mode & 0o777 == 0o640


def test_what_else_may_lie_there(tmp_path: Path) -> None:
    file = RecordFile(tmp_path)
    file.path.write_bytes(b" " * (MAX_FILE_BYTES + 1))
    assert file.read() is None
    file.path.unlink()
    file.path.symlink_to("/etc/hostname")
    with pytest.raises(OSError, match="symbolic"):
        file.read()
    file.path.unlink()
    os.mkfifo(file.path)
    with pytest.raises(OSError, match="no regular file"):
        file.read()
    file.path.unlink()
    file.path.mkdir()
    with pytest.raises(OSError, match="no regular file"):
        file.read()


def test_only_the_last_bad_ones_are_remembered() -> None:
    record = Record()
    for number in range(MAX_BAD + 5):
        record = record.with_bad(Bad(Digest.of(b"%d" % number), float(number), "wrong"))
    assert [bad.found_s for bad in record.bad] == [float(number) for number in range(5, MAX_BAD + 5)]


def test_what_a_kill_left_of_a_change_goes_at_the_next_start(tmp_path: Path) -> None:
    (tmp_path / ".upkeep.json.tmp").write_bytes(b"half of")
    assert RecordFile(tmp_path).read() == Record()
    assert list(tmp_path.iterdir()) != [], "it may be another process's"
    assert RecordFile(tmp_path).read(ours=True) == Record()
    assert list(tmp_path.iterdir()) == []
