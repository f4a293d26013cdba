"""All fills that run: one for each digest, at most (invariant 2)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import attrs
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IReactorTime

from regproxy.errors import TransferStopped
from regproxy.fill.fill import Fill
from regproxy.fill.limit import SizeLimit
from regproxy.fill.lines import Lines
from regproxy.fill.relays import Relays
from regproxy.fill.source import Source
from regproxy.interfaces import IBlob
from regproxy.oci.digest import Digest
from regproxy.oci.repository import Repository
from regproxy.settings import FillSettings

USUAL = FillSettings()


@attrs.frozen(slots=True)
class FillState:
    """A fill at one moment, for those who watch. ``front`` bytes have come, of ``size_bytes``."""

    digest: Digest
    upstream: str
    repository: str
    size_bytes: int | None
    front: int
    readers: int
    age_s: float
    state: str


class FillTable:
    """Starts fills and lets readers join them. ``link`` is the store's way to link a blob that is
    on disk to one more repository."""

    def __init__(
        self,
        clock: IReactorTime,
        link: Callable[[Repository, Digest, float], Deferred[None]],
        revoked_s: Callable[[Repository], float],
        settings: FillSettings = USUAL,
        max_size_bytes: int | None = None,
    ) -> None:
        """``max_size_bytes`` is what the store may hold in all."""
        self._clock = clock
        self._link = link
        self._revoked_s = revoked_s
        self._fills: dict[Digest, Fill] = {}
        self._ending: set[Fill] = set()
        self._relays = Relays(clock)
        self.lines = Lines(clock, settings)
        self.limit = SizeLimit(max_size_bytes, clock)
        self._pauses = settings.abandon == "pause"
        self._stopped = False
        self.joins = 0
        """How many found their fill running."""

    def __len__(self) -> int:
        return len(self._fills)

    def __repr__(self) -> str:
        return f"<FillTable {list(self._fills.values())}>"

    def snapshot(self) -> tuple[FillState, ...]:
        """All fills as they are now, those that end included."""
        fills = dict.fromkeys((*self._fills.values(), *self._ending))
        return tuple(map(self._look_at, fills))

    def _look_at(self, fill: Fill) -> FillState:
        repository = fill.repository
        return FillState(
            fill.digest,
            "" if repository is None else repository.upstream,
            "" if repository is None else repository.path,
            fill.size,
            fill.arrived,
            fill.reader_count,
            self._clock.seconds() - fill.started_s,
            fill.state.value,
        )

    def running(self, digest: Digest) -> Fill | None:
        """The fill of ``digest`` that can be joined, if there is one."""
        fill = self._fills.get(digest)
        return fill if fill is not None and fill.joinable else None

    def open(self, digest: Digest, *sources: Source) -> Deferred[IBlob]:
        """Join the fill of ``digest``, or start it; fires when size and first bytes allow.

        ``sources`` are all of the repository that asks, the one to try first in front. Fails with
        what concerns that repository. Cancelling concerns only this waiter.
        """
        return self._open(digest, sources, asked_for=True)

    def _open(self, digest: Digest, sources: tuple[Source, ...], asked_for: bool) -> Deferred[IBlob]:
        if self._stopped:
            raise TransferStopped("the daemon is stopping")
        fill = self.running(digest)
        if fill is not None:
            self.joins += 1
            fill.asked_for |= asked_for
            return fill.join(*sources)
        fill = self._fills[digest] = self._made(digest, self._fills.get(digest))
        fill.asked_for = asked_for
        waiter = fill.join(*sources)
        fill.start()
        return waiter

    def _made(self, digest: Digest, before: Fill | None) -> Fill:
        if before is not None:
            self._ending.add(before)
        return Fill(
            digest,
            self._clock,
            self._link,
            self._revoked_s,
            self._remove,
            self._relays,
            self.lines,
            self.limit,
            before if before is not None and before.leaves_some else None,
            self._is_attended if self._pauses else None,
        )

    def _is_attended(self, fill: Fill) -> bool:
        repository = fill.repository
        return repository is not None and self._reads(repository)

    def _reads(self, repository: Repository) -> bool:
        return any(fill.followed and fill.is_of(repository) for fill in self._fills.values())

    def wants_ahead(self, repository: Repository) -> bool:
        """Whether layers may be fetched ahead for ``repository``: where fills pause without readers, only
        while clients read something of it."""
        return not self._pauses or self._reads(repository)

    def begin(self, digest: Digest, source: Source, awaited: bool = False) -> Deferred[None]:
        """Start the fill of ``digest`` without a reader; fires when the disk has it. ``awaited``: it goes on
        until then, where it would pause for lack of readers too. Fails as :meth:`open`, with what ended
        the fill, and with TransferStopped where it was not kept."""
        return Deferred.fromCoroutine(self._kept(digest, source, awaited))

    async def _kept(self, digest: Digest, source: Source, awaited: bool) -> None:
        blob = await self._open(digest, (source,), asked_for=False)
        fill = self._fills.get(digest)
        if fill is None:
            blob.close()
            return
        with fill.awaited() if awaited else nullcontext():
            blob.close()
            await fill.when_over()
        if fill.kept:
            return
        if fill.failure is not None:
            raise fill.failure
        raise TransferStopped(f"{digest} was not kept")

    def stop(self) -> Deferred[None]:
        """End all fills; fires when each has let go of its spool and its connection."""
        self._stopped = True
        self._relays.stop()
        stopping = [fill.stop() for fill in (*self._fills.values(), *self._ending)]
        return gatherResults(stopping).addCallback(lambda _: None)

    def _remove(self, fill: Fill) -> None:
        self._ending.discard(fill)
        if self._fills.get(fill.digest) is fill:
            del self._fills[fill.digest]
