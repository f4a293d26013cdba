"""Link records: a repository's right to serve some bytes, one line of JSON each."""

from __future__ import annotations

import os
import re
from pathlib import Path

from regproxy.interfaces import Link
from regproxy.oci.media_type import BLOB_TYPE
from regproxy.storage.records import format_record, parse_record, read_marked, seconds, whole

MAX_LINK_BYTES = 4096
SOURCES = ("fetch", "head")
UNVERIFIED_MTIME_NS = 0
"""The mtime in a link to bytes that no record of ours vouches for: they are hashed before use."""

_MEDIA_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+-]{1,127}/[A-Za-z0-9!#$&^_.+-]{1,127}", re.ASCII)


def is_media_type(text: object) -> bool:
    """Whether ``text`` is a media type without parameters, safe in a header."""
    return isinstance(text, str) and _MEDIA_TYPE.fullmatch(text) is not None


def clean_media_type(text: str) -> str:
    """``text`` where it is a media type, else the one that says nothing."""
    return text if is_media_type(text) else BLOB_TYPE


def encode_link(link: Link) -> bytes:
    """The record of ``link``."""
    return format_record(
        {
            "size": link.size_bytes,
            "mtime_ns": link.mtime_ns,
            "type": link.media_type,
            "since": link.since_s,
            "source": link.source,
        }
    )


def decode_link(content: bytes | None) -> Link | None:
    """The link that a record holds; None for a broken one, which is a miss."""
    record = parse_record(content)
    if record is None:
        return None
    size, mtime, since = (
        whole(record.get("size")),
        whole(record.get("mtime_ns")),
        seconds(record.get("since")),
    )
    media_type, source = record.get("type"), record.get("source")
    if size is None or mtime is None or since is None or not isinstance(media_type, str):
        return None
    if not is_media_type(media_type) or source not in SOURCES:
        return None
    return Link(size, mtime, media_type, since, source)


def read_link(path: Path) -> Link | None:
    """The link in the file at ``path``, bounded in size; None where there is no good one."""
    return look_at_link(path)[0]


def look_at_link(path: Path) -> tuple[Link | None, os.stat_result | None]:
    """The same, and what fstat says of the file."""
    content, found = read_marked(path, MAX_LINK_BYTES)
    return decode_link(content), found
