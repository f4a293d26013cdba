"""Tars as programs write them are read; hostile ones end in a sentence, soon, with little memory."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from regproxy.moving.tar import MAX_EXTRA_BYTES, BadTar, Tar
from tests.moving.sources import write_file, write_tar

FORMATS = [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]
LONG = "blobs/sha512/" + "a" * 128


def read(tar: Tar, *parts: str) -> bytes | None:
    opened = tar.open(*parts)
    if opened is None:
        return None
    try:
        return opened.read(0, 1 << 20)
    finally:
        opened.close()


def refusal(path: Path) -> str:
    with pytest.raises(BadTar) as caught:
        Tar.at(path)
    return str(caught.value)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(FORMATS),
    st.dictionaries(st.sampled_from(["oci-layout", "index.json", LONG, "a/b"]), st.binary(max_size=2000)),
)
def test_what_was_written_is_read(tmp_path: Path, format: int, files: dict[str, bytes]) -> None:
    tar = Tar.at(write_tar(tmp_path / "t.tar", files, format))
    assert {name: read(tar, *name.split("/")) for name in files} == files
    assert read(tar, "other") is None
    tar.close()


def test_a_name_in_two_fields(tmp_path: Path) -> None:
    name = "a" * 60 + "/" + "b" * 60
    tar = Tar.at(write_tar(tmp_path / "t.tar", {name: b"x"}, tarfile.USTAR_FORMAT))
    assert read(tar, *name.split("/")) == b"x"
    tar.close()


def test_as_gnu_tar_writes_it(tmp_path: Path) -> None:
    write_file(tmp_path / "in" / LONG, b"long")
    write_file(tmp_path / "in" / "oci-layout", b"mark")
    subprocess.run(["tar", "-C", tmp_path / "in", "-cf", tmp_path / "t.tar", "."], check=True, timeout=30)
    tar = Tar.at(tmp_path / "t.tar")
    assert (read(tar, "oci-layout"), read(tar, *LONG.split("/"))) == (b"mark", b"long")
    tar.close()


def test_of_two_with_one_name_the_last_one_counts(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "t.tar", "w") as made:
        for content in (b"first", b"last"):
            member = tarfile.TarInfo("./index.json")
            member.size = len(content)
            made.addfile(member, io.BytesIO(content))
    tar = Tar.at(tmp_path / "t.tar")
    assert read(tar, "index.json") == b"last"
    tar.close()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_what_is_no_file_is_not_there(tmp_path: Path, kind: bytes) -> None:
    with tarfile.open(tmp_path / "t.tar", "w") as made:
        member = tarfile.TarInfo("index.json")
        member.type, member.linkname = kind, "/etc/passwd"
        made.addfile(member)
    tar = Tar.at(tmp_path / "t.tar")
    assert tar.open("index.json") is None
    tar.close()


def test_a_header_that_wants_all_memory(tmp_path: Path) -> None:
    """A name of a terabyte, in a file of holes that has it."""
    member = tarfile.TarInfo("././@PaxHeader")
    member.type, member.size = tarfile.XHDTYPE, 1 << 40
    path = write_file(tmp_path / "t.tar", member.tobuf(tarfile.GNU_FORMAT))
    with path.open("r+b") as file:
        file.truncate(1 << 41)
    assert "larger than any name" in refusal(path)
    assert MAX_EXTRA_BYTES < 1 << 20


def test_a_tar_that_was_cut(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "t.tar", {"a": bytes(5000)})
    path.write_bytes(path.read_bytes()[:3000])
    assert "not copied whole" in refusal(path)


@pytest.mark.parametrize(
    ("start", "name"), [(b"\x1f\x8b", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"BZh", "bzip2")]
)
def test_a_compressed_one(tmp_path: Path, start: bytes, name: str) -> None:
    assert f"compressed ({name})" in refusal(write_file(tmp_path / "t.tar", start + bytes(600)))


@pytest.mark.parametrize("content", [b"", b"x", b"x" * 5000, b"\xff" * 1024])
def test_no_tar_at_all(tmp_path: Path, content: bytes) -> None:
    assert "no tar" in refusal(write_file(tmp_path / "t.tar", content))


@pytest.mark.parametrize(
    "record", [b"99 path=x\n", b"x path=y\n", b"0 \n", b"12 size=-100\n", b"-5 path=y\n"]
)
def test_pax_records_that_lie(tmp_path: Path, record: bytes) -> None:
    member = tarfile.TarInfo("h")
    member.type, member.size = tarfile.XHDTYPE, len(record)
    path = write_file(tmp_path / "t.tar", member.tobuf() + record.ljust(512, b"\0") + bytes(1024))
    assert "pax header" in refusal(path)


def test_a_sparse_member(tmp_path: Path) -> None:
    """Its bytes are not what lies there: a bomb, or a mistake."""
    with tarfile.open(tmp_path / "t.tar", "w", format=tarfile.PAX_FORMAT) as made:
        member = tarfile.TarInfo("index.json")
        member.pax_headers = {"GNU.sparse.size": "99999999999"}
        made.addfile(member)
    assert "sparse" in refusal(tmp_path / "t.tar")
