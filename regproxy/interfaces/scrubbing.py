"""Blobs that are hashed again where they lie: between the store and who decides when."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence

import attrs
from twisted.internet.defer import Deferred
from zope.interface import Interface

from regproxy.interfaces.sources import Kind
from regproxy.oci.digest import Digest
from regproxy.oci.repository import Repository


class Verdict(enum.Enum):
    """What hashing a blob's file again showed."""

    RIGHT = "right"
    WRONG = "wrong"
    """Its bytes are not what its digest names, or not of the size that its links say; it was set aside."""
    UNREADABLE = "unreadable"
    """The disk fails to read it; it was set aside."""
    GONE = "gone"
    """It is not there (any more)."""
    YOUNG = "young"
    """Who asked did not want it: it was written too recently."""


@attrs.frozen(slots=True)
class Examined:
    """The verdict on one blob. ``holders``: who has a link to it, where it was set aside."""

    verdict: Verdict
    size_bytes: int = 0
    holders: tuple[tuple[Repository, Kind], ...] = ()


class IScrubbed(Interface):
    """A store whose blobs can be hashed again, in a thread of idle priority."""

    def blobs_after(cursor: str) -> Deferred[Sequence[Digest]]:
        """The next blobs behind these digits, in the order of their digits; none: that was the last.
        StorageFailed."""

    def examine(
        digest: Digest, wanted: Callable[[float], bool], rest: Callable[[int], Deferred[None]]
    ) -> Deferred[Examined]:
        """Hash one. ``wanted`` is asked about its modification time, in seconds, in the reactor's thread;
        ``rest`` is waited for after each piece of so many bytes. StorageFailed where nothing could be
        shown. Cancelling lets go of the file."""

    def held_bytes() -> int:
        """How much all blobs are."""
