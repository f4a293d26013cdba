"""A fill's copy on the disk: its spool, and a file of it for those who come."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from twisted.logger import Logger
from twisted.python.failure import Failure

from regproxy.errors import RegproxyError, StorageFailed
from regproxy.fill.window import Point
from regproxy.interfaces import IFile, ISpool, Validator
from regproxy.oci.digest import Digest
from regproxy.oci.repository import Repository

_log = Logger()


class Copy:
    """One spool at a time. It owns spool and file; the disk's troubles with letting go of them cost
    a line in the log."""

    def __init__(self, digest: Digest) -> None:
        self._digest = digest
        self._spool: ISpool | None = None
        self._resumed = False
        self._file: IFile | None = None

    @property
    def noting(self) -> bool:
        """Whether there is a spool, and thus a map to note things in."""
        return self._spool is not None

    @property
    def resumed(self) -> bool:
        """Whether it goes on, or went, with what an earlier fill has left."""
        return self._resumed

    def begin(self, spool: ISpool) -> None:
        """Bytes go to ``spool`` from now on."""
        self._spool, self._resumed = spool, spool.left is not None

    async def expect(
        self, size: int | None, repositories: Iterable[Repository], validator: Validator | None = None
    ) -> None:
        """Have room for ``size`` bytes, which ``repositories`` wait for. StorageFailed."""
        assert self._spool is not None
        if size is not None:
            await self._spool.expect(size, validator)
        self._file = self._spool.file()
        for repository in repositories:
            self.note(repository)

    def note(self, repository: Repository) -> None:
        """Tell the map, for a restart after a kill; nobody waits for it, the commit links anyway."""
        assert self._spool is not None
        self._spool.add_source(repository).addErrback(self._complain)

    def duplicate(self) -> IFile | None:
        """A descriptor for one more; None while there is no spool. StorageFailed."""
        return None if self._file is None else self._file.duplicate()

    def is_right(self, size: int | None) -> bool:
        """Whether all bytes are there, and are what the digest names."""
        spool = self._spool
        return spool is not None and size in (None, spool.front) and spool.matches()

    def point(self) -> Point:
        """From where to go on behind what is there."""
        if self._spool is None:
            return Point.beginning(self._digest)
        return Point(self._spool.front, self._spool.hasher())

    async def commit(self, proofs: Mapping[Repository, float]) -> bool:
        """Keep it; whether the disk took it."""
        assert self._spool is not None
        try:
            await self._spool.commit(proofs)
        except RegproxyError as error:
            self.tell("{digest} is not kept: {error}", error)
            return False
        return True

    async def reject(self) -> None:
        """Its bytes are wrong."""
        spool, self._spool, self._resumed = self._spool, None, False
        self.close_file()
        try:
            if spool is not None:
                await spool.reject()
        except StorageFailed as error:
            self.tell("{digest} stays where it is: {error}", error)

    async def discard(self) -> None:
        """Let go of the spool; nothing after a commit. What is open goes on being read."""
        await self.let_go(worth_keeping=False)

    async def let_go(self, worth_keeping: bool) -> None:
        """As :meth:`discard`, or leave what is there to a later fill."""
        spool, self._spool = self._spool, None
        try:
            if spool is not None:
                await (spool.keep() if worth_keeping else spool.discard())
        except StorageFailed as error:
            self.tell("{digest}: {error}", error)

    def close_file(self) -> None:
        """Nobody else comes; idempotent."""
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def tell(self, text: str, error: BaseException, **more: object) -> None:
        """For the log, unless it has it once for the whole disk."""
        if not (isinstance(error, StorageFailed) and error.told):
            _log.error(text, digest=str(self._digest), error=str(error), **more)

    def _complain(self, failure: Failure) -> None:
        failure.trap(StorageFailed)
        self.tell("{digest}: {error}", failure.value or StorageFailed("the disk refused"))
