"""One blob on its way: a list of sources, one transfer at a time, any number of readers.

::

    OPENING --begin() ok--> RUNNING --all bytes, hash right--> VERIFIED --committed--> DONE
       |  \\__answer: its repository's waiters fail, next source __/|
       |                                                           |
       +--no source left--> FAILED <--transfer broke, disk broke---+
       ^                                                           |
       +------- bytes wrong: rejected, begun anew -----------------+

Laws: at most one transfer runs. Nothing reaches ``blobs/`` that the digest does not name. Every
waiter and reader is told of the end at once. Readers may leave at any time; the fill goes on. The
fill owns spool, body and a file of its own, and lets go of them on every path. A repository is linked
to the blob only by a proof that no revocation has voided.
"""

from __future__ import annotations

import enum
from collections.abc import Callable

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from regproxy.errors import ContentMismatch, RegproxyError, StorageFailed, TransferStopped
from regproxy.fill.plan import Concerns, concerns
from regproxy.fill.pokes import Pokes
from regproxy.fill.readers import FillBlob, FillReader
from regproxy.fill.source import Source, Sources
from regproxy.fill.transfer import pump
from regproxy.interfaces import How, IBlob, IFile, ISpool
from regproxy.oci.digest import Digest
from regproxy.oci.repository import Repository
from regproxy.singleflight import Waiters

_log = Logger()


class State(enum.Enum):
    """Where a fill is; the module's diagram says what leads where."""

    OPENING = "opening"
    RUNNING = "running"
    VERIFIED = "verified"
    DONE = "done"
    FAILED = "failed"


class Fill:
    """The transfer of one blob.

    ``link`` gives a repository its right when it came too late for the commit; ``revoked_s`` tells
    up to when proofs are void; ``ended`` is called once, when nothing is left to wait for.
    """

    def __init__(
        self,
        digest: Digest,
        clock: IReactorTime,
        link: Callable[[Repository, Digest, float], Deferred[None]],
        revoked_s: Callable[[Repository], float],
        ended: Callable[[Fill], None],
    ) -> None:
        self.digest = digest
        self.state = State.OPENING
        self.size: int | None = None
        self.front = 0
        self.epoch = 0
        self.failure: BaseException | None = None
        self._clock = clock
        self._link = link
        self._ended = ended
        self._sources = Sources(revoked_s)
        self._current: Source | None = None
        self._waiting: dict[Repository, Waiters[IBlob]] = {}
        self._readers: set[FillReader] = set()
        self._blobs: set[FillBlob] = set()
        self._pokes = Pokes(clock)
        self._spool: ISpool | None = None
        self._file: IFile | None = None
        self._over = False
        self._running: Deferred[None] | None = None
        self._transferring: Deferred[None] | None = None

    def __repr__(self) -> str:
        return (
            f"<Fill {self.digest} {self.state.value} {self.front}/{self.size}"
            f" sources={len(self._sources)} readers={len(self._readers)}>"
        )

    @property
    def verified(self) -> bool:
        """Whether size and hash have been found right."""
        return self.state in (State.VERIFIED, State.DONE)

    @property
    def begun(self) -> bool:
        """Whether headers are in hand and a spool takes the bytes."""
        return self.state not in (State.OPENING, State.FAILED)

    @property
    def joinable(self) -> bool:
        """Whether a new reader can still be served by it; after its end the disk has it, or nobody."""
        return self.state not in (State.DONE, State.FAILED)

    @property
    def reader_count(self) -> int:
        """How many read it now."""
        return len(self._readers)

    def start(self) -> None:
        """Begin; called once."""
        self._running = Deferred.fromCoroutine(self._run()).addErrback(self._broke)

    def serves(self, repository: Repository) -> bool:
        """Whether readers of ``repository`` may join without a proof of their own."""
        return self._sources.admits(repository)

    def size_for(self, repository: Repository) -> int | None:
        """The size, as far as ``repository`` may rely on it: its own upstream's word, or verified."""
        own = self._current is not None and self._current.repository == repository
        return self.size if self.verified or (own and self.begun) else None

    def join(self, *sources: Source) -> Deferred[IBlob]:
        """The blob for a reader of the sources' repository, as soon as size and first bytes allow.

        ``sources``, in order of preference and all of one repository, are added unless they are
        known. Fails with what concerns that repository. Cancelling takes this waiter off, nothing else.
        """
        for source in sources:
            self._add(source)
        if self.begun:
            return succeed(self._blob(How.JOINED))
        return self._waiting.setdefault(sources[0].repository, Waiters()).add()

    def stop(self) -> Deferred[None]:
        """End it now: the transfer is closed, the spool removed, everyone told. Fires when done."""
        over: Deferred[None] = Deferred()
        if self._running is None or self._running.called:
            return succeed(None)
        self._running.addBoth(lambda _: over.callback(None))
        if self._transferring is not None:
            self._transferring.cancel()  # letting go is never cut short
        return over

    def file(self) -> IFile | None:
        """A descriptor of the present spool; None while there is none. StorageFailed."""
        return self._file.duplicate() if self._file is not None and self.begun else None

    def leave(self, reader: FillReader) -> None:
        """A reader is closed."""
        self._readers.discard(reader)
        self._close_unused_file()

    def _leave_blob(self, blob: FillBlob) -> None:
        self._blobs.discard(blob)
        self._close_unused_file()

    def wrong(self) -> ContentMismatch:
        """What a reader is told whose bytes were wrong."""
        upstream = self._current.repository.upstream if self._current is not None else "?"
        return ContentMismatch(upstream, f"sent bytes that are not {self.digest}; nothing was kept")

    def _blob(self, how: How) -> FillBlob:
        file = self.file()
        assert file is not None, "a blob is given out only while there is a spool"
        blob = FillBlob(self, file, how, self._readers.add, self._leave_blob)
        self._blobs.add(blob)
        return blob

    def _add(self, source: Source) -> None:
        self._sources.add(source)
        if source.since_s is not None and self._spool is not None and not self.verified:
            self._note(source.repository)

    def _note(self, repository: Repository) -> None:
        """Tell the map, for a restart after a kill; nobody waits for it, the commit links anyway."""
        assert self._spool is not None
        self._spool.add_source(repository).addErrback(self._complain)

    def _complain(self, failure: Failure) -> None:
        failure.trap(StorageFailed)
        _log.warn("{digest}: {error}", **self._described(failure.value))

    async def _run(self) -> None:
        try:
            self._transferring = Deferred.fromCoroutine(self._transfer())
            await self._transferring
        except CancelledError:
            self._fail(TransferStopped("the daemon is stopping"))
        except RegproxyError as error:
            self._fail(error)
        finally:
            await self._let_go()
            self._ended(self)

    def _broke(self, failure: Failure) -> None:
        """A fault of ours: told like any other failure, and logged whole."""
        _log.failure("the fill of {digest} broke", failure, digest=str(self.digest))
        self._fail(failure.value or RegproxyError("an unknown fault"))

    async def _transfer(self) -> None:
        """Try sources until one brings the right bytes; raises when none is left."""
        while True:
            source = self._sources.next()
            opened = await self._begin(source)
            if opened is not None and await self._fill_from(source, opened):
                break
        self.state = State.VERIFIED
        self._poke()
        await self._commit()

    async def _begin(self, source: Source) -> IBlob | None:
        """Open the source; None when it failed, its repository's waiters being told."""
        self._current = source
        try:
            self._spool, blob = await source.begin()
        except StorageFailed:
            raise
        except RegproxyError as error:
            source.error = error
            if concerns(error, source.proven_s is not None) is Concerns.ITS_REPOSITORY:
                self._waiting.pop(source.repository, Waiters()).fail(error)
            return None
        source.shown = True
        return blob

    async def _fill_from(self, source: Source, blob: IBlob) -> bool:
        """Move the bytes; whether they are right. Wrong ones are rejected and the source given up."""
        spool = self._spool
        assert spool is not None
        body = None
        try:
            await self._expect(spool, blob)
            body = blob.body()
            self._open_to_readers()
            await pump(body, spool, self._clock, self._landed)
        except ContentMismatch as error:
            source.error = error
        finally:
            blob.close()
            if body is not None:
                body.close()
        if source.error is None and self._complete(spool):
            return True
        await self._reject(source, spool)
        return False

    async def _expect(self, spool: ISpool, blob: IBlob) -> None:
        if blob.size is not None:
            await spool.expect(blob.size)
        self.size = blob.size
        self._file = spool.file()
        for repository in self._sources.proofs():
            self._note(repository)

    def _open_to_readers(self) -> None:
        """Headers are in hand: everyone who waits gets the blob."""
        self.state = State.RUNNING
        waiting, self._waiting = self._waiting, {}
        how = How.MISS
        for waiters in waiting.values():
            while waiters:
                try:
                    blob = self._blob(how)
                except StorageFailed as error:
                    waiters.fail_one(error)
                else:
                    waiters.fire_one(blob)
                    how = How.JOINED
        self._poke()

    def _landed(self, front: int) -> None:
        self.front = front
        self._poke()

    def _complete(self, spool: ISpool) -> bool:
        return self.size in (None, spool.front) and spool.matches()

    async def _reject(self, source: Source, spool: ISpool) -> None:
        """Nothing of it is kept; the next source may be tried (R38)."""
        source.error = source.error or self.wrong()
        self.state, self.front, self.epoch = State.OPENING, 0, self.epoch + 1
        self._spool = None
        self._close_file()
        self._poke()
        _log.error("{digest}: {error}", **self._described(source.error))
        try:
            await spool.reject()
        except StorageFailed as error:
            _log.error("{digest} stays where it is: {error}", **self._described(error))

    async def _commit(self) -> None:
        """Keep it. A disk that refuses costs the copy, not the readers: their files are open."""
        assert self._spool is not None
        proofs = self._sources.proofs()
        try:
            await self._spool.commit(proofs)
            self.state = State.DONE
            for repository, since_s in self._sources.proofs().items():
                if repository not in proofs:  # it came while the commit ran
                    await self._link(repository, self.digest, since_s)
        except RegproxyError as error:
            self.state = State.DONE
            _log.error("{digest} is not kept: {error}", **self._described(error))

    def _described(self, error: BaseException | None) -> dict[str, object]:
        return {"digest": str(self.digest), "front": self.front, "error": str(error)}

    def _poke(self) -> None:
        self._pokes.add(*self._blobs, *self._readers)

    def _fail(self, error: BaseException) -> None:
        if self.verified:
            return
        if self.begun and not isinstance(error, TransferStopped):
            _log.warn("{digest}: {error}; after {front} bytes", **self._described(error))
        self.failure = error
        self.state = State.FAILED
        waiting, self._waiting = self._waiting, {}
        for repository, waiters in waiting.items():
            waiters.fail(self._sources.error_of(repository) or error)
        self._poke()

    def _close_file(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _close_unused_file(self) -> None:
        """Who has not yet gone over from a rejected spool still needs it, after the end too."""
        if self._over and not self._readers and not self._blobs:
            self._close_file()

    async def _let_go(self) -> None:
        self._over = True
        if self.failure is not None:
            self._close_file()
        self._close_unused_file()
        if self._spool is not None:
            try:
                await self._spool.discard()
            except StorageFailed as error:
                _log.warn("{digest}: {error}", **self._described(error))
