"""One blob on its way: a list of sources, one transfer at a time, any number of readers.

::

                headers, a spool           all bytes, hash right          committed, or not
      OPENING -----------------> RUNNING ----------------------> VERIFIED ----------------> DONE
       |  |  ^                   |  |  |                                                     ^
       |  |  +--- bytes wrong ---+  |  |                                                     |
       |  |                         |  |                                                     |
       |  +---- the disk refuses ---+--|--> PASSING ------------- all bytes right -----------+
       |                               |       |
       +-- no source left, a stop, ----+-------+--> FAILED
           or a pause

A file of ours of VERIFY_FIRST_BYTES at most goes from OPENING to VERIFIED.

Laws: at most one transfer runs. Nothing reaches ``blobs/`` that the digest does not name. Every
waiter and reader is told of the end at once. Readers may leave at any time; the fill goes on. A disk
that refuses costs the copy: what it has taken is read to its end, the rest passes by a relay. The
fill owns spool, body and a file of its own, and lets go of them on every path. A repository is
linked to the blob only by a proof that no revocation has voided. What a broken or paused fill leaves is
for the next one of its digest, which begins when this one has let go; if it turns out to be wrong, all of it
is fetched once more before anybody is blamed.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from regproxy.errors import ContentMismatch, RegproxyError, StorageFailed, TransferStopped
from regproxy.fill.abandon import Attendance, Attention
from regproxy.fill.limit import SizeLimit
from regproxy.fill.lines import Lines
from regproxy.fill.opening import Opening
from regproxy.fill.passing import Onward
from regproxy.fill.plan import VERIFY_FIRST_BYTES, Concerns, concerns
from regproxy.fill.ranges import Ranges
from regproxy.fill.relay import Passage
from regproxy.fill.relays import Relays
from regproxy.fill.source import Source
from regproxy.fill.tail import Tail
from regproxy.fill.view import FillView, State
from regproxy.fill.window import Point
from regproxy.interfaces import How, IBlob, ISpool, Validator
from regproxy.oci.digest import Digest
from regproxy.oci.repository import Repository

_log = Logger()


class Fill(FillView):
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
        relays: Relays,
        lines: Lines,
        limit: SizeLimit,
        before: Fill | None = None,
        attended: Callable[[Fill], bool] | None = None,
    ) -> None:
        """``before``: the one that leaves its spool; ``attended`` tells whether clients read what belongs
        to it, None: it goes on without any."""
        super().__init__(digest, clock, revoked_s, lines.is_slow)
        self._before = before
        self._attended = attended
        self._attention = None if attended is None else Attention(clock, self._attendance, self.pause)
        self._why_stopped = "the daemon is stopping"
        self._relays = relays
        self._lines = lines
        self._limit = limit
        self._clock = clock
        self._link = link
        self._ended = ended
        self._limit_applies = True
        self._opening = Opening(clock, self._sources, self._heard)
        self._running: Deferred[None] | None = None
        self._transferring: Deferred[None] | None = None
        self._cancelled = False

    def start(self) -> None:
        """Begin; called once."""
        self._running = Deferred.fromCoroutine(self._run()).addErrback(self._broke)

    def join(self, *sources: Source) -> Deferred[IBlob]:
        """The blob for a reader of the sources' repository, as soon as size and first bytes allow.

        ``sources``, in order of preference and all of one repository, are added unless they are
        known. Fails with what concerns that repository. Cancelling takes this waiter off, nothing else.
        """
        for source in sources:
            self._add(source)
        self._opening.poke()
        if self.begun and not self._waits_on(sources[0].repository):
            return succeed(self._blob(How.JOINED))
        return self._audience.wait(sources[0].repository)

    def stop(self) -> Deferred[None]:
        """End it now: the transfer is closed, the spool left, everyone told. Fires when done."""
        over = self.when_over()
        if not over.called:
            self._cancel()
        return over

    def pause(self) -> None:
        """End it since nobody reads it, unless its bytes are all there, or come from the disk, or the disk
        does not take them."""
        local = self._current is not None and self._current.local
        idle = not self.followed and not self._cancelled
        if self.state is State.RUNNING and idle and not local:
            _log.info("{digest} pauses after {front} bytes: nobody reads it", **self._described())
            self.pausing = True
            self._why_stopped = "nobody reads it; it goes on when it is asked for"
            self._cancel()

    def _attendance(self) -> Attendance:
        attended = self._attended is not None and self._attended(self)
        return Attendance(self.followed, self.asked_for, attended)

    def _cancel(self) -> None:
        if self._transferring is not None and not self._cancelled:
            self._cancelled = True  # a second time would cut short what waits for the disk's last writes
            self._transferring.cancel()

    def when_over(self) -> Deferred[None]:
        """Fires when it has let go of everything; never fails."""
        over: Deferred[None] = Deferred()
        if self._running is None or self._running.called:
            return succeed(None)
        self._running.addBoth(lambda _: over.callback(None))
        return over

    def _blob(self, how: How) -> IBlob:
        """For one reader; where descriptors have run out it has a transfer of its own."""
        if self.onward is not None:
            return self.onward.blob(how)
        try:
            file = self.file()
        except StorageFailed as error:
            beginning = Point.beginning(self.digest)
            return self._onward(self._sources.resumable(self._current), beginning, error).blob(how)
        assert file is not None, "a blob is given out only while there is a spool"
        return self._audience.seat(self, file, how)

    def _add(self, source: Source) -> None:
        self._sources.add(source)
        if source.since_s is not None and self._copy.noting and not self.verified:
            self._copy.note(source.repository)

    async def _run(self) -> None:
        try:
            self._transferring = Deferred.fromCoroutine(self._transfer())
            await self._transferring
        except CancelledError:
            self._fail(TransferStopped(self._why_stopped))
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
        if self._before is not None:
            before, self._before = self._before, None
            await before.when_over()
        await self._relays.turn(self.digest)
        while True:
            source, spool, blob = await self._opening.first()
            self._current, tail = source, Tail(blob)
            if not isinstance(spool, StorageFailed):
                self._copy.begin(spool)
            try:
                if await self._fill_from(source, spool, tail):
                    break
            except StorageFailed as error:
                await self._pass_on(source, tail, error)
                await self._opening.settled()
                return
            finally:
                tail.close()
        self._open_to_readers(State.VERIFIED)
        await self._commit()

    def _heard(self, source: Source, error: RegproxyError | None) -> None:
        """A source is not used: it has failed, or another was faster, and now it has shown its right."""
        if error is None:
            if self._copy.noting and not self.verified:
                self._copy.note(source.repository)
            if self.begun:
                self._serve()
        elif concerns(error, source.local or source.proven_s is not None) is Concerns.ITS_REPOSITORY:
            self._audience.refuse(source.repository, error)

    def _waits_on(self, repository: Repository) -> bool:
        """Whether its own upstream has yet to show that it holds the blob: others' bytes are not for it."""
        own = [source for source in self._sources if source.repository == repository]
        shown = any(source.since_s is not None for source in own)
        return not shown and any(map(self._opening.is_awaited, own))

    async def _fill_from(self, source: Source, spool: ISpool | StorageFailed, tail: Tail) -> bool:
        """Move the bytes; whether they are right. Wrong ones are rejected and the source given up.

        StorageFailed when the disk refuses.
        """
        self.size = tail.size
        if isinstance(spool, StorageFailed):
            raise spool
        ranges = Ranges(
            source,
            tail,
            spool,
            self._lines,
            self._clock,
            self._landed,
            self._another_source,
            self._faster_source,
            lambda: self._audience.follows,
        )
        verify_first = source.local and (tail.size or 0) <= VERIFY_FIRST_BYTES
        wrong: ContentMismatch | None = None
        try:
            validator = None if tail.validator is None else Validator(source.repository, tail.validator)
            await self._copy.expect(self.size, self._sources.proofs(), validator)
            self._ranges = ranges
            if not verify_first:
                self._open_to_readers()
            await ranges.run()
        except ContentMismatch as error:
            wrong = error
        except StorageFailed as error:
            if not verify_first:
                raise
            await self._give_up(source, error)
            return False
        tail.close()
        if wrong is None and self._copy.is_right(self.size):
            return True
        suspect = self._copy.resumed or (ranges.mixed and wrong is None)
        once_more, source.plain = suspect and not source.plain, True
        source.error = None if once_more else wrong or self.wrong()
        await self._reject(wrong or self.wrong())
        return False

    async def _give_up(self, source: Source, error: StorageFailed) -> None:
        """A file of ours that cannot be read; nothing of it was given out."""
        source.error = error
        self.front = 0
        self._copy.tell("{digest} cannot be read: {error}", error)
        self._copy.close_file()
        await self._copy.discard()

    async def _pass_on(self, source: Source, tail: Tail, error: StorageFailed) -> None:
        """The disk refused: what it has is read to its end, the rest passes through."""
        going = self._sources.resumable(source if source.error is None else None)
        self.onward = onward = self._onward(going, self._copy.point(), error)
        self.front = onward.point.offset
        if going is source and tail.holds(self.front):
            tail.rewind(self.front)
            relay = self._relays.take_over(onward.passage, onward.point, tail)
        else:
            relay = self._relays.begin(onward.passage, onward.point)
        self._current, self._relay = going, relay
        self._copy.tell("{digest} passes from byte {front} on: {error}", error, front=self.front)
        self._copy.close_file()
        self._open_to_readers(State.PASSING)
        try:
            await self._copy.discard()
            await relay.finished()
        except CancelledError:
            relay.stop()
            raise
        self.state = State.DONE if relay.complete else State.FAILED

    def _onward(self, source: Source | None, point: Point, error: StorageFailed) -> Onward:
        """How readers go on from ``point``; raises ``error`` where nobody can give the rest."""
        if source is None or source.resume is None:
            raise error
        resume, size = source.resume, self.size
        passage = Passage(self.digest, size, source.repository.upstream, lambda start: resume(start, size))
        return Onward(self._relays, passage, point)

    def _open_to_readers(self, state: State = State.RUNNING) -> None:
        """Headers are in hand: everyone who waits gets the blob."""
        self.state = state
        self._serve()
        self._audience.poke()
        self._left()

    def _serve(self) -> None:
        self._audience.serve(self._blob, self._waits_on)

    def _another_source(self) -> Source | None:
        """Who else can give the rest; the present one has failed."""
        self._current = self._sources.resumable(None) or self._current
        return self._sources.resumable(None)

    def _faster_source(self, than: Source) -> Source | None:
        return self._sources.faster(than)

    def _landed(self, front: int) -> None:
        self.front = front
        self._audience.poke()
        if self.size is None and self._limit_applies:
            refusal = self._limit.refusal(self.digest, front)
            if refusal is not None:
                self._limit_applies = False  # what is written already lands too, and is no second refusal
                raise refusal

    async def _reject(self, wrong: ContentMismatch) -> None:
        """Nothing of it is kept; the next source may be tried, or the same over one connection (R38)."""
        self.state, self.front, self.epoch = State.OPENING, 0, self.epoch + 1
        self._ranges = None
        self._copy.close_file()
        self._audience.poke()
        if self._copy.resumed:
            text = "{digest}: what an earlier transfer left does not go with the rest; all is fetched again"
            _log.warn(text, digest=str(self.digest))
        else:
            _log.error("{digest}: {error}", **self._described(wrong))
        await self._copy.reject()

    async def _commit(self) -> None:
        """Keep it. A disk that refuses costs the copy, not the readers: their files are open."""
        proofs = self._sources.proofs()
        self.kept = await self._copy.commit(proofs)
        self.state = State.DONE
        await self._opening.settled()
        late = self._sources.proofs() if self.kept else {}
        for repository, since_s in late.items():
            if repository not in proofs:  # it came while the commit ran, or was the last to answer
                await self._link_late(repository, since_s)

    async def _link_late(self, repository: Repository, since_s: float) -> None:
        try:
            await self._link(repository, self.digest, since_s)
        except RegproxyError as error:
            self._copy.tell("{digest} is not linked for one more: {error}", error)

    def _described(self, error: BaseException | None = None) -> dict[str, object]:
        return {"digest": str(self.digest), "front": self.front, "error": str(error)}

    def _fail(self, error: BaseException) -> None:
        if self.verified:  # nobody waits but for an answer of their own upstream
            self._audience.refuse_all(lambda repository: error)
            return
        if self.begun and not isinstance(error, TransferStopped):
            _log.warn("{digest}: {error}; after {front} bytes", **self._described(error))
        self.failure = error
        self.state = State.FAILED
        self._audience.refuse_all(lambda repository: self._sources.error_of(repository) or error)
        self._audience.poke()

    async def _let_go(self) -> None:
        self._over = True
        await self._opening.stop()
        if self._attention is not None:
            self._attention.stop()
        if self.failure is not None:
            self._copy.close_file()
        self._close_unused_file()
        await self._copy.let_go(self.leaves_some)

    def _left(self) -> None:
        super()._left()
        if self._attention is not None and self.state is State.RUNNING and not self._over:
            self._attention.changed()
