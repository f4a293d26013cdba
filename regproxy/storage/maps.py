"""A spool's map: what it is to become and for whom. Written before its bytes, removed after its links."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

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
    proofs: Mapping[Repository, float]
    """Those whose upstream has shown that they hold it, each with its link's ``since_s`` (invariant 5)."""


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
            "sources": [names for _, names in _named(spool.sources)],
            "committed": done
            and {
                "size": done.size_bytes,
                "mtime_ns": done.mtime_ns,
                "proofs": [[*names, done.proofs[one]] for one, names in _named(done.proofs)],
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


def _named(repositories: Iterable[Repository]) -> Iterable[tuple[Repository, list[str]]]:
    return ((repository, [repository.upstream, repository.path]) for repository in repositories)


def _repositories(listed: object) -> tuple[Repository, ...]:
    if not isinstance(listed, list):
        raise ValueError("not a list")
    return tuple(_repository(entry) for entry in listed)


def _repository(names: object) -> Repository:
    if not isinstance(names, list) or [type(name) for name in names] != [str, str]:
        raise ValueError("not two names")
    return Repository.parse(names[0], names[1])


def _proofs(listed: object) -> dict[Repository, float]:
    if not isinstance(listed, list):
        raise ValueError("not a list")
    return dict(_proof(entry) for entry in listed)


def _proof(entry: object) -> tuple[Repository, float]:
    if not isinstance(entry, list) or len(entry) != 3:
        raise ValueError("not two names and a time")
    since_s = seconds(entry[2])
    if since_s is None:
        raise ValueError("not a time")
    return _repository(entry[:2]), since_s


def _commitment(record: object) -> Commitment | None:
    if record is None:
        return None
    if not isinstance(record, dict):
        raise ValueError("not an object")
    size, mtime = whole(record.get("size")), whole(record.get("mtime_ns"))
    if size is None or mtime is None:
        raise ValueError("not numbers")
    return Commitment(size, mtime, _proofs(record.get("proofs")))
