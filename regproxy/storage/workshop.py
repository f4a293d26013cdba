"""What all spools share: what they work with, the hash, the life of their descriptor.

Laws: one file descriptor each, used by jobs in the disk's threads, duplicated for readers, and closed
in the reactor's thread after the last job.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import attrs
from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure

from regproxy.errors import StorageFailed, TransferStopped
from regproxy.interfaces import IFile, Leftover
from regproxy.oci.digest import Digest
from regproxy.oci.repository import Repository
from regproxy.singleflight import Waiters
from regproxy.storage.files import Files
from regproxy.storage.layout import Layout
from regproxy.storage.ledger import Ledger
from regproxy.storage.leftovers import Leftovers
from regproxy.storage.occupancy import Occupancy
from regproxy.storage.thread import DiskThread, shield
from regproxy.storage.underway import UnderWay

if TYPE_CHECKING:
    from hashlib import _Hash

P = ParamSpec("P")
T = TypeVar("T")


@attrs.frozen(slots=True)
class Workshop:
    """What a spool works with."""

    layout: Layout
    ledger: Ledger
    files: Files
    writer: DiskThread
    syncer: DiskThread
    hasher: DiskThread
    occupancy: Occupancy
    under_way: UnderWay
    leftovers: Leftovers
    settled: Callable[[Digest], object]
    """Called when the vacuum waits for the last spool of a digest to close, and it has."""
    reserve: Callable[[int], Deferred[None]]
    """Asked before so many bytes are taken from the disk, as :meth:`IRoom.reserve`."""


class SpoolBase:
    """What new and adopted spools share: the hash, the descriptor's life, the calls into the thread."""

    def __init__(
        self, shop: Workshop, digest: Digest, descriptor: int, files_name: str | None = None
    ) -> None:
        self.digest: Digest = digest
        self._files_name = files_name
        shop.under_way.begin(digest, files_name)
        self.front: int = 0
        self.left: Leftover | None = None
        self._shop = shop
        self.descriptor = descriptor
        self._hash: _Hash = digest.hasher()
        self._open = True
        self._leaving = False
        self._left: Waiters[None] = Waiters()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.digest} front={self.front} open={self._open}>"

    def matches(self) -> bool:
        """Whether the bytes up to the front are what the digest names."""
        return self._hash.hexdigest() == self.digest.hex

    def hasher(self) -> _Hash:
        """A copy of the hash of the bytes up to the front."""
        return self._hash.copy()

    def file(self) -> IFile:
        """A descriptor of its own; TransferStopped once the spool is closed."""
        if not self._open:
            raise TransferStopped("the spool is closed")
        return self._shop.files.duplicate(self.descriptor)

    def commit(self, proofs: Mapping[Repository, float]) -> Deferred[None]:
        """Make it the blob, with a link for each of ``proofs``. After a failure it may be tried again."""
        return shield(self._later(self._commit_alone, dict(proofs)).addCallback(self._close))

    def _commit_alone(self, proofs: Mapping[Repository, float]) -> None:
        self._commit(proofs)
        with contextlib.suppress(OSError):  # the next survey sees that it is of no use
            self._shop.leftovers.drop(self.digest)

    def _commit(self, proofs: Mapping[Repository, float]) -> None:
        raise NotImplementedError

    def _check_hash(self) -> None:
        if not self.matches():
            raise StorageFailed("the bytes are not what their digest names; nothing was kept")

    def _check_open(self) -> None:
        if self._leaving or not self._open:
            raise TransferStopped("the spool is closed")

    def _later(self, job: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """``job`` in the writer thread, unless the spool is closed or about to be."""
        if self._leaving or not self._open:
            return fail(TransferStopped("the spool is closed"))
        return self._shop.writer.run(job, *args, **kwargs)

    def _leave(self, job: Callable[[], None]) -> Deferred[None]:
        """Run the last job, then close; whoever asks again waits for the same end."""
        if not self._open:
            return succeed(None)
        waiter = self._left.add()
        if not self._leaving:
            self._leaving = True
            last = self._quiet().addBoth(lambda _: self._shop.writer.run(job))
            last.addCallbacks(self._gone, self._failed_to_go)
        return waiter

    def _quiet(self) -> Deferred[None]:
        """Fires when no thread but the writer's uses the descriptor."""
        return succeed(None)

    def _gone(self, _: None) -> None:
        self._close(None)
        self._left.fire(None)

    def _failed_to_go(self, failure: Failure) -> None:
        self._close(None)
        self._left.fail(failure.value or StorageFailed("the spool could not be removed"))

    def _close(self, _: None) -> None:
        if self._open:
            self._open = False
            os.close(self.descriptor)
            if self._shop.under_way.end(self.digest, self._files_name):
                self._shop.settled(self.digest)
