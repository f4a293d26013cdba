"""What a 429 stops, and for how long: who asks meanwhile is answered from memory (R91).

Laws: a 429 stops questions of its own kind until its Retry-After, at most an hour and a tenth; then one
question goes through, and all others wait for what it brings, for less than a second. A GET of a
manifest is what registries count, so its 429 stops GETs of manifests and no HEAD, which is free. A HEAD
that is refused says that it is not about the count (an abuse limiter): it stops both. Blobs, wherever
they are redirected to, tags and manifests are limited apart: one stops no other.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from math import ceil

import attrs
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime

from regproxy.headers.retry_after import MAX_RETRY_AFTER_S
from regproxy.singleflight import Waiters

FIRST_S, LONGEST_S = 30.0, 960.0
"""How long where the upstream does not say: at first, and at most; twice as long after each 429."""
FIRST_OF_BLOBS_S = 1.0
"""Nobody has a limit on blobs that lasts: it is a host that has too much to do now, and clients wait."""
JITTER_SHARE = 0.1
PROBE_WAIT_S = 0.8
"""For how long others wait for the one question; clients are told within a second."""


class Lane(enum.Enum):
    """What is asked, by what registries limit apart."""

    MANIFEST = "GETs of manifests"
    LOOK = "HEADs of manifests"
    TAGS = "lists of tags"
    BLOB = "blobs"


def lane_of(method: str, kind: str) -> Lane | None:
    """The lane of a question; None: it is in nobody's way."""
    if kind == "manifest":
        return Lane.MANIFEST if method == "GET" else Lane.LOOK
    return {"tags": Lane.TAGS, "blob": Lane.BLOB}.get(kind)


STOPS: Mapping[Lane, tuple[Lane, ...]] = {
    Lane.MANIFEST: (Lane.MANIFEST,),
    Lane.LOOK: (Lane.LOOK, Lane.MANIFEST),
    Lane.TAGS: (Lane.TAGS,),
    Lane.BLOB: (Lane.BLOB,),
}
"""What a 429 to a question of a lane stops."""


def hold_s(wish_s: float | None, refusals: int, chance: float, first_s: float = FIRST_S) -> float:
    """For how long: as the upstream wishes, never nothing, a little longer by ``chance`` (0 to 1);
    without a wish by the number of ``refusals`` in a row, ``first_s`` after the first."""
    if wish_s is None:
        wish_s = min(LONGEST_S, first_s * 2.0 ** min(refusals - 1, 16))
    length_s = min(max(1.0, wish_s), MAX_RETRY_AFTER_S)
    return length_s * (1.0 + JITTER_SHARE * chance)


@attrs.define(eq=False)
class _Hold:
    """A lane that is stopped; ``probing``: the one question is under way. ``refusals`` 0: there was no
    429, nothing was left."""

    since_s: float
    until_s: float
    refusals: int
    probing: bool = False
    waiting: Waiters[None] = attrs.field(factory=Waiters)


@attrs.frozen(slots=True)
class Stopped:
    """Not now; ``retry_s`` seconds are left, at least one. ``refused``: by a 429, else nothing is left."""

    retry_s: int
    refused: bool = True


class Throttle:
    """The lanes of one upstream, or of one of its endpoints. ``chance`` gives the jitter."""

    def __init__(self, clock: IReactorTime, chance: Callable[[], float]) -> None:
        self._clock = clock
        self._chance = chance
        self._holds: dict[Lane, _Hold] = {}

    def __repr__(self) -> str:
        stopped = ", ".join(f"{lane.value} for {self.left_s(lane):.0f} s" for lane in self._holds)
        return f"<Throttle {stopped or 'nothing stopped'}>"

    def left_s(self, lane: Lane) -> float:
        """For how long it is stopped; 0 while it is not, or may be tried."""
        hold = self._holds.get(lane)
        if hold is None or self._clock.seconds() < hold.since_s:  # a clock that was set back ends it
            return 0.0
        return max(0.0, hold.until_s - self._clock.seconds())

    async def enter(self, lane: Lane) -> Stopped | None:
        """Whether a question may go; what may not is told so within PROBE_WAIT_S. Tell :meth:`over` then."""
        hold, told_s = self._holds.get(lane), self._clock.seconds() + PROBE_WAIT_S
        while hold is not None and self.left_s(lane) == 0.0 and hold.probing:
            waiter: Deferred[None] = hold.waiting.add()
            try:  # one question after the other may come to nothing
                await waiter.addTimeout(max(0.0, told_s - self._clock.seconds()), self._clock)
            except TimeoutError:
                return Stopped(1, hold.refusals > 0)
            hold = self._holds.get(lane)
        if hold is None:
            return None
        left_s = self.left_s(lane)
        if left_s > 0.0:
            return Stopped(ceil(left_s), hold.refusals > 0)
        hold.probing = True
        return None

    def refused(self, lane: Lane, wish_s: float | None) -> None:
        """A question of this lane was answered by 429."""
        now_s = self._clock.seconds()
        for stopped in STOPS[lane]:
            before = self._holds.get(stopped)
            again = before is not None and now_s >= before.until_s
            refusals = 1 if before is None else max(1, before.refusals + again)
            first_s = FIRST_OF_BLOBS_S if stopped is Lane.BLOB else FIRST_S
            until_s = now_s + hold_s(wish_s, refusals, self._chance(), first_s)
            if before is not None and not again and before.refusals:  # several were under way together
                until_s = max(until_s, before.until_s)
            self._replace(stopped, _Hold(now_s, until_s, refusals))

    def stop(self, lane: Lane, seconds: float) -> None:
        """Stop it without a 429: nothing is left."""
        if lane not in self._holds:
            now_s = self._clock.seconds()
            self._holds[lane] = _Hold(now_s, now_s + seconds, 0)

    def resume(self, lane: Lane) -> None:
        """There is something left again: it is stopped no more, unless by a 429."""
        hold = self._holds.get(lane)
        if hold is not None and not hold.refusals:
            self._replace(lane, None)

    def answered(self, lane: Lane) -> None:
        """A question of this lane got another answer than 429, so it is stopped no more."""
        if self._holds and self.left_s(lane) == 0.0:
            self._replace(lane, None)

    def left_alone(self, lane: Lane) -> None:
        """A question of this lane got no answer: the next one may try."""
        hold = self._holds.get(lane)
        if hold is not None and hold.probing:
            self._replace(lane, _Hold(hold.since_s, hold.until_s, hold.refusals))

    def _replace(self, lane: Lane, hold: _Hold | None) -> None:
        before = self._holds.pop(lane, None)
        if hold is not None:
            self._holds[lane] = hold
        if before is not None:
            before.waiting.fire(None)
