"""Tag records: what a tag meant when it was last asked for, and the last digests before."""

from __future__ import annotations

import os
from pathlib import Path

import attrs

from regproxy.errors import InvalidDigest, InvalidTag
from regproxy.interfaces import TagRecord
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
            "history": [[str(digest), first_s] for digest, first_s in record.history[-MAX_HISTORY:]],
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
    """``record`` with the history of ``previous``, and its own digest in it when it is a new one."""
    history = previous.history if previous is not None else ()
    digest = record.descriptor.digest
    if all(seen != digest for seen, _ in history):
        history = (*history, (digest, record.checked_s))[-MAX_HISTORY:]
    return attrs.evolve(record, history=history)


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


def _history(listed: object) -> tuple[tuple[Digest, float], ...] | None:
    if not isinstance(listed, list) or len(listed) > MAX_HISTORY:
        return None
    history = []
    for entry in listed:
        if not isinstance(entry, list) or len(entry) != 2:
            return None
        digest, first_s = _digest(entry[0]), seconds(entry[1])
        if digest is None or first_s is None:
            return None
        history.append((digest, first_s))
    return tuple(history)
