"""What pins keep, known at once: asked for each thing that is about to expire or to be evicted.

Laws: it is worked out in a thread, again after whatever may change it, and at first not before all is
known. Until then everything in a repository where it may have changed counts as pinned, so that nothing
goes between a change and its working out. What goes changes nothing that stays.
"""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from regproxy.errors import StorageFailed
from regproxy.eviction.gathering import Gathering, split_key
from regproxy.eviction.holdings import Holdings
from regproxy.eviction.pins import Pins, pinned_keys
from regproxy.interfaces import Held, IHoldings, IUsage, Kind
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Reference, Tag

_log = Logger()

SOON_S = 5.0
AGAIN_S = 60.0


@implementer(IHoldings)
class Pinned:
    """``pins`` are the patterns. Told by the store of all that comes and goes."""

    def __init__(
        self,
        pins: Pins,
        gathering: Gathering,
        usage: IUsage,
        clock: IReactorTime,
    ) -> None:
        self._pins = pins
        self._gathering = gathering
        self._usage = usage
        self._clock = clock
        self._keys: frozenset[str] = frozenset()
        self._absent: frozenset[str] = frozenset()
        self._fresh: set[str] = set()
        self._unsure: set[str] = set()
        self._changed: set[str] = set()
        """Of these two, what came since the present look began."""
        self._known = False
        self._surveyed = False
        self._timer: IDelayedCall | None = None
        self._working: Deferred[None] | None = None
        self._again = False
        self._stopped = False
        self.disk_bytes = 0
        """What pinned content takes, each digest once; as it was last worked out."""
        pins.changed = self._pins_changed

    def __repr__(self) -> str:
        return f"<Pinned keys={len(self._keys)} unsure={len(self._unsure)} known={self._known}>"

    def holds(self, key: str) -> bool:
        """Whether what ``key`` names stays; in any thread."""
        if self._pins.loaded and not len(self._pins):
            return False
        if not self._pins.loaded:
            return True
        name = split_key(key)[0]
        if not self._pins.touches(name):
            return False
        return not self._known or name in self._unsure or key in self._keys or key in self._fresh

    # what others tell

    def added(self, held: Held) -> None:
        """A pinned tag may mean something else now; what a pinned image needs may have come."""
        name = str(held.repository)
        if not len(self._pins) or not self._pins.touches(name):
            return
        if isinstance(held.reference, Tag):
            if self._pins.covers_tag(name, held.reference.name):
                self._unsure.add(name)
                self._changed.add(name)
                self._later(SOON_S)
            return
        key = f"{name}@{held.reference}"
        again = held.kind is Kind.MANIFEST and key in self._keys  # what it names may not have been known
        if again or key in self._absent or self._pins.covers_digest(name, str(held.reference)):
            self._fresh.add(key)
            self._changed.add(key)
            if held.kind is Kind.MANIFEST:
                self._unsure.add(name)
                self._changed.add(name)
            self._later(SOON_S)

    def gone(self, repository: Repository, reference: Reference) -> None:
        """What a tag needed may be free."""
        if len(self._pins) and self._pins.touches(str(repository)):
            self._later(SOON_S)

    def found(self, held: Sequence[Held]) -> None:
        """Before the survey has ended nothing is known anyway; later ones find what nobody told of."""
        if self._known and len(self._pins):
            for one in held:
                key = f"{one.repository}@{one.reference}"
                if one.kind is not None and key not in self._keys and self._pins.touches(str(one.repository)):
                    self._later(SOON_S)
                    return

    def surveyed(self) -> None:
        """All that is there has an entry now."""
        self._surveyed = True
        self._later(0.0)

    def _pins_changed(self) -> None:
        self._known = False
        self._later(0.0)

    # working it out

    def _later(self, delay_s: float) -> None:
        if self._stopped or not (self._surveyed and self._usage.loaded):
            return
        if self._working is not None:
            self._again = True
        elif self._timer is None:
            self._timer = self._clock.callLater(delay_s, self._begin)
        elif self._timer.getTime() > self._clock.seconds() + delay_s:
            self._timer.reset(delay_s)

    def _begin(self) -> None:
        self._timer = None
        self._again = False
        working = self._working = Deferred.fromCoroutine(self._work())
        working.addErrback(self._failed).addBoth(self._ended)

    async def _work(self) -> None:
        """What comes while it is worked out is unsure until the next time."""
        unsure, fresh, changes = set(self._unsure), set(self._fresh), self._pins.changes
        self._changed.clear()
        looked = await self._gathering.look(self._look, self._pins.touches)
        if changes != self._pins.changes:  # the pins are others meanwhile
            self._again = True
            return
        self._keys, self._absent, self.disk_bytes = looked
        self._known = True
        self._unsure -= unsure - self._changed
        self._fresh -= fresh - self._changed

    def _look(self, held: Holdings) -> tuple[frozenset[str], frozenset[str], int]:
        keys = pinned_keys(held, self._pins)
        sizes: dict[str, int] = {}
        absent: set[str] = set()
        for thing in held.things:
            if thing.key in keys:
                sizes[thing.digest] = thing.disk_bytes
                absent.update(f"{thing.repository}@{named}" for named in held.names.get(thing.digest, ()))
        absent.update(f"{tag.repository}@{tag.digest}" for tag in held.tags if tag.key in keys and tag.digest)
        return keys, frozenset(absent - keys), sum(sizes.values())

    def _failed(self, failure: Failure) -> None:
        if failure.check(CancelledError):
            return
        if failure.check(StorageFailed):
            _log.error("What pins keep cannot be worked out: {error}", error=str(failure.value))
        else:
            _log.failure("What pins keep could not be worked out", failure)
        self._known = False

    def _ended(self, _: None) -> None:
        self._working = None
        if self._again:
            self._later(SOON_S if self._known else 0.0)
        elif not self._known:
            self._later(AGAIN_S)

    def settled(self) -> Deferred[None]:
        """Fires when what is being worked out, or is about to be for the first time, is done."""
        over: Deferred[None] = Deferred()
        if self._timer is not None and not self._known:
            self._timer.cancel()
            self._begin()
        if self._working is None:
            return succeed(None)
        self._working.addBoth(lambda _: over.callback(None))
        return over

    def stop(self) -> None:
        """Work out nothing any more; what is pinned stays so."""
        self._stopped = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        if self._working is not None:
            self._working.cancel()
