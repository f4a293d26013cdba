"""What another store or a layout has to give: who is to hold what, and where its bytes are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import attrs

from regproxy.moving.tree import Opened, Place
from regproxy.oci.digest import Digest
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Tag

MAX_TOLD = 20


class NotTaken(Exception):
    """It is nothing that can be taken in; the message is a sentence for the operator."""


class Remarks:
    """What is wrong, in words: all of it counted, the first ones kept."""

    def __init__(self) -> None:
        self.count = 0
        self.first: list[str] = []

    def add(self, line: str) -> None:
        """One more."""
        self.count += 1
        if len(self.first) < MAX_TOLD:
            self.first.append(line)


@attrs.define
class Holding:
    """What one repository is to hold. ``manifests`` with the media type that a descriptor gives them, or
    None; ``tags`` with what each names and when that was known, in seconds since the epoch."""

    manifests: dict[Digest, str | None] = attrs.field(factory=dict)
    blobs: set[Digest] = attrs.field(factory=set)
    tags: dict[Tag, tuple[Digest, float]] = attrs.field(factory=dict)

    def take(self, other: Holding) -> None:
        """All of ``other`` too."""
        self.manifests.update(other.manifests)
        self.blobs |= other.blobs
        self.tags.update(other.tags)

    def __bool__(self) -> bool:
        return bool(self.manifests or self.blobs or self.tags)


@attrs.frozen
class Shipment:
    """All of it, read from ``place``, in which ``path`` says where the bytes of a digest lie."""

    place: Place
    path: Callable[[Digest], Sequence[str]]
    repositories: Mapping[Repository, Holding]
    remarks: Remarks = attrs.field(factory=Remarks)
    """What was passed over, since it is not as it should be."""

    def open(self, digest: Digest) -> Opened | None:
        """The bytes that are said to be those of ``digest``; None where there are none. OSError."""
        return self.place.open(*self.path(digest))

    def close(self) -> None:
        """Let go of the source."""
        self.place.close()
