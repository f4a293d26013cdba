"""Room on the disk: what takes it, who may have it, and what has to go for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import attrs
from twisted.internet.defer import Deferred, succeed
from zope.interface import Attribute, Interface, implementer

from regproxy.oci.digest import Digest
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Reference, Tag

Use: TypeAlias = tuple[str, str, float, int, int]
"""What is known of the use of one cached thing, at one moment: key, type, last use, pulls, size in bytes.

The key is as people write it: ``docker.io/library/nginx:1.29``, ``docker.io/library/nginx@sha256:…``; the
type is ``blob``, ``manifest`` or ``tag``; the last use is on the time line of who tells it, in seconds. A
plain tuple, since there are a hundred thousand of them, which the garbage collector does not look through.
"""


class IUsage(Interface):
    """Who knows what was used when."""

    loaded: bool = Attribute("whether all that was known before the start has been read")

    def now_s() -> float:
        """This moment on its time line."""

    def uses() -> Deferred[list[Use]]:
        """All of it, gathered in slices: what comes or goes meanwhile may be missed."""

    def unused_since(key: str, used_s: float) -> bool:
        """Whether it is there and was not used after ``used_s``; in any thread."""


@attrs.frozen(slots=True)
class DiskUse:
    """What content takes on the disk. ``blobs`` complete ones, ``spools`` transfers in flight, of which
    ``pending`` are promised only; ``unlinked`` files without a name that are still read.

    ``counted``: whether what was there at the start is part of it.
    """

    blobs: int = 0
    spools: int = 0
    pending: int = 0
    unlinked: int = 0
    counted: bool = False

    @property
    def staying(self) -> int:
        """What is there until something is removed."""
        return self.blobs + self.spools

    @property
    def all(self) -> int:
        """Everything."""
        return self.blobs + self.spools + self.unlinked


@attrs.frozen(slots=True)
class IdleSpool:
    """A transfer that nobody continues now."""

    name: str
    disk_bytes: int
    age_s: float


class IStock(Interface):
    """What lies on the disk, read for who decides what goes. Each call blocks: for a thread."""

    def names(digest: Digest) -> tuple[Digest, ...]:
        """What the manifest ``digest`` names; nothing where it cannot be read."""

    def tagged(repository: Repository, tag: Tag) -> Digest | None:
        """What a tag means; None where its record is gone or broken."""

    def idle_spools() -> Sequence[IdleSpool]:
        """Transfers that nobody continues now."""


class IEvictable(Interface):
    """A store of which things may be taken when the space is needed."""

    stock: IStock = Attribute("what lies there")

    def disk_use() -> DiskUse:
        """What its content takes now."""

    def settled() -> bool:
        """Whether it knows who holds what, so that bytes go with their last link."""

    def room() -> Deferred[tuple[int, int]]:
        """Bytes of the file system that are free, and all of them; StorageFailed."""

    def expire(repository: Repository, reference: Reference, due: Callable[[], bool]) -> Deferred[bool]:
        """As :meth:`IRemovals.expire`."""

    def drop_spool(name: str) -> Deferred[bool]:
        """Remove a spool unless somebody has it open; whether it went."""


class IRoom(Interface):
    """Who says whether a transfer may have room on the disk."""

    def reserve(size_bytes: int) -> Deferred[None]:
        """Fires when so much may be written; StorageFailed where it may not, which costs the copy.

        Waits briefly for what has to go first. Cancelling takes the waiter off.
        """

    def capacity_bytes() -> int | None:
        """How much content there may be in all; None: nobody limits it, or nobody knows yet."""


@implementer(IRoom)
class Unlimited:
    """For where nobody limits anything."""

    def reserve(self, size_bytes: int) -> Deferred[None]:
        """At once."""
        return succeed(None)

    def capacity_bytes(self) -> int | None:
        """No end to it."""
        return None


UNLIMITED = Unlimited()
