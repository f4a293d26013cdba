"""Lines of the state: read as fast as they were written, and never otherwise than as the JSON they are."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from regproxy.expiry.entries import Entry, parse_key
from regproxy.expiry.lines import (
    Line,
    journal_line,
    member,
    parse_header,
    parse_json_line,
    parse_line,
    state_header,
)
from tests.expiry.world import CORP, NGINX, ONE, WALL_S, digest


def told(line: Line | None) -> object:
    if line is None or line.entry is None:
        return line
    entry = line.entry
    return line.key, entry.type, entry.used_s, entry.size_bytes, entry.pulls, entry.sent_bytes


keys = st.sampled_from(
    [
        ("blob", f"{NGINX}@{digest(1)}"),
        ("manifest", f"{CORP}@sha512:{'ab' * 64}"),
        ("tag", f"{CORP}:v1.2-rc_3"),
        ("tag", f"{NGINX}:1.29"),
    ]
)
counts = st.integers(0, 10**12)


@st.composite
def members(draw: st.DrawFn) -> bytes:
    kind, key = draw(keys)
    entry = Entry(kind, 0.0, draw(counts) if kind != "tag" else 0, draw(counts), sent_bytes=draw(counts))
    used_s = draw(st.integers(0, 10**11 - 1))
    in_journal = draw(st.booleans())
    text = journal_line(key, entry, used_s)[:-1] if in_journal else member(key, entry, used_s)
    return text.encode() + draw(st.sampled_from([b"", b","]))


@given(members())
def test_what_we_write_is_read_back(line: bytes) -> None:
    assert told(parse_line(line)) == told(parse_json_line(line.removesuffix(b","))) is not None


@given(members(), st.integers(0, 300), st.sampled_from(list(b'0:"@/{},a \0\xff-.')), st.booleans())
@example(f'"{NGINX}:1":{{"type":"tag","used":007,"pulls":1}}'.encode(), 300, 0, False)
@example(b'"docker.io/a..b:1":{"type":"tag","used":7,"pulls":1}', 300, 0, False)
@example(b'"docker.io/a:b:1":{"type":"tag","used":7,"pulls":1}', 300, 0, False)
@example(b'"/a:b":{"type":"tag","used":7,"pulls":1}', 300, 0, False)
@example(f'{{"{NGINX}:1":{{"type":"tag","used":7,"pulls":1}}'.encode(), 300, 0, False)
def test_what_others_write_is_read_as_json(line: bytes, place: int, byte: int, insert: bool) -> None:
    """A changed, an inserted byte: the fast way never takes what JSON would not, nor takes it otherwise."""
    if place < len(line):
        line = line[:place] + bytes([byte]) + line[place + (not insert) :]
    assert told(parse_line(line)) == told(parse_json_line(line.removesuffix(b",")))


@given(
    st.integers(0, 2**40), st.integers(0, 2**62), st.integers(0, 2**40), st.sampled_from(["blob", "manifest"])
)
def test_lines_are_read_as_they_were_written(used: int, size: int, pulls: int, kind: str) -> None:
    """In the state and in a journal."""
    used %= 10**11
    entry = Entry(kind, float(used), size, pulls, sent_bytes=size // 3)
    key = f"{CORP}@{ONE}"
    for text in (
        member(key, entry, used) + ",",
        member(key, entry, used),
        journal_line(key, entry, used)[:-1],
    ):
        line = parse_line(text.encode())
        assert line is not None
        assert line.entry is not None
        assert (line.key, line.entry.type, line.entry.used_s) == (key, kind, used)
        assert (line.entry.size_bytes, line.entry.pulls) == (size, pulls)
        assert line.entry.sent_bytes == size // 3


def test_lines_without_bytes_sent_are_as_they_always_were() -> None:
    """So that a version that knows nothing of them reads them the fast way."""
    assert member("k", Entry("tag", 0.0, 0, 3), 7) == '"k":{"type":"tag","used":7,"pulls":3}'
    assert member("k", Entry("blob", 0.0, 9, 3), 7) == '"k":{"type":"blob","used":7,"size":9,"pulls":3}'


@given(st.binary(max_size=200))
def test_any_bytes_are_a_line_or_rubbish(content: bytes) -> None:
    """Never an error."""
    parse_line(content)
    parse_header(content)


@pytest.mark.parametrize(
    "line",
    [
        b'"a/b":{"type":"blob","used":1}',
        b'"docker.io/a:b":{"type":"blob","used":1}',
        b'"docker.io/a:b":{"type":"tag","used":-1}',
        b'"docker.io/a:b":{"type":"tag","used":1.5}',
        b'"docker.io/a:b":{"type":"tag","used":true}',
        b'"docker.io/a:b":{"type":"tag","used":99999999999999}',
        b'"docker.io/a:b":{"type":"tag","used":1,"size":null}',
        b'"docker.io/../a:b":{"type":"tag","used":1}',
        b'"docker.io/a:b":{"type":"tag","used":1},"docker.io/a:c":{"type":"tag","used":1}',
        b'"docker.io/a:b":[]',
        b'"docker.io/a:b":' + b"[" * 3000,
    ],
)
def test_rubbish_lines(line: bytes) -> None:
    """What does not make sense is not taken."""
    assert parse_line(line) is None


@pytest.mark.parametrize(
    "key", ["docker.io/library/nginx:1.29", f"registry.corp:5000/team/app@{ONE}", "h:1/a:b"]
)
def test_keys_are_read_back(key: str) -> None:
    named = parse_key(key)
    assert named is not None
    mark = "@" if "@" in key else ":"
    assert f"{named[0]}{mark}{named[1]}" == key


def test_headers() -> None:
    header = parse_header(state_header(7, WALL_S))
    assert header is not None
    assert (header.version, header.journal, header.saved_s) == (1, 7, WALL_S)
