"""Files of the store while they are read and written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import attrs
from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from regproxy.extents import Extent, Extents
from regproxy.oci.digest import Digest
from regproxy.oci.repository import Repository

if TYPE_CHECKING:
    from hashlib import _Hash


@attrs.frozen(slots=True)
class Validator:
    """A strong ETag that the upstream of ``repository`` gave for a blob: for ``If-Range`` there only."""

    repository: Repository
    etag: str


@attrs.frozen(slots=True)
class Leftover:
    """What an earlier fill has left of a blob of ``size_bytes``: bytes that nobody has verified yet.

    Something is always missing, so that whoever goes on asks the upstream, which is what gives the right.
    """

    size_bytes: int
    there: tuple[Extent, ...]
    validator: Validator | None = None

    @classmethod
    def of(cls, size_bytes: int, there: Iterable[Extent], validator: Validator | None = None) -> Leftover:
        """The same, less the last byte where none was missing."""
        left = Extents(there)
        if left.total == size_bytes:
            left.remove(size_bytes - 1, size_bytes)
        return cls(size_bytes, tuple(left), validator)

    @property
    def start(self) -> int:
        """The first byte that is missing."""
        return Extents(self.there).reach(0)


class IFile(Interface):
    """An open file of the store, for one reader. Offsets are absolute."""

    def read_at(offset: int, max_bytes: int) -> bytes | None:
        """Bytes at ``offset``; None when they are not in memory, so that reading would block."""

    def send_at(socket_fd: int, offset: int, max_bytes: int) -> int | None:
        """Send bytes at ``offset`` to a socket; how many, 0 past the end of the file, None as read_at.

        BlockingIOError when the socket takes no more now, OSError when it is broken.
        """

    def warm(offset: int, max_bytes: int) -> Deferred[None]:
        """Bring these bytes into memory, in a thread."""

    def duplicate() -> IFile:
        """The same open file for one more reader, who closes it. StorageFailed, TransferStopped."""

    def close() -> None:
        """Close the descriptor; idempotent."""


class ISpool(Interface):
    """A blob that is being written and hashed, at the front or, by place(), behind it as well.

    Or an adopted one: a file under ``blobs/`` that is not trusted any more; the bytes it is given
    are its own, so append() only hashes and commit() restores the trust that its links had.
    """

    digest: Digest = Attribute("what it is to become")
    front: int = Attribute("bytes that are on disk and hashed, from the first on")
    left: Leftover | None = Attribute(
        "what was there already when it was taken over from an earlier fill; the front goes on over it by "
        "catch_up(), and what is missing comes by place()"
    )

    def expect(size_bytes: int, validator: Validator | None = None) -> Deferred[None]:
        """Allocate the whole file, and note what it is part of; StorageFailed when the disk has no room."""

    def append(chunks: list[bytes]) -> Deferred[int]:
        """Write and hash ``chunks`` after the front, in the disk thread; the new front. StorageFailed.

        Several may be outstanding, and are carried out in order; after one has failed, so do all.
        Cancelling the Deferred gives up the answer only.
        """

    def place(offset: int, chunks: list[bytes]) -> Deferred[int]:
        """Write ``chunks`` at ``offset``, behind the front; the new front, which goes on over what is
        placed as soon as it comes to it. StorageFailed; RuntimeError for an adopted one.
        """

    def catch_up() -> Deferred[int]:
        """Let the front go on over what is placed, or was left there, a slice of it; the new front.

        StorageFailed. Fires after every write that was asked for before it.
        """

    def matches() -> bool:
        """Whether what is there is what the digest names. Only when no append is outstanding."""

    def hasher() -> _Hash:
        """A copy of the hash of what is there, for who goes on elsewhere. Only as matches()."""

    def file() -> IFile:
        """A descriptor of its own for one reader; outlives commit and discard."""

    def add_source(repository: Repository) -> Deferred[None]:
        """Note in the map that ``repository`` is to hold this blob once it is whole."""

    def commit(proofs: Mapping[Repository, float]) -> Deferred[None]:
        """fsync, rename, fsync of the folder, link records; StorageFailed.

        ``proofs`` are the repositories whose upstream has shown that they hold it (invariant 5), each
        with the :meth:`ILocalStore.stamp` from before it was asked: that is its link's ``since_s``.
        """

    def discard() -> Deferred[None]:
        """Let go of it: a spool of new bytes is removed, an adopted file stays as it was.

        Idempotent, does nothing after commit. Open files go on reading what they have open.
        """

    def keep() -> Deferred[None]:
        """Let go of it as discard() does, but leave what is there, brought to the disk, to a later fill.

        Where the whole size is not known, nothing is there, or the disk has lost some of it: as discard.
        Nobody writes any more when it is called.
        """

    def reject() -> Deferred[None]:
        """Its bytes are wrong: as discard, and an adopted file leaves ``blobs/`` for ``quarantine/``."""


class ICloningSpool(ISpool):
    """One that may get its bytes from a file without copying them."""

    def clone(source: int, size_bytes: int) -> Deferred[bool]:
        """Share the first ``size_bytes`` of the open file ``source``; they are hashed by catch_up().

        False where the file system cannot, and nothing has changed then. StorageFailed.
        """
