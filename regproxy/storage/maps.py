"""A spool's map: what it is to become, for whom, and what of it has reached the disk.

Written before its bytes, removed after its links. What it claims was brought to the disk before.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import attrs

from regproxy.errors import InvalidDigest, InvalidName
from regproxy.extents import Extent
from regproxy.interfaces import Validator
from regproxy.oci.digest import Digest
from regproxy.oci.repository import Repository
from regproxy.storage.records import format_record, parse_record, seconds, whole

MAX_MAP_BYTES = 1024 * 1024
MAX_EXTENTS = 1024
"""More islands are no spool of ours; of more than that, the later ones are fetched again."""

VERSION = 2
FIRST_VERSION = 1
"""Without a version, and without claims: only what it commits to counts."""

_ETAG = re.compile(r'"[!#-~]{0,200}"', re.ASCII)


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
    there: tuple[Extent, ...] = ()
    """What is on the disk of it, in order; not verified by anybody."""
    written_s: float = 0.0
    """When that was last written down, seconds since the epoch."""
    validator: Validator | None = None

    @property
    def is_leftover(self) -> bool:
        """Whether a later fill can go on from what is there."""
        return bool(self.there) and self.size_bytes is not None and self.commitment is None


def encode_map(spool: SpoolMap) -> bytes:
    """The map as one line of JSON."""
    done, validator = spool.commitment, spool.validator
    return format_record(
        {
            "version": VERSION,
            "digest": str(spool.digest),
            "size": spool.size_bytes,
            "there": spool.there[:MAX_EXTENTS],
            "written": spool.written_s,
            "validator": validator
            and [validator.repository.upstream, validator.repository.path, validator.etag],
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
    """What a map says; None for a broken one, or a newer one: its spool is worth nothing then."""
    record = parse_record(content)
    if record is None:
        return None
    size = whole(record.get("size"))
    try:
        spool = SpoolMap(
            Digest.parse(str(record.get("digest"))),
            size,
            _repositories(record.get("sources")),
            _commitment(record.get("committed")),
        )
        version = record.get("version", FIRST_VERSION)
        if version == FIRST_VERSION:
            return spool
        if type(version) is not int or version != VERSION:
            return None
        return attrs.evolve(
            spool,
            there=_extents(record.get("there"), size or 0),
            written_s=seconds(record.get("written")) or 0.0,
            validator=_validator(record.get("validator")),
        )
    except (InvalidDigest, InvalidName, ValueError):
        return None


def _extents(listed: object, size_bytes: int) -> tuple[Extent, ...]:
    """In order, apart from each other, within the size; what is not was not written by us."""
    if not isinstance(listed, list) or len(listed) > MAX_EXTENTS:
        raise ValueError("not a list of so many")
    found: list[Extent] = []
    for entry in listed:
        if not isinstance(entry, list) or len(entry) != 2:
            raise ValueError("not two offsets")
        start, stop = whole(entry[0]), whole(entry[1])
        if start is None or stop is None or not (found[-1][1] if found else -1) < start < stop <= size_bytes:
            raise ValueError("not offsets in order")
        found.append((start, stop))
    return tuple(found)


def _validator(listed: object) -> Validator | None:
    if listed is None:
        return None
    if not isinstance(listed, list) or len(listed) != 3 or not isinstance(listed[2], str):
        raise ValueError("not a repository and an ETag")
    if not _ETAG.fullmatch(listed[2]):
        raise ValueError("not a strong ETag")
    return Validator(_repository(listed[:2]), listed[2])


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
