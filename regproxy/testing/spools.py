"""Spools and files of the store in memory: what is being written, and who reads it meanwhile."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from twisted.internet.defer import Deferred
from zope.interface import implementer

from regproxy.errors import StorageFailed
from regproxy.interfaces import IFile, ISpool
from regproxy.oci.digest import Digest
from regproxy.oci.repository import Repository
from regproxy.testing.calls import Call, Script


class Shelf(Protocol):
    """What a spool needs of its store."""

    script: Script
    room_bytes: int | None
    cold: bool

    def keep(self, digest: Digest, content: bytes, repositories: Iterable[Repository]) -> None:
        """A complete blob, and the repositories that hold it."""

    def trust(self, digest: Digest, repositories: Iterable[Repository]) -> None:
        """The blob on disk was hashed again and is right."""

    def quarantine(self, digest: Digest) -> None:
        """The blob on disk is wrong."""


@implementer(IFile)
class MemoryFile:
    """A descriptor on bytes that may still grow; ``cold`` ones need warm() before read_at()."""

    def __init__(self, content: bytearray, cold: bool = False) -> None:
        self._content = content
        self._cold = cold
        self._warm: set[tuple[int, int]] = set()
        self.closed = False

    def read_at(self, offset: int, max_bytes: int) -> bytes | None:
        """See IFile; StorageFailed after close()."""
        if self.closed:
            raise StorageFailed("the file is closed")
        if self._cold and not any(start <= offset < stop for start, stop in self._warm):
            return None
        return bytes(self._content[offset : offset + max_bytes])

    def warm(self, offset: int, max_bytes: int) -> Deferred[None]:
        """See IFile; at once."""
        self._warm.add((offset, offset + max_bytes))
        done: Deferred[None] = Deferred()
        done.callback(None)
        return done

    def close(self) -> None:
        """See IFile."""
        self.closed = True


@implementer(ISpool)
class MemorySpool:
    """A blob being written. Operations for ``script``: ``spool.expect``, ``spool.append``,
    ``spool.add_source``, ``spool.commit``, ``spool.discard``, ``spool.reject``.
    """

    def __init__(self, digest: Digest, shelf: Shelf, adopted: bytes | None = None) -> None:
        self.digest = digest
        self.front = 0
        self.state = "open"
        """``open``, then ``committed``, ``discarded`` or ``rejected``."""
        self.sources: list[Repository] = []
        self.files: list[MemoryFile] = []
        self.expected: int | None = None
        self._shelf = shelf
        self._adopted = adopted is not None
        self._content = bytearray(adopted or b"")
        self._hash = digest.hasher()
        self._outstanding = 0

    def __repr__(self) -> str:
        return f"<MemorySpool {self.digest} {self.front} bytes, {self.state}>"

    def expect(self, size_bytes: int) -> Deferred[None]:
        """See ISpool."""
        return Deferred.fromCoroutine(self._expect(size_bytes))

    async def _expect(self, size_bytes: int) -> None:
        await self._shelf.script.enter(Call("spool.expect", None, self.digest))
        self._check_room(size_bytes)
        self.expected = size_bytes

    def _check_room(self, size_bytes: int) -> None:
        if self._shelf.room_bytes is not None and size_bytes > self._shelf.room_bytes:
            raise StorageFailed("no space left on device")

    def append(self, chunks: list[bytes]) -> Deferred[int]:
        """See ISpool; RuntimeError while one is outstanding or after the end."""
        if self._outstanding or self.state != "open":
            raise RuntimeError(f"append() on a spool that is {self.state} or writing")
        self._outstanding += 1
        return Deferred.fromCoroutine(self._append(b"".join(chunks)))

    async def _append(self, content: bytes) -> int:
        try:
            await self._shelf.script.enter(Call("spool.append", None, self.digest))
        finally:
            self._outstanding -= 1
        if not self._adopted:
            self._check_room(self.front + len(content))
            self._content += content
        self._hash.update(content)
        self.front += len(content)
        return self.front

    def matches(self) -> bool:
        """See ISpool; RuntimeError while an append is outstanding."""
        if self._outstanding:
            raise RuntimeError("matches() while an append is outstanding")
        return self._hash.hexdigest() == self.digest.hex

    def file(self) -> IFile:
        """See ISpool."""
        opened = MemoryFile(self._content, self._shelf.cold)
        self.files.append(opened)
        return opened

    def add_source(self, repository: Repository) -> Deferred[None]:
        """See ISpool."""
        self.sources.append(repository)
        return Deferred.fromCoroutine(
            self._shelf.script.enter(Call("spool.add_source", repository, self.digest))
        )

    def commit(self, repositories: Iterable[Repository]) -> Deferred[None]:
        """See ISpool; StorageFailed for bytes that do not match, which no caller may commit."""
        return Deferred.fromCoroutine(self._commit(list(repositories)))

    async def _commit(self, repositories: list[Repository]) -> None:
        await self._shelf.script.enter(Call("spool.commit", None, self.digest))
        if self.state != "open" or not self.matches():
            raise StorageFailed(f"the spool is {self.state}, or its bytes are not what the digest names")
        self.state = "committed"
        if self._adopted:
            self._shelf.trust(self.digest, repositories)
        else:
            self._shelf.keep(self.digest, bytes(self._content), repositories)

    def discard(self) -> Deferred[None]:
        """See ISpool."""
        return Deferred.fromCoroutine(self._leave("discard", "discarded"))

    def reject(self) -> Deferred[None]:
        """See ISpool."""
        return Deferred.fromCoroutine(self._leave("reject", "rejected"))

    async def _leave(self, operation: str, state: str) -> None:
        await self._shelf.script.enter(Call(f"spool.{operation}", None, self.digest))
        if self.state != "open":
            return
        self.state = state
        if state == "rejected" and self._adopted:
            self._shelf.quarantine(self.digest)
