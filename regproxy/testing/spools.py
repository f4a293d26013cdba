"""Spools and files of the store in memory: what is being written, and who reads it meanwhile."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from regproxy.errors import StorageFailed, TransferStopped
from regproxy.extents import Extents
from regproxy.interfaces import IFile, ISpool, Leftover, Validator
from regproxy.oci.digest import Digest
from regproxy.oci.repository import Repository
from regproxy.storage.thread import shield
from regproxy.testing.calls import Call
from regproxy.testing.shelf import BlobFile, LeftFile, MemoryShelf

if TYPE_CHECKING:
    from hashlib import _Hash


@implementer(IFile)
class MemoryFile:
    """A descriptor on bytes that may still grow; ``cold`` ones need warm() before read_at()."""

    def __init__(
        self, content: bytearray, cold: bool = False, opened: list[MemoryFile] | None = None
    ) -> None:
        """``opened`` is where it and its duplicates are noted."""
        self._opened = [] if opened is None else opened
        self._opened.append(self)
        self._content = content
        self._cold = cold
        self._warm: set[tuple[int, int]] = set()
        self.closed = False

    def read_at(self, offset: int, max_bytes: int) -> bytes | None:
        """See IFile; TransferStopped after close()."""
        if self.closed:
            raise TransferStopped("the file is closed")
        if self._cold and not any(start <= offset < stop for start, stop in self._warm):
            return None
        return bytes(self._content[offset : offset + max_bytes])

    def send_at(self, socket_fd: int, offset: int, max_bytes: int) -> int | None:
        """See IFile."""
        content = self.read_at(offset, max_bytes)
        return None if content is None else os.write(socket_fd, content)

    def warm(self, offset: int, max_bytes: int) -> Deferred[None]:
        """See IFile; at once. TransferStopped after close()."""
        if self.closed:
            return fail(TransferStopped("the file is closed"))
        self._warm.add((offset, offset + max_bytes))
        return succeed(None)

    def duplicate(self) -> MemoryFile:
        """See IFile."""
        if self.closed:
            raise TransferStopped("the file is closed")
        return MemoryFile(self._content, self._cold, self._opened)

    def close(self) -> None:
        """See IFile."""
        self.closed = True


@implementer(ISpool)
class MemorySpool:
    """A blob being written. Operations for ``script``: ``spool.expect``, ``spool.append``, ``spool.place``,
    ``spool.catch_up``, ``spool.add_source``, ``spool.commit``, ``spool.discard``, ``spool.keep``,
    ``spool.reject``.
    """

    def __init__(
        self,
        digest: Digest,
        shelf: MemoryShelf,
        adopted: BlobFile | None = None,
        left: LeftFile | None = None,
    ) -> None:
        self.digest = digest
        self.front = 0
        self.state = "open"
        """``open``, then ``committed``, ``discarded``, ``kept`` or ``rejected``."""
        self.left = None if left is None else left.left
        self.sources: list[Repository] = []
        self.files: list[MemoryFile] = []
        self.expected: int | None = None
        self._shelf = shelf
        self._adopted = adopted
        self._found_mtime_ns = adopted.mtime_ns if adopted is not None else 0
        self._content = adopted.content if adopted is not None else bytearray()
        self._written = Extents()
        self._edge = 0
        self._validator: Validator | None = None
        if left is not None:
            self._content, self._edge = left.content, left.left.start
            self._written = Extents(left.left.there)
            self.expected, self._validator = left.left.size_bytes, left.left.validator
        self._hash = digest.hasher()
        self._outstanding = 0
        self._last: Deferred[None] = succeed(None)
        self._refused: StorageFailed | None = None
        self._leaving = False

    def __repr__(self) -> str:
        return f"<MemorySpool {self.digest} {self.front} bytes, {self.state}>"

    async def _enter(self, operation: str, repository: Repository | None = None) -> None:
        """What the script says; TransferStopped when the spool is at its end, or about to be."""
        self._check_open()
        if self._leaving:
            raise TransferStopped("the spool is being let go of")
        await self._shelf.script.enter(Call(f"spool.{operation}", repository, self.digest))
        self._check_open()

    def _check_open(self) -> None:
        if self.state != "open":
            raise TransferStopped(f"the spool is {self.state}")

    def expect(self, size_bytes: int, validator: Validator | None = None) -> Deferred[None]:
        """See ISpool; StorageFailed for an adopted file of another size."""
        return Deferred.fromCoroutine(self._expect(size_bytes, validator))

    async def _expect(self, size_bytes: int, validator: Validator | None) -> None:
        await self._enter("expect")
        if self._adopted is None:
            self._check_room(size_bytes)
        elif size_bytes != len(self._content):
            raise StorageFailed("the file on disk is of another size")
        self.expected, self._validator = size_bytes, validator

    def _check_room(self, size_bytes: int) -> None:
        if self._shelf.room_bytes is not None and size_bytes > self._shelf.room_bytes:
            raise StorageFailed("no space left on device")

    def append(self, chunks: list[bytes]) -> Deferred[int]:
        """See ISpool; TransferStopped after the end."""
        return self._in_turn("append", None, b"".join(chunks))

    def place(self, offset: int, chunks: list[bytes]) -> Deferred[int]:
        """See ISpool; TransferStopped after the end."""
        if self._adopted is not None:
            raise RuntimeError("an adopted file is read from its beginning to its end")
        return self._in_turn("place", offset, b"".join(chunks))

    def catch_up(self) -> Deferred[int]:
        """See ISpool; all of what was left at once, and of what was written before that is done already."""
        self._outstanding += 1
        return Deferred.fromCoroutine(self._catch_up())

    async def _catch_up(self) -> int:
        try:
            if self.front < self._edge:
                await self._enter("catch_up")
                self._hash_left()
            await self._turn()
            self._check_open()
            return self.front
        finally:
            self._outstanding -= 1

    async def _turn(self) -> None:
        """After what was asked for before."""
        done: Deferred[None] = Deferred()
        before, self._last = self._last, done
        try:
            await before
        finally:
            done.callback(None)

    def _hash_left(self) -> None:
        if self.front < self._edge:
            self._hash.update(self._content[self.front : self._edge])
            self.front = self._edge
            self._go_on()

    def _in_turn(self, operation: str, offset: int | None, content: bytes) -> Deferred[int]:
        self._outstanding += 1
        before, self._last = self._last, Deferred()
        writing = Deferred.fromCoroutine(self._write(operation, offset, content, before, self._last))
        return shield(writing)  # whoever gives up the answer stops no write

    async def _write(
        self, operation: str, offset: int | None, content: bytes, before: Deferred[None], done: Deferred[None]
    ) -> int:
        try:
            await before
            if self._refused is not None:
                raise self._refused
            await self._enter(operation)
            return self._write_now(self.front if offset is None else offset, content)
        except StorageFailed as error:
            self._refused = error
            raise
        finally:
            self._outstanding -= 1
            done.callback(None)

    def _write_now(self, offset: int, content: bytes) -> int:
        if offset < max(self.front, self._edge):
            raise RuntimeError("bytes before the front are hashed already, or were left here")
        stop = offset + len(content)
        if self._adopted is None:
            self._check_room(stop)
            self._content += bytes(max(0, stop - len(self._content)))
            self._content[offset:stop] = content
            self._written.add(offset, stop)
            self._go_on()
            return self.front
        self._hash.update(content)
        self.front = stop
        return self.front

    def _go_on(self) -> None:
        if self.front >= self._edge:
            reach = self._written.reach(self.front)
            self._hash.update(self._content[self.front : reach])
            self.front = reach

    def matches(self) -> bool:
        """See ISpool; RuntimeError while an append is outstanding."""
        if self._outstanding:
            raise RuntimeError("matches() while an append is outstanding")
        return self._hash.hexdigest() == self.digest.hex

    def hasher(self) -> _Hash:
        """See ISpool; RuntimeError while an append is outstanding."""
        if self._outstanding:
            raise RuntimeError("hasher() while an append is outstanding")
        return self._hash.copy()

    def file(self) -> IFile:
        """See ISpool; TransferStopped after the end."""
        self._check_open()
        return MemoryFile(self._content, self._shelf.cold, self.files)

    def add_source(self, repository: Repository) -> Deferred[None]:
        """See ISpool; TransferStopped after the end."""
        return Deferred.fromCoroutine(self._add_source(repository))

    async def _add_source(self, repository: Repository) -> None:
        await self._enter("add_source", repository)
        if repository not in self.sources:
            self.sources.append(repository)

    def commit(self, proofs: Mapping[Repository, float]) -> Deferred[None]:
        """See ISpool; StorageFailed for bytes that do not match, which no caller may commit."""
        return Deferred.fromCoroutine(self._commit(dict(proofs)))

    async def _commit(self, proofs: dict[Repository, float]) -> None:
        await self._enter("commit")
        if not self.matches():
            raise StorageFailed("the bytes are not what their digest names; nothing was kept")
        if self._adopted is None:
            self._shelf.place(self.digest, bytes(self._content))
        else:
            self._restore_trust(self._adopted)
            proofs = {one: at for one, at in proofs.items() if self._shelf.link(one, self.digest) is None}
        self._shelf.link_fetched(proofs, self.digest)
        self.state = "committed"

    def _restore_trust(self, file: BlobFile) -> None:
        as_found = (file.mtime_ns, len(file.content)) == (self._found_mtime_ns, self.front)
        if not as_found or not self._shelf.in_place(self.digest, file):
            raise StorageFailed("the file on disk was changed while it was read; nothing was kept")
        self._shelf.vouch(self.digest)

    def discard(self) -> Deferred[None]:
        """See ISpool."""
        self._leaving = True
        return Deferred.fromCoroutine(self._leave("discard", "discarded"))

    def reject(self) -> Deferred[None]:
        """See ISpool."""
        self._leaving = True
        return Deferred.fromCoroutine(self._leave("reject", "rejected"))

    def keep(self) -> Deferred[None]:
        """See ISpool."""
        self._leaving = True
        return Deferred.fromCoroutine(self._leave("keep", "kept"))

    async def _leave(self, operation: str, state: str) -> None:
        await self._shelf.script.enter(Call(f"spool.{operation}", None, self.digest))
        if self.state != "open":
            return
        self.state = state
        file = self._adopted
        if state == "kept" and file is None and self._written and self.expected is not None:
            left = Leftover.of(self.expected, self._written, self._validator)
            self._shelf.leftovers[self.digest] = LeftFile(self._content, left)
        if state == "rejected" and file is not None and self._shelf.in_place(self.digest, file):
            self._shelf.quarantine(self.digest)
