"""An adopted spool: a file under ``blobs/`` that is not trusted is hashed while it is read."""

from __future__ import annotations

import os
from collections.abc import Mapping

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from regproxy.errors import ContentMissing, StorageFailed
from regproxy.interfaces import ISpool, Kind, Validator
from regproxy.oci.digest import Digest
from regproxy.oci.repository import Repository
from regproxy.storage import durable
from regproxy.storage.aside import set_aside
from regproxy.storage.commits import write_links
from regproxy.storage.maps import Commitment
from regproxy.storage.records import open_regular
from regproxy.storage.workshop import SpoolBase, Workshop


@implementer(ISpool)
class AdoptedSpool(SpoolBase):
    """It writes no byte: what it is given are the file's own bytes."""

    def __init__(self, shop: Workshop, digest: Digest, descriptor: int, found: os.stat_result) -> None:
        super().__init__(shop, digest, descriptor)
        self.size_bytes = found.st_size
        self._found = found

    @classmethod
    def create(cls, shop: Workshop, digest: Digest) -> AdoptedSpool:
        """Open the blob file. In the writer thread. ContentMissing."""
        opened = open_regular(shop.layout.blob(digest))
        if opened is None:
            raise ContentMissing(f"{digest} is not on disk")
        if shop.ledger.spoilt.is_wrong(digest, opened[1]):
            os.close(opened[0])
            raise ContentMissing(f"{digest} on disk is known to be wrong")
        return cls(shop, digest, *opened)

    def expect(self, size_bytes: int, validator: Validator | None = None) -> Deferred[None]:
        """StorageFailed when the file is of another size."""
        return self._later(self._expect, size_bytes)

    def _expect(self, size_bytes: int) -> None:
        if size_bytes != self.size_bytes:
            raise StorageFailed("the file on disk is not of the size that was announced")

    def append(self, chunks: list[bytes]) -> Deferred[int]:
        """Hash ``chunks``, which are the file's next bytes."""
        return self._later(self._append, chunks)

    def _append(self, chunks: list[bytes]) -> int:
        content = b"".join(chunks)
        self._hash.update(content)
        self.front += len(content)
        return self.front

    def place(self, offset: int, chunks: list[bytes]) -> Deferred[int]:
        """Never: its bytes are read in order."""
        raise RuntimeError("an adopted file is read from its beginning to its end")

    def catch_up(self) -> Deferred[int]:
        """It is always there."""
        return succeed(self.front)

    def add_source(self, repository: Repository) -> Deferred[None]:
        """Nothing to note: a kill leaves the file untrusted, as it was."""
        return self._later(_nothing)

    def _commit(self, proofs: Mapping[Repository, float]) -> None:
        self._check_hash()
        self._check_unchanged()
        ledger, descriptor = self._shop.ledger, self.descriptor
        known = ledger.mtime_ns(self.digest)
        durable.set_mtime(descriptor, known)
        durable.set_mode(descriptor, durable.BLOB_MODE)
        durable.sync_file(descriptor)
        self._found = os.fstat(descriptor)
        ledger.look((one, kind, self.digest) for one in proofs for kind in Kind)
        holding = {holder for holder, _ in ledger.holders(self.digest)}
        unlinked = {one: since_s for one, since_s in proofs.items() if one not in holding}
        write_links(ledger, self.digest, Commitment(self.size_bytes, self._found.st_mtime_ns, unlinked))

    def _check_unchanged(self) -> None:
        now = os.fstat(self.descriptor)
        if (now.st_size, now.st_mtime_ns) != (self.front, self._found.st_mtime_ns) or not self._in_place():
            raise StorageFailed("the file on disk was changed while it was read; nothing was kept")

    def _in_place(self) -> bool:
        try:
            return os.path.samestat(os.lstat(self._shop.layout.blob(self.digest)), self._found)
        except OSError:
            return False

    def discard(self) -> Deferred[None]:
        """Let go of it: the file stays as it was."""
        return self._leave(_nothing)

    def keep(self) -> Deferred[None]:
        """As :meth:`discard`: the file is kept as it is."""
        return self.discard()

    def reject(self) -> Deferred[None]:
        """The file leaves ``blobs/`` for ``quarantine/``, unless another one has its place already.

        One that the disk does not let us move is not served any more, as long as we run.
        """
        return self._leave(self._quarantine)

    def _quarantine(self) -> None:
        if self._in_place():
            set_aside(self._shop, self.digest, self._found)


def _nothing() -> None:
    """A job that only waits for its turn."""
