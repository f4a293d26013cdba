"""Lines of the state: read as fast as they were written, and never otherwise than as the JSON they are."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from regproxy.expiry.entries import Entry
from regproxy.expiry.lines import Line, journal_line, member, parse_json_line, parse_line
from tests.expiry.world import CORP, NGINX, digest


def told(line: Line | None) -> object:
    if line is None or line.entry is None:
        return line
    entry = line.entry
    return line.key, entry.type, entry.used_s, entry.size_bytes, entry.pulls


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
    entry = Entry(kind, 0.0, draw(counts) if kind != "tag" else 0, draw(counts))
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
