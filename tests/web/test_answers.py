"""Plans of answers: R10, R12, R30, R32, R33, R52, R97."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regproxy.headers.ranges import Span
from regproxy.headers.warnings import MAX_WARNING_BYTES, warning_value
from regproxy.oci.digest import Digest
from regproxy.oci.manifest import Descriptor
from regproxy.web.answers import (
    Answer,
    Asked,
    Remarks,
    blob_answer,
    manifest_answer,
)

DIGEST = Digest.of(b"x")
FOUND = Descriptor(DIGEST, 7, "Application/vnd.oci.image.index.v1+json; charset=utf-8")
NONE = Remarks()


def headers(answer: Answer) -> dict[str, str]:
    assert len({name for name, _ in answer.headers}) == len(answer.headers)
    return dict(answer.headers)


def test_manifest() -> None:
    assert headers(manifest_answer(FOUND, Asked(), NONE, by_tag=True)) == {
        "Content-Type": "application/vnd.oci.image.index.v1+json",
        "Content-Length": "7",
        "Docker-Content-Digest": str(DIGEST),
        "ETag": f'"{DIGEST}"',
    }


def test_manifest_by_digest_never_changes() -> None:
    assert "immutable" in headers(manifest_answer(FOUND, Asked(), NONE, by_tag=False))["Cache-Control"]


def test_blob() -> None:
    answer = blob_answer(DIGEST, 10, Asked(), NONE)
    assert (answer.status, answer.span) == (200, Span(0, 10))
    assert headers(answer) == {
        "Content-Type": "application/octet-stream",
        "Content-Length": "10",
        "Docker-Content-Digest": str(DIGEST),
        "ETag": f'"{DIGEST}"',
        "Accept-Ranges": "bytes",
        "Cache-Control": "max-age=31536000, immutable",
    }


@pytest.mark.parametrize(
    "asked", [Asked(none_match="*"), Asked(none_match=f'W/"{DIGEST}"', range="bytes=0-1")]
)
def test_not_modified(asked: Asked) -> None:
    """R12: 304 has the validator and the digest, and no content headers."""
    for answer in (manifest_answer(FOUND, asked, NONE, by_tag=True), blob_answer(DIGEST, 10, asked, NONE)):
        assert (answer.status, answer.span, answer.content) == (304, None, b"")
        assert {"ETag", "Docker-Content-Digest"} <= set(headers(answer))
        assert not {"Content-Length", "Content-Type"} & set(headers(answer))


def test_range() -> None:
    answer = blob_answer(DIGEST, 10, Asked(range="bytes=2-3"), NONE)
    assert (answer.status, answer.span) == (206, Span(2, 4))
    found = headers(answer)
    assert (found["Content-Range"], found["Content-Length"]) == ("bytes 2-3/10", "2")
    assert found["Docker-Content-Digest"] == str(DIGEST)


def test_unsatisfiable_range_has_the_length_of_its_own_body() -> None:
    """2M 8: the blob's length on an error body."""
    answer = blob_answer(DIGEST, 10, Asked(range="bytes=10-"), NONE)
    found = headers(answer)
    assert (answer.status, found["Content-Range"]) == (416, "bytes */10")
    assert found["Content-Length"] == str(len(answer.content))
    assert found["Content-Type"] == "application/json"
    assert not {"ETag", "Docker-Content-Digest", "Cache-Control"} & set(found)


@pytest.mark.parametrize(
    ("if_range", "status"), [(None, 206), (f'"{DIGEST}"', 206), ('"x"', 200), ("*", 200)]
)
def test_if_range(if_range: str | None, status: int) -> None:
    assert blob_answer(DIGEST, 10, Asked(range="bytes=0-0", if_range=if_range), NONE).status == status


def test_unknown_size() -> None:
    """R42: no length, no 206."""
    answer = blob_answer(DIGEST, None, Asked(range="bytes=0-0"), NONE)
    assert (answer.status, answer.span) == (200, None)
    assert not {"Content-Length", "Content-Range"} & set(headers(answer))


def test_empty_blob() -> None:
    """R40."""
    assert blob_answer(DIGEST, 0, Asked(), NONE).span == Span(0, 0)
    assert blob_answer(DIGEST, 0, Asked(range="bytes=0-"), NONE).status == 416


def test_remarks() -> None:
    remarks = Remarks(private=True, namespace="GHCR.io", warning="stale", age_s=61.9)
    found = headers(manifest_answer(FOUND, Asked(), remarks, by_tag=False))
    assert found["OCI-Namespace"] == "GHCR.io"
    assert (found["Warning"], found["Age"]) == ('299 - "stale"', "61")
    assert found["Cache-Control"] == "private, max-age=31536000, immutable"


@given(st.text(max_size=9000))
def test_warning_is_one_safe_header(sentence: str) -> None:
    value = warning_value(sentence)
    assert value.startswith('299 - "')
    assert value.endswith('"')
    assert len(value) <= MAX_WARNING_BYTES
    assert all(" " <= char <= "~" for char in value)
    inner = value[7:-1].replace("\\\\", "").replace('\\"', "")
    assert '"' not in inner
    assert "\\" not in inner


@given(
    st.none() | st.integers(0, 99),
    st.none() | st.sampled_from(["bytes=0-", "bytes=5-9", "bytes=-3", "bytes=99-", "x", "bytes=0-0,2-2"]),
    st.none() | st.sampled_from([f'"{DIGEST}"', '"other"']),
    st.none() | st.sampled_from([f'"{DIGEST}"', "*", '"other"']),
)
def test_lengths_are_right(
    size: int | None, wanted: str | None, if_range: str | None, match: str | None
) -> None:
    answer = blob_answer(DIGEST, size, Asked(match, wanted, if_range), NONE)
    found = headers(answer)
    if answer.status in (200, 206) and size is not None:
        assert answer.span is not None
        assert found["Content-Length"] == str(answer.span.length)
        assert 0 <= answer.span.start <= answer.span.stop <= size
    head = blob_answer(DIGEST, size, Asked(match, None, None, head=True), NONE)
    assert head == blob_answer(DIGEST, size, Asked(match), NONE)
    ignored = blob_answer(DIGEST, size, Asked(match, wanted, if_range, head=True), NONE)
    assert ignored == head, "a range on HEAD is ignored (RFC 9110 14.2)"
