"""Tag records: what a tag meant when it was last asked for, and the last digests before.

A record is read as far as MAX_TAG_BYTES: a larger one, whatever it holds, is no record.
"""

from __future__ import annotations

import os
from pathlib import Path

import attrs

from regproxy.errors import InvalidDigest, InvalidTag
from regproxy.interfaces import Meaning, TagRecord
from regproxy.oci.digest import Digest
from regproxy.oci.manifest import Descriptor
from regproxy.oci.tag import Tag
from regproxy.storage.links import is_media_type
from regproxy.storage.records import format_record, parse_record, read_marked, seconds, whole

MAX_TAG_BYTES = 16 * 1024
MAX_HISTORY = 20
MAX_ETAG_LENGTH = 1024


def encode_tag(record: TagRecord) -> bytes:
    """The record as one line of JSON; an ETag that is no safe header value is left out."""
    descriptor = record.descriptor
    return format_record(
        {
            "digest": str(descriptor.digest),
            "size": descriptor.size_bytes,
            "type": descriptor.media_type,
            "etag": record.etag if _is_etag(record.etag) else None,
            "checked": record.checked_s,
            "history": [[str(digest), *times] for digest, *times in record.history[-MAX_HISTORY:]],
        }
    )


def decode_tag(content: bytes | None) -> TagRecord | None:
    """What a record says; None for a broken one: the tag is unknown then."""
    record = parse_record(content)
    if record is None:
        return None
    digest, size, checked = (
        _digest(record.get("digest")),
        whole(record.get("size")),
        seconds(record.get("checked")),
    )
    media_type, etag, history = record.get("type"), record.get("etag"), _history(record.get("history"))
    if digest is None or size is None or checked is None or history is None:
        return None
    if not isinstance(media_type, str) or not is_media_type(media_type):
        return None
    if etag is not None and not _is_etag(etag):
        return None
    return TagRecord(Descriptor(digest, size, media_type), etag, checked, history)


def look_at_tag(path: Path) -> tuple[TagRecord | None, os.stat_result | None]:
    """The record in the file at ``path``, and what fstat says of the file."""
    content, found = read_marked(path, MAX_TAG_BYTES)
    return decode_tag(content), found


def carry_on(previous: TagRecord | None, record: TagRecord) -> TagRecord:
    """``record`` with the history of ``previous``, its own digest at the end of it."""
    history = previous.history if previous is not None else ()
    digest = record.descriptor.digest
    first_s = next((held.first_s for held in history if held.digest == digest), record.checked_s)
    others = tuple(held for held in history if held.digest != digest)
    now = Meaning(digest, first_s, record.checked_s)
    return attrs.evolve(record, history=(*others, now)[-MAX_HISTORY:])


def tag_names(folder: Path) -> tuple[str, ...]:
    """The names of the records in a folder of tags, sorted. OSError."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return ()
    return tuple(sorted(name for name in names if _is_tag(name)))


def _is_tag(name: str) -> bool:
    try:
        Tag.parse(name)
    except InvalidTag:
        return False
    return True


def _is_etag(text: object) -> bool:
    return (
        isinstance(text, str) and 0 < len(text) <= MAX_ETAG_LENGTH and text.isascii() and text.isprintable()
    )


def _digest(text: object) -> Digest | None:
    try:
        return Digest.parse(text) if isinstance(text, str) else None
    except InvalidDigest:
        return None


def _history(listed: object) -> tuple[Meaning, ...] | None:
    """The last MAX_HISTORY entries; older records do not know when a digest was last seen."""
    if not isinstance(listed, list):
        return None
    history = []
    for entry in listed[-MAX_HISTORY:]:
        if not isinstance(entry, list) or len(entry) not in (2, 3):
            return None
        digest, first_s, last_s = _digest(entry[0]), seconds(entry[1]), seconds(entry[-1])
        if digest is None or first_s is None or last_s is None:
            return None
        history.append(Meaning(digest, first_s, last_s))
    return tuple(history)
