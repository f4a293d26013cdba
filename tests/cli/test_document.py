"""The status page, read: what it may be, and every way of not being it."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regproxy.cli.document import Unreadable, decode, read
from tests.cli.pages import anything, documents, full


def test_a_full_page_is_read_whole() -> None:
    document = read(decode(json.dumps(full()).encode()))
    assert document.daemon_version == "1.2.3"
    assert (document.blobs.hits, document.manifests.misses) == (11_000, 45)
    assert [upstream.answers for upstream in document.upstreams] == [True, False, None]
    assert document.upstreams[1].trouble == "connection refused"
    assert (document.fill_count, len(document.fills)) == (103, 2)
    assert document.fills[0].front_bytes == 12 << 20
    assert document.disk.counted is True
    assert document.entries == 3456


def test_what_is_missing_is_nothing_and_what_is_new_is_passed_over() -> None:
    document = read({"program": "regproxy", "version": 1, "news": [1], "fills": {"listed": [{"new": 1}]}})
    assert document.uptime_s is None
    assert document.reasons == ()
    assert document.fills[0].digest == "?"
    assert document.fill_count == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"\xff",
        b"[]",
        b"null",
        b"{}",
        b'{"program": "other", "version": 1}',
        b"[" * 100_000,
        b'{"program": "regproxy", "x": NaN}',
        b'{"program": "regproxy", "x": ' + b"9" * 5000 + b"}",
    ],
)
def test_what_is_no_page_is_told(body: bytes) -> None:
    with pytest.raises(Unreadable, match="its answer is not"):
        decode(body)


@pytest.mark.parametrize("version", [0, 2, None, "1", True, 1.0])
def test_another_version_is_not_guessed_at(version: object) -> None:
    with pytest.raises(Unreadable, match="version"):
        read(full(version=version))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("daemon.uptime_s", -1),
        ("daemon.uptime_s", 1e400),
        ("daemon.uptime_s", "1"),
        ("daemon.reasons", ["a", 1]),
        ("daemon", [1]),
        ("saved_bytes", 1.5),
        ("saved_bytes", True),
        ("saved_bytes", 2**63),
        ("disk.counted", 1),
        ("fills.listed", {"a": 1}),
        ("fills.listed", [1]),
        ("upstreams.listed", [{"trouble": "x"}]),
        ("upstreams.count", -1),
    ],
)
def test_a_wrong_field_is_named(path: str, value: Any) -> None:
    found = full()
    place = found
    *above, last = path.split(".")
    for name in above:
        place = place[name]
    place[last] = value
    with pytest.raises(Unreadable, match=path.replace(".", r"\.")):
        read(found)


@given(documents)
def test_any_page_of_this_version_is_read(found: dict[str, Any]) -> None:
    document = read(decode(json.dumps(found).encode()))
    assert document.fill_count >= len(document.fills)
    assert document.upstream_count >= len(document.upstreams)


@given(st.sampled_from(sorted(full())), anything, st.sampled_from(["", "listed", "version"]))
def test_nothing_else_than_unreadable_comes_of_rubbish(key: str, value: Any, inner: str) -> None:
    found = full()
    if inner and isinstance(found[key], dict):
        found[key][inner] = value
    else:
        found[key] = value
    with suppress(Unreadable):
        read(found)
