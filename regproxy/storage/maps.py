"""A spool's map: what it is to become and for whom. Written before its bytes, removed after its links."""

from __future__ import annotations

import attrs

from regproxy.errors import InvalidDigest, InvalidName
from regproxy.oci.digest import Digest
from regproxy.oci.repository import Repository
from regproxy.storage.records import format_record, parse_record, seconds, whole

MAX_MAP_BYTES = 1024 * 1024


@attrs.frozen(slots=True)
class Commitment:
    """The spool's bytes were found right: what a start after a kill still has to write."""

    size_bytes: int
    mtime_ns: int
    since_s: float
    repositories: tuple[Repository, ...]
    """Those whose upstream has shown that they hold it (invariant 5)."""


@attrs.frozen(slots=True)
class SpoolMap:
    """``sources`` are repositories that wait for it; they get links only by ``commitment``."""

    digest: Digest
    size_bytes: int | None = None
    sources: tuple[Repository, ...] = ()
    commitment: Commitment | None = None


def encode_map(spool: SpoolMap) -> bytes:
    """The map as one line of JSON."""
    done = spool.commitment
    return format_record(
        {
            "digest": str(spool.digest),
            "size": spool.size_bytes,
            "sources": _names(spool.sources),
            "committed": done
            and {
                "size": done.size_bytes,
                "mtime_ns": done.mtime_ns,
                "since": done.since_s,
                "repositories": _names(done.repositories),
            },
        }
    )


def decode_map(content: bytes | None) -> SpoolMap | None:
    """What a map says; None for a broken one: its spool is worth nothing then."""
    record = parse_record(content)
    if record is None:
        return None
    try:
        digest = Digest.parse(str(record.get("digest")))
        sources = _repositories(record.get("sources"))
        commitment = _commitment(record.get("committed"))
    except (InvalidDigest, InvalidName, ValueError):
        return None
    return SpoolMap(digest, whole(record.get("size")), sources, commitment)


def _names(repositories: tuple[Repository, ...]) -> list[list[str]]:
    return [[repository.upstream, repository.path] for repository in repositories]


def _repositories(listed: object) -> tuple[Repository, ...]:
    if not isinstance(listed, list):
        raise ValueError("not a list")
    found = []
    for entry in listed:
        if not isinstance(entry, list) or [type(part) for part in entry] != [str, str]:
            raise ValueError("not two names")
        found.append(Repository.parse(entry[0], entry[1]))
    return tuple(found)


def _commitment(record: object) -> Commitment | None:
    if record is None:
        return None
    if not isinstance(record, dict):
        raise ValueError("not an object")
    size, mtime, since = (
        whole(record.get("size")),
        whole(record.get("mtime_ns")),
        seconds(record.get("since")),
    )
    if size is None or mtime is None or since is None:
        raise ValueError("not numbers")
    return Commitment(size, mtime, since, _repositories(record.get("repositories")))
